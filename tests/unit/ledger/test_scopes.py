"""Which limits and budgets hold: all shapes together, a named value before `each`, the smaller of equals."""

from __future__ import annotations

import msgspec
import pytest

from sekisho.domain.spending import Budget, Limit, Spent, instance_of, scope_of, scope_text
from sekisho.ledger.scopes import Rules, scope_key
from sekisho.stores.counters import OTHERS, MeterSpec

FACTS = {
    "department": "rd",
    "team": "research",
    "key": "bench",
    "user": "taro",
    "endpoint": "chat",
    "model": "openai/gpt-4o",
    "feature": None,
}


def limit(scope: dict[str, str], **more: object) -> Limit:
    return Limit(scope=scope_of(scope), **more)  # type: ignore[arg-type]


def budget(scope: dict[str, str], amount: int, **more: object) -> Budget:
    return Budget(scope=scope_of(scope), amount_nanos=amount, **more)  # type: ignore[arg-type]


def meters(*limits: Limit, facts: dict[str, str | None] | None = None) -> dict[str, MeterSpec]:
    return {scope_text(spec.scope): spec for spec in Rules(limits, ()).meters(facts or FACTS)}


def budgets(*rules: Budget, facts: dict[str, str | None] | None = None) -> dict[str, int]:
    return {spec.key: spec.amount_nanos for _, spec in Rules((), rules).spending(facts or FACTS)}


@pytest.mark.parametrize(
    ("scope", "holds"),
    [
        ({"team": "research"}, "team research"),
        ({"group": "research"}, "team research"),
        ({"team": "sales"}, None),
        ({"user": "*"}, "user taro"),
        ({"feature": "*"}, None),
        ({"organisation": "ACME"}, "organisation"),
        ({"model": "openai/gpt-4o"}, "model openai/gpt-4o"),
        ({"model": "gpt-4o"}, "model gpt-4o"),
        ({"model": "openai/*"}, "model openai/*"),
        ({"model": "azure/*"}, None),
        ({"user": "taro", "endpoint": "*"}, "user taro, endpoint chat"),
        ({"user": "taro", "endpoint": "small"}, None),
    ],
)
def test_a_scope_holds_where_all_its_names_match(scope: dict[str, str], holds: str | None) -> None:
    found = instance_of(scope_of(scope), FACTS)
    assert (found and scope_text(found)) == holds


def test_an_organisation_is_the_installation_whatever_it_is_called() -> None:
    assert scope_of({"organisation": "ACME"}) == scope_of({"organisation": "*"}) == (("organisation", "*"),)


def test_limits_of_different_shapes_hold_all_together() -> None:
    found = meters(limit({"user": "*"}, qpm=5), limit({"team": "research"}, qpm=3), limit({"endpoint": "chat"}, tpm=9))
    assert {name: (spec.qpm, spec.tpm) for name, spec in found.items()} == {
        "user taro": (5, None),
        "team research": (3, None),
        "endpoint chat": (None, 9),
    }


def test_a_named_value_comes_before_each_quantity_by_quantity() -> None:
    each, own = limit({"user": "*"}, qpm=5, tpm=100, concurrency=2), limit({"user": "taro"}, qpm=50)
    spec = meters(each, own)["user taro"]
    assert (spec.qpm, spec.tpm, spec.concurrency) == (50, 100, 2)
    assert meters(each, own, facts={**FACTS, "user": "jiro"})["user jiro"].qpm == 5


def test_of_equals_the_smaller_limit_holds_with_its_own_burst() -> None:
    spec = meters(limit({"key": "bench"}, qpm=9, burst_s=5), limit({"key": "bench"}, qpm=7, tpm=1, wait_s=3))[
        "key bench"
    ]
    assert (spec.qpm, spec.q_burst_s, spec.tpm, spec.wait_s) == (7, 60, 1, 3)


def test_equally_concrete_scopes_hold_both() -> None:
    found = meters(limit({"user": "taro", "endpoint": "*"}, qpm=1), limit({"user": "*", "endpoint": "chat"}, qpm=2))
    assert [spec.qpm for spec in found.values()] == [1]
    assert len(meters(limit({"user": "taro"}, qpm=1), limit({"endpoint": "chat"}, qpm=2))) == 2


def test_a_named_budget_replaces_that_of_each_in_its_period() -> None:
    rules = (
        budget({"user": "*"}, 10),
        budget({"user": "*"}, 3, period="day"),
        budget({"user": "taro"}, 50, on_exceed="warn"),
    )
    assert budgets(*rules) == {"user=taro|month|warn": 50, "user=taro|day|block": 3}
    assert budgets(*rules, facts={**FACTS, "user": "jiro"}) == {"user=jiro|month|block": 10, "user=jiro|day|block": 3}


def test_a_warning_and_a_block_of_one_scope_hold_both() -> None:
    found = budgets(budget({"team": "research"}, 80, on_exceed="warn"), budget({"team": "research"}, 100))
    assert found == {"team=research|month|warn": 80, "team=research|month|block": 100}


def test_what_a_team_sets_for_itself_narrows_and_never_replaces() -> None:
    team = {"team": "research", "user": "*"}
    named = {"team": "research", "user": "taro"}
    given = budget(team, 10, strict=True)
    assert budgets(given, budget(named, 50, of_team="research")) == {"team=research|user=taro|month|block": 10}
    assert budgets(given, budget(named, 5, of_team="research")) == {"team=research|user=taro|month|block": 5}
    loose = budget({"team": "research"}, 1000, on_exceed="warn", of_team="research")
    assert budgets(budget({"team": "*"}, 10), loose) == {
        "team=research|month|block": 10,
        "team=research|month|warn": 1000,
    }
    # strictness is not lost with the larger amount
    ((rule, _),) = Rules((), (given, budget(named, 5, of_team="research"))).spending(FACTS)
    assert rule.strict


def test_a_limit_of_a_team_for_itself_takes_no_larger_burst_along() -> None:
    own = limit({"team": "research"}, qpm=50, wait_s=9, of_team="research")
    given = limit({"team": "research"}, qpm=60, burst_s=5)
    for rules in ((own, given), (given, own)):
        spec = meters(*rules)["team research"]
        assert (spec.qpm, spec.q_burst_s, spec.wait_s) == (50, 5, 0)
    assert meters(given, limit({"team": "research"}, qpm=90, of_team="research"))["team research"].qpm == 60


def test_no_two_scopes_share_a_key() -> None:
    assert scope_key(scope_of({"team": "a|user=b"})) != scope_key(scope_of({"team": "a", "user": "b"}))
    assert scope_key(scope_of({"team": "営業", "user": "*"})) == "team=%E5%96%B6%E6%A5%AD|user=%2A"


def test_sums_of_rows_go_to_the_budgets_that_hold_for_them() -> None:
    rules = Rules(
        (), (budget({"organisation": "*"}, 1), budget({"user": "*"}, 1), budget({"user": "*"}, 1, period="day"))
    )
    rows = [
        Spent(facts={"user": "taro", "team": "a"}, cost_nanos=5),
        Spent(facts={"user": "taro", "team": "b"}, cost_nanos=6),
        Spent(facts={"user": "jiro"}, cost_nanos=7),
        Spent(facts={"user": None}, cost_nanos=8),
    ]
    assert rules.spent_by_budget(rows, "month") == {
        "organisation=%2A|month|block": 26,
        "user=taro|month|block": 11,
        "user=jiro|month|block": 7,
    }
    assert rules.periods == ("day", "month")


def test_a_budget_is_found_again_by_its_key() -> None:
    mixed = {"team": "research", "user": "*"}
    declared = [
        budget(mixed, 1, period="day"),
        budget(mixed, 2),
        budget(mixed, 3, on_exceed="warn"),
        budget({"user": "taro"}, 4),
        budget({"endpoint": "chat"}, 5, on_exceed="degrade", degrade_to="a|b"),
    ]
    rules = Rules((), declared)
    specs = [spec for _, spec in rules.spending(FACTS)]
    assert len(specs) == len(declared)
    assert [rules.budget_at(spec.key) for spec in specs] == specs
    assert all(rules.counts(spec.key) and rules.holds(spec) for spec in specs)


def test_a_budget_that_is_gone_or_has_another_amount_holds_no_more() -> None:
    [(_, spec)] = Rules((), [budget({"user": "*"}, 1)]).spending(FACTS)
    raised, gone = Rules((), [budget({"user": "*"}, 2)]), Rules((), [budget({"user": "jiro"}, 1)])
    assert (raised.counts(spec.key), raised.holds(spec)) == (True, False)
    assert (gone.counts(spec.key), gone.holds(spec)) == (False, False)
    together = msgspec.structs.replace(spec, key=f"{OTHERS}user|month|block")
    assert (gone.counts(together.key), gone.holds(together)) == (True, True)
