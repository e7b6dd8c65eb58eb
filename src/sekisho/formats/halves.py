r"""Halves of characters in JSON: `\ud83d` without its other half. Must not touch anything else, not `\\ud83d` either.

Servers that cut their text by UTF-16 units, as JavaScript counts it, write an emoji that falls on the cut so. RFC 8259,
8.2, allows it and official SDKs take it; msgspec does not.
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def with_whole_characters(text: bytes) -> bytes:
    """The same JSON with U+FFFD for every half."""
    return _ESCAPE.sub(lambda found: b"\\ufffd" if found[1] else found[0], text)
