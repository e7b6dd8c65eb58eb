"""From the bytes of one or several files to one export. Must notice what would be counted twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, NoReturn

import msgspec

from sekisho.costs.exports import anthropic, openai
from sekisho.costs.exports.lines import BadExport, Bucket, Export, ExportFormat, Page
from sekisho.costs.exports.plain_csv import read_csv, text_of

#: a year of hours by model is a few megabytes
MOST_BYTES = 128 * 1024 * 1024
_READERS = {"openai": openai.read_page, "anthropic": anthropic.read_page}


def read_export(files: Iterable[tuple[str, bytes]], wanted: ExportFormat | None = None) -> Export:
    """All pages of all files, which are of one provider; `files` are names and contents. Raises BadExport, with the
    name of the file and the place in it."""
    pages: list[Page] = []
    seen_as: ExportFormat | None = wanted
    contents: set[bytes] = set()
    names: list[str] = []
    for name, content in files:
        names.append(name)
        try:
            if len(content) > MOST_BYTES:
                raise BadExport("too_large", most_mb=MOST_BYTES // 1024 // 1024)
            if content in contents:
                raise BadExport("same_file")
            contents.add(content)
            kind, found = _pages(content, seen_as)
            seen_as = kind
            pages += found
            _refuse_twice(pages)
        except BadExport as bad:
            bad.file = name
            raise
    assert seen_as is not None
    export = _joined(seen_as, pages)
    if not export.buckets:
        # an answer for a time that had none: that it agrees would say nothing
        nothing = BadExport("empty")
        nothing.file = ", ".join(names)
        raise nothing
    return export


def _pages(content: bytes, wanted: ExportFormat | None) -> tuple[ExportFormat, list[Page]]:
    text = text_of(content).removeprefix("\ufeff")
    if not text.strip():
        raise BadExport("empty")
    if text.lstrip()[0] not in "{[":
        if wanted not in (None, "csv"):
            raise BadExport("other_format", wanted=wanted, found="csv")
        return "csv", [read_csv(text)]
    if wanted == "csv":
        raise BadExport("other_format", wanted=wanted, found="JSON")
    found: list[Page] = []
    for at, page in enumerate(documents := _documents(text)):
        where = "" if len(documents) == 1 else f"page {at + 1}"
        kind = _kind(page, where)
        if kind is None:
            # a page without buckets: whose it is nobody can tell, and nobody need to
            continue
        if wanted not in (None, kind):
            raise BadExport("other_format", where, wanted=wanted, found=kind)
        wanted = kind
        found.append(_page(kind, page, where))
    if wanted is None:
        raise BadExport("unknown_shape")
    return wanted, found


def _page(kind: ExportFormat, page: dict[str, Any], where: str) -> Page:
    try:
        return _READERS[kind](page)
    except msgspec.ValidationError as error:
        raise BadExport("bad_shape", where, error=error) from None
    except BadExport as bad:
        bad.where = f"{where}: {bad.where}" if where else bad.where
        raise


def _documents(text: str) -> list[dict[str, Any]]:
    """The pages of a text: one, a list of them, or one after the other. Raises BadExport."""
    decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_number)
    found: list[dict[str, Any]] = []
    at = 0
    try:
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            found += _unpacked(value)
            while at < len(text) and text[at].isspace():
                at += 1
    except json.JSONDecodeError as error:
        raise BadExport("bad_json", f"line {error.lineno}, column {error.colno}", error=error.msg) from None
    except (ValueError, RecursionError) as error:
        # a number with thousands of digits, brackets without end
        raise BadExport("bad_json", error=type(error).__name__) from None
    return found


def _unpacked(value: Any) -> Iterator[dict[str, Any]]:
    """Of what was written as a list: pages, or the buckets of one."""
    members: list[Any] = value if isinstance(value, list) else [value]
    if members and all(isinstance(one, dict) and "data" not in one and _is_bucket(one) for one in members):
        yield {"data": members}
        return
    for one in members:
        if not isinstance(one, dict):
            raise BadExport("unknown_shape")
        yield one


def _kind(page: dict[str, Any], where: str) -> ExportFormat | None:
    """By the names of a bucket's times. Raises BadExport for what is no page."""
    if "error" in page and "data" not in page:
        raise BadExport("error_answer", where)
    data = page.get("data")
    if not isinstance(data, list):
        raise BadExport("unknown_shape", where)
    buckets: list[Any] = data
    for one in buckets:
        if isinstance(one, dict) and _is_bucket(one):
            return "openai" if "start_time" in one else "anthropic"
        raise BadExport("unknown_shape", f"{where}: data[0]" if where else "data[0]")
    return "openai" if page.get("object") == "page" else None


def _is_bucket(one: dict[Any, Any]) -> bool:
    return "start_time" in one or "starting_at" in one


def _refuse_twice(pages: list[Page]) -> None:
    known: set[tuple[object, ...]] = set()
    for page in pages:
        for key in page.keys:
            if key in known:
                bucket = key[0]
                assert isinstance(bucket, Bucket)
                raise BadExport("result_twice", day=bucket.text)
            known.add(key)


def _joined(kind: ExportFormat, pages: list[Page]) -> Export:
    return Export(
        format=kind,
        buckets=sorted({bucket for page in pages for bucket in page.buckets}),
        lines=[line for page in pages for line in page.lines],
        charges=[charge for page in pages for charge in page.charges],
        skipped=list(dict.fromkeys(name for page in pages for name in page.skipped)),
        unfinished=_unfinished(pages),
    )


def _unfinished(pages: Iterable[Page]) -> bool:
    """Whether the pages of one query end with one after which there are more: usage and costs are two queries."""
    queries: dict[tuple[object, ...] | None, list[bool]] = {}
    for page in pages:
        # an empty page may be the end of any
        of = (page.lines[0].of, page.lines[0].cost_usd is None) if page.lines else None
        queries.setdefault(of, []).append(page.has_more)
    if not all(queries.get(None, [True])):
        return False
    return any(all(more) for of, more in queries.items() if of is not None or len(queries) == 1)


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)
