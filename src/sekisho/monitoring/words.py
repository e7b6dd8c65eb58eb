"""Texts in both languages, side by side. Must not know where they are shown."""

from __future__ import annotations

from typing import Literal, NamedTuple

Language = Literal["en", "ja"]
LANGUAGES: tuple[Language, ...] = ("en", "ja")


class Words(NamedTuple):
    """One text in English and Japanese."""

    en: str
    ja: str

    def of(self, language: Language) -> str:
        return self.ja if language == "ja" else self.en
