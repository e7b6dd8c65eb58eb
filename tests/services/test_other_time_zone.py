"""Machines that share a real Redis and were given different time zones: their budgets begin at different times."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from zoneinfo import ZoneInfo

import pytest
from tests.services.redis_workers import until
from tests.support.redis_server import RedisServer

from sekisho.stores.counters import SpentBefore
from sekisho.stores.redis_counters import RedisCounters


@asynccontextmanager
async def machine(server: RedisServer, zone: str) -> AsyncIterator[RedisCounters]:
    async def nothing(_as_of_s: float) -> SpentBefore:
        return SpentBefore(nanos={})

    now_s, wall_s = time.perf_counter(), time.time()
    one = RedisCounters(server.url, ZoneInfo(zone), lambda _: None, nothing, now_s, wall_s, grace_s=0.01, late_s=())
    await one.open()
    try:
        yield one
    finally:
        await one.close()


async def beat(one: RedisCounters, times: int = 1) -> None:
    tasks = one._keeper._tasks
    for _ in range(times):
        await until(lambda: not tasks)
        one.tick(time.perf_counter(), time.time())
        await until(lambda: not tasks)


async def test_another_time_zone_is_told_of_once_and_again_when_it_comes_back(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with machine(server, "Asia/Tokyo") as here:
        await beat(here)
        assert not [line for line in caplog.messages if "time zone" in line]
        for times in (1, 2):
            async with machine(server, "America/New_York") as there:
                await beat(here, 3)
                told = [line for line in caplog.messages if line.startswith("other gateways")]
                assert len(told) >= times
                assert "America/New_York" in told[-1]
                assert "Asia/Tokyo" in told[-1]
                assert (await workers_of(here), await workers_of(there)) == (2, 2)
            # it has said good-bye, and is not heard of any more
            await beat(here)
        mine = [
            line for line in caplog.messages if line.startswith("other gateways") and "this one (Asia/Tokyo)" in line
        ]
        assert len(mine) == 2


async def test_other_names_of_the_same_time_and_workers_of_old_are_no_other_zone(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with machine(server, "Asia/Tokyo") as here, machine(server, "Japan"):
        # a gateway of a version that does not say its zone, and one whose zone nobody here knows
        server.ask("ZADD", "{sekisho}:workers", str(time.time_ns() // 1_000_000), "0123456789ab")
        await beat(here, 2)
        assert not [line for line in caplog.messages if "time zone" in line]
        assert here._keeper.workers == 3
        server.ask("ZADD", "{sekisho}:workers", str(time.time_ns() // 1_000_000), "0123456789ac Mars/Base")
        await beat(here, 2)
        assert len([line for line in caplog.messages if "Mars/Base" in line]) == 1


async def workers_of(one: RedisCounters) -> int:
    await beat(one)
    return one._keeper.workers
