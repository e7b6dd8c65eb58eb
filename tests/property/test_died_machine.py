"""Any order of deaths, leases that run out, rows that come late, looks at them and rebuilds: every call counts once.

Two workers on a real Redis, which loses its memory now and then. Calls end only by the death of their workers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.redis_server import RedisServer

from sekisho.domain.spending import scope_of
from sekisho.ledger.scopes import scope_key
from sekisho.stores.counters import BudgetSpec, Reservation, SpentBefore
from sekisho.stores.redis_counters import RedisCounters
from sekisho.stores.redis_words import LEASES, as_of, late_step

SCOPE = scope_of({"team": "research"})
KEY = f"{scope_key(SCOPE)}|month|warn"
BUDGET = BudgetSpec(key=KEY, scope=SCOPE, amount_nanos=10**15, period="month", on_exceed="warn")
#: what is wrong shows in any digit: no sum of some calls is that of others
COSTS = tuple(4**n for n in range(25))


class Asked:
    """A call, and what the model knows about it: held by its reservation, counted, or missing."""

    def __init__(self, name: str, cost: int, worker: int, held: Reservation) -> None:
        self.name, self.cost, self.worker, self.held = name, cost, worker, held
        self.came_s = time.time()
        self.state: Literal["held", "counted", "missing"] = "held"
        self.attempts = 1
        self.dead = self.row = False


class Machine(RuleBasedStateMachine):
    """The model is the list of calls."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.server.empty()
        self.calls: list[Asked] = []
        self.workers: list[RedisCounters] = []
        self.looks = 0

    @initialize()
    def begin(self) -> None:
        self.workers = [self.opened(), self.opened()]

    def teardown(self) -> None:
        for worker in self.workers:
            self.run(worker.close())
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def opened(self) -> RedisCounters:
        zone, now_s = ZoneInfo("UTC"), time.perf_counter()

        async def opened() -> RedisCounters:
            found = RedisCounters(
                *(self.server.url, zone, lambda event: None, self.rows, now_s, time.time()),
                timeout_s=20,
                grace_s=0.05,
                late_s=(),
            )
            await found.open()
            found.bind([], [], [BUDGET])
            return found

        return self.run(opened())

    def wait_for(self, true: Callable[[], bool]) -> None:
        async def wait() -> None:
            async with asyncio.timeout(60):
                while not true():
                    for worker in self.workers:
                        worker.tick(time.perf_counter(), time.time())
                    await asyncio.sleep(0.002)

        self.run(wait())

    def calm(self) -> None:
        self.wait_for(lambda: not any(worker.untold for worker in self.workers))

    async def rows(self, as_of_s: float) -> SpentBefore:
        found = {call.name: {KEY: call.cost} for call in self.in_the_tables(as_of_s)}
        return SpentBefore(nanos={KEY: sum(cost[KEY] for cost in found.values())}, died=found)

    def in_the_tables(self, as_of_s: float) -> list[Asked]:
        """Nobody saw the end of such a call: by its row it ended when it came."""
        return [call for call in self.calls if call.row and call.came_s < as_of_s]

    def let_in(self, worker: int, name: str, attempt: int, cost: int) -> Reservation:
        async def ask() -> Any:
            counters = self.workers[worker]
            account = counters.bind([], [], [BUDGET])
            return await counters.admit(account, time.perf_counter(), 0, cost, cost, f"{name}#{attempt}")  # type: ignore[misc]

        held = self.run(ask())
        assert isinstance(held, Reservation)
        return held

    @precondition(lambda self: len(self.calls) < len(COSTS))
    @rule(worker=st.integers(0, 1), sent=st.booleans())
    def a_call_comes(self, worker: int, sent: bool) -> None:
        name, cost = f"req_{len(self.calls):04}", COSTS[len(self.calls)]
        call = Asked(name, cost, worker, self.let_in(worker, name, 1, cost))
        self.calls.append(call)
        if sent:
            self.goes_out(call)

    def goes_out(self, call: Asked) -> None:
        async def tell() -> None:
            self.workers[call.worker].dispatched(call.held)

        self.run(tell())
        self.calm()

    @precondition(lambda self: any(not call.dead for call in self.calls))
    @rule(data=st.data())
    def a_call_falls_back(self, data: st.DataObject) -> None:
        """Its next attempt may be let in after a rebuild before which the call has come."""
        call = data.draw(st.sampled_from([call for call in self.calls if not call.dead]))

        async def give_back() -> None:
            self.workers[call.worker].end(call.held, "void", time.perf_counter())

        self.run(give_back())
        self.calm()
        call.attempts += 1
        call.held = self.let_in(call.worker, call.name, call.attempts, call.cost)
        self.goes_out(call)

    @precondition(lambda self: any(not call.dead for call in self.calls))
    @rule(worker=st.integers(0, 1))
    def a_worker_dies(self, worker: int) -> None:
        self.run(self.workers[worker]._link.close())
        for call in self.calls:
            call.dead = call.dead or call.worker == worker
        self.workers[worker] = self.opened()

    @precondition(lambda self: any(call.dead and not call.row for call in self.calls))
    @rule(data=st.data())
    def its_row_comes_to_the_tables(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from([call for call in self.calls if call.dead and not call.row])).row = True

    @precondition(lambda self: any(call.dead and call.state == "held" for call in self.calls))
    @rule(data=st.data())
    def its_lease_runs_out(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from([call for call in self.calls if call.dead and call.state == "held"]))
        self.server.ask("ZADD", LEASES, "0", call.held.id)
        self.wait_for(lambda: self.server.ask("ZSCORE", LEASES, call.held.id) == b"$-1\r\n")
        call.state = "counted" if call.held.dispatched else "missing"

    @precondition(lambda self: any(call.row for call in self.calls))
    @rule(worker=st.integers(0, 1))
    def the_rows_are_looked_at_again(self, worker: int) -> None:
        keeper = self.workers[worker]._keeper
        self.looks += 1
        work = keeper._late_added(late_step(keeper.epoch, self.looks), keeper.epoch, as_of(keeper.epoch))
        assert self.run(work)
        for call in self.in_the_tables(as_of(keeper.epoch)):
            call.state = "counted"

    @precondition(lambda self: self.calls)
    @rule()
    def the_server_loses_its_memory(self) -> None:
        old = {worker._keeper.epoch for worker in self.workers}
        time.sleep(0.002)  # the time of a rebuild is whole milliseconds
        self.server.empty()
        self.wait_for(lambda: not old & {worker._keeper.epoch for worker in self.workers})
        for call in self.calls:
            if call.dead:
                call.state = "counted" if call.row else "missing"

    @invariant()
    def every_call_is_counted_once(self) -> None:
        if not self.workers:
            return
        self.calm()
        _, (state,) = self.run(self.workers[0].look(time.perf_counter()))
        sums = {name: sum(call.cost for call in self.calls if call.state == name) for name in ("counted", "held")}
        assert (state.spent_nanos, state.reserved_nanos) == (sums["counted"], sums["held"])


@pytest.mark.filterwarnings("error")
def test_every_call_that_dies_is_counted_once() -> None:
    with RedisServer() as server:
        Machine.server = server
        case = Machine.TestCase
        case.settings = settings(
            max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        )
        case().runTest()
