"""Four workers on a real Redis, over HTTP: one budget, one limit, whoever dies and whatever becomes of Redis.
`tests/endurance/gateway_race.py` has more races."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.component.workers.test_lives import reconcile
from tests.crash.house import PATIENCE_S, Gateway
from tests.endurance.gateway_race import AMOUNT, LONG, SLOW, counters_of, house, race
from tests.support.callers import Callers
from tests.support.redis_server import RedisServer

from sekisho.stores.redis_counters import RedisCounters
from sekisho.tables.reader import ask

WORKERS = 4
LONGEST_WAIT_S = 1.0
LONG_CALLS = 40
#: 160 words at 3 dollars a million
LONGEST_NANOS = 480_000


async def test_one_budget_for_one_worker(tmp_path: Path) -> None:
    async with house(tmp_path, 1) as (gateway, server):
        verdict = await race(gateway, server, 0)
        assert verdict.broken == [], verdict


async def test_one_budget_for_four_workers(tmp_path: Path) -> None:
    async with house(tmp_path, WORKERS) as (gateway, server):
        for seed in range(2):
            verdict = await race(gateway, server, seed)
            assert verdict.broken == [], verdict
        await a_worker_dies_in_the_middle(gateway, server)
        await redis_hangs_dies_and_comes_back_empty(gateway, server)
        assert "The books agree" in await asyncio.to_thread(reconcile, gateway)


def ids(gateway: Gateway) -> set[str]:
    return {one for (one,) in ask(gateway.data_dir, "SELECT request_id FROM usage").rows()}


def spent_nanos(gateway: Gateway, feature: str) -> int:
    query = f"SELECT CAST(sum(cost_usd) * 1000000000 AS BIGINT) FROM usage WHERE feature = '{feature}'"
    [(spent,)] = ask(gateway.data_dir, query).rows()
    return spent


async def a_worker_dies_in_the_middle(gateway: Gateway, server: RedisServer) -> None:
    """Nothing that was acknowledged is lost, and what the dead had reserved stays reserved until its lease runs out."""
    victim = gateway.worker_pids()[0]
    async with counters_of(server, "killed") as counters:
        # so many that the victim has some of them for certain
        long = Callers(gateway, "killed", count=2 * LONG_CALLS, model=LONG, words=(160, 160))
        await long.stop_after_these()
        await _reserved(counters, LONG_CALLS * LONGEST_NANOS)
        callers = Callers(gateway, "killed", count=32, pause_s=0, model=SLOW, words=(100, 160))
        os.kill(victim, signal.SIGKILL)
        peak = 0
        while sum(answer.status == 429 for answer in callers.with_budget) < 16:
            _, (state,) = await counters.look(time.perf_counter())
            peak = max(peak, state.bound_nanos)
            assert state.spent_nanos + state.reserved_nanos <= AMOUNT + peak
            await asyncio.sleep(0.01)
        await callers.stop()
        await long.stop()
        answers = callers.with_budget + callers.without + long.with_budget + long.without
        broken = sum(answer.status == 0 for answer in long.with_budget)
        assert {answer.status for answer in answers} <= {0, 200, 429}
        assert broken > 0, "nothing was in flight"
        _, (state,) = await counters.look(time.perf_counter())
        assert state.reserved_nanos > 0, "somebody gave back what the dead may have to pay"
        # What the dead may have to pay is not for others to spend, and no more than that.
        assert 0.97 * AMOUNT <= state.spent_nanos + state.reserved_nanos <= AMOUNT + peak
    told = {answer.request_id for answer in answers if answer.request_id is not None}
    assert told <= await asyncio.to_thread(ids, gateway)
    assert gateway.worker_pids()[0] != victim


async def redis_hangs_dies_and_comes_back_empty(gateway: Gateway, server: RedisServer) -> None:
    """Limits go on, blocking budgets say so, nobody waits, and no valid key is refused."""
    callers = Callers(gateway, "outage")
    await _until(lambda: len(callers.with_budget) >= 50)
    server.pause()
    await asyncio.sleep(1.0)
    server.kill()
    at = len(callers.with_budget), len(callers.without)
    await _until(lambda: len(callers.with_budget) >= at[0] + 50 and len(callers.without) >= at[1] + 50)
    meanwhile = callers.with_budget[at[0] + 8 :], callers.without[at[1] + 8 :]
    assert Counter((one.status, one.code) for one in meanwhile[0]).keys() == {(503, "store_unavailable")}
    assert {one.status for one in meanwhile[1]} == {200}
    server.start()
    await _until(lambda: [one.status for one in callers.with_budget[-20:]] == [200] * 20)
    await callers.stop()
    answers = callers.with_budget + callers.without
    assert {one.status for one in answers} == {200, 503}
    assert {one.code for one in answers} == {None, "store_unavailable"}
    assert max(one.took_s for one in answers) < LONGEST_WAIT_S
    async with counters_of(server, "outage") as counters:
        _, (state,) = await counters.look(time.perf_counter())
        assert state.spent_nanos == await asyncio.to_thread(spent_nanos, gateway, "outage"), "what was lost is rebuilt"


async def _reserved(counters: RedisCounters, nanos: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await counters.look(time.perf_counter()))[1][0].reserved_nanos < nanos:
            await asyncio.sleep(0.005)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)
