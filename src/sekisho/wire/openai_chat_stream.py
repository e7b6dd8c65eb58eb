"""Events written as OpenAI's chunks. Must not send the usage chunk to a client who did not ask for it.

Source: OpenAI API reference, streaming; naive clients index `choices[0]` of every chunk, so the chunk without choices
goes only to those who set `stream_options.include_usage`.
"""

from __future__ import annotations

from typing import Any

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
from sekisho.formats.json import encode
from sekisho.formats.openai_answers import REASONING, write_usage
from sekisho.formats.openai_messages import Json


class StreamRenderer:
    """One stream: events in, payloads of chunks out. Errors and `[DONE]` are not chunks; the sender adds them."""

    __slots__ = ("_head", "_include_usage", "_roles", "_usage")

    def __init__(self, include_usage: bool = False) -> None:
        self._include_usage = include_usage
        self._head: Json = {"id": "", "object": "chat.completion.chunk", "created": 0, "model": ""}
        self._roles: set[int] = set()
        self._usage: UsageReported | None = None

    def render(self, event: ChatEvent) -> list[bytes]:
        match event:
            case Started():
                head = {"id": event.id, "object": "chat.completion.chunk", "created": event.created}
                self._head = head | {"model": event.model} | event.extra
                return []
            case UsageReported():
                self._usage = event
                return []
            case Failed():
                return []
            case _:
                return [self._chunk(event)]

    def finish(self) -> list[bytes]:
        """What is due at a complete end, before `[DONE]`."""
        if not self._include_usage or self._usage is None:
            return []
        usage = self._usage.as_sent or write_usage(self._usage.usage)
        return [encode(self._head | {"choices": [], "usage": usage})]

    def _chunk(self, event: TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta | OtherDelta | Finished) -> bytes:
        delta, beside = _delta(event)
        if event.choice not in self._roles:
            self._roles.add(event.choice)
            first: Json = {"role": "assistant"}
            # as OpenAI begins an answer that is a tool call
            if isinstance(event, ToolCallDelta):
                first["content"] = None
            delta = first | delta
        choice: Json = {"index": event.choice, "delta": delta}
        finish_reason = event.finish_reason if isinstance(event, Finished) else None
        chunk = self._head | {"choices": [choice | {"finish_reason": finish_reason} | beside]}
        if self._include_usage:
            chunk["usage"] = None
        return encode(chunk)


def _delta(
    event: TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta | OtherDelta | Finished,
) -> tuple[Json, Json]:
    """What stands inside the delta and what beside it."""
    match event:
        case TextDelta():
            return {"content": event.text}, _logprobs(event.logprobs)
        case RefusalDelta():
            return {"refusal": event.text}, _logprobs(event.logprobs)
        case ReasoningDelta():
            return {REASONING[0]: event.text}, {}
        case ToolCallDelta():
            return {"tool_calls": [_tool_call(event)]}, {}
        case OtherDelta():
            return event.delta, event.beside
        case Finished():
            return {}, {}


def _tool_call(event: ToolCallDelta) -> Json:
    call: Json = {"index": event.index}
    begins = event.id is not None or event.name is not None
    if event.id is not None:
        call["id"] = event.id
    if begins:
        call["type"] = event.kind
    inner: Json = {} if event.name is None else {"name": event.name}
    inner["input" if event.kind == "custom" else "arguments"] = event.arguments
    call[event.kind] = inner
    return call | event.extra


def _logprobs(logprobs: Any) -> Json:
    return {} if logprobs is None else {"logprobs": logprobs}
