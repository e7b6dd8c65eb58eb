"""`reconcile --export`: from the files named to checks of a provider's usage against the rows. Must only read."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sekisho.app.commands import WRONG_USAGE
from sekisho.app.commands.reconcile_gateway import Stopped

if TYPE_CHECKING:
    from sekisho.app.settings.messages import Say
    from sekisho.app.settings.model import Language, Settings
    from sekisho.costs.exports.lines import Export, ExportFormat
    from sekisho.costs.reconcile import Check
    from sekisho.tables.books import Books


class Wanted(NamedTuple):
    """What the options say of exports."""

    files: Sequence[Path]
    providers: Sequence[str]
    format_of: ExportFormat | None
    tolerance: str


class Opened(NamedTuple):
    """An export that could be read, and how exactly it has to agree."""

    export: Export
    providers: Sequence[str]
    tolerance_percent: Decimal


def open_export(wanted: Wanted, language: Language) -> Opened | None:
    """None where no file was named. Raises Stopped with the file, the place in it, and what to do."""
    from sekisho.app.commands import export_messages as messages
    from sekisho.costs.exports.lines import BadExport
    from sekisho.costs.exports.reading import read_export

    tolerance = _percent(wanted.tolerance, language)
    if not wanted.files:
        if wanted.providers or wanted.format_of is not None or tolerance:
            raise _refused(messages.NO_EXPORT, language)
        return None
    try:
        export = read_export([(str(file), _content(file, language)) for file in wanted.files], wanted.format_of)
    except BadExport as bad:
        say = messages.BAD[bad.code]
        place = ": ".join(part for part in (bad.file, _place(bad.where, language)) if part)
        hint = say.hint(language, **bad.values)
        said = say.message(language, **bad.values)
        raise Stopped(f"{place}: {said}" + (f"\n    -> {hint}" if hint else ""), WRONG_USAGE) from None
    return Opened(export, wanted.providers, tolerance)


def check_export(opened: Opened, books: Books, settings: Settings | None, language: Language) -> list[Check]:
    """Raises Stopped where nobody can tell which provider's rows are meant."""
    from sekisho.costs.exports.compare import compare

    export = opened.export
    buckets = [(bucket.begins_us, bucket.ends_us) for bucket in export.buckets]
    providers = _providers(opened, books, settings, language)
    return compare(export, books.used(buckets, providers), opened.tolerance_percent, time.time_ns() // 1000)


def _providers(opened: Opened, books: Books, settings: Settings | None, language: Language) -> Sequence[str]:
    """Those named; else the only one of the export's type; else the one that is called like it; else the only one."""
    from sekisho.app.commands import export_messages as messages

    export = opened.export
    if not export.buckets:
        return []
    ran = books.providers(export.buckets[0].begins_us, max(bucket.ends_us for bucket in export.buckets))
    configured = {} if settings is None else settings.providers
    known = sorted({*ran, *configured})
    if opened.providers:
        for name in opened.providers:
            if known and name not in known:
                raise _refused(messages.NO_SUCH_PROVIDER, language, name=name, known=_listed(known, language))
        return opened.providers
    typed = [name for name, provider in configured.items() if provider.type == export.format]
    if len(typed) == 1:
        return typed
    if export.format in ran:
        return [export.format]
    if len(ran) > 1 or len(typed) > 1:
        raise _refused(messages.WHICH_PROVIDER, language, known=_listed(sorted({*ran, *typed}), language))
    return ran


def _content(file: Path, language: Language) -> bytes:
    """Not more than a little too much. Raises Stopped."""
    from sekisho.app.commands import export_messages as messages
    from sekisho.app.settings.os_reasons import os_reason
    from sekisho.costs.exports.reading import MOST_BYTES

    try:
        with file.open("rb") as opened:
            return opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise _refused(messages.UNREADABLE, language, file=file, error=os_reason(error, language)) from None


def _percent(text: str, language: Language) -> Decimal:
    from sekisho.app.commands import export_messages as messages

    try:
        percent = Decimal(text.strip().removesuffix("%").strip())
    except InvalidOperation:
        percent = Decimal(-1)
    if not percent.is_finite() or not 0 <= percent <= 100:
        raise _refused(messages.BAD_TOLERANCE, language, text=text)
    return percent


def _place(where: str, language: Language) -> str:
    """`line 3, date` -> `3 行目, date`."""
    if language != "ja":
        return where
    head, _, rest = where.partition(",")
    number = head.removeprefix("line ")
    inside = re.sub(r"^column (\d+)$", r"\1 文字目", rest.strip())
    return where if number == head else f"{number} 行目" + (f"、{inside}" if inside else "")


def _listed(names: Sequence[str], language: Language) -> str:
    from sekisho.app.commands import export_messages as messages

    return ", ".join(names) or messages.NONE.message(language)


def _refused(say: Say, language: Language, **values: object) -> Stopped:
    hint = say.hint(language, **values)
    return Stopped(say.message(language, **values) + (f"\n    -> {hint}" if hint else ""), WRONG_USAGE)
