"""A company has a budget for each of thousands of people, and a real Redis: no call waits behind all of them."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from zoneinfo import ZoneInfo

from tests.support.redis_server import RedisServer

from sekisho.domain.spending import Budget, scope_of
from sekisho.ledger.scopes import Rules
from sekisho.stores.counters import BudgetSpec, MeterSpec, SpentBefore
from sekisho.stores.redis_counters import RedisCounters

MANY = 3_000
BUDGETS = tuple(Budget(scope=scope_of({"user": f"利用者{n}"}), amount_nanos=n + 1) for n in range(MANY))


async def _nothing(_: float) -> SpentBefore:
    return SpentBefore(nanos={})


async def _opened(server: RedisServer) -> RedisCounters:
    now_s = time.perf_counter()
    counters = RedisCounters(
        server.url, ZoneInfo("UTC"), lambda event: None, _nothing, now_s, time.time(), grace_s=0.0, timeout_s=10.0
    )
    await counters.open()
    return counters


def _watched(counters: RedisCounters) -> list[int]:
    """How much a call would have had to wait for, at each command: those under way before it, and its own words."""
    link: Any = counters._link  # pyright: ignore[reportPrivateUsage]
    send, waits = link.send, list[int]()

    def sent(words: tuple[Any, ...]) -> Any:
        waits.append(max(len(link._waiting), len(words) // 5))
        return send(words)

    link.send = sent
    return waits


def _specs() -> list[BudgetSpec]:
    rules = Rules((), BUDGETS)
    return [spec for one in BUDGETS for _, spec in rules.spending(dict(one.scope))]


async def test_no_call_waits_behind_thousands_of_budgets(server: RedisServer) -> None:
    counters = await _opened(server)
    try:
        specs = _specs()
        meters = [MeterSpec(key=f"user=u{n}", scope=(("user", f"u{n}"),), qpm=60) for n in range(MANY)]
        counters.bind(meters, (), specs)
        waits = _watched(counters)
        await counters.adopt(SpentBefore(nanos={spec.key: 7 for spec in specs}), time.time())
        await counters.say_held(BUDGETS)
        looked, budgets = await counters.look(time.perf_counter())
        assert (len(looked), len(budgets), sum(one.spent_nanos for one in budgets)) == (MANY, MANY, 7 * MANY)
        assert [one.spec for one in budgets] == specs
        assert len(await counters.held()) == MANY
        assert max(waits) <= 500
    finally:
        await counters.close()


async def test_who_only_wants_budgets_does_not_ask_for_limits(server: RedisServer) -> None:
    counters = await _opened(server)
    try:
        counters.bind([MeterSpec(key="user=u", scope=(("user", "u"),), qpm=60)], (), _specs()[:1])
        looked, budgets = await counters.look(time.perf_counter(), meters=False)
        assert (looked, len(budgets)) == ([], 1)
    finally:
        await counters.close()


async def test_workers_with_the_same_budgets_say_once_that_they_hold(server: RedisServer) -> None:
    one, other = await _opened(server), await _opened(server)
    try:
        await one.say_held(BUDGETS, again=True)
        waits = _watched(other)
        await other.say_held(BUDGETS, again=True)
        assert len(waits) == 1
        await asyncio.sleep(0.002)
        since_s = int(await other.clock_s() * 1000) / 1000
        assert all(at < since_s for _, at in await other.held())
        # others have to be said, and so has what is new somewhere
        await other.say_held(BUDGETS[:5], again=True)
        await other.say_held(BUDGETS[5:9])
        assert len([at for _, at in await one.held() if at >= since_s]) == 9
        # a server that has lost its memory hears it anew, once it is rebuilt
        old = other.epoch
        assert server.ask("FLUSHALL") == b"+OK\r\n"
        await other.say_held(BUDGETS[:5], again=True)
        assert await one.held() == []
        while other.epoch in ("", old):
            other.tick(time.perf_counter(), time.time())
            await asyncio.sleep(0.01)
        await other.say_held(BUDGETS[:5], again=True)
        assert len(await one.held()) == 5
    finally:
        await one.close()
        await other.close()
