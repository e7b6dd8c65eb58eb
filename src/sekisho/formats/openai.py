"""OpenAI's wire shapes, only as deep as the way of a call needs them. Must not fail on fields it does not know.

Sources: OpenAI API reference (chat completions, streaming, embeddings); usage conventions of compatible servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sekisho.domain.usage import MediaTokens, Usage
from sekisho.formats.delta_texts import text_of_calls, text_of_function, text_of_part
from sekisho.formats.json import UNREADABLE

# msgspec reads `Raw | None` as null only: any other value is then a mistake (checked with 0.22). A field of plain Raw
# with the default None is what is meant: None where the member is absent, `null` as the bytes b"null".
if TYPE_CHECKING:
    MaybeRaw = msgspec.Raw | None
else:
    MaybeRaw = msgspec.Raw

#: servers behind JavaScript or protobuf write whole numbers as 12.0
Count = int | float | None
#: more than this in one answer is a mistake of the provider, not a bill
MOST_TOKENS = 10**12
#: what an `error` is by which nobody says that anything failed: what is false to official SDKs
NO_ERROR = frozenset({b"null", b"{}", b'""', b"false", b"0", b"[]"})

#: finish reasons of an answer that broke off, of Mistral and OpenRouter, of vLLM and SGLang, of DeepSeek:
#: https://docs.mistral.ai/api, https://openrouter.ai/docs/api/reference/overview,
#: https://github.com/vllm-project/vllm/issues/57082, https://api-docs.deepseek.com/api/create-chat-completion
BROKE_OFF = frozenset(("error", "abort", "insufficient_system_resource"))
#: finish reasons of nearly all answers, as a row has them; nobody changes them
USUAL_REASONS = {reason: [reason] for reason in ("stop", "length", "tool_calls", "content_filter")}


class InputDetails(msgspec.Struct, gc=False):
    cached_tokens: Count = None
    #: OpenRouter's, for models whose provider bills writing to its cache
    cache_write_tokens: Count = None
    audio_tokens: Count = None
    image_tokens: Count = None


class OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count = None
    audio_tokens: Count = None
    image_tokens: Count = None


class WireUsage(msgspec.Struct, gc=False):
    """prompt_tokens includes cached ones, completion_tokens includes reasoning: our own convention."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    #: DeepSeek's name for cached prompt tokens
    prompt_cache_hit_tokens: Count = None
    #: Kimi's, https://platform.kimi.ai/docs/api/chat
    cached_tokens: Count = None
    #: Mistral's, of sound; its tokens stand in the total alone
    prompt_audio_seconds: Any = None

    def normalised(self) -> Usage | None:
        """HOT. Our counts; None when the provider sent an object without counts, or an impossible one."""
        read_in, out = self.prompt_tokens, self.completion_tokens
        details, written = self.prompt_tokens_details, self.completion_tokens_details
        if (
            type(read_in) is int
            and type(out) is int
            and read_in >= 0
            and out >= 0
            and self.total_tokens == read_in + out <= MOST_TOKENS
            and (
                details is None
                or not (
                    details.cached_tokens or details.audio_tokens or details.image_tokens or details.cache_write_tokens
                )
            )
            and (written is None or not (written.reasoning_tokens or written.audio_tokens or written.image_tokens))
            and not (self.prompt_cache_hit_tokens or self.cached_tokens)
        ):
            return Usage(input_tokens=read_in, output_tokens=out)
        return self._in_parts(details or InputDetails(), written or OutputDetails())

    def _in_parts(self, sent: InputDetails, written: OutputDetails) -> Usage | None:
        """What has parts of their own, or is written unusually."""
        if self.prompt_tokens is None and self.completion_tokens is None:
            return self._total_only()
        cached = int(sent.cached_tokens or self.prompt_cache_hit_tokens or self.cached_tokens or 0)
        reasoning = int(written.reasoning_tokens or 0)
        read_in, out = int(self.prompt_tokens or 0), int(self.completion_tokens or 0)
        if not (0 <= read_in <= MOST_TOKENS and 0 <= out <= MOST_TOKENS):
            return None
        if thoughts := self._beside(read_in, out, cached, reasoning):
            out += thoughts
            reasoning = max(reasoning, thoughts)
        usage = Usage(
            input_tokens=read_in,
            output_tokens=out,
            cache_read_input_tokens=max(0, min(cached, read_in)),
            reasoning_output_tokens=max(0, min(reasoning, out)),
        )
        rare = sent.audio_tokens or sent.image_tokens or sent.cache_write_tokens
        if not (rare or written.audio_tokens or written.image_tokens):
            return usage
        return _with_rarities(usage, sent, written)

    def _beside(self, read_in: int, out: int, cached: int, reasoning: int) -> int:
        """Thoughts that stand in the total alone, and are billed as output. xAI names them in the details too, Google
        nowhere. https://docs.x.ai/docs/key-information/consumption-and-rate-limits,
        https://discuss.ai.google.dev/t/127400 (9 tokens in, 1 out, 103 in all)

        None where the rest of a total may be input: cached tokens that a server counts beside the others, or sound.
        """
        rest = int(self.total_tokens or 0) - read_in - out
        if not 0 < rest <= MOST_TOKENS:
            return 0
        if rest == reasoning:
            return rest
        may_be_input = rest == cached or self.prompt_audio_seconds
        return 0 if may_be_input or not read_in or self.completion_tokens is None else rest

    def _total_only(self) -> Usage | None:
        """Embeddings of some servers count nothing but the total, which is all input."""
        total = int(self.total_tokens or 0)
        return Usage(input_tokens=total) if 0 < total <= MOST_TOKENS else None


def _with_rarities(usage: Usage, sent: InputDetails, written: OutputDetails) -> Usage:
    """Sound, pictures and cache writes, which the usual call has none of."""
    room = usage.input_tokens - usage.cache_read_input_tokens
    media = MediaTokens(
        input_audio_tokens=int(sent.audio_tokens or 0),
        input_image_tokens=int(sent.image_tokens or 0),
        output_audio_tokens=int(written.audio_tokens or 0),
        output_image_tokens=int(written.image_tokens or 0),
    )
    return msgspec.structs.replace(
        usage,
        cache_creation_input_tokens=max(0, min(int(sent.cache_write_tokens or 0), room)),
        media=None if media == MediaTokens() else media,
    )


class AnswerChoice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class AnswerFacts(msgspec.Struct, gc=False):
    """What the books need from a plain answer (chat or embeddings)."""

    usage: WireUsage | None = None
    choices: list[AnswerChoice] | None = None
    error: MaybeRaw = None
    service_tier: str | None = None
    #: embeddings have `data` instead of choices
    data: MaybeRaw = None


class DeltaFacts(msgspec.Struct, gc=False):
    #: a list of parts from Mistral's reasoning models
    content: str | list[msgspec.Raw] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: MaybeRaw = None
    #: of old, before tool calls
    function_call: MaybeRaw = None
    audio: MaybeRaw = None
    #: OpenRouter
    images: MaybeRaw = None

    def text(self) -> str:
        """HOT. What a model wrote: text, reasoning, refusal, or names and arguments of tool calls; empty where it is no
        content, as a role alone. For an estimate of tokens where the provider reports none."""
        content = self.content
        calls = self.tool_calls
        if content and calls is None and not (self.reasoning_content or self.reasoning or self.refusal):
            return content if type(content) is str else _joined(content)
        found = (content if isinstance(content, str) else _joined(content)) if content else ""
        found += (self.reasoning_content or self.reasoning or "") + (self.refusal or "")
        if calls is not None and (raw := bytes(calls)) not in (b"null", b"[]", b""):
            found = found + text_of_calls(raw) or " "
        return found or self._other()

    def _other(self) -> str:
        """What is neither: a call of a function as of old, sound by its transcript, pictures. Where that has no text it
        is a space, which is content and no token: the length of such bytes says nothing of their tokens."""
        if (call := self.function_call) is not None and (raw := bytes(call)) not in _EMPTY:
            return text_of_function(raw) or " "
        if (sound := self.audio) is not None and (raw := bytes(sound)) not in _EMPTY:
            try:
                return str(_decode_sound(raw).transcript or " ")
            except UNREADABLE:
                return " "
        return " " if self.images is not None and bytes(self.images) not in _EMPTY else ""


_EMPTY = (b"null", b"[]", b"{}", b"")


class _Sound(msgspec.Struct, gc=False):
    transcript: str | None = None


_decode_sound = msgspec.json.Decoder(_Sound).decode


def _joined(parts: str | list[msgspec.Raw]) -> str:
    return parts if isinstance(parts, str) else "".join(text_of_part(bytes(part)) for part in parts)


class ChunkChoice(msgspec.Struct, gc=False):
    index: int = 0
    finish_reason: str | None = None
    delta: DeltaFacts | None = None


class ChunkFacts(msgspec.Struct, gc=False):
    """What the books and the first-content rule need from one event of a stream."""

    choices: list[ChunkChoice] | None = None
    usage: WireUsage | None = None
    error: MaybeRaw = None
    service_tier: str | None = None


class WireError(msgspec.Struct, gc=False):
    """The inner object of an error body; servers put numbers, strings or null anywhere here."""

    message: Any = None
    type: Any = None
    param: Any = None
    code: Any = None


class ErrorBody(msgspec.Struct, gc=False):
    """An error body. `error` is an object, or a bare text from xAI, whose `code` stands beside it."""

    error: WireError | str | None = None
    #: FastAPI-based servers answer with `detail`: a text, or a list of {"loc": […], "msg": …, "type": …}
    detail: Any = None
    #: without an inner object: older vLLM, Mistral, LiteLLM's proxies
    message: Any = None
    type: Any = None
    param: Any = None
    code: Any = None
    #: "error" from older vLLM
    object: Any = None


decode_answer = msgspec.json.Decoder(AnswerFacts).decode
decode_chunk = msgspec.json.Decoder(ChunkFacts).decode
decode_error = msgspec.json.Decoder(ErrorBody).decode
