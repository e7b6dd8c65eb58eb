"""What a plan says of its calls before any is asked for, and which of its limits later attempts are asked by."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.ledger.test_limiter import CALLER, FREE, TARGET, House, budget, limit

from sekisho.domain.endpoint import Target
from sekisho.domain.spending import Budget, Limit
from sekisho.stores.counters import Denial, Reservation

OTHER = Target(provider="local", model="m2", rates=TARGET.rates)
RUNNING = limit({"team": "research"}, concurrency=5)
WARNS = budget(10**9, on_exceed="warn")


@pytest.mark.parametrize(
    ("rules", "counts", "headers", "stops", "sized"),
    [
        ([RUNNING], True, False, False, False),
        ([limit(qpm=5)], True, True, False, False),
        ([limit(tpm=5), RUNNING], True, True, False, True),
        ([limit(qpm=5), RUNNING], True, True, False, False),
        ([WARNS], True, False, False, True),
        ([WARNS, budget(10**9)], True, False, True, True),
        ([budget(10**9, on_exceed="degrade", degrade_to="small")], True, False, True, True),
    ],
)
def test_what_is_counted_told_stopped_and_learned(
    rules: list[Limit | Budget], counts: bool, headers: bool, stops: bool, sized: bool
) -> None:
    plan = House(*rules).plan()
    assert (plan.counts, plan.headers, plan.stops, plan.sizes is not None) == (counts, headers, stops, sized)


def test_one_strict_budget_makes_a_plan_strict_and_one_that_blocks_refuses_the_unpriced() -> None:
    strict = budget(10**9, {"user": "taro"}, strict=True, on_exceed="warn")
    assert House(WARNS, strict).plan().strict
    assert not House(WARNS).plan().strict
    assert House(WARNS, budget(10**9)).plan(FREE).refuses_unpriced
    assert not House(WARNS, budget(10**9, on_exceed="degrade", degrade_to="small")).plan(FREE).refuses_unpriced


def test_a_limit_of_a_model_for_each_key_is_one_of_the_model() -> None:
    house = House(limit({"model": "openai/m", "key": "*"}, qpm=1))
    house.settle(house.granted(house.plan()))
    assert isinstance(house.reserve(house.plan(later=True)), Denial)


def test_a_later_attempt_counts_on_the_limits_that_it_is_not_asked_by() -> None:
    house = House(limit(concurrency=1), limit(tpm=10_000))
    house.settle(house.granted(house.plan()), tokens=0)
    later = house.granted(house.plan(OTHER, later=True), tokens=9_000, most=0)
    denial = house.reserve(house.plan())
    assert isinstance(denial, Denial)
    assert denial.cause == "concurrency"
    house.settle(later, tokens=9_000)
    assert isinstance(house.reserve(house.plan(), tokens=1_001, most=0), Denial)
    assert isinstance(house.reserve(house.plan(), tokens=1_000, most=0), Reservation)


def test_limits_that_were_forgotten_are_counted_once_by_all_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.stores.memory_counters.MOST_SCOPES", 2)
    house = House(limit({"user": "*"}, qpm=1))
    house.settle(house.granted(house.plan()))
    assert house.counters.tick(120.0, 1_795_000_120.0)
    house.planner.forget()

    def ask(endpoint: str) -> Any:
        plan = house.planner.plan_for(CALLER, "taro", endpoint, TARGET)
        return house.limiter.reserve(plan, 120.0, 10)

    assert isinstance(ask("chat"), Reservation)
    assert isinstance(ask("other"), Denial)
