"""What a streamed answer is made of. Must be the same for every provider and protocol."""

from __future__ import annotations

from typing import Any

import msgspec

from sekisho.domain.usage import Usage


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """Life begins; not content yet. `created` is seconds since 1970."""

    id: str
    model: str
    created: int
    extra: dict[str, Any] = {}


class TextDelta(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """A piece of text; once it may be empty, when the provider begins with an empty text."""

    choice: int
    text: str
    logprobs: Any = None


class ReasoningDelta(msgspec.Struct, frozen=True, kw_only=True, tag="reasoning"):
    choice: int
    text: str


class RefusalDelta(msgspec.Struct, frozen=True, kw_only=True, tag="refusal"):
    choice: int
    text: str
    logprobs: Any = None


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True, tag="tool_call"):
    """`id` and `name` come once, with the first piece of a call; `arguments` in pieces. `index` counts from 0."""

    choice: int
    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    kind: str = "function"
    extra: dict[str, Any] = {}


class OtherDelta(msgspec.Struct, frozen=True, kw_only=True, tag="other"):
    """What the house does not know: `delta` inside the piece, `beside` next to it. Not content by itself."""

    choice: int
    delta: dict[str, Any] = {}
    beside: dict[str, Any] = {}


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """One choice is complete."""

    choice: int
    finish_reason: str


class UsageReported(msgspec.Struct, frozen=True, kw_only=True, tag="usage"):
    """Totals so far: the last report counts. `as_sent` as in `ChatResponse.usage_as_sent`."""

    usage: Usage
    as_sent: dict[str, Any] = {}


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The provider reported an error inside the stream, or broke its form; nothing follows.

    `detail` is its text, for the row only. `code` and `fallback` mean what they mean in `UpstreamError`.
    """

    detail: str
    code: str = "upstream_error"
    fallback: bool = True


ChatEvent = (
    Started | TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta | OtherDelta | Finished | UsageReported | Failed
)


def is_content(event: ChatEvent) -> bool:
    """First content: non-empty text, reasoning, refusal or a tool call. Until then another target may be tried."""
    match event:
        case TextDelta(text=text) | ReasoningDelta(text=text) | RefusalDelta(text=text):
            return bool(text)
        case ToolCallDelta():
            return True
        case _:
            return False
