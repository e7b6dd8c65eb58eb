"""A text in English and Japanese. Must stay data; what is in its blanks is filled by `messages`."""

from __future__ import annotations

from typing import NamedTuple


class Message(NamedTuple):
    en: str
    ja: str
