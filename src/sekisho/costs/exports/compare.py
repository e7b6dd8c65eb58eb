"""An export against our rows, bucket by bucket and model by model. Must be pure, and explain without excusing.

A difference is told with its likely causes, and stays a difference: only a tolerance that was asked for takes it away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

import msgspec

from sekisho.costs.exports.causes import causes_of
from sekisho.costs.exports.lines import Bucket, Charge, Export, Line
from sekisho.costs.exports.models import groups_of, label_of
from sekisho.costs.reconcile import Cause, Check
from sekisho.domain.money import NANOS_PER_USD
from sekisho.tables.by_bucket import MOST_IDS, Used


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number on both sides: a count, or `cost_nanos`."""

    rows: int
    export: int

    @property
    def more(self) -> int:
        """By how much the export has more than the rows."""
        return self.export - self.rows

    def within(self, percent: Decimal) -> bool:
        return abs(self.more) * 100 <= percent * abs(self.export)


class ExportCheck(Check, frozen=True, kw_only=True):
    """One bucket and model; `figures` are all that could be compared, also those that agree."""

    figures: dict[str, Figure]


class Sight(NamedTuple):
    """What all lines of one kind can tell: those of buckets of one length, by model or all models together."""

    length_us: int
    by_model: bool
    #: what the lines are of; None: of all calls
    of: frozenset[str | None]
    requests: bool
    tokens: bool
    #: cached input tokens are told apart from the others; those written to the cache too
    reads: bool
    writes: bool
    output: bool
    cost: bool


def compare(export: Export, used: Sequence[Used], tolerance_percent: Decimal, now_us: int) -> list[Check]:
    """One check for each bucket and model that differs, one for all that agree, and notes. `used` are the rows of the
    export's buckets, of the providers that it is about."""
    groups = groups_of({one.model for one in used}, {line.model for line in export.lines if line.model is not None})
    lines: dict[Bucket, list[Line]] = {}
    for line in export.lines:
        lines.setdefault(line.bucket, []).append(line)
    rows: dict[Bucket, list[Used]] = {}
    for one in used:
        rows.setdefault(Bucket(one.begins_us, one.ends_us), []).append(one)
    good: list[ExportCheck] = []
    wrong: list[ExportCheck] = []
    for sight in sights_of(export):
        for bucket in export.buckets:
            if bucket.ends_us - bucket.begins_us == sight.length_us:
                for check in _of_bucket(sight, bucket, lines.get(bucket, ()), rows.get(bucket, ()), groups, now_us):
                    (good if _agrees(check, tolerance_percent) else wrong).append(check)
    whole = Check(name="export", agrees=True, values=_counted(export, good))
    return [*([whole] if good or not wrong else []), *wrong, *_notes(export, used)]


def sights_of(export: Export) -> list[Sight]:
    """What can be compared. A figure that any line of a kind does not tell is compared for none of them."""
    kinds: dict[tuple[int, bool, bool], list[Line]] = {}
    for line in export.lines:
        length = line.bucket.ends_us - line.bucket.begins_us
        kinds.setdefault((length, line.model is not None, line.input_tokens is None), []).append(line)
    if not kinds:
        # no usage at all, says the export: then there must be no tokens in the rows
        lengths = sorted({bucket.ends_us - bucket.begins_us for bucket in export.buckets})
        sights = [_sight(length, True, []) for length in lengths]
        if export.charges:
            # costs, of something else than tokens: those tell no requests and no tokens
            none = {"requests": False, "tokens": False, "reads": False, "writes": False, "output": False}
            sights = [sight._replace(**none) for sight in sights]
        return sights
    return [_sight(length, by_model, found) for (length, by_model, _), found in sorted(kinds.items())]


def _sight(length_us: int, by_model: bool, lines: list[Line]) -> Sight:
    def told(field: str) -> bool:
        return all(getattr(line, field) is not None for line in lines)

    return Sight(
        length_us=length_us,
        by_model=by_model,
        of=frozenset(line.of for line in lines) or frozenset({None}),
        requests=told("requests"),
        tokens=told("input_tokens"),
        reads=told("cache_read_input_tokens"),
        writes=told("cache_creation_input_tokens"),
        output=told("output_tokens"),
        cost=told("cost_usd"),
    )


def _of_bucket(
    sight: Sight,
    bucket: Bucket,
    lines: Sequence[Line],
    used: Sequence[Used],
    groups: Sequence[tuple[list[str], list[str]]],
    now_us: int,
) -> list[ExportCheck]:
    here = [
        line
        for line in lines
        if (line.model is not None) == sight.by_model and (line.input_tokens is not None) == sight.tokens
    ]
    rows = [one for one in used if not sight.of.isdisjoint({None, "embeddings" if one.embeds else "completions"})]
    if not sight.by_model:
        return [_check(sight, bucket, "*", here, rows, now_us)] if here or rows else []
    found: list[ExportCheck] = []
    for ours, theirs in groups:
        told, ran = [line for line in here if line.model in theirs], [one for one in rows if one.model in ours]
        if told or ran:
            found.append(_check(sight, bucket, label_of(ours, theirs), told, ran, now_us))
    return [_with_other_name(check, found) for check in found]


def _check(
    sight: Sight, bucket: Bucket, model: str, lines: Sequence[Line], rows: Sequence[Used], now_us: int
) -> ExportCheck:
    theirs, ours = _figures(sight, _sum_lines(lines)), _figures(sight, _sum_rows(rows))
    figures = {name: Figure(rows=ours[name], export=theirs[name]) for name in theirs}
    agrees = all(not figure.more for figure in figures.values())
    ids = sorted({request_id for one in rows for request_id in one.request_ids})
    return ExportCheck(
        name="export_differs",
        agrees=agrees,
        values={"day": bucket.text, "model": model},
        figures=figures,
        causes=[] if agrees else causes_of({name: one.more for name, one in figures.items()}, lines, rows, now_us),
        request_ids=[] if agrees else ids[:MOST_IDS],
    )


def _sum_lines(lines: Iterable[Line]) -> dict[str, int]:
    sums: dict[str, int] = dict.fromkeys(("requests", "input", "reads", "writes", "output"), 0)
    cost = Decimal(0)
    for line in lines:
        sums["requests"] += line.requests or 0
        sums["input"] += line.input_tokens or 0
        sums["reads"] += line.cache_read_input_tokens or 0
        sums["writes"] += line.cache_creation_input_tokens or 0
        sums["output"] += line.output_tokens or 0
        cost += line.cost_usd or 0
    sums["cost_nanos"] = int((cost * NANOS_PER_USD).to_integral_value(ROUND_HALF_EVEN))
    return sums


def _sum_rows(rows: Iterable[Used]) -> dict[str, int]:
    sums: dict[str, int] = dict.fromkeys(("requests", "input", "reads", "writes", "output", "cost_nanos"), 0)
    for one in rows:
        sums["requests"] += one.requests
        sums["input"] += one.input_tokens
        sums["reads"] += one.cache_read_input_tokens
        sums["writes"] += one.cache_creation_input_tokens
        sums["output"] += one.output_tokens
        sums["cost_nanos"] += one.cost_nanos
    return sums


def _figures(sight: Sight, sums: dict[str, int]) -> dict[str, int]:
    """Of one side what both sides tell. Fresh input tokens are what is left of all."""
    figures: dict[str, int] = {}
    if sight.requests:
        figures["requests"] = sums["requests"]
    if sight.tokens and sight.reads:
        figures["uncached_input_tokens"] = sums["input"] - sums["reads"] - (sums["writes"] if sight.writes else 0)
        figures["cache_read_input_tokens"] = sums["reads"]
    elif sight.tokens:
        figures["input_tokens"] = sums["input"]
    if sight.tokens and sight.reads and sight.writes:
        figures["cache_creation_input_tokens"] = sums["writes"]
    if sight.output:
        figures["output_tokens"] = sums["output"]
    if sight.cost:
        figures["cost_nanos"] = sums["cost_nanos"]
    return figures


def _with_other_name(check: ExportCheck, others: Sequence[ExportCheck]) -> ExportCheck:
    """Where one side has nothing and another model has just this on its other side: the same under another name."""
    mirrored = {name: Figure(rows=figure.export, export=figure.rows) for name, figure in check.figures.items()}
    if check.agrees or any(figure.rows and figure.export for figure in check.figures.values()):
        return check
    twins = [other for other in others if other is not check and other.figures == mirrored]
    if len(twins) != 1:
        return check
    cause = Cause(name="other_name", values={"model": twins[0].values["model"]})
    return msgspec.structs.replace(check, causes=[cause, *check.causes])


def _agrees(check: ExportCheck, percent: Decimal) -> bool:
    return all(figure.within(percent) for figure in check.figures.values())


def _counted(export: Export, good: Sequence[ExportCheck]) -> dict[str, int | str]:
    return {
        "format": export.format,
        "buckets": len(export.buckets),
        "models": len({str(check.values["model"]) for check in good}),
        "figures": sum(len(check.figures) for check in good),
        "within": sum(bool(figure.more) for check in good for figure in check.figures.values()),
    }


def _notes(export: Export, used: Sequence[Used]) -> list[Check]:
    notes: list[Check] = []
    # a call may stand in buckets of two lengths
    longest = max((one.ends_us - one.begins_us for one in used), default=0)
    whole = [one for one in used if one.ends_us - one.begins_us == longest]
    if calls := sum(one.estimated for one in whole):
        ids = sorted({request_id for one in whole if one.estimated for request_id in one.request_ids})[:MOST_IDS]
        tokens = sum(one.estimated_tokens for one in whole)
        values: dict[str, int | str] = {"count": calls, "tokens": tokens}
        notes.append(Check(name="export_estimated", agrees=True, values=values, request_ids=ids, note=True))
    if export.charges:
        values = {"names": ", ".join(sorted({one.name for one in export.charges})), "usd": _total(export.charges)}
        notes.append(Check(name="export_charges", agrees=True, values=values, note=True))
    if export.skipped:
        values = {"names": ", ".join(export.skipped)}
        notes.append(Check(name="export_skipped", agrees=True, values=values, note=True))
    if export.unfinished:
        notes.append(Check(name="export_unfinished", agrees=True, note=True))
    return notes


def _total(charges: Iterable[Charge]) -> str:
    total = sum((one.cost_usd for one in charges), Decimal(0))
    return f"{total.normalize():f}"
