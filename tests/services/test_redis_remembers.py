"""How long Redis keeps what it was told: as long as it counts, and not for ever."""

from __future__ import annotations

import time

import msgspec
from tests.services.redis_workers import BLOCK, METER, PATIENCE_S, Rows, Worker, granted, until, workers
from tests.support.redis_server import RedisServer

from sekisho.domain.spending import Budget, scope_of
from sekisho.stores.counters import SpentBefore
from sekisho.stores.redis_words import (
    EPOCH,
    LEASE,
    LEASES,
    RULES,
    SENT,
    adopting,
    budget_key,
    building,
    ending,
    meter_keys,
    restoring,
)

DAY_S = 86_400
#: as much as a test may take
SOON_S = PATIENCE_S


async def _ask(worker: Worker, *words: str) -> int:
    return int(await worker.counters._link.send(words))


async def test_a_bucket_is_kept_until_its_requests_and_its_tokens_are_full(server: RedisServer) -> None:
    async with workers(server, 1, Rows()) as (one,):
        for name, qpm, tpm in (("of few tokens", 60_000, 6), ("of few requests", 1, 10**9)):
            spec = msgspec.structs.replace(METER, key=name, qpm=qpm, tpm=tpm)
            await granted(one, 0, one.counters.bind([spec], [], []))
            assert await _ask(one, "PTTL", meter_keys(spec)[0]) > 30_000, name


async def test_tokens_count_from_now_on_where_a_bucket_has_been_full_for_long(server: RedisServer) -> None:
    spec = msgspec.structs.replace(METER, key="full again", qpm=100, tpm=6_000)
    async with workers(server, 1, Rows()) as (one,):

        async def left() -> int | None:
            await until(lambda: not one.counters.untold)
            meters, _ = await one.counters.look(time.perf_counter())
            return next(state.remaining_tokens for state in meters if state.spec.key == spec.key)

        held = await granted(one, 0, one.counters.bind([spec], [], []))
        # full, and so forgotten
        server.ask("DEL", meter_keys(spec)[0])
        one.counters.end(held, "settled", time.perf_counter(), 3_010, 0)
        used_late = await left()
        server.ask("DEL", meter_keys(spec)[0])
        carried = one.counters.bind([], [spec], [])
        await one.counters.admit(carried, time.perf_counter(), 3_000, 0, 0, "")  # type: ignore[misc]
        for found in (used_late, await left()):
            assert found is not None
            assert 2_990 <= found < 5_000


async def test_what_a_call_counts_on_is_kept_until_its_period_has_ended_and_not_for_ever(server: RedisServer) -> None:
    async with workers(server, 1, Rows()) as (one,):
        new = msgspec.structs.replace(BLOCK, key=BLOCK.key.replace("research", "nobody's yet"))
        await granted(one, 5, one.counters.bind([], [], [new]))
        begins_s, ends_s = one.counters._keeper._windows_at(time.time())[new.period]
        lives_s = await _ask(one, "TTL", budget_key(new.key, begins_s))
        assert ends_s - time.time() + DAY_S < lives_s < ends_s - time.time() + 7 * DAY_S


async def test_a_reservation_holds_for_the_whole_of_its_lease(server: RedisServer) -> None:
    async with workers(server, 1, Rows(), lease_s=10 * SOON_S) as (one,):
        one.stop()  # nobody says that it still runs
        held = await granted(one)
        assert await _ask(one, "ZSCORE", LEASES, held.id) > (time.time() + 8 * SOON_S) * 1000


async def test_that_a_call_has_ended_is_remembered_for_a_day(server: RedisServer) -> None:
    async with workers(server, 2, Rows(), lease_s=1.0) as (one, other):
        held = await granted(one)
        now_ms = int(time.time() * 1000) + 1_000
        words = ending("lost", held.seen.place, "earlier:run@1", now_ms, 10, 77)
        assert await one.counters._link.send(words) == [1, 77, 77]
        one.stop()  # its lease runs out
        await until(lambda: b"\r\nE" in (server.ask("GET", LEASE + held.id) or b""))
        for key in (f"{LEASE}lost:charged", LEASE + held.id):
            assert DAY_S - SOON_S < await _ask(other, "TTL", key) <= DAY_S, key


async def test_what_ran_out_and_is_settled_after_all_is_corrected_once(server: RedisServer) -> None:
    spec = msgspec.structs.replace(METER, key="slow", tpm=6_000)
    async with workers(server, 2, Rows(), lease_s=1.0) as (one, other):
        asked = one.counters.bind([spec], [], [BLOCK])
        held = await one.counters.admit(asked, time.perf_counter(), 3_000, 300, 300, "")  # type: ignore[misc]
        one.counters.dispatched(held)
        await until(lambda: not one.counters.untold)
        one.stop()
        await until(lambda: b"\r\nE300" in (server.ask("GET", LEASE + held.id) or b""))
        assert DAY_S - SOON_S < await _ask(other, "TTL", LEASE + held.id) <= DAY_S
        assert (await other.budget()).spent_nanos == 300
        # as it was estimated, in tokens too
        meters, _ = await one.counters.look(time.perf_counter())
        left = next(state.remaining_tokens for state in meters if state.spec.key == spec.key)
        assert left is not None
        assert 2_990 <= left < 5_500
        # by a worker that had not heard of a rebuild
        words = ending(held.id, held.seen.place, "earlier:run@1", int(time.time() * 1000) + 1_000, 3_000, 220)
        assert await other.counters._link.send(words) == [1, 220]
        assert await other.counters._link.send(words) == [0]
        assert (await other.budget()).spent_nanos == 220


async def test_a_call_that_has_ended_leaves_nothing_of_itself(server: RedisServer) -> None:
    async with workers(server, 1, Rows()) as (one,):
        held = await granted(one)
        one.counters.dispatched(held)
        await until(lambda: not one.counters.untold)
        assert await _ask(one, "SISMEMBER", SENT, held.id)
        one.settle(held, 5)
        await until(lambda: not one.counters.untold)
        assert not await _ask(one, "SISMEMBER", SENT, held.id)
        assert await one.counters._link.send(("ZSCORE", LEASES, held.id)) is None
        assert not await _ask(one, "EXISTS", LEASE + held.id)


async def test_who_dies_while_it_rebuilds_does_not_keep_others_from_it(server: RedisServer) -> None:
    async with workers(server, 1, Rows()) as (one,):
        one.stop()
        server.empty()
        assert await one.counters._link.send(building("", "building:one@1", 5_000)) == 1
        assert 0 < await _ask(one, "PTTL", EPOCH) <= 5_000
        # and nobody adopts meanwhile what the rebuild is about to add
        windows = one.counters._keeper._windows_at(time.time())
        assert await one.counters._link.send(adopting(int(time.time() * 1000), {BLOCK.key: 500}, windows, {})) == -1
        assert (await one.budget()).spent_nanos == 0
        # whose claim has run out, and another one's holds, has come too late with its sums
        for claim, taken in (("building:late@1", 0), ("building:one@1", 1), ("building:one@1", 0)):
            words = restoring(claim, "run@2", {BLOCK.key: 300}, windows)
            assert await one.counters._link.send(words) == taken
        assert (await one.budget()).spent_nanos == 300
        begins_s, _ = windows[BLOCK.period]
        assert await _ask(one, "TTL", budget_key(BLOCK.key, begins_s)) > DAY_S


async def test_what_calls_have_counted_is_not_set_back_by_who_adopts(server: RedisServer) -> None:
    """A budget begins with its rows once, and once more after a time in which nobody has counted on it."""
    async with workers(server, 1, Rows()) as (one,):
        new = msgspec.structs.replace(BLOCK, key=BLOCK.key.replace("research", "new"))
        account, windows = one.counters.bind([], [], [new]), one.counters._keeper._windows_at(time.time())

        async def counted(cost: int) -> None:
            one.counters.end(await granted(one, 0, account), "settled", time.perf_counter(), 0, cost)
            await until(lambda: not one.counters.untold)

        async def adopt(at_ms: int, rows: int, idle_ms: int) -> int:
            words = adopting(at_ms, {new.key: rows}, windows, {new.key: idle_ms})
            assert await one.counters._link.send(words) == 1
            return (await one.budget(new)).spent_nanos

        await counted(300)
        assert await adopt(1_000, 100, 0) == 300, "their rows are not in the tables yet"
        await counted(30)
        for idle_ms in (0, 999, 1_000):
            assert await adopt(2_000, 100, idle_ms) == 330
        assert await adopt(2_000, 700, 1_001) == 700
        await counted(5)
        assert await adopt(3_000, 700, 1_001) == 705


async def test_times_of_adoption_are_those_of_the_clock(server: RedisServer) -> None:
    """Else a budget would be set back to its rows by each worker that looks, or by none."""
    async with workers(server, 1, Rows()) as (one,):
        new, now_s = msgspec.structs.replace(BLOCK, key="new|month|block"), time.time()
        account = one.counters.bind([], [], [new])

        async def spent_by(sum_of_rows: int, as_of_s: float, idle_since_s: float | None) -> int:
            idle = {} if idle_since_s is None else {new.key: idle_since_s}
            await one.counters.adopt(SpentBefore(nanos={new.key: sum_of_rows}), as_of_s, idle)
            return (await one.budget(new)).spent_nanos

        assert await spent_by(500, now_s - 60, None) == 500
        one.counters.end(await granted(one, 50, account), "settled", time.perf_counter(), 1, 40)
        await until(lambda: not one.counters.untold)
        # who says so is behind: it has been counted since
        assert await spent_by(500, now_s - 50, now_s - 65) == 540
        assert await spent_by(600, now_s - 40, now_s - 55) == 600, "it held no more after it had been adopted"
        assert await spent_by(700, now_s - 30, now_s - 45) == 600, "another worker was heard first"


async def test_that_a_budget_has_held_is_remembered_for_longer_than_any_period(server: RedisServer) -> None:
    budget = Budget(scope=scope_of({"team": "research"}), amount_nanos=1)
    async with workers(server, 1, Rows()) as (one,):
        for name, days in (("a month ago", 32), ("long ago", 62)):
            server.ask("ZADD", RULES, str(int((time.time() - days * DAY_S) * 1000)), name)
        # of another memory of the server
        await one.counters._held.say([budget], "another:run@1", again=False)
        assert await one.counters.held() == []
        await one.counters.say_held([budget])
        assert await one.counters._link.send(("ZRANGE", RULES, 0, 0)) == [b"a month ago"]
        assert [found.scope for found, _ in await one.counters.held()] == [budget.scope]
