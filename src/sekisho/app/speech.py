"""In which language the command of this process speaks, also before it has read its configuration. Must stay light:
every command imports it before anything else."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sekisho.app.settings.model import Language

_OPTION = "--config"
#: as much of a configuration as is looked at for its language
_MOST_BYTES = 256 * 1024
_words: ContextVar[tuple[str, ...]] = ContextVar("words", default=())


def listen(words: Sequence[str]) -> None:
    """Remember what follows `sekisho`: it may name the configuration."""
    _words.set(tuple(words))


def language(configured: Language | None = None) -> Language:
    """That of the terminal, else `configured` where the settings are at hand, else that of the configuration which the
    words name or which lies in the current folder, else English."""
    from sekisho.app.settings.language import language_of, names_a_language, written_in

    if configured is None and not names_a_language():
        configured = written_in(_text())
    return language_of(configured=configured)


def _text() -> str:
    from sekisho.app.settings.loading import DEFAULT_FILE

    path = Path(_named(_words.get()) or DEFAULT_FILE)
    try:
        # a pipe could be read but once
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def _named(words: tuple[str, ...]) -> str | None:
    """The last one counts, as it does for the command."""
    named: str | None = None
    for word, following in zip(words, (*words[1:], None), strict=False):
        if word == "--":
            break
        if word == _OPTION:
            named = following
        elif word.startswith(f"{_OPTION}="):
            named = word.removeprefix(f"{_OPTION}=")
    return named
