r"""Halves of characters in JSON: `\ud83d` without its other half, bytes of UTF-8 without the rest. Must not touch
anything else, not `\\ud83d` either.

Servers that cut their text by UTF-16 units, as JavaScript counts it, write an emoji that falls on the cut as the first.
RFC 8259, 8.2, allows it and official SDKs take it; msgspec does not. Those that cut it by bytes leave the second, which
no SDK takes; msgspec does where it passes over a value.
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def with_whole_characters(text: bytes) -> bytes:
    """The same JSON with U+FFFD for every half."""
    return _ESCAPE.sub(lambda found: b"\\ufffd" if found[1] else found[0], in_utf8(text))


def in_utf8(text: bytes) -> bytes:
    """HOT. The same text, with U+FFFD for bytes that are no character."""
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            return text.decode(errors="replace").encode()
    return text
