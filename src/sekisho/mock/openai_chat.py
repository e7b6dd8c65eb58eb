"""OpenAI's chat completions, plain and streamed, out of an Answer. Pure.

Sources: OpenAI API reference, chat completions and streaming; `reasoning_content` as DeepSeek and vLLM send it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import zip_longest

import msgspec

from sekisho.mock.answers import Answer, Choice, Tokens, ToolCall, compose
from sekisho.mock.openai_errors import BadRequest, envelope, scripted
from sekisho.mock.openai_requests import ChatBody, read
from sekisho.mock.replies import Events, Reply, Request, error_reply, json_reply, plain_reply, stream_reply
from sekisho.mock.script import Script, ScriptError

#: gives the script of a model name and counts the call; raises ScriptError
Director = Callable[[str], Script]
#: 2026-01-01T00:00:00Z: the answer must not depend on when it is asked for
CREATED = 1_767_225_600
_LOGPROB = -0.25

_encode = msgspec.json.encode
_Object = dict[str, object]


def chat(request: Request, direct: Director) -> Reply:
    """The answer to POST /chat/completions."""
    digest = hashlib.blake2b(request.body, digest_size=12).hexdigest()
    headers = {"x-request-id": f"req_{digest}"}
    try:
        body = read(request.body, ChatBody)
        script = direct(body.model)
        if body.stream_options and not body.stream:
            raise BadRequest("'stream_options' is only allowed when 'stream' is true.", "stream_options")
    except ScriptError as error:
        return json_reply(envelope(400, str(error), "model", "invalid_value"), 400, headers)
    except BadRequest as error:
        return json_reply(envelope(400, str(error), error.param, error.code), 400, headers)
    if script.status is not None:
        return error_reply(script, script.status, scripted(script.status, script.code, script.param), headers)
    error = scripted(500, script.code, script.param)
    if script.ok_error and not body.stream:
        return plain_reply(script, error, headers)
    try:
        answer = compose(script, body.question())
    except ScriptError as error:
        return json_reply(envelope(400, str(error), "model", "invalid_value"), 400, headers)
    page = _Page(script, body, f"chatcmpl-{digest}")
    if body.stream:
        return stream_reply(script, page.events(answer, error), headers)
    return plain_reply(script, page.plain(answer), headers)


class _Page:
    """What all choices and events of one answer have in common."""

    def __init__(self, script: Script, body: ChatBody, name: str) -> None:
        self._script = script
        self._top = body.top_logprobs
        self._logprobs = script.logprobs or bool(body.logprobs)
        self._id = name
        self._model = body.model
        options = body.stream_options
        self._usage = bool(options and options.include_usage) and not script.no_usage
        self._front = b"data: " + _encode(self._common("chat.completion.chunk"))[:-1]

    def plain(self, answer: Answer) -> bytes:
        """The body of a plain answer."""
        whole = self._common("chat.completion")
        whole["choices"] = [self._choice(number, choice) for number, choice in enumerate(answer.choices)]
        if not self._script.no_usage:
            whole["usage"] = _usage(answer.tokens)
        return _encode(whole)

    def events(self, answer: Answer, error: bytes) -> Events:
        """The events of a stream; the choices take turns, as OpenAI sends them."""
        every = range(len(answer.choices))
        rounds = zip_longest(*(self._chunks(number, answer.choices[number]) for number in every))
        closing = [self._event(number, {}, finish=answer.choices[number].finish) for number in every]
        if self._usage:
            closing.append(self._front + b',"choices":[],"usage":' + _encode(_usage(answer.tokens)) + b"}\n\n")
        if not self._script.no_done:
            closing.append(b"data: [DONE]\n\n")
        return Events(
            opening=[self._opening(number, answer.choices[number]) for number in every],
            chunks=[chunk for turn in rounds for chunk in turn if chunk is not None],
            closing=closing,
            error=b"data: " + error + b"\n\n",
        )

    def _opening(self, number: int, choice: Choice) -> bytes:
        """OpenAI sends no content, not an empty one, where a call or a refusal takes its place."""
        content = None if choice.calls or choice.refusal else ""
        return self._event(number, {"role": "assistant", "content": content, "refusal": None})

    def _common(self, kind: str) -> _Object:
        return {
            "id": self._id,
            "object": kind,
            "created": CREATED,
            "model": self._model,
            "system_fingerprint": "fp_mock",
        }

    def _choice(self, number: int, choice: Choice) -> _Object:
        message: _Object = {"role": "assistant", "content": "".join(choice.text), "refusal": None, "annotations": []}
        if choice.refusal:
            message |= {"content": None, "refusal": "".join(choice.refusal)}
        if choice.calls:
            message |= {"content": None, "tool_calls": [self._whole_call(number, call) for call in choice.calls]}
        if choice.reasoning:
            message["reasoning_content"] = "".join(choice.reasoning)
        logprobs: _Object | None = None
        if self._logprobs:
            said, refused = ([self._token(text) for text in texts] for texts in (choice.text, choice.refusal))
            logprobs = {"content": said or None, "refusal": refused or None}
        return {"index": number, "message": message, "logprobs": logprobs, "finish_reason": choice.finish}

    def _chunks(self, number: int, choice: Choice) -> Iterator[bytes]:
        for text in choice.reasoning:
            yield self._event(number, {"reasoning_content": text})
        for text in choice.text:
            yield self._event(number, {"content": text}, logprobs=self._logprobs_of("content", text))
        for text in choice.refusal:
            yield self._event(number, {"refusal": text}, logprobs=self._logprobs_of("refusal", text))
        for call in choice.calls:
            start = {"index": call.number, **self._call(number, call, "")}
            yield self._event(number, {"tool_calls": [start]})
            for text in call.arguments:
                piece = {"index": call.number, "function": {"arguments": text}}
                yield self._event(number, {"tool_calls": [piece]})

    def _event(self, number: int, delta: _Object, finish: str | None = None, logprobs: object = None) -> bytes:
        choice = {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        end = b'],"usage":null}\n\n' if self._usage else b"]}\n\n"
        return b"".join((self._front, b',"choices":[', _encode(choice), end))

    def _whole_call(self, number: int, call: ToolCall) -> _Object:
        return self._call(number, call, "".join(call.arguments))

    def _call(self, number: int, call: ToolCall, arguments: str) -> _Object:
        name = f"call_{self._id[-12:]}{number:02}{call.number:02}"
        return {"id": name, "type": "function", "function": {"name": call.name, "arguments": arguments}}

    def _logprobs_of(self, kind: str, text: str) -> _Object | None:
        if not self._logprobs:
            return None
        both: _Object = {"content": None, "refusal": None}
        return both | {kind: [self._token(text)]}

    def _token(self, text: str) -> _Object:
        token: _Object = {"token": text, "logprob": _LOGPROB, "bytes": list(text.encode("utf-8", "replace"))}
        return token | {"top_logprobs": [dict(token)] if self._top else []}


def _usage(tokens: Tokens) -> _Object:
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
