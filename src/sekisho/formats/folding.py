"""A stream folded into the whole answer it stands for. Must give what would have come without a stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from sekisho.domain.chat import ChatResponse, Choice, Message, ToolCall
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
from sekisho.domain.usage import Usage


def fold(events: Iterable[ChatEvent]) -> ChatResponse:
    """The answer as far as the events go; a choice that did not finish has no finish reason."""
    started = Started(id="", model="", created=0)
    usage: Usage | None = None
    usage_as_sent: dict[str, Any] = {}
    choices: dict[int, _Growing] = {}
    for event in events:
        match event:
            case Started():
                started = event
            case UsageReported():
                usage, usage_as_sent = event.usage, event.as_sent
            case Failed():
                break
            case _:
                choices.setdefault(event.choice, _Growing()).add(event)
    return ChatResponse(
        id=started.id,
        model=started.model,
        created=started.created,
        choices=tuple(grown.choice(index) for index, grown in sorted(choices.items())),
        usage=usage,
        usage_as_sent=usage_as_sent,
        extra=started.extra,
    )


def accumulate(grown: Any, piece: Any) -> Any:
    """One unknown value out of two pieces: text and lists grow, objects by member, anything else is replaced."""
    if grown is None:
        return piece
    if isinstance(grown, str) and isinstance(piece, str):
        return grown + piece
    if isinstance(grown, list) and isinstance(piece, list):
        return [*cast("list[Any]", grown), *cast("list[Any]", piece)]
    if isinstance(grown, dict) and isinstance(piece, dict):
        merged = dict(cast("dict[str, Any]", grown))
        for name, value in cast("dict[str, Any]", piece).items():
            merged[name] = accumulate(merged.get(name), value)
        return merged
    return cast("Any", grown if piece is None else piece)


class _GrowingCall:
    __slots__ = ("arguments", "extra", "first")

    def __init__(self, first: ToolCallDelta) -> None:
        self.first = first
        self.arguments: list[str] = []
        self.extra: dict[str, Any] = {}


class _Growing:
    """One choice while its pieces come in."""

    __slots__ = ("calls", "extra", "finish_reason", "logprobs", "message_extra", "reasoning", "refusal", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.calls: dict[int, _GrowingCall] = {}
        self.logprobs: Any = None
        self.finish_reason: str | None = None
        self.message_extra: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}

    def add(self, event: TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta | OtherDelta | Finished) -> None:
        match event:
            case TextDelta():
                self.text.append(event.text)
                self.logprobs = accumulate(self.logprobs, event.logprobs)
            case RefusalDelta():
                self.refusal.append(event.text)
                self.logprobs = accumulate(self.logprobs, event.logprobs)
            case ReasoningDelta():
                self.reasoning.append(event.text)
            case ToolCallDelta():
                call = self.calls.setdefault(event.index, _GrowingCall(event))
                call.arguments.append(event.arguments)
                call.extra = accumulate(call.extra, event.extra)
            case OtherDelta():
                self.message_extra = accumulate(self.message_extra, event.delta)
                beside = dict(event.beside)
                # of tokens that are neither text nor refusal, a tool call's
                self.logprobs = accumulate(self.logprobs, beside.pop("logprobs", None))
                self.extra = accumulate(self.extra, beside)
            case Finished():
                self.finish_reason = event.finish_reason

    def choice(self, index: int) -> Choice:
        calls = tuple(
            ToolCall(
                id=call.first.id or "",
                name=call.first.name or "",
                arguments="".join(call.arguments),
                kind=call.first.kind,
                extra=call.extra,
            )
            for _, call in sorted(self.calls.items())
        )
        message = Message(
            role="assistant",
            content="".join(self.text) if self.text else None,
            tool_calls=calls,
            refusal="".join(self.refusal) if self.refusal else None,
            extra=self.message_extra,
        )
        return Choice(
            index=index,
            message=message,
            reasoning="".join(self.reasoning) if self.reasoning else None,
            finish_reason=self.finish_reason,
            logprobs=self.logprobs,
            extra=self.extra,
        )
