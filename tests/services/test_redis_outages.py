"""A Redis that is paused, killed, or back without its memory: nobody waits long, and sums agree again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest
import uvloop
from tests.services.redis_workers import (
    BLOCK,
    HANGS_S,
    METER,
    PATIENCE_S,
    WARN,
    Rows,
    agree,
    budgeted_again,
    granted,
    until,
    workers,
)
from tests.support.redis_server import RedisServer

from sekisho.domain.spending import Budget, scope_of
from sekisho.ledger.scopes import scope_key
from sekisho.stores.counters import Denial, MeterSpec, Reservation, SpentBefore
from sekisho.stores.redis_words import EPOCH, SCRIPT_SHA, asking


async def test_a_paused_server_costs_no_call_more_than_its_time_out(server: RedisServer) -> None:
    rows = Rows()
    async with workers(server, 2, rows) as (one, other):
        running = [await granted(worker) for worker in (one, other) for _ in range(5)]
        server.pause()
        outcomes = await asyncio.gather(*(worker.admit() for worker in (one, other) for _ in range(20)))
        assert {outcome.cause for outcome in outcomes if isinstance(outcome, Denial)} == {"unavailable"}
        assert not any(isinstance(outcome, Reservation) for outcome in outcomes)
        # once it is known, nobody waits at all; limits go on, budgets that only warn do not stop anybody
        one.waits = 0
        local = [await granted(one, account=one.warned) for _ in range(20)]
        assert isinstance(await one.admit(), Denial)
        assert one.waits == 0
        for reservation in running[:5]:
            one.settle(reservation, 70)
        for reservation in local:
            one.settle(reservation, 30)
        assert one.counters.untold > 20
        await asyncio.sleep(2)
        server.resume()
        await until(lambda: one.counters.up and other.counters.up)
        for reservation in running[5:]:
            other.settle(reservation, 80)
        last = await budgeted_again(one)
        one.settle(last, 10)
        await until(lambda: not one.counters.untold and not other.counters.untold)
        # what only warned went over the server's head, and is counted all the same
        assert (await one.budget(WARN)).spent_nanos == rows.total
        assert (await one.budget(BLOCK)).spent_nanos == rows.total - 20 * 30
        assert (await one.budget(BLOCK)).reserved_nanos == 0
        assert max(one.longest_s, other.longest_s) < HANGS_S
        assert rows.asked == 1


async def test_a_server_back_without_memory_is_rebuilt_before_the_first_budgeted_call(server: RedisServer) -> None:
    rows = Rows()
    # long enough for all to find the server again on a busy machine
    async with workers(server, 3, rows, grace_s=1.5) as three:
        for worker in three:
            for _ in range(10):
                worker.settle(await granted(worker), 90)
        running = [(worker, await granted(worker, 1_000)) for worker in three for _ in range(4)]
        await until(lambda: not any(worker.counters.untold for worker in three))
        server.kill()
        await until(lambda: not any(worker.counters.up for worker in three))
        # one ends while there is no server
        worker, reservation = running.pop()
        worker.settle(reservation, 500)
        assert isinstance(await three[0].admit(), Denial)
        server.start()
        first = await budgeted_again(three[0])
        state = await three[1].budget()
        assert (state.spent_nanos, state.reserved_nanos) == (3 * 10 * 90 + 500, 11 * 1_000 + 100)
        for worker, reservation in running:
            worker.settle(reservation, 700)
        three[0].settle(first, 50)
        for worker in three:
            worker.settle(await budgeted_again(worker), 1)
        await agree(three[2], rows)
        assert max(worker.longest_s for worker in three) < HANGS_S


async def test_an_empty_server_lets_no_budgeted_call_in_whatever_it_is_asked(server: RedisServer) -> None:
    rows = Rows()
    async with workers(server, 1, rows) as (one,):
        place = (await granted(one)).seen.place
        unseen = Reservation(one.account, time.perf_counter(), 10, 100, 200, "unseen", 0)
        server.empty()
        for epoch in ("", "building:x@1", "another:run@1"):
            asked = asking("admit", unseen, place, epoch, 60_000)
            assert (await one.counters._link.send(asked))[0] == -1


async def test_an_empty_server_counts_what_has_limits_alone(server: RedisServer) -> None:
    async with workers(server, 1, Rows()) as (one,):
        account = one.counters.bind([METER], [], [])
        place = account.placed(one.counters._windows, one.counters._turn)
        server.empty()
        for at, epoch in enumerate(("", "another:run@1")):
            asked = asking("admit", Reservation(account, 0.0, 10, 0, 0, f"limited{at}", 0), place, epoch, 60_000)
            reply = await one.counters._link.send(asked)
            assert (reply[0], reply[5]) == (1, at), "let in, beside those that run"


async def test_what_runs_is_put_back_while_it_is_rebuilt_and_not_after_others_were_let_in(server: RedisServer) -> None:
    async with workers(server, 3, Rows()) as three:
        for worker in three:
            await granted(worker, 100)
            worker.counters._keeper._grace_s = 10 * PATIENCE_S  # it does not end within this test
        server.empty()
        async with asyncio.timeout(PATIENCE_S):
            while (await three[0].budget()).reserved_nanos != 300:
                await asyncio.sleep(0.02)
        assert b"building:" in (server.ask("GET", EPOCH) or b"")


async def test_a_server_back_with_an_old_memory_is_rebuilt_too(server: RedisServer) -> None:
    rows = Rows()
    async with workers(server, 2, rows) as (one, other):
        one.settle(await granted(one), 100)
        leftover = await granted(one)
        await until(lambda: not one.counters.untold)
        server.save()
        one.settle(leftover, 100)
        for _ in range(5):
            one.settle(await granted(one), 100)
        await until(lambda: not one.counters.untold)
        server.kill()
        await until(lambda: not one.counters.up and not other.counters.up)
        server.start()
        other.settle(await budgeted_again(other), 5)
        await agree(other, rows)
        assert rows.total == 705


async def test_calls_that_end_while_budgets_are_rebuilt_are_counted_once(server: RedisServer) -> None:
    rows = Rows()
    async with workers(server, 2, rows) as (one, other):
        running = [await granted(one) for _ in range(50)]
        server.kill()
        await until(lambda: not one.counters.up)
        server.start()
        for reservation in running:
            one.settle(reservation, 60)
            await asyncio.sleep(0.01)
        other.settle(await budgeted_again(other), 5)
        await until(lambda: not one.counters.untold)
        await agree(other, rows)


async def test_rows_that_another_machine_commits_after_a_rebuild_are_counted_too(server: RedisServer) -> None:
    rows = Rows()
    async with workers(server, 2, rows, late_s=(0.1,) * 50) as (one, other):
        for worker in (one, other):
            for _ in range(5):
                worker.settle(await granted(worker), 90)
        await until(lambda: not one.counters.untold and not other.counters.untold)
        rows.uncommitted = 3
        server.empty()
        one.counters.end(await budgeted_again(one), "void", time.perf_counter())
        assert (await one.budget()).spent_nanos == rows.total - 3 * 90
        rows.uncommitted = 0
        await agree(other, rows)
        asked = rows.asked
        await until(lambda: rows.asked > asked + 2)
        await agree(other, rows)


async def test_late_rows_are_counted_also_when_the_worker_that_rebuilt_is_gone(server: RedisServer) -> None:
    rows = Rows()
    async with workers(server, 3, rows, late_s=(2.0, 0.1)) as three:
        for worker in three:
            worker.settle(await granted(worker), 90)
        await until(lambda: not any(worker.counters.untold for worker in three))
        rows.uncommitted = 1
        server.empty()
        three[0].counters.end(await budgeted_again(three[0]), "void", time.perf_counter())
        builder = next(one for one in three if one.counters._keeper.epoch.startswith(one.counters._name))
        builder.stop()
        await builder.counters.close()
        rows.uncommitted = 0
        asked = rows.asked
        await agree(next(one for one in three if one is not builder), rows)
        # of those who are left one reads them each time
        await asyncio.sleep(0.5)
        assert rows.asked == asked + 2


async def test_a_worker_that_dies_leaves_no_reservation_behind(server: RedisServer) -> None:
    rows = Rows()
    async with workers(server, 2, rows, lease_s=1.0) as (one, other):
        sent, unsent = await granted(one, 300), await granted(one, 500)
        one.counters.dispatched(sent)
        alive = await granted(other, 40)
        await until(lambda: not one.counters.untold)
        one.stop()
        async with asyncio.timeout(PATIENCE_S):
            while (await other.budget()).reserved_nanos != 40:
                await asyncio.sleep(0.05)
        # what was dispatched is charged as estimated, what was not is void, and who lives keeps what it has
        assert (await other.budget()).spent_nanos == 300
        # it was not dead: what it says now is believed
        one.settle(sent, 220)
        one.settle(unsent, 10)
        one.go_on()
        other.settle(alive, 41)
        await agree(other, rows)


async def test_a_reservation_is_taken_back_whose_grant_was_never_heard(server: RedisServer) -> None:
    rows = Rows()
    async with workers(server, 2, rows) as (one, other):
        server.pause()
        assert isinstance(await one.admit(400), Denial)
        server.resume()
        one.settle(await budgeted_again(one), 7)
        await until(lambda: not one.counters.untold)
        await agree(other, rows)


async def test_a_caller_that_leaves_while_it_asks_holds_nothing(server: RedisServer) -> None:
    rows = Rows()
    async with workers(server, 1, rows) as (one,):
        for delay in (0, 1, 2, 3):
            asking = asyncio.ensure_future(one.admit(400))
            for _ in range(delay):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait({asking})
            if not asking.cancelled() and isinstance(outcome := asking.result(), Reservation):
                one.counters.end(outcome, "void", time.perf_counter())
        await until(lambda: not one.counters.untold)
        await agree(one, rows)


async def test_a_limit_is_shared_out_while_the_server_is_away(server: RedisServer) -> None:
    rows = Rows()
    scope = scope_of({"user": "taro"})
    spec = MeterSpec(key=scope_key(scope), scope=scope, qpm=40)
    async with workers(server, 4, rows) as four:
        accounts = [worker.counters.bind([spec], [], []) for worker in four]
        await until(lambda: all(worker.counters._keeper.workers == 4 for worker in four))
        for worker in four:
            worker.counters.tick(time.perf_counter(), time.time())
        server.kill()
        await until(lambda: not any(worker.counters.up for worker in four))
        let_in: Counter[int] = Counter()
        for number, (worker, account) in enumerate(zip(four, accounts, strict=True)):
            for _ in range(20):
                let_in[number] += isinstance(await worker.admit(account=account), Reservation)
        assert let_in == {0: 10, 1: 10, 2: 10, 3: 10}


async def test_a_gateway_that_starts_without_a_server_refuses_budgeted_calls_and_recovers(server: RedisServer) -> None:
    rows = Rows()
    rows.ended.append((time.time() - 60, 999_000))
    server.kill()
    async with workers(server, 1, rows) as (one,):
        outcome = await one.admit()
        assert isinstance(outcome, Denial)
        assert (outcome.cause, outcome.retry_after_s) == ("unavailable", 1.0)
        server.start()
        # the budget is nearly spent, and that is known from the rows
        one.settle(await budgeted_again(one), 100)
        denial = await one.admit(2_000)
        assert isinstance(denial, Denial)
        assert (denial.cause, denial.spent_nanos) == ("budget", 999_100)


async def test_who_rebuilds_says_that_those_hold_of_which_the_rows_were_read(server: RedisServer) -> None:
    rows = Rows()
    held, newer = (Budget(scope=scope_of({"team": team}), amount_nanos=1) for team in ("research", "sales"))
    async with workers(server, 1, rows) as (one,):

        async def spent(as_of_s: float) -> SpentBefore:
            one.counters.in_force = (held, newer)
            return await rows.spent(as_of_s)

        one.counters.in_force = (held,)
        one.counters._keeper._spent = spent
        server.empty()
        one.settle(await budgeted_again(one), 5)
        assert [budget.scope for budget, _ in await one.counters.held()] == [held.scope]


def test_the_loop_of_serving_will_do(server: RedisServer) -> None:
    async def work() -> None:
        rows = Rows()
        async with workers(server, 1, rows) as (one,):
            one.settle(await granted(one), 70)
            server.kill()
            await until(lambda: not one.counters.up)
            assert isinstance(await one.admit(), Denial)
            server.start()
            one.settle(await budgeted_again(one), 5)
            await agree(one, rows)

    uvloop.run(work())


async def test_a_server_that_forgot_the_script_gets_it_again(server: RedisServer) -> None:
    rows = Rows()
    async with workers(server, 2, rows) as (one, other):
        running = await granted(one)
        server.ask("SCRIPT", "FLUSH")
        one.settle(running, 80)
        for worker in (one, other):
            worker.settle(await budgeted_again(worker), 5)
        await until(lambda: not one.counters.untold and not other.counters.untold)
        await agree(other, rows)
        # also where nobody calls
        server.ask("SCRIPT", "FLUSH")
        await until(lambda: server.ask("SCRIPT", "EXISTS", SCRIPT_SHA) == b"*1\r\n:1\r\n")


async def test_a_server_that_has_become_a_replica_is_left_for_the_one_that_took_over(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    rows = Rows()
    with RedisServer() as successor:
        async with workers(server, 2, rows) as (one, other):
            one.settle(await granted(one), 100)
            await until(lambda: not one.counters.untold)
            # the connections stay, as with hosted servers whose name leads elsewhere after a failover
            assert server.ask("REPLICAOF", "127.0.0.1", "1") == b"+OK\r\n"
            await until(lambda: not one.counters.up and not other.counters.up)
            one.settle(await granted(one, account=one.warned), 7)
            assert "replica" in caplog.text
            server.hand_over(successor)
            for worker in (one, other):
                worker.settle(await budgeted_again(worker), 5)
            await until(lambda: not one.counters.untold and not other.counters.untold)
            assert (await one.budget(WARN)).spent_nanos == rows.total == 117


async def test_an_old_memory_behind_a_connection_that_stayed_is_noticed_by_the_missing_script(
    server: RedisServer,
) -> None:
    rows = Rows()
    async with workers(server, 1, rows) as (one,):
        one.settle(await granted(one), 100)
        await until(lambda: not one.counters.untold)
        # as behind a proxy that has gone on to a replica: the epoch is of another run, sums are those of a while ago
        keeper, epoch = one.counters._keeper, f"before:gone@{time.time_ns() // 1_000_000}"
        keeper.epoch = keeper._held_in = epoch
        keeper._run = "gone"
        server.ask("SET", EPOCH, epoch)
        for key in (server.ask("KEYS", "{sekisho}:b:*") or b"").split(b"\r\n")[2::2]:
            server.ask("HSET", key.decode(), "spent", "1")
        server.ask("SCRIPT", "FLUSH")
        await until(lambda: keeper._run != "gone")
        one.settle(await budgeted_again(one), 5)
        await agree(one, rows)


async def test_a_clock_that_is_not_the_servers_is_told_of_once(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with workers(server, 1, Rows()) as (one,):
        one.stop()
        for wall_s in (time.time() + 600, time.time() + 601, time.time(), time.time() - 60):
            beats = one.counters._keeper._tasks
            await until(lambda beats=beats: not beats)
            one.counters.tick(time.perf_counter(), wall_s)
            await until(lambda beats=beats: not beats)
    told = [line for line in caplog.messages if "clock" in line]
    assert len(told) == 2
    assert "600 s ahead of" in told[0]
    assert "60 s behind" in told[1]
