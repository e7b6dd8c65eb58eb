"""What `reconcile` found as lines for people. Must not leave out a difference without a word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import typer

from sekisho.app.commands import export_messages, reconcile_messages
from sekisho.domain.money import format_usd

if TYPE_CHECKING:
    from sekisho.app.settings.messages import Say
    from sekisho.app.settings.model import Language
    from sekisho.costs.exports.compare import ExportCheck, Figure
    from sekisho.costs.reconcile import Cause, Check

#: differences of an export that are printed; a wrong file has thousands
_MOST_DIFFERENCES = 40
_CAUSES: Mapping[str, Say] = {**reconcile_messages.CAUSES, **export_messages.CAUSES}
_NOTES: Mapping[str, Say] = {**reconcile_messages.NOTES, **export_messages.NOTES}
_INDENT = "    "


def print_checks(checks: Sequence[Check], language: Language) -> None:
    """`ok`, `NO`, or `--` for a note, and at the end whether the books agree."""
    from sekisho.costs.exports.compare import ExportCheck

    differences = 0
    for check in checks:
        if isinstance(check, ExportCheck):
            differences += 1
            if differences > _MOST_DIFFERENCES:
                continue
        for line in _lines(check, language):
            typer.echo(line)
    if (left := differences - _MOST_DIFFERENCES) > 0:
        typer.echo(f"NO  {export_messages.MORE_DIFFERENCES.message(language, count=left)}")
    counted = [check for check in checks if not check.note]
    failed = sum(not check.agrees for check in counted)
    last = reconcile_messages.DISAGREE if failed else reconcile_messages.AGREE
    typer.echo(last.message(language, count=failed, all=len(counted)))


def _lines(check: Check, language: Language) -> Iterator[str]:
    from sekisho.costs.exports.compare import ExportCheck

    if check.note:
        yield f"--  {_NOTES[check.name].message(language, **check.values)}"
        yield from _ids(check, language)
    elif isinstance(check, ExportCheck):
        yield f"NO  {_difference(check, language)}"
        yield from _causes(check.causes, language)
        yield from _ids(check, language)
    elif check.name == "export":
        say = export_messages.AGREES_WITHIN if check.values["within"] else export_messages.AGREES
        yield f"ok  {say.message(language, **check.values)}"
    else:
        yield from _verdict(check, language)


def _verdict(check: Check, language: Language) -> Iterator[str]:
    verdicts = reconcile_messages.VERDICTS[check.name]
    if check.agrees:
        yield f"ok  {verdicts.holds.message(language, **check.values)}"
        yield from _causes(check.causes, language)
        return
    yield f"NO  {verdicts.fails.message(language, **check.values)}"
    yield from _causes(check.causes, language)
    yield from _ids(check, language)
    yield _INDENT + verdicts.fails.hint(language, **check.values)


def _causes(causes: Sequence[Cause], language: Language) -> Iterator[str]:
    for cause in causes:
        yield _INDENT + _CAUSES[cause.name].message(language, **cause.values)


def _ids(check: Check, language: Language) -> Iterator[str]:
    if not check.request_ids:
        return
    more = int(check.values.get("count", 0)) - len(check.request_ids)
    say = reconcile_messages.IDS_AND_MORE if more > 0 else reconcile_messages.IDS
    yield _INDENT + say.message(language, ids=" ".join(check.request_ids), more=more)


def _difference(check: ExportCheck, language: Language) -> str:
    """Day and model, and every figure that differs."""
    model = check.values["model"]
    named = export_messages.ALL_MODELS.message(language) if model == "*" else model
    told = [_figure(name, figure, language) for name, figure in check.figures.items() if figure.more]
    joined = ("、" if language == "ja" else ", ").join(told)
    return export_messages.DIFFERS.message(language, day=check.values["day"], model=named, figures=joined)


def _figure(name: str, figure: Figure, language: Language) -> str:
    shown = format_usd if name == "cost_nanos" else "{:,}".format
    percent = f"{Decimal(figure.more) * 100 / abs(figure.export):+.2f} %" if figure.export else "-"
    return export_messages.FIGURE.message(
        language,
        name=export_messages.FIGURES[name].message(language),
        rows=shown(figure.rows),
        export=shown(figure.export),
        more=("+" if figure.more > 0 else "") + shown(figure.more),
        percent=percent,
    )
