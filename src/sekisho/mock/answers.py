"""What the model says, in words common to all wire formats. Pure: the same question gives the same answer.

Limits in the request (max_tokens and the like) are not honoured: the script alone decides how long an answer is.
"""

from __future__ import annotations

import msgspec

from sekisho.mock.samples import Schema, sample
from sekisho.mock.script import MOST_ANSWER_BYTES, Script, ScriptError

#: a byte of text is this many in a list of log probabilities
_LOGPROB_BYTES = 16
#: of a text that script or request give; about what tokenizers make of English
_CHARACTERS_PER_CHUNK = 4
_CHUNKS = 20
_REASONING = ["Let me", " think", " about", " this."]
_REFUSAL = "I cannot help with that."
_TEXT = "the keeper counts every traveller who passes and writes one line each so that book and road agree"
_WORDS = _TEXT.split()


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the request offers; `parameters` is a JSON schema."""

    name: str
    parameters: Schema


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks; `seed` comes from its texts, `text_bytes` is the size of all message text in UTF-8."""

    seed: int
    text_bytes: int
    last_user_text: str = ""
    tools: list[ToolSpec] = []
    #: the last message is the result of a tool
    after_tool: bool = False
    #: of a structured answer; `{}` = any object
    schema: Schema | None = None
    choices: int = 1
    #: about what a chunk costs besides its text
    chunk_bytes: int = 16
    logprobs: bool = False


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a tool, its arguments (JSON) in chunks. `number` counts from 0 within one choice."""

    number: int
    name: str
    arguments: list[str]


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, in chunks, in the order reasoning, text or refusal, tool calls."""

    reasoning: list[str] = []
    text: list[str] = []
    refusal: list[str] = []
    calls: list[ToolCall] = []
    finish: str = "stop"

    @property
    def chunks(self) -> int:
        """Number of chunks; a tool call has one for its name besides those of its arguments."""
        calls = sum(1 + len(call.arguments) for call in self.calls)
        return len(self.reasoning) + len(self.text) + len(self.refusal) + calls

    @property
    def text_bytes(self) -> int:
        """About the size of all text."""
        said = sum(map(len, self.text)) + sum(map(len, self.refusal))
        return said + sum(len(piece) for call in self.calls for piece in call.arguments)


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Usage: input includes cached tokens, output includes reasoning."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """All choices and what they cost."""

    choices: list[Choice]
    tokens: Tokens


def compose(script: Script, question: Question) -> Answer:
    """The answer to a question under a script. Raises ScriptError where it would not fit into memory."""
    choices = [_choice(script, question, 0)]
    _check_size(script, question, choices[0])
    choices += [_choice(script, question, number) for number in range(1, question.choices)]
    reasoning = sum(len(choice.reasoning) for choice in choices)
    output = sum(choice.chunks for choice in choices)
    return Answer(choices=choices, tokens=count(script, question.text_bytes, output, reasoning))


def count(script: Script, text_bytes: int, output: int = 0, reasoning: int = 0) -> Tokens:
    """Usage: four bytes of text are one input token and one chunk is one output token, unless the script knows."""
    if not script.usage:
        return Tokens(input=max(1, text_bytes // 4), output=output, reasoning=reasoning)
    read, written, cached = (*script.usage, *(output, 0)[len(script.usage) - 1 :])
    return Tokens(input=read, output=written, cached=cached, reasoning=min(reasoning, written))


def check_size(size: int) -> None:
    """Raises ScriptError where an answer would not fit into memory."""
    if size > MOST_ANSWER_BYTES:
        raise ScriptError(
            f"this answer would be about {size // 1_000_000} million bytes; at most {MOST_ANSWER_BYTES // 1_000_000} "
            "million are allowed, for all choices together and with the model's name in each chunk"
        )


def _check_size(script: Script, question: Question, choice: Choice) -> None:
    said = choice.text_bytes * (_LOGPROB_BYTES if script.logprobs or question.logprobs else 1)
    check_size(question.choices * (said + choice.chunks * question.chunk_bytes))


def _choice(script: Script, question: Question, number: int) -> Choice:
    reasoning = _REASONING if script.reasoning else []
    if script.refusal:
        refusal = _pieces(_REFUSAL, script.chunks)
        return Choice(reasoning=reasoning, refusal=refusal, finish=script.finish or "stop")
    if script.tools and not question.after_tool:
        calls = [_call(script, question, each) for each in range(script.parallel)]
        return Choice(reasoning=reasoning, calls=calls, finish=script.finish or "tool_calls")
    return Choice(reasoning=reasoning, text=_text(script, question, number), finish=script.finish or "stop")


def _text(script: Script, question: Question, number: int) -> list[str]:
    if script.line_mb:
        return ["x" * (script.line_mb * 1_000_000)]
    if script.answer is not None:
        return _pieces(script.answer, script.chunks)
    if script.echo:
        return _pieces(question.last_user_text, script.chunks)
    if question.schema is not None:
        value = sample(question.schema) if question.schema else {"answer": "text"}
        return _pieces(_json(value), script.chunks)
    length = _CHUNKS if script.chunks is None else script.chunks
    start = question.seed + number
    words = [_WORDS[(start + each) % len(_WORDS)] for each in range(length)]
    return [word if each == 0 else f" {word}" for each, word in enumerate(words)]


def _call(script: Script, question: Question, number: int) -> ToolCall:
    if question.tools:
        tool = question.tools[number % len(question.tools)]
        name, arguments = tool.name, _json(sample(tool.parameters)) if tool.parameters else "{}"
    else:
        name, arguments = "get_weather", '{"city":"Tokyo"}'
    return ToolCall(number=number, name=name, arguments=_pieces(arguments, script.chunks))


def _pieces(text: str, chunks: int | None) -> list[str]:
    """The text in so many pieces of about the same length, or in pieces of four characters."""
    if chunks == 0 or not text:
        return []
    if chunks is None:
        return [text[at : at + _CHARACTERS_PER_CHUNK] for at in range(0, len(text), _CHARACTERS_PER_CHUNK)]
    chunks = min(chunks, len(text))
    return [text[each * len(text) // chunks : (each + 1) * len(text) // chunks] for each in range(chunks)]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
