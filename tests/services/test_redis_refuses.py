"""A Redis that answers and takes no writes, as one that is full or cannot save: it is as good as away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.services.redis_workers import WARN, Rows, agree, budgeted_again, granted, until, workers
from tests.support.redis_server import RedisServer

from sekisho.stores.counters import Denial

FULL, ROOM = ("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")
ALONE, ENOUGH = ("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")
#: a user of the server who may ask it everything and write nothing
READS = ("ACL", "SETUSER", "default", "-@write")
WRITES = ("ACL", "SETUSER", "default", "+@write")
WAYS = pytest.mark.parametrize(
    ("stop", "go_on", "reason"),
    [(FULL, ROOM, "OOM"), (ALONE, ENOUGH, "NOREPLICAS"), (READS, WRITES, "run this command")],
)


def _tell(server: RedisServer, words: Sequence[str]) -> None:
    assert server.ask(*words) == b"+OK\r\n"


@WAYS
async def test_a_gateway_starts_beside_a_server_that_takes_no_writes_and_says_so_once(
    server: RedisServer, stop: Sequence[str], go_on: Sequence[str], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = Rows()
    _tell(server, stop)
    async with asyncio.timeout(10), workers(server, 1, rows) as (one,):
        assert not one.counters.up
        assert isinstance(await one.admit(), Denial)
        one.settle(await granted(one, account=one.warned), 7)
        await asyncio.sleep(1.5)  # of tries to come
        assert [reason in line for line in caplog.messages].count(True) == 1
        _tell(server, go_on)
        one.settle(await budgeted_again(one), 5)
        await agree(one, rows)


@WAYS
async def test_a_server_that_stops_taking_writes_is_away_until_it_takes_them_again(
    server: RedisServer, stop: Sequence[str], go_on: Sequence[str], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = Rows()
    async with workers(server, 1, rows) as (one,):
        running = await granted(one)
        _tell(server, stop)
        await until(lambda: not one.counters.up)
        one.settle(running, 100)
        one.settle(await granted(one, account=one.warned), 7)
        lines = len(caplog.messages)
        for _ in range(50):
            assert isinstance(await one.admit(), Denial)
        await asyncio.sleep(1.5)  # of tries to come
        assert len(caplog.messages) - lines <= 1
        assert any(reason in line for line in caplog.messages)
        _tell(server, go_on)
        one.settle(await budgeted_again(one), 5)
        await until(lambda: not one.counters.untold)
        assert (await one.budget(WARN)).spent_nanos == rows.total == 112
