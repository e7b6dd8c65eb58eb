"""What budgets say is spent, against rows, by the rules that calls met."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.costs.budget_check import (
    BudgetTold,
    check_budgets,
    rules_told,
    spent_told,
    windows_of,
)
from sekisho.costs.reconcile import Check
from sekisho.domain.money import format_usd
from sekisho.domain.periods import window
from sekisho.domain.spending import Budget, Spent, scope_of
from sekisho.ledger.scopes import Rules
from sekisho.stores.memory_counters import MemoryCounters
from sekisho.tables.by_period import PeriodSum

TOKYO = ZoneInfo("Asia/Tokyo")
AT_S = datetime(2026, 11, 20, 5, tzinfo=UTC).timestamp()
FACTS = {
    "department": "rd", "team": "research", "key": "bench", "user": "taro", "endpoint": "chat", "feature": None,
    "model": "openai/gpt-4o-mini",
}  # fmt: skip


def told(spent: int | None, scope: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """A budget as the API tells it, with one state unless `spent` is None."""
    scope = scope or {"team": "research"}
    period = changes.get("period", "month")
    _, ends_s = window(period, TOKYO, AT_S)
    ends = datetime.fromtimestamp(ends_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    at = changes.pop("at", scope)
    state = {"scope": at, "spent_usd": format_usd(spent or 0), "resets_at": ends, "reserved_usd": "5", "limit_usd": "1"}
    states = [] if spent is None else [state]
    return {
        "id": "bud_1", "scope": scope, "usd": "1", "period": "month", "on_exceed": "block", "strict": False,
        "declared": True, "of_team": None, "states": states, **changes,
    }  # fmt: skip


def read(*budgets: dict[str, Any]) -> list[BudgetTold]:
    return msgspec.convert(list(budgets), list[BudgetTold])


def rows(cost_nanos: int, **changes: Any) -> PeriodSum:
    return PeriodSum(facts=changes.pop("facts", FACTS), cost_nanos=cost_nanos, **changes)


def checked(
    before: dict[str, Any], found: list[PeriodSum], after: dict[str, Any] | None = None, *, shared: bool = False
) -> Check:
    first, second = read(before), read(after or before)
    [check] = check_budgets(
        spent_told(first), rules_told(second), {first[0].period: found}, spent_told(second), shared=shared
    )
    return check


def test_what_agrees_is_one_line():
    check = checked(told(42), [rows(40), rows(2)])
    assert (check.name, check.agrees, check.values) == ("budgets", True, {"count": 1, "counted": 42})


@pytest.mark.parametrize(("spent", "agrees"), [(41, False), (42, True), (43, False)])
def test_one_nano_dollar(spent: int, agrees: bool):
    check = checked(told(spent), [rows(42)])
    assert check.agrees == agrees
    if not agrees:
        assert check.values == {"budget": "team research, month, block", "rows": 42, "counted": spent}


@pytest.mark.parametrize(
    ("before", "after", "agrees"), [(40, 44, True), (42, 44, True), (43, 44, False), (30, 41, False)]
)
def test_calls_that_end_while_one_looks_are_no_difference(before: int, after: int, agrees: bool):
    assert checked(told(before), [rows(42)], told(after)).agrees == agrees


def test_what_is_reserved_is_not_spent():
    assert checked(told(0), []).agrees


def test_calls_at_the_beginning_may_count_or_not():
    for spent, agrees in ((39, False), (40, True), (43, True), (45, True), (46, False)):
        assert checked(told(spent), [rows(40, edge_nanos=5)]).agrees == agrees


def test_attempts_charged_as_reserved_are_named_with_the_difference():
    check = checked(told(50), [rows(42, unpriced=2)])
    assert check.agrees
    assert [(cause.name, cause.values) for cause in check.causes] == [("charged_as_reserved", {"count": 2, "more": 8})]
    assert not checked(told(41), [rows(42, unpriced=2)]).agrees, "they make it more, never less"
    assert checked(told(42), [rows(42, unpriced=2)]).causes == []


def test_calls_that_died_with_a_gateway():
    dead = [rows(42, interrupted=1, interrupted_nanos=10)]
    for spent, more in ((33, 9), (50, 8)):
        check = checked(told(spent), dead, shared=True)
        assert check.agrees
        assert [(cause.name, cause.values) for cause in check.causes] == [("interrupted", {"count": 1, "more": more})]
        assert not checked(told(spent), dead).agrees, "counters of one process are rebuilt from rows"
    assert not checked(told(31), dead, shared=True).agrees
    assert checked(told(42), dead, shared=True).causes == []
    [cause] = checked(told(64), [*dead, *dead], shared=True).causes
    assert cause.values == {"count": 2, "more": 20}


ERASED_FACTS = {**FACTS, "user": "erased", "key": None}


@pytest.mark.parametrize("scope", [{"user": "taro"}, {"key": "bench"}, {"team": "research", "user": "taro"}], ids=str)
def test_a_budget_of_a_person_who_was_erased_is_told_and_not_compared(scope: dict[str, str]):
    """And nobody can say of whom else the rows were."""
    found = [rows(10), rows(30, facts=ERASED_FACTS, edge_nanos=2)]
    check = checked(told(42, scope), found)
    assert (check.name, check.note, check.agrees, check.causes) == ("budget_erased", True, True, [])
    assert (check.values["rows"], check.values["counted"], check.values["erased"]) == (10, 42, 32)
    assert checked(told(10, scope), found).name == "budgets", "his own rows are there"
    for spent in (9, 43):
        check = checked(told(spent, scope), found)
        assert (check.name, check.agrees, check.note) == ("budget", False, False)


def test_erased_rows_explain_no_budget_that_would_not_hold_them():
    found = [rows(30, facts=ERASED_FACTS)]
    assert checked(told(30), found).name == "budgets", "the team is still on the row"
    for scope in ({"team": "research"}, {"team": "sales", "user": "taro"}, {"user": "taro", "feature": "summary"}):
        check = checked(told(31 if len(scope) == 1 else 30, scope), found)
        assert (check.name, check.agrees) == ("budget", False), scope
    somebody = [rows(30, facts={**FACTS, "user": "erased"})]
    assert not checked(told(30, {"user": "taro"}), somebody).agrees, "who calls himself so has a key"


def test_a_raised_budget_goes_on_with_what_was_spent():
    assert checked(told(42), [rows(42)], told(42, usd="900")).agrees


def test_a_budget_that_begins_anew_meanwhile_is_left_out():
    later = told(0)
    later["states"][0]["resets_at"] = "2026-12-31T15:00:00Z"
    first, second = read(told(42)), read(later)
    [check] = check_budgets(spent_told(first), rules_told(second), {}, spent_told(second), shared=False)
    assert (check.name, check.values["count"]) == ("budgets", 0)


def test_each_budget_has_its_own_rows():
    each = told(7, {"user": "*"}, at={"user": "taro"}, on_exceed="warn")
    named = told(9, {"user": "hanako"}, on_exceed={"degrade": "cheap"})
    week = told(16, {"organisation": "*"}, period="week")
    budgets = read(each, named, week)
    found = {
        "month": [rows(7), rows(9, facts={**FACTS, "user": "hanako"})],
        "week": [rows(7), rows(9, facts={**FACTS, "user": "hanako"})],
    }
    spent = spent_told(budgets)
    assert sorted(name.text for name in spent) == [
        "organisation, week, block", "user hanako, month, degrade", "user taro, month, warn"
    ]  # fmt: skip
    [check] = check_budgets(spent, rules_told(budgets), found, spent, shared=False)  # type: ignore[arg-type]
    assert (check.agrees, check.values) == (True, {"count": 3, "counted": 32})


def test_instances_that_nobody_met_are_not_asked_for():
    budgets = read(told(None, {"user": "*"}))
    [check] = check_budgets({}, rules_told(budgets), {"month": [rows(7)]}, spent_told(budgets), shared=False)
    assert (check.agrees, check.values["count"]) == (True, 0)


def test_windows_are_those_of_the_zone():
    spent = spent_told(read(told(1), told(1, period="day"), told(1, period="week")))
    found = windows_of(spent, TOKYO)
    assert found is not None
    assert {period: int(ends - begins) // 3600 for period, (begins, ends) in found.items()} == {
        "month": 720, "day": 24, "week": 168
    }  # fmt: skip
    assert windows_of(spent, ZoneInfo("UTC")) is None
    assert windows_of({}, TOKYO) == {}


@pytest.mark.parametrize("change", [{"usd": "much"}, {"period": "year"}, {"on_exceed": "pray"}, {"states": 5}])
def test_something_else_than_budgets(change: dict[str, Any]):
    with pytest.raises((ValueError, ArithmeticError)):
        rules_told(read(told(1, **change)))


SCOPES = [{"team": "*"}, {"team": "research"}, {"user": "*"}, {"organisation": "*"}, {"team": "research", "user": "*"}]
CALLS = st.lists(
    st.tuples(st.sampled_from(["research", "sales", None]), st.sampled_from(["taro", "hanako"]), st.integers(0, 10**9)),
    max_size=20,
)


@given(st.lists(st.sampled_from(SCOPES), unique_by=str, min_size=1), CALLS, st.integers(0, 20), st.data())
def test_counters_and_rows_of_the_same_calls_agree(
    scopes: list[dict[str, str]], calls: list[Any], restored: int, data: st.DataObject
):
    """Some calls before a restart, the others counted; some end between the looks."""
    budgets = [Budget(scope=scope_of(scope), amount_nanos=10**12) for scope in scopes]
    rules = Rules((), budgets)
    counters = MemoryCounters(TOKYO, lambda event: None, 0.0, AT_S)
    facts = [{**FACTS, "team": team, "user": user} for team, user, _ in calls]
    old = [Spent(facts=one, cost_nanos=call[2]) for one, call in zip(facts[:restored], calls[:restored], strict=True)]
    counters.adopt(rules.spent_by_budget(old, "month"), AT_S)
    seen_at = data.draw(st.integers(restored, max(restored, len(calls))))
    before: dict[Any, Any] = {}
    for n, (one, call) in enumerate(zip(facts[restored:], calls[restored:], strict=True), restored):
        if n == seen_at:
            before = _spent(counters, scopes)
        account = counters.bind((), (), [spec for _, spec in rules.spending(one)])
        reservation: Any = counters.admit(account, 1.0, 0, 10**9, 10**9)
        counters.end(reservation, "settled", 2.0, 0, call[2])
    after = _spent(counters, scopes)
    found = [rows(call[2], facts=one) for one, call in zip(facts, calls, strict=True)]
    checks = check_budgets(before, rules, {"month": found}, after, shared=False)
    assert all(check.agrees for check in checks)
    if after:
        more = {name: one._replace(nanos=one.nanos + 1) for name, one in after.items()}
        wrong = check_budgets(more, rules, {"month": found}, more, shared=False)
        assert sum(not check.agrees for check in wrong) == len(after)


def _spent(counters: MemoryCounters, scopes: list[dict[str, str]]) -> dict[Any, Any]:
    """As the API tells it."""
    spends = [spend.state() for spend in counters._budgets.values()]  # pyright: ignore[reportPrivateUsage]
    shown = [told(one.spent_nanos, scopes[0], at=dict(one.spec.scope)) for one in spends]
    return spent_told(read(*shown))
