"""What is taken out of bodies for the tables: previews, a hash, assembled streams. Must be pure and never raise.

Runs in the committer, so none of it costs the call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from sekisho.tables.assemble import assemble

PREVIEW_CHARACTERS = 200


# Raw joined with None is decoded as None only, so "absent" is an empty Raw.
class _Message(msgspec.Struct, gc=False):
    role: str | None = None
    content: msgspec.Raw = msgspec.Raw(b"")


class _Part(msgspec.Struct, gc=False):
    """Of a content in parts; pictures and files have no text."""

    text: str | None = None


class _Request(msgspec.Struct, gc=False):
    messages: list[_Message] | None = None
    #: of the embeddings and responses routes
    input: msgspec.Raw = msgspec.Raw(b"")
    #: of the plain chat of a web page
    message: msgspec.Raw = msgspec.Raw(b"")


class _Choice(msgspec.Struct, gc=False):
    message: _Message | None = None


class _Answer(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None


#: what decoding raises; the last for nesting without end, which anybody may send
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_request = msgspec.json.Decoder(_Request).decode
_answer = msgspec.json.Decoder(_Answer).decode
_string = msgspec.json.Decoder(str).decode
_parts = msgspec.json.Decoder(list[str | _Part]).decode


def input_preview(request: bytes) -> str | None:
    """First 200 characters of the last user message, or of an embedding's first input."""
    return _preview(_said_last, request)


def output_preview(response: bytes) -> str | None:
    """First 200 characters of the first choice's text."""
    return _preview(_first_choice, response)


def _preview(read: Callable[[bytes], str | None], body: bytes) -> str | None:
    """Bytes that are no UTF-8 may stand in a text: what was refused for them is kept, and a provider may send them."""
    try:
        return read(body)
    except UnicodeDecodeError:
        body = body.decode("utf-8", "replace").encode()
    except _UNREADABLE:
        return None
    try:
        return read(body)
    except _UNREADABLE:
        return None


def _said_last(request: bytes) -> str | None:
    body = _request(request)
    for message in reversed(body.messages or ()):
        if message.role == "user":
            return _text(message.content)
    return _text(body.input) or _text(body.message)


def _first_choice(response: bytes) -> str | None:
    choices = _answer(response).choices
    message = choices[0].message if choices else None
    return None if message is None else _text(message.content)


def input_hash(request: bytes) -> str:
    """64 bits of SHA-256 of the body as it came, in hexadecimal: enough to find repeats, and 10 bytes less a row."""
    return hashlib.sha256(request).hexdigest()[:16]


def assembled(events: bytes) -> bytes:
    """The plain answer that a stream stands for; the events as they were when they are of another kind."""
    try:
        whole = assemble(events)
        return events if whole is None else msgspec.json.encode(whole)
    except (TypeError, ValueError, AttributeError, RecursionError):
        return events


def readable(body: bytes | None) -> bytes | None:
    """The body with bytes that are no UTF-8 replaced, as a STRING column asks."""
    return None if body is None else body.decode("utf-8", "replace").encode()


def _text(content: msgspec.Raw) -> str | None:
    if not bytes(content):
        return None
    try:
        return _string(content)[:PREVIEW_CHARACTERS]
    except msgspec.ValidationError:
        pass
    try:
        parts = _parts(content)
    except (msgspec.ValidationError, RecursionError):
        return None
    texts = (part if isinstance(part, str) else part.text for part in parts)
    joined = "\n".join(text for text in texts if text)
    return joined[:PREVIEW_CHARACTERS] or None
