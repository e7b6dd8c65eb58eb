"""The one rule for the language in which commands speak to the person who started them, messages and help alike:
an explicit locale of the terminal, else `language` of the configuration, else English."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import yaml

from sekisho.app.settings.model import Language

#: in C where PyYAML has it: the whole file is read once more where the last setting is the language, or none is
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: what a terminal has that was told nothing; their variants as C.UTF-8 say how to write, not what
_NO_LANGUAGE = ("C", "POSIX")
#: characters of a configuration in which its language is looked for
_REACH = 64 * 1024


def language_of(environ: Mapping[str, str] = os.environ, configured: Language | None = None) -> Language:
    """`configured` is that of the configuration, None where there is none or it names none."""
    return _of_terminal(environ) or configured or "en"


def names_a_language(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal decides, and no configuration need be asked."""
    return _of_terminal(environ) is not None


def written_in(text: str) -> Language | None:
    """`language` of a configuration, as far as its text can be read: its mistakes are to be told in it too."""
    value = next((value for key, value in _settings(text) if key == "language"), None)
    return "ja" if value == "ja" else "en" if value == "en" else None


def _of_terminal(environ: Mapping[str, str]) -> Language | None:
    """By the first of LC_ALL, LC_MESSAGES and LANG that is set, as POSIX wants it."""
    value = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := environ.get(name))), "C")
    if value.partition(".")[0] in _NO_LANGUAGE:
        return None
    return "ja" if value.lower().startswith("ja") else "en"


def _settings(text: str) -> Iterator[tuple[str | None, str | None]]:
    """Keys of the whole and their values, None for what is no scalar; they end where the text cannot be read."""
    depth, key, at_key = 0, None, True
    try:
        for event in yaml.parse(text.removeprefix("\ufeff")[:_REACH], _LOADER):
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth == 1 and isinstance(event, yaml.ScalarEvent | yaml.AliasEvent | yaml.CollectionEndEvent):
                value = event.value if isinstance(event, yaml.ScalarEvent) else None
                if not at_key:
                    yield key, value
                key, at_key = value, not at_key
            depth += isinstance(event, yaml.CollectionStartEvent)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return
