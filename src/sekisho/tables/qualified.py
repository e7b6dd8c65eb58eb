"""Three-part names in statements: `main.sekisho.usage` is `usage`. Must change nothing inside strings and comments.

DuckDB reserves `main` as the name of a catalog, the very one that Databricks begins with, so no database can be
attached under it; and with a database attached under another name `SHOW TABLES` and completion would list all twice.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Any, NamedTuple

import duckdb

from sekisho.tables.schema import TABLES
from sekisho.tables.views import VIEWS

DEFAULT_PLACE = "main.sekisho"
_NAMES = frozenset({*TABLES, *VIEWS})
#: names and keywords; a name may also be spelled as one
_WORDS = ("identifier", "keyword")
#: of names; Databricks' are the backticks
_QUOTES = '"`'
_BARE = str.maketrans("", "", string.whitespace + _QUOTES)


class NotAPlace(ValueError):
    """Not two names with a dot between them."""


class _Word(NamedTuple):
    """A word of a statement; offsets are of its UTF-8 bytes."""

    start: int
    end: int
    name: str


def plain_names(sql: str, place: str = DEFAULT_PLACE) -> str:
    """The statement with `catalog.schema.` and `schema.` taken away before our tables and views.

    `place` is `catalog.schema`. Raises NotAPlace when it is anything else.
    """
    catalog, schema = split_place(place)
    if f"{schema}." not in sql.lower().translate(_BARE):
        return sql
    text = sql.encode()
    cuts: list[tuple[int, int]] = []
    words = list(_words(sql, text))
    for at, word in enumerate(words):
        if word.name not in _NAMES or not _joined(text, words, at) or words[at - 1].name != schema:
            continue
        first = at - 1
        if _joined(text, words, first):
            if words[first - 1].name != catalog or _joined(text, words, first - 1):
                continue
            first -= 1
        cuts.append((words[first].start, word.start))
    for start, end in reversed(cuts):
        text = text[:start] + text[end:]
    return text.decode()


def split_place(place: str) -> tuple[str, str]:
    """Catalog and schema, in lower case. Raises NotAPlace."""
    catalog, _, schema = place.lower().partition(".")
    if not (catalog and schema) or "." in schema:
        raise NotAPlace(f"{place!r} is not CATALOG.SCHEMA")
    return catalog, schema


def _words(sql: str, text: bytes) -> Iterator[_Word]:
    """Names and keywords, in order."""
    tokens: list[tuple[int, Any]] = duckdb.tokenize(sql)
    ends = [start for start, _ in tokens[1:]] + [len(text)]
    for (start, kind), end in zip(tokens, ends, strict=True):
        if kind.name not in _WORDS:
            continue
        written = text[start:end].rstrip()
        name = written.decode("utf-8", "replace").strip(_QUOTES).lower()
        yield _Word(start, start + len(written), name)


def _joined(text: bytes, words: list[_Word], at: int) -> bool:
    """Whether a dot, and nothing else but spaces, stands between this word and the one before it."""
    return at > 0 and text[words[at - 1].end : words[at].start].strip() == b"."
