"""What it costs a call to be counted in memory: three scopes with both rates, two budgets. `python bench/limits.py`.

The lowest of many short runs, since a shared machine only ever adds to the time.
"""

from __future__ import annotations

import sys
import time
import timeit
from zoneinfo import ZoneInfo

from sekisho.domain.call import Caller
from sekisho.domain.endpoint import Target
from sekisho.domain.money import Rates
from sekisho.domain.spending import Budget, Limit, scope_of
from sekisho.ledger.limiter import Limiter
from sekisho.ledger.plans import Planner, SizeBook
from sekisho.ledger.refusals import header_lines
from sekisho.ledger.scopes import Rules
from sekisho.stores.counters import Reservation
from sekisho.stores.memory_counters import MemoryCounters

LIMIT_US = 3.0
_MANY = 10**9
_RULES = Rules(
    [
        Limit(scope=scope_of(scope), qpm=_MANY, tpm=1000 * _MANY, concurrency=1_000)
        for scope in ({"endpoint": "chat"}, {"key": "*"}, {"team": "research"})
    ],
    [
        Budget(scope=scope_of({"team": "research"}), amount_nanos=10**18),
        Budget(scope=scope_of({"key": "*"}), amount_nanos=10**18, period="day"),
    ],
)


def main() -> int:
    """Microseconds by step; 1 when reserving and settling take more than they may."""
    now_s = time.perf_counter()
    counters = MemoryCounters(ZoneInfo("UTC"), lambda event: None, now_s, time.time())
    planner, limiter = Planner(_RULES, counters, SizeBook()), Limiter(counters)
    caller = Caller(key_id="key_1", key_name="bench", team="research")
    target = Target(
        provider="openai",
        model="m",
        rates=Rates(input_nanos_per_mtok=150_000_000, output_nanos_per_mtok=600_000_000),
    )
    plan = planner.plan_for(caller, "taro", "chat", target)

    def counted() -> None:
        reservation = limiter.reserve(plan, now_s, 300, 500)
        assert type(reservation) is Reservation
        limiter.dispatched(reservation)
        limiter.settle(reservation, now_s, 420, 120_000, 120)

    def told() -> None:
        header_lines(plan.account.headroom(None, now_s))

    both_us = _lowest_us(counted)
    print(f"reserve, dispatched, settle  {both_us:.2f} us")
    print(f"plan_for                     {_lowest_us(lambda: planner.plan_for(caller, 'taro', 'chat', target)):.2f} us")
    print(f"headers                      {_lowest_us(told):.2f} us")
    return int(both_us > LIMIT_US)


def _lowest_us(work: object) -> float:
    return min(timeit.repeat(work, number=2_000, repeat=100)) / 2_000 * 1e6  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
