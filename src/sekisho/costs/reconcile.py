"""Do answers, rows and metrics agree? Must be pure: what is compared is handed in, and nothing is rounded.

Counters begin with the process and the tables are older, so counters are compared with the rows of calls that arrived
since the process began. A running gateway does not stop for the look: its counters are read before the rows and again
after them, and what the rows say has to lie between. A call is counted and stored in one step when it ends, so calls in
flight are in neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from sekisho.domain.money import NANOS_PER_USD
from sekisho.tables.books import Counted, Doubt

#: second rows, and those of them that a copy of a folder makes
_COPIES = {"usage_doubled": "usage_copied", "log_doubled": "log_copied"}
#: rows that wait longer than this for the committer are late; by default it takes five seconds
LATE_S = 60.0


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at /metrics says. Money is nano-dollars."""

    #: (model, status) -> calls
    requests: dict[tuple[str, int], int]
    cost_nanos: dict[str, int]
    unpriced: dict[str, int]
    #: all types of tokens together, by model
    tokens: dict[str, int]
    #: appended, dropped, failed, committed
    rows: dict[str, int]
    oldest_s: float


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """What explains a difference, or may: how many calls of what kind."""

    name: str
    values: dict[str, int | str] = {}


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that has to hold. `values` are numbers; ids are some of the rows concerned, where they are known.

    A note is something to know that can neither agree nor disagree.
    """

    name: str
    agrees: bool
    values: dict[str, int | str] = {}
    causes: list[Cause] = []
    request_ids: list[str] = []
    note: bool = False


def counters(text: str) -> Counters:
    """From the Prometheus text of /metrics. Raises ValueError for anything else.

    Dollars come as a double: its 53 bits hold every nano-dollar up to nine million dollars, and up to two million the
    rounding back is exact.
    """
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def of(name: str, scale: int = 1) -> Iterator[tuple[Mapping[str, str], int]]:
        return ((sample.labels, round(sample.value * scale)) for sample in samples if sample.name == name)

    tokens: dict[str, int] = {}
    for labels, value in of("llm_tokens_used_total"):
        tokens[labels["model"]] = tokens.get(labels["model"], 0) + value
    oldest = [sample.value for sample in samples if sample.name == "sekisho_spool_oldest_seconds"]
    return Counters(
        requests={(labels["model"], int(labels["status"])): value for labels, value in of("llm_requests_total")},
        cost_nanos={labels["model"]: value for labels, value in of("llm_cost_dollars_total", NANOS_PER_USD)},
        unpriced={labels["model"]: value for labels, value in of("sekisho_unpriced_total")},
        tokens=tokens,
        rows={labels["state"]: value for labels, value in of("sekisho_rows_total")},
        oldest_s=oldest[0] if oldest else 0.0,
    )


def check_tables(doubts: Mapping[str, Doubt]) -> list[Check]:
    """What the tables say of themselves: a doubt about no row is agreement. Second rows are told by what has made them,
    and by both where there are both."""
    left_out: set[str] = set()
    for doubled, copied in _COPIES.items():
        if copied in doubts and not (doubts[doubled].count and doubts[copied].count):
            left_out.add(doubled if doubts[copied].count else copied)
    return [
        Check(name=name, agrees=not doubt.count, values={"count": doubt.count}, request_ids=doubt.request_ids)
        for name, doubt in doubts.items()
        if name not in left_out
    ]


def check_answers(given: int, missing: Doubt) -> Check:
    """Request ids that callers got, against the rows."""
    values: dict[str, int | str] = {"given": given, "count": missing.count}
    return Check(name="answers", agrees=not missing.count, values=values, request_ids=missing.request_ids)


def check_counters(before: Counters, rows: Sequence[Counted], after: Counters, *, shared: bool = False) -> list[Check]:
    """The counters of one gateway against the rows since its start. `shared`: others may write into the same tables,
    so what the rows have beyond the counters may be theirs; what they lack is a difference all the same."""
    lost, dropped = after.rows.get("failed", 0), after.rows.get("dropped", 0)
    found, stored = sum(row.rows for row in rows), after.rows["appended"]
    others = shared and found > stored
    checks = [Check(name="rows_failed", agrees=not lost, values={"count": lost})]
    if others:
        checks.append(Check(name="rows_of_others", agrees=True, values={"rows": found, "counted": stored}, note=True))
    else:
        checks.append(_between("rows_appended", before.rows.get("appended", 0), found, stored))
    checks.append(_accounted(after))
    if not lost:
        # the money of a row that could not be stored is in the counters alone
        checks += _money(before, rows, after, dropped, others)
    late = round(after.oldest_s)
    checks.append(Check(name="committer", agrees=after.oldest_s <= LATE_S, values={"oldest_s": late}))
    return checks


def _money(before: Counters, rows: Sequence[Counted], after: Counters, dropped: int, others: bool) -> Iterator[Check]:
    yield from _by_status(before, rows, after, dropped, others)
    yield from _by_model("cost", before.cost_nanos, _sums(rows, "cost_nanos"), after.cost_nanos, others)
    yield from _by_model("unpriced", before.unpriced, _sums(rows, "unpriced"), after.unpriced, others)
    yield from _by_model("tokens", before.tokens, _sums(rows, "tokens"), after.tokens, others)


def _accounted(after: Counters) -> Check:
    """Every call that was counted became a row, or is counted as one that did not."""
    calls = sum(after.requests.values())
    states = {state: after.rows.get(state, 0) for state in ("appended", "dropped", "failed")}
    values: dict[str, int | str] = {"calls": calls, **states}
    return Check(name="calls_accounted", agrees=calls == sum(states.values()), values=values)


def _by_status(
    before: Counters, rows: Sequence[Counted], after: Counters, dropped: int, others: bool
) -> Iterator[Check]:
    """Refusals that left no row are counted for no configured model, and their statuses are not told apart."""
    found: dict[tuple[str, int], int] = {}
    for row in rows:
        found[row.model, row.status] = found.get((row.model, row.status), 0) + row.rows

    def least(key: tuple[str, int]) -> int:
        return before.requests.get(key, 0) - (dropped if key[0] == "unknown" else 0)

    keys = sorted(found.keys() | after.requests.keys())
    wrong = [
        _between("calls", least(key), found.get(key, 0), after.requests.get(key, 0), key[0], key[1], others=others)
        for key in keys
    ]
    yield from _or_one_that_agrees("calls", wrong, sum(found.values()), sum(after.requests.values()))


def _by_model(
    name: str, before: Mapping[str, int], rows: Mapping[str, int], after: Mapping[str, int], others: bool
) -> Iterator[Check]:
    models = sorted(rows.keys() | after.keys())
    checks = [
        _between(name, before.get(one, 0), rows.get(one, 0), after.get(one, 0), one, others=others) for one in models
    ]
    yield from _or_one_that_agrees(name, checks, sum(rows.values()), sum(after.values()))


def _or_one_that_agrees(name: str, checks: Sequence[Check], rows: int, counted: int) -> Iterator[Check]:
    """Those that do not agree, or one for all."""
    wrong = [check for check in checks if not check.agrees]
    if wrong:
        yield from wrong
    else:
        yield Check(name=name, agrees=True, values={"rows": rows, "counted": counted})


def _between(
    name: str, least: int, rows: int, most: int, model: str = "", status: int | None = None, *, others: bool = False
) -> Check:
    values: dict[str, int | str] = {"rows": rows, "counted": most}
    if model:
        values["model"] = model
    if status is not None:
        values["status"] = status
    return Check(name=name, agrees=least <= rows and (rows <= most or others), values=values)


def _sums(rows: Iterable[Counted], field: str) -> dict[str, int]:
    sums: dict[str, int] = {}
    for row in rows:
        sums[row.model] = sums.get(row.model, 0) + getattr(row, field)
    return sums
