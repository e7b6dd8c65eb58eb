"""Which states belong to which rule: each to the one that governs it, also where thousands have one of their own."""

from __future__ import annotations

import time

from sekisho.domain.spending import Budget, Limit, scope_of
from sekisho.entrypoints.http.admin.live import States
from sekisho.ledger.scopes import Rules
from sekisho.stores.counters import BudgetState, MeterState


def budget_states(budgets: list[Budget], *facts: dict[str, str | None]) -> list[BudgetState]:
    rules = Rules((), budgets)
    found = [spec for one in facts for _, spec in rules.spending(one)]
    return [BudgetState(spec=spec, spent_nanos=0, reserved_nanos=0, bound_nanos=0, resets_at_s=0.0) for spec in found]


def meter_states(limits: list[Limit], *facts: dict[str, str | None]) -> list[MeterState]:
    rules = Rules(limits, ())
    found = [spec for one in facts for spec in rules.meters(one)]
    return [MeterState(spec=spec, remaining_requests=None, remaining_tokens=None, running=0) for spec in found]


def test_a_budget_of_each_shows_those_without_one_of_their_own() -> None:
    each = Budget(scope=scope_of({"user": "*"}), amount_nanos=5)
    taro = Budget(scope=scope_of({"user": "taro"}), amount_nanos=9)
    warning = Budget(scope=scope_of({"user": "taro"}), amount_nanos=3, on_exceed="warn")
    rules = [each, taro, warning]
    states = budget_states(rules, {"user": "taro"}, {"user": "hanako"})
    shown = States(meters=[], budgets=states).of_budgets(rules)
    assert [[(state.spec.scope, state.spec.amount_nanos) for state in one or []] for one in shown] == [
        [((("user", "hanako"),), 5)],
        [((("user", "taro"),), 9)],
        [((("user", "taro"),), 3)],
    ]


def test_a_limit_shows_where_any_of_its_quantities_holds() -> None:
    each = Limit(scope=scope_of({"user": "*"}), qpm=10, concurrency=2)
    taro = Limit(scope=scope_of({"user": "taro"}), qpm=20)
    hanako = Limit(scope=scope_of({"user": "hanako"}), qpm=30, concurrency=3)
    rules = [each, taro, hanako]
    states = meter_states(rules, {"user": "taro"}, {"user": "hanako"}, {"user": "jiro"})
    shown = States(meters=states, budgets=[]).of_limits(rules)
    assert [[dict(state.spec.scope)["user"] for state in one or []] for one in shown] == [
        ["taro", "jiro"],
        ["taro"],
        ["hanako"],
    ]


def test_nothing_is_shown_while_the_counters_do_not_answer() -> None:
    rule = Budget(scope=scope_of({"user": "*"}), amount_nanos=5)
    assert States(meters=[], budgets=[], known=False).of_budgets([rule]) == [None]


def test_thousands_of_people_with_a_budget_and_a_limit_each_are_shown_at_once() -> None:
    people: list[dict[str, str | None]] = [{"user": f"user-{n}"} for n in range(4_000)]
    budgets = [Budget(scope=(("user", f"user-{n}"),), amount_nanos=5) for n in range(4_000)]
    limits = [Limit(scope=(("user", f"user-{n}"),), qpm=5) for n in range(4_000)]
    began_s = time.process_time()
    states = States(meters=meter_states(limits, *people), budgets=budget_states(budgets, *people))
    shown = [*states.of_budgets(budgets), *states.of_limits(limits)]
    # a tenth of a second; asking each rule of each person took half a minute
    assert time.process_time() - began_s < 5
    assert {len(one or []) for one in shown} == {1}
