"""What is told to Redis again, because nobody heard that it had been taken, counts once."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from tests.services.redis_workers import (
    BLOCK,
    METER,
    WARN,
    Rows,
    Worker,
    agree,
    budgeted_again,
    granted,
    until,
    workers,
)
from tests.support.redis_server import RedisServer

from sekisho.domain.spending import scope_of
from sekisho.stores.redis_words import EPOCH, adding_late, adopting, budget_key, ending

CARRIED = msgspec.structs.replace(METER, key="user=taro", scope=scope_of({"user": "taro"}))


async def test_what_is_told_twice_counts_once(server: RedisServer) -> None:
    rows = Rows()
    async with workers(server, 1, rows) as (one,):
        reservation, other = await granted(one, 400), await granted(one, 50)
        told = _noted(one)
        one.settle(reservation, 300)
        (words,) = told
        for _ in range(3):
            assert await one.counters._link.send(words) == [0]
        assert (await one.budget()).reserved_nanos == 50
        assert (await one.budget(WARN)).reserved_nanos == 50
        for spec in (BLOCK, WARN):
            # kept until its period has ended, and for what is settled late
            begins_s, _ = one.counters._keeper._windows_at(time.time())[spec.period]
            assert await one.counters._link.send(("TTL", budget_key(spec.key, begins_s))) > 86_400
        one.settle(other, 50)
        await agree(one, rows)


async def test_what_is_put_back_and_told_twice_counts_once(server: RedisServer) -> None:
    """A connection that breaks after the server has taken everything and before it could say so."""
    rows = Rows()
    async with workers(server, 2, rows) as (one, other):
        reservation = await granted(one, 400, one.counters.bind([METER], [CARRIED], [BLOCK, WARN]))
        told = _noted(one)
        server.kill()
        await until(lambda: not one.counters.up)
        server.start()
        other.settle(await budgeted_again(other), 5)
        await until(lambda: bool(one.counters._keeper.epoch and told) and not one.counters.untold)
        assert "hold" in told[0]
        assert await _running(one) == {METER.key: 1, CARRIED.key: 1}
        one.settle(reservation, 300)
        await until(lambda: not one.counters.untold)
        assert await _running(one) == {METER.key: 0, CARRIED.key: 0}
        await agree(other, rows)
        for words in told:
            assert await one.counters._link.send(words) == [0]
        await agree(other, rows)


async def test_late_rows_that_are_told_twice_count_once(server: RedisServer) -> None:
    rows = Rows()
    async with workers(server, 1, rows) as (one,):
        one.settle(await granted(one), 300)
        await until(lambda: not one.counters.untold)
        rows.uncommitted = 1
        server.empty()
        one.counters.end(await budgeted_again(one), "void", time.perf_counter())
        assert (await one.budget()).spent_nanos == 0
        keeper = one.counters._keeper
        rows.uncommitted = 0
        late = adding_late(keeper.epoch, (await rows.spent(time.time())).nanos, keeper._windows_at(time.time()))
        for _ in range(3):
            assert await one.counters._link.send(late) == 1
            assert (await one.budget()).spent_nanos == 300
        # rows may go, as those of a person who is erased; what they cost was spent
        fewer = adding_late(keeper.epoch, {BLOCK.key: 200}, keeper._windows_at(time.time()))
        assert await one.counters._link.send(fewer) == 1
        assert (await one.budget()).spent_nanos == 300
        old = adding_late("another:run@1", {BLOCK.key: 900}, keeper._windows_at(time.time()))
        assert await one.counters._link.send(old) == 0
        assert (await one.budget()).spent_nanos == 300


async def test_late_rows_are_added_to_what_had_none_and_not_to_what_was_adopted_with_them(server: RedisServer) -> None:
    async with workers(server, 1, Rows()) as (one,):
        await granted(one)
        counters, epoch = one.counters, one.counters._keeper.epoch
        windows = counters._keeper._windows_at(time.time())
        adopted, unknown = (
            msgspec.structs.replace(BLOCK, key=BLOCK.key.replace("month", period), period=period)
            for period in ("day", "week")
        )
        counters.bind([], [], [adopted, unknown])
        assert await counters._link.send(adopting(int(time.time() * 1000), {adopted.key: 500}, windows, {})) == 1
        for _ in range(2):
            assert await counters._link.send(adding_late(epoch, {adopted.key: 500, unknown.key: 300}, windows)) == 1
            assert (await one.budget(adopted)).spent_nanos == 500
            assert (await one.budget(unknown)).spent_nanos == 300


async def test_what_lost_its_lease_is_charged_once_if_no_row_can_hold_it(server: RedisServer) -> None:
    rows = Rows()
    async with workers(server, 1, rows) as (one,):
        place = (await granted(one)).seen.place
        now_ms = int(time.time() * 1000) + 1_000

        async def told(name: str, ended_ms: int, cost: int) -> list[int]:
            return await one.counters._link.send(ending(name, place, "earlier:run@1", ended_ms, 10, cost))

        assert await told("lost", now_ms, 77) == [1, 77, 77]
        assert await told("lost", now_ms, 77) == [0]
        # what had ended when the rows were read is in their sums
        assert await told("read", int(one.counters._keeper.epoch.partition("@")[2]) - 1, 50) == [0]
        # or it builds a new one
        one.stop()
        await until(lambda: not one.counters._keeper._tasks)
        server.ask("DEL", EPOCH)
        assert await told("too early to say", now_ms, 50) == [-1]
        assert (await one.budget()).spent_nanos == 77


async def test_a_failed_attempt_is_charged_also_if_budgets_are_rebuilt_before_its_call_ends(
    server: RedisServer,
) -> None:
    rows = Rows()
    async with workers(server, 1, rows) as (one,):
        failed, served = await granted(one, 100), await granted(one, 100)
        one.counters.end(failed, "settled", time.perf_counter(), 10, 70)
        await until(lambda: not one.counters.untold)
        server.empty()
        one.counters.end(await budgeted_again(one), "void", time.perf_counter())
        assert (await one.budget()).spent_nanos == 0
        rows.ended.append((time.time(), 70))
        assert not one.counters.end(failed, "settled", time.perf_counter(), 10, 70)
        one.settle(served, 30)
        await agree(one, rows)
        # without a rebuild, or told once more, it changes nothing
        again = await granted(one)
        one.settle(again, 5)
        for told in (failed, again, served, again):
            assert not one.counters.end(told, "settled", time.perf_counter(), 10, 70)
        await until(lambda: not one.counters.untold)
        await agree(one, rows)


async def _running(worker: Worker) -> dict[str, int]:
    meters, _ = await worker.counters.look(time.perf_counter())
    return {state.spec.key: state.running for state in meters}


def _noted(worker: Worker) -> list[tuple[str | bytes | int, ...]]:
    """A list that grows by everything that is told from now on."""
    told: list[tuple[str | bytes | int, ...]] = []
    tell = worker.counters._outbox.tell

    def noting(words: tuple[str | bytes | int, ...], after: Callable[[object], None] | None = None) -> None:
        told.append(words)
        tell(words, after)

    worker.counters._outbox.tell = noting  # type: ignore[method-assign]
    return told
