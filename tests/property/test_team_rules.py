"""Whatever a team sets for itself, no call may do more than it might without: limits and budgets only get tighter."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.domain.spending import Budget, Limit, scope_of
from sekisho.ledger.scopes import Rules

TEAM = "research"
VALUES = {"team": (TEAM, "sales"), "user": ("taro", "jiro"), "key": ("a", "b"), "endpoint": ("chat", "small")}
BURSTS_S = st.sampled_from([1.0, 5.0, 60.0])


@st.composite
def scopes(draw: st.DrawFn, *, own: bool) -> dict[str, str]:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, min_size=0 if own else 1))
    scope = {name: draw(st.sampled_from((*VALUES[name], "*"))) for name in names}
    return {**scope, "team": TEAM} if own else scope


@st.composite
def limits(draw: st.DrawFn, *, own: bool) -> Limit:
    numbers = st.none() | st.integers(1, 5)
    return Limit(
        scope=scope_of(draw(scopes(own=own))),
        qpm=draw(numbers),
        tpm=draw(numbers),
        concurrency=draw(numbers),
        burst_s=draw(BURSTS_S),
        wait_s=draw(st.sampled_from([0.0, 9.0])),
        of_team=TEAM if own else None,
    )


@st.composite
def budgets(draw: st.DrawFn, *, own: bool) -> Budget:
    on_exceed = draw(st.sampled_from(("block", "warn", "degrade")))
    return Budget(
        scope=scope_of(draw(scopes(own=own))),
        amount_nanos=draw(st.integers(1, 5)),
        period=draw(st.sampled_from(("day", "month"))),
        on_exceed=on_exceed,
        degrade_to="small" if on_exceed == "degrade" else None,
        strict=draw(st.booleans()),
        of_team=TEAM if own else None,
    )


def mixed(given: list[Any], own: list[Any], order: random.Random) -> list[Any]:
    """Both, the given ones in their order: among equals the first one's burst holds."""
    both = list(given)
    for rule in own:
        both.insert(order.randint(0, len(both)), rule)
    return both


FACTS = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()})


@given(st.lists(limits(own=False), max_size=5), st.lists(limits(own=True), max_size=4), st.randoms(), FACTS)
@settings(max_examples=300)
def test_every_limit_that_was_set_still_holds_and_none_is_wider(
    given: list[Limit], own: list[Limit], order: random.Random, facts: dict[str, str | None]
) -> None:
    both = mixed(given, own, order)
    after = {spec.scope: spec for spec in Rules(both, ()).meters(facts)}
    for spec in Rules(given, ()).meters(facts):
        now = after[spec.scope]
        for quantity in ("qpm", "tpm", "concurrency"):
            before = getattr(spec, quantity)
            assert before is None or getattr(now, quantity) <= before
        assert spec.qpm is None or now.q_burst_s <= spec.q_burst_s
        assert spec.tpm is None or now.t_burst_s <= spec.t_burst_s


@given(st.lists(budgets(own=False), max_size=5), st.lists(budgets(own=True), max_size=4), st.randoms(), FACTS)
@settings(max_examples=300)
def test_every_budget_that_was_set_still_holds_and_none_is_larger(
    given: list[Budget], own: list[Budget], order: random.Random, facts: dict[str, str | None]
) -> None:
    both = mixed(given, own, order)
    after = {spec.key: (rule, spec) for rule, spec in Rules((), both).spending(facts)}
    for rule, spec in Rules((), given).spending(facts):
        now_rule, now = after[spec.key]
        assert now.amount_nanos <= spec.amount_nanos
        assert (now.scope, now.on_exceed, now.degrade_to) == (spec.scope, spec.on_exceed, spec.degrade_to)
        assert now_rule.strict or not rule.strict
    if facts["team"] != TEAM:
        # and no other team notices
        assert after == {spec.key: (rule, spec) for rule, spec in Rules((), given).spending(facts)}
