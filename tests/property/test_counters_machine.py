"""Any order of calls, departures, deaths and losses: sums agree, nothing leaks, budgets keep within their bounds.

One machine drives four workers on a real Redis, another one worker in memory, against the same exact model.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.redis_server import RedisServer

from sekisho.domain.spending import BudgetEvent, scope_of
from sekisho.ledger.scopes import scope_key
from sekisho.stores import redis_link
from sekisho.stores.counters import BudgetSpec, Denial, MeterSpec, Outcome, Reservation, SpentBefore
from sekisho.stores.memory_counters import MemoryCounters
from sekisho.stores.redis_counters import RedisCounters
from sekisho.stores.redis_words import LEASES

AMOUNTS = {"team=a": 5_000, "team=b": 1_000}
ONE_DAY_S = 86_400.0
START_WALL_S = 1_795_000_000.0


def meter(name: str, **limits: Any) -> MeterSpec:
    scope = scope_of({"user": name})
    return MeterSpec(key=scope_key(scope), scope=scope, **limits)


def budget(team: str) -> BudgetSpec:
    scope = scope_of({"team": team})
    return BudgetSpec(
        key=f"{scope_key(scope)}|day|block",
        scope=scope,
        amount_nanos=AMOUNTS[scope_key(scope)],
        period="day",
        on_exceed="block",
    )


METERS = (meter("x", qpm=30, tpm=1_500), meter("y", concurrency=3), meter("z", tpm=20_000, t_burst_s=6.0))
BUDGETS = (budget("a"), budget("b"))
#: which meters and budgets a call of a kind is counted on
KINDS = (((0, 1), (0, 1)), ((1, 2), (0,)), ((0, 2), (1,)), ((), (0, 1)), ((0, 1, 2), ()))
reserves = st.integers(0, 400)
tokens = st.integers(0, 2_000)


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that waits for nothing."""
    with pytest.raises(StopIteration) as ended:
        work.send(None)
    return ended.value.value


class Live:
    """A reservation with what the model knows about it."""

    def __init__(self, reservation: Reservation, kind: int, worker: int) -> None:
        self.reservation = reservation
        self.kind = kind
        self.worker = worker


class Machine(RuleBasedStateMachine):
    """The model: what was spent and is held, kept as plain sums, and how it must look in the counters."""

    def __init__(self) -> None:
        super().__init__()
        self.live: list[Live] = []
        self.spent = [0, 0]
        self.bound_at_last_grant = [0, 0]
        self.events: list[BudgetEvent] = []

    # -- to be given

    def ask(self, worker: int, kind: int, tokens: int, reserve: int, most: int) -> Outcome:
        raise NotImplementedError

    def tell_end(self, one: Live, how: Any, tokens: int, cost: int) -> bool:
        raise NotImplementedError

    def tell_dispatched(self, one: Live) -> None:
        raise NotImplementedError

    def budgets(self) -> list[tuple[int, int, int]]:
        """Spent, reserved and bound of each budget."""
        raise NotImplementedError

    def running(self) -> int:
        """Calls at once on meter `y`."""
        raise NotImplementedError

    # -- the model

    def held(self, budget: int) -> int:
        return sum(one.reservation.reserved_nanos for one in self.live if budget in KINDS[one.kind][1])

    def bound(self, budget: int) -> int:
        return sum(
            one.reservation.most_nanos - one.reservation.reserved_nanos
            for one in self.live
            if budget in KINDS[one.kind][1]
        )

    def fits(self, kind: int, reserve: int) -> bool:
        return all(self.spent[one] + self.held(one) + reserve <= BUDGETS[one].amount_nanos for one in KINDS[kind][1])

    def at_once(self) -> int:
        return sum(1 in KINDS[one.kind][0] for one in self.live)

    def over(self, one: Live, cost: int) -> None:
        self.live.remove(one)
        for budget in KINDS[one.kind][1]:
            self.spent[budget] += cost

    @rule(worker=st.integers(0, 3), kind=st.integers(0, len(KINDS) - 1), tokens=tokens, reserve=reserves, more=reserves)
    def admit(self, worker: int, kind: int, tokens: int, reserve: int, more: int) -> None:
        outcome = self.ask(worker, kind, tokens, reserve, reserve + more)
        if isinstance(outcome, Denial):
            if outcome.cause == "budget":
                assert not self.fits(kind, reserve)
            elif outcome.cause == "concurrency":
                assert self.at_once() == 3
            return
        # nobody is let in for whom there is no money, or no place
        assert self.fits(kind, reserve)
        assert 1 not in KINDS[kind][0] or self.at_once() < 3
        self.live.append(Live(outcome, kind, worker))
        for one in KINDS[kind][1]:
            self.bound_at_last_grant[one] = self.bound(one)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def dispatch(self, data: st.DataObject) -> None:
        self.tell_dispatched(data.draw(st.sampled_from(self.live)))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), tokens=tokens)
    def settle(self, data: st.DataObject, tokens: int) -> None:
        one = data.draw(st.sampled_from(self.live))
        cost = data.draw(st.integers(0, one.reservation.most_nanos))
        assert self.tell_end(one, "settled", tokens, cost)
        assert not self.tell_end(one, "settled", tokens, cost)
        assert not self.tell_end(one, "void", 0, 0)
        self.over(one, cost)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.live))
        assert self.tell_end(one, "void", 0, 0)
        self.over(one, 0)

    @invariant()
    def sums_agree(self) -> None:
        assert self.budgets() == [(self.spent[one], self.held(one), self.bound(one)) for one in (0, 1)]

    @invariant()
    def no_budget_is_overspent_beyond_its_bound(self) -> None:
        for one in (0, 1):
            assert self.spent[one] <= BUDGETS[one].amount_nanos + self.bound_at_last_grant[one]

    @invariant()
    def no_call_runs_that_has_ended(self) -> None:
        assert self.running() == self.at_once()

    @invariant()
    def every_mark_is_told_once(self) -> None:
        ids = [event.id for event in self.events]
        assert len(set(ids)) == len(ids)


class Bucket:
    """One bucket in exact arithmetic, as its definition says: filled steadily, never above its size."""

    def __init__(self, limit: int, burst_s: float) -> None:
        self.rate = Fraction(limit, 60)
        self.size = self.rate * Fraction(burst_s)
        self.level = self.size
        self.at = Fraction(0)

    def run(self, at_s: float) -> None:
        self.level = min(self.size, self.level + (Fraction(at_s) - self.at) * self.rate)
        self.at = Fraction(at_s)

    def room(self, wanted: int) -> Fraction:
        """How much more than wanted there is; a call that is larger than the bucket wants a full one."""
        return self.level - min(wanted, self.size)


class InMemory(Machine):
    """One worker, with a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.open()
        self.buckets = {"q": Bucket(30, 60), "t": Bucket(1_500, 60), "z": Bucket(20_000, 6)}

    def open(self, spent: dict[str, int] | None = None) -> None:
        self.counters = MemoryCounters(
            ZoneInfo("Asia/Tokyo"), self.events.append, self.now_s, START_WALL_S + self.now_s
        )
        self.counters.adopt(spent or {}, START_WALL_S + self.now_s)
        self.accounts = [
            self.counters.bind([METERS[m] for m in meters], [], [BUDGETS[b] for b in budgets])
            for meters, budgets in KINDS
        ]

    def ask(self, worker: int, kind: int, tokens: int, reserve: int, most: int) -> Outcome:
        outcome = self.counters.admit(self.accounts[kind], self.now_s, tokens, reserve, most)
        meters = KINDS[kind][0]
        wanted = [("q", 1), ("t", tokens)] * (0 in meters) + [("z", tokens)] * (2 in meters)
        for name, _ in wanted:
            self.buckets[name].run(self.now_s)
        room = [self.buckets[name].room(amount) for name, amount in wanted]
        if isinstance(outcome, Reservation):
            assert all(left >= Fraction(-2, 1000) for left in room)
            for name, amount in wanted:
                self.buckets[name].level -= amount
        elif outcome.cause in ("requests", "tokens"):
            assert any(left < Fraction(2, 1000) for left in room)
            self.truthful(outcome, wanted)
        return outcome

    def truthful(self, denial: Denial, wanted: list[tuple[str, int]]) -> None:
        """After the wait that was named there is room, and not much earlier."""
        waits = [-self.buckets[name].room(amount) / self.buckets[name].rate for name, amount in wanted]
        assert abs(float(max(waits)) - denial.retry_after_s) < 0.05

    def tell_end(self, one: Live, how: Any, tokens: int, cost: int) -> bool:
        ended = self.counters.end(one.reservation, how, self.now_s, tokens, cost)
        if ended:
            meters = KINDS[one.kind][0]
            for name in ["t"] * (0 in meters) + ["z"] * (2 in meters):
                bucket = self.buckets[name]
                bucket.run(self.now_s)
                bucket.level = min(bucket.size, bucket.level + one.reservation.tokens - tokens)
        return ended

    def tell_dispatched(self, one: Live) -> None:
        self.counters.dispatched(one.reservation)

    def budgets(self) -> list[tuple[int, int, int]]:
        _, found = at_once(self.counters.look(self.now_s))
        by_key = {state.spec.key: state for state in found}
        states = [by_key[spec.key] for spec in BUDGETS]
        return [(state.spent_nanos, state.reserved_nanos, state.bound_nanos) for state in states]

    def running(self) -> int:
        meters, _ = at_once(self.counters.look(self.now_s))
        return next(state.running for state in meters if state.spec.key == METERS[1].key)

    @rule(seconds=st.one_of(st.floats(0, 3), st.floats(0, 120)))
    def time_goes_on(self, seconds: float) -> None:
        self.now_s += seconds
        self.tick()

    @rule(seconds=st.floats(0.9 * ONE_DAY_S, 1.1 * ONE_DAY_S), calls_end=st.booleans())
    def a_day_ends(self, seconds: float, calls_end: bool) -> None:
        """Budgets begin anew, and what is still reserved from the old day neither counts in the new one nor leaks."""
        if calls_end:
            for one in list(self.live):
                self.tell_end(one, "settled", 0, 0)
                self.over(one, 0)
        before = (START_WALL_S + self.now_s + 9 * 3600) // ONE_DAY_S
        self.now_s += seconds
        self.tick()
        if (START_WALL_S + self.now_s + 9 * 3600) // ONE_DAY_S > before:
            self.spent = [0, 0]
            self.bound_at_last_grant = [0, 0]
            for one in list(self.live):
                self.tell_end(one, "settled", 0, one.reservation.most_nanos)
                self.live.remove(one)

    @rule()
    def the_process_is_killed(self) -> None:
        """All is lost but the rows, which hold what ran as estimated."""
        for one in list(self.live):
            self.over(one, one.reservation.reserved_nanos)
        self.events.clear()
        self.open({spec.key: self.spent[one] for one, spec in enumerate(BUDGETS)})
        self.buckets = {"q": Bucket(30, 60), "t": Bucket(1_500, 60), "z": Bucket(20_000, 6)}

    def tick(self) -> None:
        self.counters.tick(self.now_s, START_WALL_S + self.now_s)


class OnRedis(Machine):
    """Four workers on one server."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.server.empty()
        self.workers: list[RedisCounters] = []
        self.accounts: list[list[Any]] = []
        for _ in range(4):
            self.start_worker()

    @initialize()
    def settle_down(self) -> None:
        self.calm()

    def teardown(self) -> None:
        for worker in self.workers:
            self.loop.run_until_complete(worker.close())
        self.loop.close()

    def start_worker(self) -> None:
        counters = self.loop.run_until_complete(self.open())
        self.workers.append(counters)
        self.accounts.append(
            [counters.bind([METERS[m] for m in meters], [], [BUDGETS[b] for b in budgets]) for meters, budgets in KINDS]
        )

    async def open(self) -> RedisCounters:
        counters = RedisCounters(
            self.server.url,
            ZoneInfo("UTC"),
            lambda event: None,
            self.rows,
            time.perf_counter(),
            time.time(),
            timeout_s=20,
            grace_s=0.1,
        )
        await counters.open()
        return counters

    async def rows(self, as_of_s: float) -> SpentBefore:
        return SpentBefore(nanos={spec.key: self.spent[one] for one, spec in enumerate(BUDGETS)})

    def ask(self, worker: int, kind: int, tokens: int, reserve: int, most: int) -> Outcome:
        async def ask() -> Outcome:
            outcome = self.workers[worker].admit(
                self.accounts[worker][kind], time.perf_counter(), tokens, reserve, most, ""
            )
            return outcome if isinstance(outcome, Reservation | Denial) else await outcome

        outcome = self.loop.run_until_complete(ask())
        assert not isinstance(outcome, Denial) or outcome.cause != "unavailable"
        return outcome

    def tell_end(self, one: Live, how: Any, tokens: int, cost: int) -> bool:
        async def tell() -> bool:
            return self.workers[one.worker].end(one.reservation, how, time.perf_counter(), tokens, cost)

        return self.loop.run_until_complete(tell())

    def tell_dispatched(self, one: Live) -> None:
        async def tell() -> None:
            self.workers[one.worker].dispatched(one.reservation)

        self.loop.run_until_complete(tell())

    def budgets(self) -> list[tuple[int, int, int]]:
        self.calm()
        _, found = self.loop.run_until_complete(self.workers[0].look(time.perf_counter()))
        by_key = {state.spec.key: state for state in found}
        states = [by_key[spec.key] for spec in BUDGETS]
        return [(state.spent_nanos, state.reserved_nanos, state.bound_nanos) for state in states]

    def running(self) -> int:
        self.calm()
        meters, _ = self.loop.run_until_complete(self.workers[0].look(time.perf_counter()))
        return next(state.running for state in meters if state.spec.key == METERS[1].key)

    def wait_for(self, true: Callable[[], bool]) -> None:
        async def wait() -> None:
            async with asyncio.timeout(60):
                while not true():
                    await asyncio.sleep(0.002)

        self.loop.run_until_complete(wait())

    def calm(self) -> None:
        """Everything that was told has arrived."""
        self.wait_for(lambda: not any(worker.untold for worker in self.workers))

    def beat(self) -> None:
        async def beat() -> None:
            for worker in self.workers:
                worker.tick(time.perf_counter(), time.time())

        self.loop.run_until_complete(beat())

    @rule(worker=st.integers(0, 3))
    def a_worker_is_killed(self, worker: int) -> None:
        """Its leases run out, and another worker finds that they have."""
        self.calm()
        dead = self.workers[worker]
        self.loop.run_until_complete(dead._link.close())
        lost = [one for one in self.live if one.worker == worker]
        for one in lost:
            self.server.ask("ZADD", LEASES, "0", one.reservation.id)
        self.start_worker()
        self.workers[worker], self.accounts[worker] = self.workers.pop(), self.accounts.pop()
        self.beat()
        ids = [one.reservation.id for one in lost]
        self.wait_for(lambda: all(self.server.ask("ZSCORE", LEASES, name) == b"$-1\r\n" for name in ids))
        for one in lost:
            self.over(one, one.reservation.reserved_nanos if one.reservation.dispatched else 0)

    @rule()
    def the_server_loses_its_memory(self) -> None:
        self.calm()
        self.server.kill()
        self.wait_for(lambda: not any(worker.up for worker in self.workers))
        self.server.start()

        def ready() -> bool:
            for worker in self.workers:
                if worker.up:
                    worker.tick(time.perf_counter(), time.time())
            return all(worker.up and worker._keeper.epoch for worker in self.workers)

        self.wait_for(ready)


TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)


@pytest.mark.filterwarnings("error")
def test_four_workers_on_a_real_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each loss of memory breaks all connections, and what broke within a second is opened again up to a second later:
    # nine tenths of this test were that wait. Nobody but these workers has to be spared by it.
    monkeypatch.setattr(redis_link, "_FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(redis_link, "_MOST_RETRY_S", 0.02)
    with RedisServer() as server:
        OnRedis.server = server
        case = OnRedis.TestCase
        case.settings = settings(
            max_examples=6,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        case().runTest()
