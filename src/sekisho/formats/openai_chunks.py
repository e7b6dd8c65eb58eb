"""The payloads of an OpenAI chat stream read into events. Must not fail on any bytes: what is broken is `Failed`.

Source: OpenAI API reference, the chat completion chunk object. Deviations of compatible servers are met here where
they cannot be mistaken for something else: a missing tool index, an index used twice, names repeated in each piece.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec

from sekisho.domain.chat import ChatResponse
from sekisho.domain.events import (
    ChatEvent,
    Failed,
    Finished,
    OtherDelta,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from sekisho.formats.call_places import CallPlaces
from sekisho.formats.folding import fold
from sekisho.formats.json import UNREADABLE, encode
from sekisho.formats.openai_answers import (
    number_of,
    read_usage,
    split_content,
    take_reasoning,
    text_of,
    write_response,
)
from sekisho.formats.openai_messages import Json
from sekisho.formats.sse import DONE

DETAIL_CHARS = 500
#: of a chunk's top: read apart, or padding against traffic analysis that means nothing
_NOT_EXTRA = ("id", "object", "created", "model", "choices", "usage", "obfuscation")
_decode = msgspec.json.Decoder().decode


class ChunkReader:
    """One stream's payloads to events, in order; `[DONE]` is not a payload. After `Failed` nothing follows."""

    __slots__ = ("_choices", "_extra", "_failed", "_started")

    def __init__(self) -> None:
        self._choices: dict[int, _ChoiceState] = {}
        self._extra: Json = {}
        self._started = False
        self._failed = False

    @property
    def complete(self) -> bool:
        """There was a choice, and every choice has its finish reason."""
        return not self._failed and bool(self._choices) and all(state.finished for state in self._choices.values())

    def read(self, payload: bytes) -> list[ChatEvent]:
        if self._failed:
            return []
        try:
            chunk = _decode(payload)
        except UNREADABLE as error:
            return self._fail(f"an event that is not valid: {error}")
        if not isinstance(chunk, dict):
            return self._fail("an event that is not an object")
        chunk = cast("Json", chunk)
        if chunk.get("error"):
            return self._fail(payload[: DETAIL_CHARS * 4].decode("utf-8", "replace"))
        events: list[ChatEvent] = []
        choices: list[Any] = chunk.get("choices") or []
        usage = chunk.get("usage")
        if not self._started:
            self._start(chunk, bool(choices or usage), events)
        try:
            for choice in choices:
                self._read_choice(choice, events)
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            return [*events, *self._fail(f"an event of an unknown shape: {error}")]
        if usage:
            counts, as_sent = read_usage(usage)
            if counts is not None:
                events.append(UsageReported(usage=counts, as_sent=as_sent))
        return events

    def _fail(self, detail: str) -> list[ChatEvent]:
        self._failed = True
        return [Failed(detail=detail[:DETAIL_CHARS])]

    def _start(self, chunk: Json, now: bool, events: list[ChatEvent]) -> None:
        """Life begins with the first choice: Azure sends its verdict on the prompt before, without an id."""
        for name, value in chunk.items():
            if name not in _NOT_EXTRA and value is not None:
                self._extra[name] = value
        if now:
            self._started = True
            events.append(
                Started(
                    id=text_of(chunk.get("id")),
                    model=text_of(chunk.get("model")),
                    created=number_of(chunk.get("created")),
                    extra=self._extra,
                )
            )

    def _read_choice(self, choice: Json, events: list[ChatEvent]) -> None:
        index = choice.get("index") or 0
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _ChoiceState(index)
        delta = dict(cast("Json", choice.get("delta") or {}))
        state.read_delta(delta, choice.get("logprobs"), events)
        delta = {name: value for name, value in delta.items() if value is not None}
        beside = {name: value for name, value in choice.items() if value is not None and name not in _CHOICE_KNOWN}
        if delta or beside:
            events.append(OtherDelta(choice=index, delta=delta, beside=beside))
        reason = choice.get("finish_reason")
        if reason:
            state.finished = True
            events.append(Finished(choice=index, finish_reason=str(reason)))


_CHOICE_KNOWN = ("index", "delta", "finish_reason", "logprobs")


class _ChoiceState:
    """What one choice has shown so far."""

    __slots__ = ("_calls", "_had_text", "finished", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self.finished = False
        self._had_text = False
        self._calls = CallPlaces()

    def read_delta(self, delta: Json, logprobs: Any, events: list[ChatEvent]) -> None:
        """Take what is known out of `delta`; the rest stays for the caller."""
        delta.pop("role", None)
        reasoning = take_reasoning(delta)
        content = delta.get("content")
        if isinstance(content, list) and (split := split_content(cast("list[Any]", content))) is not None:
            delta["content"], thoughts = split
            reasoning = reasoning or thoughts
        if reasoning:
            events.append(ReasoningDelta(choice=self.index, text=reasoning))
        text, refusal = _take_text(delta, "content"), _take_text(delta, "refusal")
        # an empty text is an event only at the beginning: it says that the content is text and not null
        if text is not None and (text or not self._had_text):
            self._had_text = True
            own = None if refusal and not text else logprobs
            events.append(TextDelta(choice=self.index, text=text, logprobs=own))
            logprobs = None if own is not None else logprobs
        if refusal:
            events.append(RefusalDelta(choice=self.index, text=refusal, logprobs=logprobs))
            logprobs = None
        # what is no call must not cost the text beside it
        calls = delta.pop("tool_calls", None)
        calls = cast("list[Any]", calls) if isinstance(calls, list) else []
        events.extend(self._read_call(dict(cast("Json", call))) for call in calls if isinstance(call, dict))
        if logprobs is not None:
            events.append(OtherDelta(choice=self.index, beside={"logprobs": logprobs}))

    def _read_call(self, call: Json) -> ToolCallDelta:
        kind = "custom" if isinstance(call.get("custom"), dict) else "function"
        inner = call.pop(kind, None)
        inner = cast("Json", inner) if isinstance(inner, dict) else {}
        call_id = text_of(call.pop("id", None))
        index, first = self._calls.place(call.pop("index", None), call_id)
        call.pop("type", None)
        arguments = inner.get("arguments" if kind == "function" else "input")
        # servers that do not stream arguments (some templates of vLLM, Mistral) send an object
        if arguments is not None and not isinstance(arguments, str):
            arguments = encode(arguments).decode()
        return ToolCallDelta(
            choice=self.index,
            index=index,
            id=call_id if first and call_id else None,
            name=(text_of(inner.get("name")) or None) if first else None,
            arguments=arguments or "",
            kind=kind,
            extra={name: value for name, value in call.items() if value is not None},
        )


def _take_text(delta: Json, name: str) -> str | None:
    return delta.pop(name) if isinstance(delta.get(name), str) else None


def read_stream(payloads: Iterable[bytes]) -> ChatResponse:
    """The whole answer that the payloads of a stream stand for, as far as they go."""
    reader = ChunkReader()
    events: list[ChatEvent] = []
    for payload in payloads:
        if payload and payload != DONE:
            events += reader.read(payload)
    return fold(events)


def assemble(payloads: Iterable[bytes]) -> bytes:
    """The JSON of a plain answer out of the payloads of a stream; for rows, and for clients who wanted no stream."""
    return encode(write_response(read_stream(payloads)))
