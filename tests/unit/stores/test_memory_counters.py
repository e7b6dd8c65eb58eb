"""What only counters in memory have: a clock that is told to them, and scopes that they forget."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.ledger.test_limiter import House, budget, limit

from sekisho.stores import memory_counters
from sekisho.stores.counters import Denial, Reservation

START_S = 1_795_000_000.0
#: of the day after the start, by the monotonic clock, which began at 0
MIDNIGHT_S = 86_400.0 - START_S % 86_400


def spent(house: House) -> dict[str, int]:
    """By the value of the scope."""
    _, found = asyncio.run(house.counters.look(0.0))
    return {state.spec.scope[0][1]: state.spent_nanos for state in found}


def test_the_first_call_of_a_day_meets_its_budget_whether_or_not_the_clock_was_told() -> None:
    house = House(budget(1_000, period="day"))
    house.settle(house.granted(house.plan(), most=0), cost=1_000)
    assert isinstance(house.limiter.reserve(house.plan(), MIDNIGHT_S - 0.001, 10, 0), Denial)
    assert isinstance(house.limiter.reserve(house.plan(), MIDNIGHT_S, 10, 0), Reservation)


@pytest.mark.parametrize("ahead_s", [-5.0, 5.0])
def test_a_day_begins_by_a_clock_that_was_put_right_by_seconds(ahead_s: float) -> None:
    house = House(budget(1_000, period="day"))
    house.settle(house.granted(house.plan(), most=0), cost=1_000)
    house.counters.tick(60.0, START_S + 60.0 + ahead_s)
    denial = house.limiter.reserve(house.plan(), MIDNIGHT_S - ahead_s - 1, 10, 0)
    assert isinstance(denial, Denial)
    assert denial.retry_after_s == pytest.approx(1)
    assert isinstance(house.limiter.reserve(house.plan(), MIDNIGHT_S - ahead_s, 10, 0), Reservation)
    assert not house.counters.clock_set


def test_marks_that_a_smaller_amount_passes_have_the_time_at_which_it_came() -> None:
    house = House(budget(1_000))
    house.settle(house.granted(house.plan(), most=0), cost=400)
    house.counters.tick(5_000.0, START_S + 5_000.0)
    house.counters.bind((), (), House(budget(500)).plan().budgets)
    assert [(event.percent, event.at_s) for event in house.events] == [(50, START_S + 5_000), (80, START_S + 5_000)]


def test_marks_are_told_anew_every_day() -> None:
    house = House(budget(1_000, period="day"))
    house.settle(house.granted(house.plan(), most=0), cost=600)
    tomorrow = house.limiter.reserve(house.plan(), MIDNIGHT_S, 10, 0)
    assert isinstance(tomorrow, Reservation)
    assert house.limiter.settle(tomorrow, MIDNIGHT_S + 1, 10, 900)
    assert [(event.percent, event.spent_nanos) for event in house.events] == [(50, 600), (50, 900), (80, 900)]
    assert len({event.id for event in house.events}) == 3


@pytest.mark.parametrize("limited", [{"qpm": 1}, {"tpm": 10}, {"concurrency": 1}])
def test_limits_that_are_in_use_are_not_forgotten_where_there_are_many(
    limited: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_counters, "MOST_SCOPES", 4)
    house = House(limit({"user": "*"}, **limited))
    for number in range(3):
        house.settle(house.granted(house.plan(user=f"user {number}")))
    running = house.limiter.reserve(house.plan(user="late"), 100.0, 10)
    assert isinstance(running, Reservation)
    assert house.counters.tick(120.0, START_S + 120.0)
    meters, _ = asyncio.run(house.counters.look(120.0))
    assert [state.spec.scope for state in meters] == [(("user", "late"),)]
    house.planner.forget()
    assert isinstance(house.limiter.reserve(house.plan(user="late"), 120.0, 10), Denial)
    assert isinstance(house.limiter.reserve(house.plan(user="user 0"), 120.0, 10), Reservation)


def test_budgets_that_callers_invent_share_one_beyond_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_counters, "MOST_SCOPES", 4)
    house = House(budget(1_000, {"feature": "*"}))
    for number in range(9):
        house.settle(house.granted(house.plan(feature=f"feature {number}"), most=0), cost=100)
    assert spent(house) == {**{f"feature {number}": 100 for number in range(4)}, "*": 500}
    assert isinstance(house.reserve(house.plan(feature="another"), tokens=501, most=0), Denial)


def test_budgets_that_hold_something_are_not_forgotten_with_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_counters, "MOST_SCOPES", 4)
    house = House(budget(1_000, {"feature": "*"}, period="day"), budget(1_000, {"feature": "kept"}))
    for name in ("kept", "old 1", "old 2"):
        house.settle(house.granted(house.plan(feature=name), most=0), cost=100)
    today = house.limiter.reserve(house.plan(feature="today"), MIDNIGHT_S + 1, 10, 0)
    assert isinstance(today, Reservation)
    assert house.counters.tick(MIDNIGHT_S + 2, START_S + MIDNIGHT_S + 2)
    house.planner.forget()
    house.plan(feature="today")
    house.settle(today, cost=900)
    assert spent(house) == {"kept": 100, "today": 900}
