"""Answers whose counts have another shape than OpenAI's. Must run only where the strict reading has failed.

What a provider counts is for the books; an answer that is whole is no failure because its counts are odd. Seen: whole
numbers as texts, and details as `[]`, which is how PHP writes an object without members.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from sekisho.formats.json import UNREADABLE
from sekisho.formats.openai import AnswerChoice, AnswerFacts, ChunkChoice, ChunkFacts, MaybeRaw, WireUsage

_DETAILS = ("prompt_tokens_details", "completion_tokens_details")
#: a text of more digits is no count
_MOST_DIGITS = 15


class _Answer(msgspec.Struct, gc=False):
    usage: Any = None
    choices: list[AnswerChoice] | None = None
    error: MaybeRaw = None
    service_tier: Any = None
    data: MaybeRaw = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[ChunkChoice] | None = None
    usage: Any = None
    error: MaybeRaw = None
    service_tier: Any = None


_answer = msgspec.json.Decoder(_Answer).decode
_chunk = msgspec.json.Decoder(_Chunk).decode


def answer_despite_counts(body: bytes) -> AnswerFacts | None:
    """None where more than the counts cannot be read."""
    try:
        read = _answer(body)
    except UNREADABLE:
        return None
    return AnswerFacts(
        usage=_usage(read.usage),
        choices=read.choices,
        error=read.error,
        service_tier=_text(read.service_tier),
        data=read.data,
    )


def chunk_despite_counts(payload: bytes) -> ChunkFacts | None:
    """The same of one event of a stream."""
    try:
        read = _chunk(payload)
    except UNREADABLE:
        return None
    return ChunkFacts(
        choices=read.choices, usage=_usage(read.usage), error=read.error, service_tier=_text(read.service_tier)
    )


def read_counts(value: dict[str, Any]) -> WireUsage:
    """What of a usage object can be read; without any count where nothing can."""
    counts = _numbers(value)
    for name in _DETAILS:
        if isinstance(details := value.get(name), dict):
            counts[name] = _numbers(cast("dict[str, Any]", details))
    return msgspec.convert(counts, WireUsage)


def _usage(value: Any) -> WireUsage | None:
    """None only where nothing was sent: that something was is passed on to callers who have asked for it alone."""
    if value is None:
        return None
    return read_counts(cast("dict[str, Any]", value)) if isinstance(value, dict) else WireUsage()


def _numbers(value: dict[str, Any]) -> dict[str, Any]:
    found = {name: _number(one) for name, one in value.items()}
    return {name: one for name, one in found.items() if one is not None}


def _number(value: Any) -> int | float | None:
    if isinstance(value, str):
        text = value.strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
