"""What is taken out of bodies for the tables: previews, a hash, assembled streams. Must be pure and never raise.

Runs in the committer, so none of it costs the call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from sekisho.tables.assemble import assemble

PREVIEW_CHARACTERS = 200


class _Part(msgspec.Struct, gc=False):
    """Of a content in parts; pictures and files have no text."""

    text: str | None = None


_Content = str | list[str | _Part] | None


class _Message(msgspec.Struct, gc=False):
    role: str | None = None
    content: _Content = None


class _Request(msgspec.Struct, gc=False):
    messages: list[_Message] | None = None
    #: of the embeddings and responses routes
    input: _Content = None
    #: of the plain chat of a web page
    message: _Content = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message | None = None


class _Answer(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None


# The same where a part that nobody looks at is of no documented shape, at twice the cost.
# Raw joined with None is decoded as None only, so "absent" is an empty Raw.


class _OddMessage(msgspec.Struct, gc=False):
    role: str | None = None
    content: msgspec.Raw = msgspec.Raw(b"")


class _OddRequest(msgspec.Struct, gc=False):
    messages: list[_OddMessage] | None = None
    input: msgspec.Raw = msgspec.Raw(b"")
    message: msgspec.Raw = msgspec.Raw(b"")


class _OddChoice(msgspec.Struct, gc=False):
    message: _OddMessage | None = None


class _OddAnswer(msgspec.Struct, gc=False):
    choices: list[_OddChoice] | None = None


#: what decoding raises; the last for nesting without end, which anybody may send
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_request = msgspec.json.Decoder(_Request).decode
_answer = msgspec.json.Decoder(_Answer).decode
_odd_request = msgspec.json.Decoder(_OddRequest).decode
_odd_answer = msgspec.json.Decoder(_OddAnswer).decode
_content = msgspec.json.Decoder(_Content).decode


def input_preview(request: bytes) -> str | None:
    """First 200 characters of the last user message, or of an embedding's first input."""
    return _preview(request, _asked, (_request, _odd_request))


def output_preview(response: bytes) -> str | None:
    """First 200 characters of the first choice's text."""
    return _preview(response, _answered, (_answer, _odd_answer))


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


def _preview(body: bytes, show: Callable[[Any], str | None], ways: tuple[Callable[[bytes], Any], ...]) -> str | None:
    """By the first way of reading that works. Bytes that are no UTF-8 may stand in a text: what was refused for them is
    kept, and a provider may send them."""
    no_text = False
    for read in ways:
        try:
            return show(read(body))
        except UnicodeDecodeError:
            no_text = True
        except _UNREADABLE:
            pass
    return _preview(body.decode("utf-8", "replace").encode(), show, ways) if no_text else None


def _asked(body: _Request | _OddRequest) -> str | None:
    for message in reversed(body.messages or ()):
        if message.role == "user":
            return _text(message.content)
    return _text(body.input) or _text(body.message)


def _answered(body: _Answer | _OddAnswer) -> str | None:
    choices = body.choices
    message = choices[0].message if choices else None
    return None if message is None else _text(message.content)


def _text(content: _Content | msgspec.Raw) -> str | None:
    if isinstance(content, msgspec.Raw):
        content = _read(content)
    if content is None or isinstance(content, str):
        return None if content is None else content[:PREVIEW_CHARACTERS]
    texts = (part if isinstance(part, str) else part.text for part in content)
    joined = "\n".join(text for text in texts if text)
    return joined[:PREVIEW_CHARACTERS] or None


def _read(raw: msgspec.Raw) -> _Content:
    if not bytes(raw):
        return None
    try:
        return _content(raw)
    except (msgspec.ValidationError, RecursionError):
        return None
