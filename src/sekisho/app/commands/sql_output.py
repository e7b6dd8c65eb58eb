"""Rows of a query as a table, JSON or CSV. Must show every value whole: nothing is cut, rounded or folded."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Protocol, cast

import msgspec

_NULL = "NULL"
_LINE_BREAKS = "\r\n"
_TAB = 8
#: what a text begins with that a spreadsheet takes for a formula, full-width signs too
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_UTF8_MARK = "\ufeff"
#: of a terminal, as numbers of ECMA-48's "select graphic rendition"
_BOLD, _DIM = "1", "2"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: those that may stand in a JSON text as they are
_CONTROL_IN_JSON = re.compile(r"[\x7f-\x9f]")
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
    # Python before 3.13 quotes a line break only where it stands in the terminator; we end the lines ourselves
    yield from _csv(csv.writer(written, lineterminator=_LINE_BREAKS), written, result, cell)


def as_spreadsheet(result: Rows) -> Iterator[str]:
    """CSV to be opened in a spreadsheet: no text is a formula, and Excel sees that it is UTF-8.

    As https://owasp.org/www-community/attacks/CSV_Injection says: an apostrophe before what would begin a formula, and
    quotes around everything, for some spreadsheets part fields at a semicolon. Numbers stay numbers.
    """
    written = io.StringIO()
    writer = csv.writer(written, lineterminator=_LINE_BREAKS, quoting=csv.QUOTE_ALL)
    mark = _UTF8_MARK
    for line in _csv(writer, written, result, _no_formula):
        yield mark + line
        mark = ""


def _no_formula(value: Any) -> str:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else cell(value)


def _csv(writer: Any, written: io.StringIO, result: Rows, to_text: Callable[[Any], str]) -> Iterator[str]:
    for row in _chained([result.columns], result.rows()):
        writer.writerow(["" if value is None else to_text(value) for value in row])
        yield written.getvalue().removesuffix(_LINE_BREAKS)
        written.seek(0)
        written.truncate()


def as_table(result: Rows, *, colour: bool) -> Iterator[str]:
    """Columns that line up whatever the script: full-width characters count as two cells.

    Not with rich's own table: it cuts what is wider than its console, and a value with a tab.
    """
    from rich.cells import cell_len

    rows = [[None if value is None else _lines(cell(value)) for value in row] for row in result.rows()]
    headings = [visible(name) for name in result.columns]
    widths = [
        max([cell_len(name), *(cell_len(line) for row in rows for line in row[at] or (_NULL,))])
        for at, name in enumerate(headings)
    ]

    def line(cells: Iterable[tuple[str, str]]) -> str:
        padded: list[str] = []
        for (text, style), width, numeric in zip(cells, widths, result.numeric, strict=True):
            space = " " * (width - cell_len(text))
            shown = f"\x1b[{style}m{text}\x1b[0m" if colour and style and text else text
            padded.append(space + shown if numeric else shown + space)
        return "  ".join(padded).rstrip()

    yield line((name, _BOLD) for name in headings)
    for row in rows:
        for at in range(max(len(lines or ()) for lines in row) or 1):
            yield line(
                ((_NULL, _DIM) if at == 0 else ("", ""))
                if lines is None
                else (lines[at] if at < len(lines) else "", "")
                for lines in row
            )


def for_terminal(lines: Iterable[str]) -> Iterator[str]:
    """The lines of `as_csv` to be looked at; a program reads them as they are."""
    for line in lines:
        yield "\n".join(_lines(line))


def visible(text: str) -> str:
    """One line for a terminal: a control character, which could move the cursor, is shown as its escape."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _lines(text: str) -> list[str]:
    """A value as the lines of its cell."""
    return [visible(one.expandtabs(_TAB)) for one in text.replace("\r\n", "\n").split("\n")]


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
    text = _encode(_plain(value)).decode()
    return _CONTROL_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


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
