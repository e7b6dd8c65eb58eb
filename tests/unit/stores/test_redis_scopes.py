"""What callers invent costs a worker with Redis no memory without end. No server is asked here: it is never opened."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from sekisho.domain.spending import scope_of
from sekisho.ledger.scopes import scope_key
from sekisho.stores import memory_counters, redis_counters
from sekisho.stores.counters import BudgetSpec, MeterSpec
from sekisho.stores.redis_counters import RedisCounters

#: 06:00 in UTC, on a clock of our own that begins there
WALL_S, DAY_S = 1_795_000_000.0 // 86_400 * 86_400 + 6 * 3600, 86_400.0


def budget(feature: str) -> BudgetSpec:
    scope = scope_of({"feature": feature})
    key = f"{scope_key(scope)}|day|warn"
    return BudgetSpec(key=key, scope=scope, amount_nanos=100, period="day", on_exceed="warn")


def limit(feature: str) -> MeterSpec:
    scope = scope_of({"feature": feature})
    return MeterSpec(key=scope_key(scope), scope=scope, qpm=60)


@pytest.fixture
def counters(monkeypatch: pytest.MonkeyPatch) -> RedisCounters:
    async def spent(_as_of_s: float) -> dict[str, int]:
        return {}

    for module in (memory_counters, redis_counters):
        monkeypatch.setattr(module, "MOST_SCOPES", 4)
    return RedisCounters("redis://127.0.0.1:1", ZoneInfo("UTC"), lambda _event: None, spent, 0.0, WALL_S)


def test_budgets_that_were_met_are_let_go_when_a_period_has_ended(counters: RedisCounters) -> None:
    for number in range(6):
        counters.bind([], [], [budget(f"f{number}")])
    *own, shared = (one.key for one in counters.met())
    assert own == [budget(f"f{number}").key for number in range(4)]
    assert shared not in (budget("f4").key, budget("f5").key)
    assert not counters.tick(3600.0, WALL_S + 3600), "the day goes on"
    counters.tick(DAY_S, WALL_S + DAY_S)
    assert counters.tick(DAY_S + 1, WALL_S + DAY_S + 1), "who planned by them plans anew"
    assert counters.met() == []
    later = [budget("late"), budget("latest")]
    counters.bind([], [], later)
    assert counters.met() == later, "there is room for new ones by their names"
    assert not counters.tick(DAY_S + 2, WALL_S + DAY_S + 2), "until the next day"
    assert counters.met() == later


def test_few_budgets_stay(counters: RedisCounters) -> None:
    counters.bind([], [], [budget("only")])
    for at in (DAY_S, DAY_S + 1):
        assert not counters.tick(at, WALL_S + at)
    assert len(counters.met()) == 1


def test_limits_that_nobody_uses_are_let_go(counters: RedisCounters) -> None:
    for number in range(5):
        account = counters.bind([limit(f"f{number}")], [], [])
    assert account.meters != (limit("f4"),), "the others share one"
    assert counters.tick(2.0, WALL_S + 2), "who planned by them plans anew"
    assert counters.bind([limit("f4")], [], []).meters == (limit("f4"),), "there is room for a new one by its name"
