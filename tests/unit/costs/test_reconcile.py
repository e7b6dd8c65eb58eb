"""Counters against rows: exact where they agree, and a name for each thing that does not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sekisho.costs.reconcile import Check, Counters, check_answers, check_counters, check_tables, counters
from sekisho.domain.usage import Usage
from sekisho.entrypoints.http.metrics import exposition
from sekisho.ledger.tally import Tally
from sekisho.tables.books import Counted, Doubt

AGREEING = Counters(
    requests={("small", 200): 3, ("unknown", 401): 1},
    cost_nanos={"small": 81_000, "unknown": 0},
    unpriced={"small": 1, "unknown": 0},
    tokens={"small": 360, "unknown": 0},
    rows={"appended": 4, "dropped": 0, "failed": 0, "committed": 4},
    oldest_s=0.0,
)
ROWS = [Counted("small", 200, 3, 81_000, 1, 360), Counted("unknown", 401, 1, 0, 0, 0)]


def with_(one: Counters, **changes: Any) -> Counters:
    return msgspec.structs.replace(one, **changes)


def wrong(before: Counters, rows: list[Counted], after: Counters) -> list[tuple[str, Any, Any]]:
    checks = check_counters(before, rows, after)
    return [(check.name, check.values.get("rows"), check.values.get("counted")) for check in checks if not check.agrees]


def test_what_agrees():
    assert wrong(AGREEING, ROWS, AGREEING) == []
    names = [check.name for check in check_counters(AGREEING, ROWS, AGREEING)]
    assert names == [
        "rows_failed", "rows_appended", "calls_accounted", "calls", "cost", "unpriced", "tokens", "committer"
    ]  # fmt: skip


def test_calls_that_end_while_one_looks_are_no_difference():
    after = with_(
        AGREEING,
        requests={("small", 200): 9, ("unknown", 401): 1},
        cost_nanos={"small": 200_000, "unknown": 0},
        tokens={"small": 999},
        rows={"appended": 10, "dropped": 0, "failed": 0},
    )
    assert wrong(AGREEING, ROWS, after) == []
    assert wrong(AGREEING, [Counted("small", 200, 5, 120_000, 1, 500), ROWS[1]], after) == []


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([ROWS[0]], [("rows_appended", 3, 4), ("calls", 0, 1)]),
        ([*ROWS, Counted("large", 200, 1, 0, 0, 0)], [("rows_appended", 5, 4), ("calls", 1, 0)]),
        ([Counted("small", 200, 3, 81_001, 1, 360), ROWS[1]], [("cost", 81_001, 81_000)]),
        ([Counted("small", 200, 3, 80_999, 1, 360), ROWS[1]], [("cost", 80_999, 81_000)]),
        ([Counted("small", 200, 3, 81_000, 0, 360), ROWS[1]], [("unpriced", 0, 1)]),
        ([Counted("small", 200, 3, 81_000, 1, 361), ROWS[1]], [("tokens", 361, 360)]),
        ([Counted("small", 499, 3, 81_000, 1, 360), ROWS[1]], [("calls", 0, 3), ("calls", 3, 0)]),
    ],
)
def test_one_row_one_nano_dollar_one_token(rows: list[Counted], found: list[Any]):
    assert wrong(AGREEING, rows, AGREEING) == found


def test_money_that_only_one_side_knows_of_is_a_difference():
    counted = with_(AGREEING, cost_nanos={**AGREEING.cost_nanos, "large": 5})
    assert wrong(counted, ROWS, counted) == [("cost", 0, 5)]
    stored = [*ROWS[:1], Counted("large", 200, 1, 5, 0, 0)]
    after = with_(AGREEING, requests={("small", 200): 3, ("large", 200): 1})
    assert wrong(after, stored, after) == [("cost", 5, 0)]
    assert wrong(AGREEING, ROWS, counted) == [], "its first call ended while one looked"


def test_in_shared_tables_what_other_gateways_wrote_is_no_difference_and_what_is_missing_is():
    theirs = [Counted("small", 200, 5, 900, 1, 77), Counted("large", 200, 1, 5, 0, 9)]
    checks = check_counters(AGREEING, [*ROWS, *theirs], AGREEING, shared=True)
    assert [check.name for check in checks if not check.agrees] == []
    assert [(check.name, check.values) for check in checks if check.note] == [
        ("rows_of_others", {"rows": 10, "counted": 4})
    ]
    checks = check_counters(AGREEING, [ROWS[0], *theirs], AGREEING, shared=True)
    assert [check.values for check in checks if not check.agrees] == [
        {"rows": 0, "counted": 1, "model": "unknown", "status": 401}
    ]
    checks = check_counters(AGREEING, [*ROWS[:1], *theirs[1:]], AGREEING, shared=True)
    assert "rows_of_others" not in [check.name for check in checks], "no more rows than this gateway's own"


def test_rows_that_could_not_be_stored():
    states = {"appended": 2, "dropped": 0, "failed": 2, "committed": 2}
    lost = with_(AGREEING, rows=states)
    rows = [Counted("small", 200, 1, 27_000, 0, 120), ROWS[1]]
    assert wrong(lost, rows, lost) == [("rows_failed", None, None)], "their money is not asked for a second time"


def test_refusals_without_a_row():
    states = {"appended": 4, "dropped": 500, "failed": 0, "committed": 4}
    flooded = with_(AGREEING, requests={("small", 200): 3, ("unknown", 401): 501}, rows=states)
    assert wrong(flooded, ROWS, flooded) == []
    assert wrong(flooded, [ROWS[0], ROWS[1], ROWS[1]], flooded) == [("rows_appended", 5, 4)]


def test_a_call_without_a_row_or_a_reason():
    odd = with_(AGREEING, requests={("small", 200): 4, ("unknown", 401): 1})
    assert ("calls_accounted", None, None) in wrong(odd, ROWS, odd)


def test_a_committer_that_is_late():
    late = with_(AGREEING, oldest_s=61.0)
    [check] = [check for check in check_counters(late, ROWS, late) if not check.agrees]
    assert (check.name, check.values) == ("committer", {"oldest_s": 61})


def test_doubts_and_answers():
    assert check_tables({"usage_doubled": Doubt(0, [])}) == [
        Check(name="usage_doubled", agrees=True, values={"count": 0})
    ]
    doubts = {"usage_doubled": Doubt(0, []), "usage_copied": Doubt(0, []), "cost_differs": Doubt(0, [])}
    assert [check.name for check in check_tables(doubts)] == ["usage_doubled", "cost_differs"]
    check = check_answers(7, Doubt(2, ["a", "b"]))
    assert (check.agrees, check.values, check.request_ids) == (False, {"given": 7, "count": 2}, ["a", "b"])


@pytest.mark.parametrize(("doubled", "copied"), [(0, 2), (3, 2), (3, 0)])
def test_second_rows_are_told_by_what_has_made_them(doubled: int, copied: int):
    doubts = {"log_doubled": Doubt(doubled, ["a"] * doubled), "log_copied": Doubt(copied, ["b"] * copied)}
    told = [(check.name, check.agrees, check.values["count"]) for check in check_tables(doubts)]
    known = [("log_doubled", False, doubled), ("log_copied", False, copied)]
    assert told == [one for one in known if one[2]]


@pytest.mark.parametrize("cost_nanos", [0, 1, 999_999_999, 1_000_000_001, 123_456_789_012_345, 2 * 10**15 - 1])
def test_every_nano_dollar_comes_back_from_the_text_of_metrics(cost_nanos: int):
    tally = Tally()
    model = tally.model("small 日本", "mock", "chat")
    model.cost_nanos, model.statuses = cost_nanos, {200: 5, 499: 1}
    model.observe_usage(Usage(input_tokens=13, output_tokens=20, cache_read_input_tokens=3))
    tally.rows["appended"] = 6
    gauges = {"committed": ("", 4.0), "sekisho_spool_oldest_seconds": ("", 1.5)}
    read = counters(exposition(tally, lambda: dict(gauges))().decode())
    assert read == Counters(
        requests={("small 日本", 200): 5, ("small 日本", 499): 1},
        cost_nanos={"small 日本": cost_nanos},
        unpriced={"small 日本": 0},
        tokens={"small 日本": 33},
        rows={"appended": 6, "dropped": 0, "failed": 0, "committed": 4},
        oldest_s=1.5,
    )


def test_something_else_than_metrics():
    with pytest.raises((ValueError, KeyError)):
        counters("<html>not here</html>")
