"""A usage export as plain CSV, as people make it from a provider's dashboard. Must refuse what it would have to guess.

A header with `date` and `model`, and any of `requests`, `input_tokens` (cached ones included), `cached_input_tokens`,
`cache_write_input_tokens`, `output_tokens`, `cost_usd`; Japanese names too. Dates are UTC days, or whole hours. UTF-8
with or without a mark, UTF-16 with one, or Shift_JIS as Excel writes it (code page 932); comma, tab or semicolon;
full-width digits; thousands separators in quotes.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from sekisho.costs.exports.lines import (
    DAY_US,
    BadExport,
    Bucket,
    Line,
    Page,
    bucket_of,
    count_of,
    dollars_of,
    model_of,
    shown,
)

_HOUR_US = 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: column -> field of a line
_COLUMNS = {
    "date": "date", "日付": "date", "日時": "date", "利用日": "date",
    "model": "model", "モデル": "model", "モデル名": "model",
    "requests": "requests", "num_model_requests": "requests", "リクエスト数": "requests", "リクエスト": "requests",
    "input_tokens": "input_tokens", "入力トークン": "input_tokens", "入力トークン数": "input_tokens",
    "output_tokens": "output_tokens", "出力トークン": "output_tokens", "出力トークン数": "output_tokens",
    "cached_input_tokens": "cache_read_input_tokens", "cache_read_input_tokens": "cache_read_input_tokens",
    "キャッシュ読み取りトークン": "cache_read_input_tokens",
    "cache_write_input_tokens": "cache_creation_input_tokens",
    "cache_creation_input_tokens": "cache_creation_input_tokens",
    "キャッシュ書き込みトークン": "cache_creation_input_tokens",
    "cost_usd": "cost_usd", "費用_usd": "cost_usd", "費用(usd)": "cost_usd", "金額_usd": "cost_usd",
}  # fmt: skip
_GROUPED = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_WHOLE = re.compile(r"\d+(\.0+)?")
_AMOUNT = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d{1,3})?")
_DATE = re.compile(
    r"(?P<y>\d{4})(?:-(?P<m>\d{1,2})-(?P<d>\d{1,2})|/(?P<m2>\d{1,2})/(?P<d2>\d{1,2})|年(?P<m3>\d{1,2})月(?P<d3>\d{1,2})日)"
    r"(?:[T ]+(?P<h>\d{1,2})(?::(?P<min>\d{2}))?(?::(?P<s>\d{2}))?(?P<zone>Z|\+00:?00)?)?"
)
#: at the end of a date, without a zone: who writes one means a moment
_MIDNIGHT = re.compile(r"[T ]0{1,2}(:00){1,2}$")
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


class _Header(NamedTuple):
    """Of each column the field it fills, None for one that is not compared."""

    fields: list[str | None]
    skipped: list[str]


def text_of(content: bytes) -> str:
    """Raises BadExport for bytes in no encoding that spreadsheets write."""
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return _decoded(content, encoding)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return _decoded(content, "cp932")


def read_csv(text: str) -> Page:
    """Raises BadExport with the line of what cannot be read."""
    rows = _rows(text)
    first = next(rows, None)
    if first is None:
        raise BadExport("empty")
    header = _header(first[1])
    filled = list(rows)
    days = _are_days(header, filled)
    lines = [_line(header, cells, f"line {number}", days) for number, cells in filled]
    if not lines:
        raise BadExport("empty")
    return Page(buckets=_covered([line.bucket for line in lines]), lines=lines, skipped=header.skipped)


def _decoded(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadExport("bad_encoding", f"byte {error.start}") from None


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the line and cells of every row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    number = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        raise BadExport("bad_csv", f"line {number}", error=error) from None


def _delimiter(text: str) -> str:
    """What parts the names of the first line."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max(",\t;", key=lambda one: sum(_name(cell) in _COLUMNS for cell in first.split(one)))


def _name(cell: str) -> str:
    folded = unicodedata.normalize("NFKC", cell).strip().strip('"').strip().casefold()
    return re.sub(r"[\s-]+", "_", folded)


def _header(cells: Sequence[str]) -> _Header:
    fields = [_COLUMNS.get(_name(cell)) for cell in cells]
    for needed in ("date", "model"):
        if needed not in fields:
            raise BadExport("no_column", "line 1", column=needed, found=", ".join(shown(cell) for cell in cells))
    named = [field for field in fields if field is not None]
    for field in named:
        if named.count(field) > 1:
            raise BadExport("column_twice", "line 1", column=field)
    if len(named) == len(("date", "model")):
        raise BadExport("nothing_to_compare", "line 1")
    unknown = [shown(cell.strip()) for cell, field in zip(cells, fields, strict=True) if field is None and cell.strip()]
    return _Header(fields, unknown)


def _are_days(header: _Header, rows: Sequence[tuple[int, list[str]]]) -> bool:
    """Whether times are no hours: spreadsheets and data frames write the day 2026-11-20 as `2026/11/20 0:00`."""
    at = header.fields.index("date")
    return all(len(cells) > at and _MIDNIGHT.search(_folded(cells[at])) for _, cells in rows)


def _line(header: _Header, cells: Sequence[str], where: str, days: bool) -> Line:
    if len(cells) != len(header.fields):
        raise BadExport("bad_width", where, found=len(cells), wanted=len(header.fields))
    values = {field: cell for field, cell in zip(header.fields, cells, strict=True) if field is not None}
    date, model, cost = values.pop("date"), values.pop("model"), values.pop("cost_usd", None)
    bucket = _bucket(date, f"{where}, date", days)
    counts = {field: _count(text, f"{where}, {field}") for field, text in values.items()}
    name = model_of(model)
    if name is None:
        raise BadExport("empty_cell", f"{where}, model")
    line = Line(
        bucket=bucket,
        model=name,
        requests=counts.get("requests"),
        input_tokens=counts.get("input_tokens"),
        cache_read_input_tokens=counts.get("cache_read_input_tokens"),
        cache_creation_input_tokens=counts.get("cache_creation_input_tokens"),
        output_tokens=counts.get("output_tokens"),
        cost_usd=None if cost is None else _dollars(cost, f"{where}, cost_usd"),
    )
    cached = (line.cache_read_input_tokens or 0) + (line.cache_creation_input_tokens or 0)
    if line.input_tokens is not None and cached > line.input_tokens:
        raise BadExport("cached_exceed", where, cached=cached, input=line.input_tokens)
    return line


def _plain(text: str, where: str) -> str:
    """ASCII digits without blanks and thousands separators. Raises BadExport."""
    plain = _folded(text)
    if not plain:
        raise BadExport("empty_cell", where)
    if "," in plain:
        if not _GROUPED.fullmatch(plain):
            raise BadExport("bad_separators", where, value=shown(text))
        plain = plain.replace(",", "")
    return plain


def _count(text: str, where: str) -> int:
    plain = _plain(text, where)
    if not _WHOLE.fullmatch(plain) or len(plain) > 40:
        raise BadExport("bad_count", where, value=shown(text))
    found = count_of(int(plain.partition(".")[0]), where)
    assert found is not None
    return found


def _dollars(text: str, where: str) -> Decimal:
    plain = _folded(text)
    plain = _plain(plain.removeprefix("US").removeprefix("$"), where)
    if not _AMOUNT.fullmatch(plain):
        raise BadExport("bad_amount", where, value=shown(text))
    return dollars_of(plain, where)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip()


def _bucket(text: str, where: str, days: bool) -> Bucket:
    """A UTC day, or an hour of one. `days`: midnight means its day."""
    found = _DATE.fullmatch(_folded(text))
    if found is None:
        raise BadExport("bad_date", where, value=shown(text))
    part = found.groupdict()
    month, day = part["m"] or part["m2"] or part["m3"], part["d"] or part["d2"] or part["d3"]
    assert month is not None
    assert day is not None
    if part["min"] not in (None, "00") or part["s"] not in (None, "00"):
        raise BadExport("bad_date", where, value=shown(text))
    try:
        begins = datetime(int(part["y"] or 0), int(month), int(day), int(part["h"] or 0), tzinfo=UTC)
    except ValueError:
        raise BadExport("bad_date", where, value=shown(text)) from None
    begins_us = (begins - _EPOCH) // timedelta(microseconds=1)
    return bucket_of(begins_us, begins_us + (DAY_US if days or part["h"] is None else _HOUR_US), where)


def _covered(found: Sequence[Bucket]) -> list[Bucket]:
    """All buckets from the first to the last: a day without a line had no usage. Raises BadExport where days and hours
    are mixed, since those would be summed twice."""
    lengths = {one.ends_us - one.begins_us for one in found}
    if len(lengths) > 1:
        raise BadExport("mixed_buckets")
    length = lengths.pop()
    first, last = min(found).begins_us, max(found).begins_us
    if (last - first) // length > 100_000:
        raise BadExport("too_long")
    return [Bucket(at, at + length) for at in range(first, last + 1, length)]
