"""A chat as the house speaks of it. Must keep what it does not understand: unknown fields ride along.

Two kinds of remainder, by OpenAI's nesting: `extra` stood beside the things we read, `inner` inside the object that
wraps them (`function`, `image_url`).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from sekisho.domain.usage import Usage

Role = Literal["system", "developer", "user", "assistant", "tool"]


class TextPart(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    text: str
    extra: dict[str, Any] = {}


class ImagePart(msgspec.Struct, frozen=True, kw_only=True, tag="image"):
    """`url` may be a data: URL; `detail` is OpenAI's low | high | auto."""

    url: str
    detail: str | None = None
    extra: dict[str, Any] = {}
    inner: dict[str, Any] = {}


class OtherPart(msgspec.Struct, frozen=True, kw_only=True, tag="other"):
    """A part of a kind the house does not know (audio, file, …), kept as it came; `fields` include its type."""

    kind: str
    fields: dict[str, Any]


ContentPart = TextPart | ImagePart | OtherPart


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """`arguments` is JSON text as the model wrote it, perhaps invalid; for kind `custom` it is plain text."""

    id: str
    name: str
    arguments: str
    #: function | custom; of any other kind everything stands in `extra`
    kind: str = "function"
    extra: dict[str, Any] = {}
    inner: dict[str, Any] = {}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn. `content` is text or parts; `extra` holds fields the house does not know."""

    role: str
    content: str | tuple[ContentPart, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    refusal: str | None = None
    extra: dict[str, Any] = {}


class Tool(msgspec.Struct, frozen=True, kw_only=True, tag="function"):
    """A function the model may call; `parameters` is a JSON schema. `extra` holds what else stood beside it."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    extra: dict[str, Any] = {}
    inner: dict[str, Any] = {}


class OtherTool(msgspec.Struct, frozen=True, kw_only=True, tag="other"):
    """A tool of a kind the house does not know (custom, web search, …), kept as it came; `fields` include its type."""

    kind: str
    fields: dict[str, Any]


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """The typed reading of a chat request, needed where bytes may not pass: another protocol, or a rewritten body."""

    messages: tuple[Message, ...]
    tools: tuple[Tool | OtherTool, ...] = ()
    #: sampling and output parameters by OpenAI's names, as they came: temperature, max_tokens, response_format, …
    parameters: dict[str, Any] = {}


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One chat request.

    `fields` are the top-level JSON members as raw bytes in the order they came, where the client spoke `protocol`;
    `conversation` is there instead when we made the request ourselves or rewrote it. Exactly one of them is set.
    """

    model: str
    stream: bool = False
    #: the client asked for a usage frame at the end of its stream
    include_usage: bool = False
    protocol: str = ""
    fields: dict[str, msgspec.Raw] | None = None
    conversation: Conversation | None = None
    #: bytes of the body that `fields` came in
    size: int = 0


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One alternative of an answer. `logprobs` as the provider gave them."""

    index: int
    message: Message
    reasoning: str | None = None
    finish_reason: str | None = None
    logprobs: Any = None
    extra: dict[str, Any] = {}


class ChatResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer. `created` is seconds since 1970; `extra` holds what else stood at its top.

    `usage_as_sent` is the provider's own object where it spoke OpenAI's shape: it knows more than our counts.
    """

    id: str
    model: str
    created: int
    choices: tuple[Choice, ...]
    usage: Usage | None = None
    usage_as_sent: dict[str, Any] = {}
    extra: dict[str, Any] = {}
