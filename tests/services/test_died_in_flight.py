"""A call that dies with its worker around a rebuild of the budgets is counted once: by its lease, or by its row."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count, permutations

import msgspec
import pytest
from tests.services.redis_workers import BLOCK, METER, Rows, Worker, budgeted_again, granted, until, workers
from tests.support.redis_server import RedisServer

from sekisho.stores import redis_died
from sekisho.stores.counters import Reservation, SpentBefore
from sekisho.stores.redis_words import LEASE, LEASES, Words, as_of, asking, late_step

CALL = "req_01a0b0c0d0e07a0000000000000000000"
_steps = count()


class Story:
    """A worker that dies while its call is in flight, after the budgets were rebuilt, and one that goes on."""

    def __init__(self, server: RedisServer, rows: Rows, dying: Worker, other: Worker) -> None:
        self.server, self.rows, self.dying, self.other = server, rows, dying, other

    async def rebuild(self) -> None:
        self.server.empty()
        self.other.counters.end(await budgeted_again(self.other), "void", time.perf_counter())
        keepers = [worker.counters._keeper for worker in (self.dying, self.other)]
        await until(lambda: not self.dying.counters.up or len({keeper.epoch for keeper in keepers}) == 1)

    async def put_back(self, held: Reservation) -> None:
        await until(lambda: self.server.ask("EXISTS", LEASE + held.id) == b":1\r\n")
        await until(lambda: not self.dying.counters.untold)

    async def dies(self) -> None:
        self.dying.stop()
        await self.dying.counters._link.close()

    def row(self) -> None:
        """What its successor finds in the spool."""
        self.rows.died[CALL] = (time.time() - 3600, 300)

    async def lease_runs_out(self, held: Reservation) -> None:
        self.server.ask("ZADD", LEASES, "XX", "0", held.id)
        await until(lambda: self.server.ask("ZSCORE", LEASES, held.id) == b"$-1\r\n")

    async def look(self) -> None:
        """One of the late looks at the rows, by a live worker."""
        keeper = self.other.counters._keeper
        assert await keeper._late_added(late_step(keeper.epoch, next(_steps)), keeper.epoch, as_of(keeper.epoch))

    async def sums(self) -> tuple[int, int]:
        state = await self.other.budget()
        return state.spent_nanos, state.reserved_nanos


@asynccontextmanager
async def story(server: RedisServer) -> AsyncIterator[Story]:
    rows = Rows()
    async with workers(server, 2, rows) as (dying, other):
        yield Story(server, rows, dying, other)


async def in_flight(one: Story, name: str = f"{CALL}#1", *, sent: bool = True, account: object = None) -> Reservation:
    held = await granted(one.dying, 300, account, name)
    if sent:
        one.dying.counters.dispatched(held)
    await until(lambda: not one.dying.counters.untold)
    return held


@pytest.mark.parametrize("order", sorted(set(permutations(["expires", "look", "look"]))), ids="-".join)
@pytest.mark.parametrize("sent", [True, False], ids=["sent", "not said to be sent"])
async def test_a_call_whose_worker_dies_after_a_rebuild_is_counted_once(
    server: RedisServer, order: tuple[str, ...], sent: bool
) -> None:
    async with story(server) as one:
        held = await in_flight(one, sent=sent)
        await one.rebuild()
        await one.put_back(held)
        await one.dies()
        one.row()
        for step in order:
            await (one.lease_runs_out(held) if step == "expires" else one.look())
            assert sum(await one.sums()) <= 300, "reserved, or spent, and not both"
        assert await one.sums() == (300, 0)


async def test_a_fallback_that_was_let_in_after_the_rebuild_counts_for_its_call(server: RedisServer) -> None:
    """The row of the call is as old as the call."""
    async with story(server) as one:
        await one.rebuild()
        await in_flight(one, f"{CALL}#2")
        await one.dies()
        one.row()
        for _ in range(2):
            await one.look()
            assert await one.sums() == (300, 0)


async def test_a_call_that_died_before_the_rebuild_is_counted_by_its_row(server: RedisServer) -> None:
    async with story(server) as one:
        await in_flight(one)
        await one.dies()
        await one.rebuild()
        assert await one.sums() == (0, 0)
        one.row()
        for _ in range(2):
            await one.look()
            assert await one.sums() == (300, 0)
        await one.rebuild()
        assert await one.sums() == (300, 0)


async def test_a_call_whose_row_is_there_when_the_rows_are_first_read_is_counted_once(server: RedisServer) -> None:
    async with story(server) as one:
        held = await in_flight(one)
        read = one.rows.spent

        async def dies_before(as_of_s: float) -> SpentBefore:
            await one.put_back(held)
            await one.dies()
            one.row()
            return await read(as_of_s)

        for worker in (one.dying, one.other):
            worker.counters._keeper._spent = dies_before
        await one.rebuild()
        assert await one.sums() == (300, 0)
        one.other.counters._keeper._spent = read
        await one.look()
        assert await one.sums() == (300, 0)


@pytest.mark.parametrize("seen", [True, False], ids=["in the tables", "not yet"])
async def test_what_ran_out_is_counted_by_its_row_after_another_rebuild(server: RedisServer, seen: bool) -> None:
    async with story(server) as one:
        held = await in_flight(one)
        await one.rebuild()
        await one.put_back(held)
        await one.dies()
        await one.lease_runs_out(held)
        assert await one.sums() == (300, 0)
        if seen:
            one.row()
        await one.rebuild()
        assert await one.sums() == (300 * seen, 0)
        one.row()
        for _ in range(2):
            await one.look()
            assert await one.sums() == (300, 0)


async def test_a_reservation_that_is_put_back_when_its_row_was_counted_comes_too_late(server: RedisServer) -> None:
    async with story(server) as one:
        held = await in_flight(one)
        await one.dies()
        await one.rebuild()
        one.row()
        await one.look()
        epoch = one.other.counters._keeper.epoch
        late = asking("hold", held, held.seen.place, epoch, 60_000)
        assert await one.other.counters._link.send(late) == [0]
        await one.look()
        assert await one.sums() == (300, 0)


async def test_what_a_worker_settles_that_was_only_slow_counts_beside_no_row(server: RedisServer) -> None:
    """Its row says that it ended after the rebuild; one that says otherwise is not believed."""
    async with story(server) as one:
        held = await in_flight(one)
        await one.rebuild()
        await one.put_back(held)
        one.dying.counters.end(held, "settled", time.perf_counter(), 10, 220)
        await until(lambda: not one.dying.counters.untold)
        one.row()
        await one.look()
        assert await one.sums() == (220, 0)


async def test_a_budget_that_is_adopted_with_the_row_of_a_dead_call_counts_it_once(server: RedisServer) -> None:
    async with story(server) as one:
        new = msgspec.structs.replace(BLOCK, key=BLOCK.key.replace("research", "new"))
        account = one.dying.counters.bind([METER], [], [BLOCK, new])
        one.other.counters.bind([METER], [], [new])
        held = await in_flight(one, account=account)
        await one.rebuild()
        await one.put_back(held)
        await one.dies()
        one.rows.died[CALL] = (time.time() - 3600, 300)
        spent = SpentBefore(nanos={new.key: 1_300}, died={CALL: {new.key: 300}})
        assert (await one.other.budget(new)).reserved_nanos == 300
        await one.other.counters.adopt(spent, time.time())
        state = await one.other.budget(new)
        assert (state.spent_nanos, state.reserved_nanos) == (1_300, 0)
        # and the budget that had it from the beginning has it too
        await one.look()
        assert await one.sums() == (300, 0)


async def test_many_calls_that_died_are_asked_about_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_died, "MOST_DIED", 50)
    asked: list[list[str]] = []

    async def send(words: Words) -> list[bytes]:
        calls = [str(one) for one in words[words.index("died") + 1 :]]
        asked.append(calls)
        return [calls[0].encode()]

    died = {f"req_{n:04}": {"a": 1, "b": 10} for n in range(60)}
    sums = await redis_died.counted_by_rows(send, SpentBefore(nanos={"a": 60, "b": 600, "c": 7}, died=died))
    assert [len(calls) for calls in asked] == [20, 20, 10]
    assert asked[0][0] == "req_0010", "the newest"
    assert sums == {"a": 57, "b": 570, "c": 7}


async def test_that_a_row_was_counted_is_remembered_for_a_day(server: RedisServer) -> None:
    async with story(server) as one:
        await one.rebuild()
        one.row()
        await one.look()
        mark = f"{LEASE}{CALL}:row"
        assert 86_000 < int(await one.other.counters._link.send(("TTL", mark))) <= 86_400
        one.rows.died.clear()
        await one.rebuild()
        assert server.ask("EXISTS", mark) == b":0\r\n"
