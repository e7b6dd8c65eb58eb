"""What Redis was never told, or has forgotten: rows say it, also where they cannot be read at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest
from tests.services.redis_workers import (
    BLOCK,
    PATIENCE_S,
    Rows,
    Worker,
    agree,
    budgeted_again,
    granted,
    until,
    workers,
)
from tests.support.redis_server import RedisServer

from sekisho.app.limits import or_unavailable
from sekisho.stores import redis_memory, redis_outbox
from sekisho.stores.counters import Denial, SpentBefore
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.redis_link import RedisLink
from sekisho.stores.redis_words import EPOCH, Seen
from sekisho.tables.spent import SpentUnknown


async def test_more_settlements_than_are_kept_while_the_server_is_away_are_counted_from_rows(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_outbox, "MOST_UNTOLD", 3)
    rows = Rows()
    async with workers(server, 1, rows) as (one,):
        running = [await granted(one) for _ in range(6)]
        server.pause()
        await until(lambda: not one.counters.up)
        for reservation in running:
            one.settle(reservation, 70)
        assert one.counters.untold == 3
        _break_once(one.counters._link, monkeypatch)
        # it has kept its memory, so nothing else says that sums are missing there
        server.resume()
        await until(lambda: one.counters.up and rows.asked == 2)
        one.settle(await budgeted_again(one), 5)
        await agree(one, rows)
        assert rows.total == 6 * 70 + 5


def _break_once(link: RedisLink, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server does not hear it when it is first told to forget the budgets."""
    call, said = link.call, 0

    def breaking(*words: Any) -> Any:
        nonlocal said
        said += words == ("DEL", EPOCH)
        if words == ("DEL", EPOCH) and said == 1:
            raise StoreUnavailable("cut")
        return call(*words)

    monkeypatch.setattr(link, "call", breaking)


async def test_a_settlement_that_the_server_never_takes_is_given_up_and_counted_from_rows(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(redis_outbox, "_MOST_REFUSED", 3)
    rows = Rows()
    async with workers(server, 1, rows) as (one,):
        one.settle(await granted(one), 70)
        one.counters._outbox.tell(("NOSUCH", "settlement"))
        await until(lambda: rows.asked == 2)
        assert one.counters.untold == 0
        assert "does not take a settlement" in caplog.text
        one.settle(await budgeted_again(one), 5)
        await agree(one, rows)


class AwayRows(Rows):
    """Rows that cannot be read when they are asked for so many times."""

    def __init__(self, *away: int, fault: Exception | None = None) -> None:
        super().__init__()
        self.away = away
        self.fault = fault or OSError("the bucket is away")
        self.takes_s = 0.0

    async def spent(self, as_of_s: float) -> SpentBefore:
        found = await super().spent(as_of_s)
        if self.asked in self.away:
            await asyncio.sleep(self.takes_s)
            raise self.fault
        return found


async def test_rows_that_cannot_be_read_at_a_rebuild_are_read_again_in_a_moment(server: RedisServer) -> None:
    rows = AwayRows(2)
    async with workers(server, 1, rows) as (one,):
        one.settle(await granted(one), 70)
        await until(lambda: not one.counters.untold)
        server.empty()
        # far sooner than another worker would build instead
        async with asyncio.timeout(redis_memory._BUILD_MS / 2000):
            last = await budgeted_again(one)
        one.settle(last, 5)
        await agree(one, rows)
        assert rows.asked == 3


async def test_a_bucket_that_is_away_at_a_rebuild_is_told_in_one_line(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def not_told(_as_of_s: float) -> SpentBefore:
        raise SpentUnknown("what was spent cannot be read from the rows: 500")

    with pytest.raises(StoreUnavailable) as told:
        await or_unavailable(not_told)(0.0)
    rows = AwayRows(2, fault=told.value)
    async with workers(server, 1, rows) as (one,):
        server.empty()
        one.settle(await budgeted_again(one), 5)
        await agree(one, rows)
    (said,) = [record for record in caplog.records if "cannot be read from the rows" in record.getMessage()]
    assert said.levelname == "WARNING"
    assert not [record for record in caplog.records if record.exc_info]


class SlowRows(Rows):
    """Rows that take their time to be read, as in a bucket with many files."""

    takes_s = 0.0

    async def spent(self, as_of_s: float) -> SpentBefore:
        found = await super().spent(as_of_s)
        await asyncio.sleep(self.takes_s)
        return found


async def test_who_reads_rows_for_longer_than_a_claim_lives_keeps_it(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = SlowRows()
    async with workers(server, 2, rows) as (one, other):
        one.settle(await granted(one), 70)
        await until(lambda: not one.counters.untold)
        monkeypatch.setattr(redis_memory, "_BUILD_MS", 600)
        rows.takes_s = 2.0
        asked = rows.asked
        server.empty()
        other.settle(await budgeted_again(other), 5)
        # not by each worker in turn, none of which comes to an end
        assert rows.asked == asked + 1
        await agree(one, rows)


async def test_a_start_waits_for_rows_that_take_long_no_longer_than_calls_can(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_memory, "_READY_S", 0.5, raising=False)
    rows = SlowRows()
    rows.takes_s = 4.0
    async with asyncio.timeout(PATIENCE_S), workers(server, 1, rows) as (one,):
        # whoever has come meanwhile waits at the door of this worker
        refused = await one.admit()
        assert isinstance(refused, Denial)
        assert refused.cause == "unavailable"
        one.settle(await budgeted_again(one), 5)
        await agree(one, rows)


async def test_rows_that_could_not_be_read_do_not_undo_what_another_worker_has_rebuilt_meanwhile(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = AwayRows(2)
    async with workers(server, 2, rows) as (one, other):
        monkeypatch.setattr(redis_memory, "_BUILD_MS", 200)
        rows.takes_s = 2.0
        one.stop()  # as a worker that stands still: nobody prolongs its claim
        server.empty()
        assert isinstance(await one.admit(), Denial)
        epoch = (await granted_in(other)).epoch
        await until(lambda: not one.counters._keeper._building)
        assert rows.asked == 3
        assert server.ask("GET", EPOCH) == f"${len(epoch)}\r\n{epoch}\r\n".encode()


async def granted_in(worker: Worker) -> Seen:
    """What the server said to the first budgeted call that it lets in."""
    seen = (await budgeted_again(worker)).seen
    assert isinstance(seen, Seen)
    return seen


async def test_what_was_spent_of_a_new_budget_is_said_again_once_the_rebuild_is_over(server: RedisServer) -> None:
    rows = Rows()
    new = msgspec.structs.replace(BLOCK, key="new|month|block")
    async with workers(server, 1, rows) as (one,):
        one.counters.bind([], [], [new])
        server.empty()
        await one.counters.adopt(SpentBefore(nanos={new.key: 900}), time.time())
        assert (await one.budget(new)).spent_nanos == 900


async def test_late_rows_that_cannot_be_read_are_read_again(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_memory, "_LATE_AGAIN_S", 0.3)
    rows = AwayRows(3)
    async with workers(server, 1, rows, late_s=(0.5,)) as (one,):
        for _ in range(2):
            one.settle(await granted(one), 90)
        await until(lambda: not one.counters.untold)
        # the start has looked for late rows too
        await until(lambda: one.counters._keeper._late is not None and one.counters._keeper._late.done())
        rows.away = (rows.asked + 2,)
        rows.uncommitted = 1
        server.empty()
        one.counters.end(await budgeted_again(one), "void", time.perf_counter())
        rows.uncommitted = 0
        await agree(one, rows)
        assert rows.asked == rows.away[0] + 1


async def test_a_call_that_was_sent_before_a_rebuild_is_charged_when_its_worker_dies_after_it(
    server: RedisServer,
) -> None:
    rows = Rows()
    async with workers(server, 2, rows, lease_s=1.5) as (one, other):
        sent, unsent = await granted(one, 300), await granted(one, 500)
        one.counters.dispatched(sent)
        assert not unsent.dispatched
        await until(lambda: not one.counters.untold)
        server.empty()
        other.counters.end(await budgeted_again(other), "void", time.perf_counter())
        await until(lambda: one.counters.epoch == other.counters.epoch and not one.counters.untold)
        one.stop()
        async with asyncio.timeout(PATIENCE_S):
            while (state := await other.budget()).reserved_nanos:
                await asyncio.sleep(0.05)
        assert state.spent_nanos == 300
