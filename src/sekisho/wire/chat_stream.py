"""The plain chat for a web page: a message in, pieces of text out. Must not show more of an answer than its text.

`POST /chat/stream {"message": "…"}`, with `model`, `history` and `system` if wanted. Frames are
`data: {"content": "…"}`, then `data: [DONE]`; after a failure `data: {"error": {…}}` and no `[DONE]`.
"""

from __future__ import annotations

import msgspec

from sekisho.domain.chat import ChatRequest, Conversation, Message
from sekisho.domain.errors import Refusal
from sekisho.domain.events import ChatEvent, RefusalDelta, TextDelta
from sekisho.formats.json import UNREADABLE, Fields, encode
from sekisho.wire.bodies import read_model, read_object

PROTOCOL = "chat_stream"
_MEMBERS = ("message", "model", "history", "system")
#: the page may quote what was said, not speak for the operator
_ROLES = ("user", "assistant")


class _Turn(msgspec.Struct, forbid_unknown_fields=True):
    role: str
    content: str


_decode_text = msgspec.json.Decoder(str | None).decode
_decode_history = msgspec.json.Decoder(list[_Turn] | None).decode


def parse(body: bytes, default_model: str | None = None) -> ChatRequest:
    """A streamed request. Raises Refusal 400: invalid_json, invalid_value or forbidden_field."""
    fields = read_object(body)
    for name in fields:
        if name not in _MEMBERS:
            reason = "there is no such field; there are `message`, `model`, `history` and `system`"
            raise Refusal(400, "invalid_value", param=name, reason=reason)
    model = default_model if default_model and is_unnamed(fields) else read_model(fields)
    message = _text(fields, "message")
    if not message:
        raise Refusal(400, "invalid_value", param="message", reason="it must be a non-empty string")
    messages = [*_history(fields), Message(role="user", content=message)]
    system = _text(fields, "system")
    if system:
        messages.insert(0, Message(role="system", content=system))
    talk = Conversation(messages=tuple(messages))
    return ChatRequest(model=model, stream=True, protocol=PROTOCOL, conversation=talk)


class ContentRenderer:
    """One stream: events in, payloads with the text of the first choice out. The sender adds `[DONE]` or the error."""

    __slots__ = ()

    def render(self, event: ChatEvent) -> list[bytes]:
        # a refusal is what the model says, too
        if isinstance(event, TextDelta | RefusalDelta) and event.text and event.choice == 0:
            return [encode({"content": event.text})]
        return []

    def finish(self) -> list[bytes]:
        return []


def is_unnamed(fields: Fields) -> bool:
    """A page that has nothing chosen sends null; `history` and `system` take that, too."""
    raw = fields.get("model")
    return raw is None or bytes(raw) == b"null"


def _text(fields: Fields, name: str) -> str | None:
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return _decode_text(raw)
    except UNREADABLE:
        raise Refusal(400, "invalid_value", param=name, reason="it must be a string") from None


def _history(fields: Fields) -> list[Message]:
    raw = fields.get("history")
    if raw is None:
        return []
    reason = 'it must be an array of {"role": "user" or "assistant", "content": "…"}'
    try:
        turns = _decode_history(raw)
    except UNREADABLE:
        raise Refusal(400, "invalid_value", param="history", reason=reason) from None
    if any(turn.role not in _ROLES for turn in turns or ()):
        raise Refusal(400, "invalid_value", param="history", reason=reason)
    return [Message(role=turn.role, content=turn.content) for turn in turns or ()]
