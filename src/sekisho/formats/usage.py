"""Usage objects of providers that do not speak OpenAI's chat completions, as our counts. Must hold one convention.

Each function takes the decoded JSON value as it stands in the answer and gives None where nothing was counted. The
totals of `Usage` include their parts; what a provider counts beside them is added here. Sources stand at each shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from sekisho.domain.usage import MediaTokens, Usage
from sekisho.formats.openai import MOST_TOKENS, Count, InputDetails, OutputDetails

_Shape = TypeVar("_Shape", bound=msgspec.Struct)


class _CacheCreation(msgspec.Struct, gc=False):
    ephemeral_5m_input_tokens: Count = None
    ephemeral_1h_input_tokens: Count = None


class _Anthropic(msgspec.Struct, gc=False):
    input_tokens: Count = None
    output_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    cache_creation: _CacheCreation | None = None


def anthropic_usage(value: Any) -> Usage | None:
    """Anthropic messages: `usage` of an answer; of a stream, what `message_start` and the last `message_delta` say.

    input_tokens excludes what was read from and written to the cache; thinking is in output_tokens and not told apart.
    https://docs.claude.com/en/api/messages, https://docs.claude.com/en/docs/build-with-claude/prompt-caching
    """
    wire = _read(value, _Anthropic)
    if wire is None or (wire.input_tokens is None and wire.output_tokens is None):
        return None
    read, written = _count(wire.cache_read_input_tokens), _count(wire.cache_creation_input_tokens)
    hour = 0
    if wire.cache_creation is not None:
        hour = _count(wire.cache_creation.ephemeral_1h_input_tokens)
        written = max(written, hour + _count(wire.cache_creation.ephemeral_5m_input_tokens))
    return _usage(
        inputs=_count(wire.input_tokens) + read + written,
        outputs=_count(wire.output_tokens),
        read=read,
        written=written,
        written_1h=hour,
    )


class _Modality(msgspec.Struct, gc=False, rename="camel"):
    modality: str = ""
    token_count: Count = None


class _Gemini(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: Count = None
    candidates_token_count: Count = None
    thoughts_token_count: Count = None
    tool_use_prompt_token_count: Count = None
    cached_content_token_count: Count = None
    prompt_tokens_details: list[_Modality] | None = None
    tool_use_prompt_tokens_details: list[_Modality] | None = None
    cache_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None


def gemini_usage(value: Any) -> Usage | None:
    """Gemini and Vertex AI: `usageMetadata`; of a stream, that of the last chunk.

    promptTokenCount includes cached tokens, toolUsePromptTokenCount stands beside it; candidatesTokenCount excludes
    thoughtsTokenCount, which is billed as output. https://ai.google.dev/api/generate-content#UsageMetadata
    """
    wire = _read(value, _Gemini)
    if wire is None or (wire.prompt_token_count is None and wire.candidates_token_count is None):
        return None
    thoughts = _count(wire.thoughts_token_count)
    sent = [*(wire.prompt_tokens_details or ()), *(wire.tool_use_prompt_tokens_details or ())]
    cached, written = wire.cache_tokens_details or (), wire.candidates_tokens_details or ()
    return _usage(
        inputs=_count(wire.prompt_token_count) + _count(wire.tool_use_prompt_token_count),
        outputs=_count(wire.candidates_token_count) + thoughts,
        read=_count(wire.cached_content_token_count),
        reasoning=thoughts,
        media=MediaTokens(
            input_audio_tokens=_of(sent, "AUDIO"),
            input_image_tokens=_of(sent, "IMAGE"),
            cache_read_audio_tokens=_of(cached, "AUDIO"),
            cache_read_image_tokens=_of(cached, "IMAGE"),
            output_audio_tokens=_of(written, "AUDIO"),
            output_image_tokens=_of(written, "IMAGE"),
        ),
    )


class _CachedDetails(msgspec.Struct, gc=False):
    audio_tokens: Count = None
    image_tokens: Count = None


class _ResponsesInput(InputDetails, gc=False):
    #: realtime only
    cached_tokens_details: _CachedDetails | None = None


class _Responses(msgspec.Struct, gc=False):
    input_tokens: Count = None
    output_tokens: Count = None
    input_tokens_details: _ResponsesInput | None = None
    input_token_details: _ResponsesInput | None = None
    output_tokens_details: OutputDetails | None = None
    output_token_details: OutputDetails | None = None


def responses_usage(value: Any) -> Usage | None:
    """OpenAI Responses, images and realtime (whose details are called `…_token_details`).

    As in chat completions, input includes cached tokens and output includes reasoning.
    https://platform.openai.com/docs/api-reference/responses/object
    """
    wire = _read(value, _Responses)
    if wire is None or (wire.input_tokens is None and wire.output_tokens is None):
        return None
    sent = wire.input_tokens_details or wire.input_token_details or _ResponsesInput()
    written = wire.output_tokens_details or wire.output_token_details or OutputDetails()
    cached = sent.cached_tokens_details or _CachedDetails()
    return _usage(
        inputs=_count(wire.input_tokens),
        outputs=_count(wire.output_tokens),
        read=_count(sent.cached_tokens),
        written=_count(sent.cache_write_tokens),
        reasoning=_count(written.reasoning_tokens),
        media=MediaTokens(
            input_audio_tokens=_count(sent.audio_tokens),
            input_image_tokens=_count(sent.image_tokens),
            cache_read_audio_tokens=_count(cached.audio_tokens),
            cache_read_image_tokens=_count(cached.image_tokens),
            output_audio_tokens=_count(written.audio_tokens),
            output_image_tokens=_count(written.image_tokens),
        ),
    )


class _CacheDetail(msgspec.Struct, gc=False, rename="camel"):
    input_tokens: Count = None
    ttl: str = ""


class _Bedrock(msgspec.Struct, gc=False, rename="camel"):
    input_tokens: Count = None
    output_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_write_input_tokens: Count = None
    cache_details: list[_CacheDetail] | None = None


def bedrock_usage(value: Any) -> Usage | None:
    """Amazon Bedrock Converse: `usage`. inputTokens excludes what was read from and written to the cache.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html
    """
    wire = _read(value, _Bedrock)
    if wire is None or (wire.input_tokens is None and wire.output_tokens is None):
        return None
    read, written = _count(wire.cache_read_input_tokens), _count(wire.cache_write_input_tokens)
    details = wire.cache_details or ()
    return _usage(
        inputs=_count(wire.input_tokens) + read + written,
        outputs=_count(wire.output_tokens),
        read=read,
        written=written,
        written_1h=sum(_count(detail.input_tokens) for detail in details if detail.ttl == "1h"),
    )


class _CohereCounts(msgspec.Struct, gc=False):
    input_tokens: Count = None
    output_tokens: Count = None


class _Cohere(msgspec.Struct, gc=False):
    billed_units: _CohereCounts | None = None
    tokens: _CohereCounts | None = None


def cohere_usage(value: Any) -> Usage | None:
    """Cohere v2 chat and embed: `usage` (in v1 and embed `meta`). What is billed counts, not what the model read.

    https://docs.cohere.com/v2/reference/chat
    """
    wire = _read(value, _Cohere)
    counts = None if wire is None else wire.billed_units or wire.tokens
    if counts is None or (counts.input_tokens is None and counts.output_tokens is None):
        return None
    return _usage(inputs=_count(counts.input_tokens), outputs=_count(counts.output_tokens))


def _usage(
    *,
    inputs: int,
    outputs: int,
    read: int = 0,
    written: int = 0,
    written_1h: int = 0,
    reasoning: int = 0,
    media: MediaTokens | None = None,
) -> Usage | None:
    if inputs > MOST_TOKENS or outputs > MOST_TOKENS:
        return None
    read = min(read, inputs)
    written = min(written, inputs - read)
    return Usage(
        input_tokens=inputs,
        output_tokens=outputs,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=written,
        cache_creation_1h_input_tokens=min(written_1h, written),
        reasoning_output_tokens=min(reasoning, outputs),
        media=None if media == _NO_MEDIA else media,
    )


_NO_MEDIA = MediaTokens()


def _read(value: Any, shape: type[_Shape]) -> _Shape | None:
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError:
        return None


def _count(value: Count) -> int:
    return max(0, int(value or 0))


def _of(details: Sequence[_Modality], modality: str) -> int:
    return sum(_count(detail.token_count) for detail in details if detail.modality == modality)
