"""OpenAI's chat completions as clients speak them. Must not decode messages on the way of a call (`parse`).

Source: OpenAI API reference, chat completions. The typed reading (`conversation`) is for calls whose bytes may not
pass: another protocol behind, or a body that a policy rewrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from sekisho.domain.chat import ChatRequest, ChatResponse, Conversation
from sekisho.domain.errors import Refusal
from sekisho.domain.events import ChatEvent
from sekisho.formats.folding import fold
from sekisho.formats.json import UNREADABLE, Fields, encode
from sekisho.formats.openai_answers import write_response
from sekisho.formats.openai_messages import ShapeError, as_list, read_message, read_tool
from sekisho.wire.bodies import check_choices, first_element, read_flag, read_model, read_object

PROTOCOL = "openai_chat"
MAX_PAIRS, MAX_NAME_CHARS, MAX_VALUE_CHARS = 16, 64, 512
MAX_USER_CHARS = 256
#: a character is twelve bytes where it is escaped; millions of pairs take seconds to read
_MOST_METADATA_BYTES = 2 * 12 * MAX_PAIRS * (MAX_NAME_CHARS + MAX_VALUE_CHARS)
#: tags that were read before, by their JSON text; nobody changes them
_pairs: dict[bytes, dict[str, str]] = {}
_MOST_PAIRS, _MOST_PAIRS_BYTES = 1_000, 512
#: members that say something for the books
NOTES = frozenset(("metadata", "user", "safety_identifier"))
#: members that are no parameters of the model
_APART = frozenset(("model", "messages", "stream"))


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_decode_options = msgspec.json.Decoder(_StreamOptions | None).decode
_decode_metadata = msgspec.json.Decoder(dict[str, str] | None).decode
_decode_text = msgspec.json.Decoder(str | None).decode
_decode_any = msgspec.json.Decoder().decode


def parse(body: bytes) -> ChatRequest:
    """HOT. Raises Refusal 400: invalid_json, invalid_value or forbidden_field."""
    fields = read_object(body)
    model = read_model(fields)
    messages = fields.get("messages")
    if messages is None or not first_element(messages):
        raise Refusal(400, "invalid_value", param="messages", reason="it must be an array with at least one message")
    raw = fields.get("stream")
    stream = raw is not None and read_flag(raw, "stream")
    raw = fields.get("stream_options")
    include_usage = raw is not None and _wants_usage(raw)
    raw = fields.get("n")
    if raw is not None:
        check_choices(raw, "n")
    return ChatRequest(
        model=model,
        stream=stream,
        include_usage=include_usage,
        protocol=PROTOCOL,
        fields=fields,
        size=len(body),
    )


def conversation(request: ChatRequest) -> Conversation:
    """The typed reading of a request. Raises Refusal 400 where it is not of the documented shape."""
    if request.conversation is not None:
        return request.conversation
    fields = request.fields or {}
    try:
        values = {name: _decode_any(raw) for name, raw in fields.items() if name not in _APART}
        found = as_list(_decode_any(fields["messages"]), "messages")
        messages = tuple(read_message(value, f"messages[{n}]") for n, value in enumerate(found))
        tools = values.get("tools")
        if isinstance(tools, list) and tools:
            del values["tools"]
            tools = tuple(read_tool(value, f"tools[{n}]") for n, value in enumerate(as_list(tools, "tools")))
        else:
            tools = ()
    except ShapeError as error:
        raise Refusal(400, "invalid_value", param=error.path, reason=error.reason) from None
    except RecursionError:
        raise Refusal(400, "invalid_json", reason="it is nested too deeply") from None
    except UNREADABLE:
        raise Refusal(400, "invalid_json", reason="a number in it is too large") from None
    return Conversation(messages=messages, tools=tools, parameters=values)


def end_user(fields: Fields) -> str | None:
    """Who the caller says it calls for: `user`, or its successor `safety_identifier`. Raises Refusal 400."""
    raw = fields.get("user")
    if raw is not None and (value := _read_user(raw, "user")):
        return value
    raw = fields.get("safety_identifier")
    return None if raw is None else _read_user(raw, "safety_identifier") or None


def end_user_member(fields: Fields) -> str:
    """Which member says so."""
    raw = fields.get("user")
    return "user" if raw is not None and _read_user(raw, "user") else "safety_identifier"


def _read_user(raw: msgspec.Raw, name: str) -> str | None:
    try:
        value = _decode_text(raw)
    except UNREADABLE:
        raise Refusal(400, "invalid_value", param=name, reason="it must be a string") from None
    if value is not None and len(value) > MAX_USER_CHARS:
        reason = "it must have at most {most} characters"
        raise Refusal(400, "invalid_value", param=name, reason=reason, most=MAX_USER_CHARS)
    return value


def metadata(fields: Fields) -> dict[str, str] | None:
    """Tags of a call: at most 16 pairs of text, keys to 64 and values to 512 characters. Raises Refusal 400."""
    raw = fields.get("metadata")
    if raw is None:
        return None
    text = bytes(raw)
    if (known := _pairs.get(text)) is not None:
        return known
    if len(text) > _MOST_METADATA_BYTES:
        reason = "it is longer than {most} pairs can be"
        raise Refusal(400, "invalid_value", param="metadata", reason=reason, most=MAX_PAIRS)
    try:
        pairs = _decode_metadata(raw)
    except UNREADABLE:
        raise Refusal(400, "invalid_value", param="metadata", reason="it must be an object of strings") from None
    if not pairs:
        return None
    if len(pairs) > MAX_PAIRS:
        reason = "it must have at most {most} pairs"
        raise Refusal(400, "invalid_value", param="metadata", reason=reason, most=MAX_PAIRS)
    for name, value in pairs.items():
        if len(name) > MAX_NAME_CHARS or len(value) > MAX_VALUE_CHARS:
            reason = "its keys may have {name_chars} and its values {value_chars} characters at most"
            raise Refusal(
                400,
                "invalid_value",
                param="metadata",
                reason=reason,
                name_chars=MAX_NAME_CHARS,
                value_chars=MAX_VALUE_CHARS,
            )
    if len(text) <= _MOST_PAIRS_BYTES and len(_pairs) < _MOST_PAIRS:
        _pairs[text] = pairs
    return pairs


def render_answer(answer: ChatResponse | Iterable[ChatEvent]) -> bytes:
    """The chat.completion object of a whole answer, or of the events of one."""
    return encode(write_response(answer if isinstance(answer, ChatResponse) else fold(answer)))


def _wants_usage(raw: msgspec.Raw) -> bool:
    try:
        options: Any = _decode_options(raw)
    except UNREADABLE:
        reason = "it must be an object whose `include_usage` is true or false"
        raise Refusal(400, "invalid_value", param="stream_options", reason=reason) from None
    return options is not None and options.include_usage is True
