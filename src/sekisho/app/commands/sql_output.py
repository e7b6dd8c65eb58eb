"""Rows of a query as a table, JSON or CSV. Must show every value whole: nothing is cut, rounded or folded."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Protocol, cast

import msgspec

_WIDEST_CELLS = 100_000
_NULL = "NULL"
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Rows(Protocol):
    columns: list[str]
    numeric: list[bool]

    def rows(self) -> Iterable[Sequence[Any]]: ...


def as_json(result: Rows) -> Iterator[str]:
    """Lines of a JSON array, one object a line. Decimals are plain numbers, times ISO 8601 in UTC."""
    yield "["
    before = None
    for row in result.rows():
        if before is not None:
            yield before + ","
        before = _json(dict(zip(result.columns, row, strict=True)))
    if before is not None:
        yield before
    yield "]"


def as_json_lines(result: Rows) -> Iterator[str]:
    """One object a line, and nothing else; values as in `as_json`."""
    for row in result.rows():
        yield _json(dict(zip(result.columns, row, strict=True)))


def as_csv(result: Rows) -> Iterator[str]:
    """RFC 4180 with line feeds; NULL is an empty field."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="")
    for row in _chained([result.columns], result.rows()):
        writer.writerow(["" if value is None else cell(value) for value in row])
        yield written.getvalue()
        written.seek(0)
        written.truncate()


def as_table(result: Rows, *, colour: bool) -> Iterator[str]:
    """Columns that line up whatever the script: rich counts full-width characters as two cells."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, numeric in zip(result.columns, result.numeric, strict=True):
        table.add_column(Text(name), no_wrap=True, justify="right" if numeric else "left")
    for row in result.rows():
        # Text, because a value with [brackets] is no markup
        table.add_row(*(Text(_NULL, "dim") if value is None else Text(cell(value)) for value in row))
    written = io.StringIO()
    console = Console(file=written, width=_WIDEST_CELLS, force_terminal=colour, highlight=False)
    console.print(table)
    return (line.rstrip() for line in written.getvalue().splitlines())


def cell(value: Any) -> str:
    """One value as text: decimals plain, times ISO 8601 in UTC, nested values as JSON."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case Decimal():
            return f"{value:f}"
        case datetime() | date() | time():
            return _iso(value)
        case list() | dict() | tuple():
            return _json(value)
        case bytes() | bytearray():
            return value.hex()
        case _:
            return str(value)


def _json(value: Any) -> str:
    return _encode(_plain(value)).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("Sequence[Any]", value)]
    if isinstance(value, Decimal):
        # not the encoder's own way, which may write 0E-9
        return msgspec.Raw(f"{value:f}".encode())
    if isinstance(value, datetime | date | time):
        return _iso(value)
    if isinstance(value, bytes | bytearray):
        return value.hex()
    return value


def _iso(value: datetime | date | time) -> str:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    return value.isoformat()


def _chained(*parts: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    for part in parts:
        yield from part
