"""Workers on a real Redis with rows beside them, for tests of what happens when it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self
from zoneinfo import ZoneInfo

from tests.support.redis_server import RedisServer

from sekisho.domain.spending import scope_of
from sekisho.ledger.scopes import scope_key
from sekisho.stores.counters import BudgetSpec, BudgetState, Denial, MeterSpec, Outcome, Reservation, SpentBefore
from sekisho.stores.redis_counters import RedisCounters

SCOPE = scope_of({"team": "research"})
METER = MeterSpec(key=scope_key(SCOPE), scope=SCOPE, qpm=100_000, tpm=10**9, concurrency=1_000)
BLOCK = BudgetSpec(
    key=f"{scope_key(SCOPE)}|month|block", scope=SCOPE, amount_nanos=1_000_000, period="month", on_exceed="block"
)
WARN = BudgetSpec(
    key=f"{scope_key(SCOPE)}|month|warn", scope=SCOPE, amount_nanos=1_000_000, period="month", on_exceed="warn"
)
#: four times that of serving: on a busy machine a live server may take so long
TIMEOUT_S = 1.0
#: only a call that hangs takes longer
HANGS_S = 10.0
#: for what has to come about
PATIENCE_S = 60.0


class Rows:
    """What the tables would hold: when a call ended, and what it cost."""

    def __init__(self) -> None:
        self.ended: list[tuple[float, int]] = []
        #: at the end of the list, of another machine: not in the tables yet
        self.uncommitted = 0
        #: of calls that died with their worker, by request id: when they came, and what their rows are charged
        self.died: dict[str, tuple[float, int]] = {}
        self.asked = 0

    async def spent(self, as_of_s: float) -> SpentBefore:
        self.asked += 1
        committed = self.ended[: len(self.ended) - self.uncommitted]
        total = sum(cost for at_s, cost in (*committed, *self.died.values()) if at_s < as_of_s)
        died = {call: {BLOCK.key: cost, WARN.key: cost} for call, (at_s, cost) in self.died.items() if at_s < as_of_s}
        return SpentBefore(nanos={BLOCK.key: total, WARN.key: total}, died=died)

    @property
    def total(self) -> int:
        return sum(cost for _, cost in (*self.ended, *self.died.values()))


class Worker:
    """One worker: counters that are ticked ten times as often as in life, so that a test takes a tenth of the time."""

    def __init__(
        self, server: RedisServer, rows: Rows, lease_s: float, grace_s: float, late_s: Sequence[float]
    ) -> None:
        self.rows = rows
        self.counters = RedisCounters(
            server.url,
            ZoneInfo("UTC"),
            lambda event: None,
            rows.spent,
            time.perf_counter(),
            time.time(),
            timeout_s=TIMEOUT_S,
            lease_s=lease_s,
            grace_s=grace_s,
            late_s=late_s,
        )
        self.account = self.counters.bind([METER], [], [BLOCK, WARN])
        self.warned = self.counters.bind([METER], [], [WARN])
        self.longest_s = 0.0
        #: calls that could not be answered at once
        self.waits = 0
        self._ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.counters.open()
        self.go_on()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        await self.counters.close()

    def go_on(self) -> None:
        self._ticking = asyncio.ensure_future(self._tick())

    def stop(self) -> None:
        """As if the process stood still."""
        if self._ticking is not None:
            self._ticking.cancel()

    async def admit(self, reserve: int = 100, account: object = None, id: str = "") -> Outcome:
        began_s = time.perf_counter()
        outcome = self.counters.admit(account or self.account, began_s, 10, reserve, 2 * reserve, id)  # type: ignore[arg-type]
        if not isinstance(outcome, Reservation | Denial):
            self.waits += 1
            outcome = await outcome
        self.longest_s = max(self.longest_s, time.perf_counter() - began_s)
        return outcome

    def settle(self, reservation: Reservation, cost: int) -> None:
        self.rows.ended.append((time.time(), cost))
        self.counters.end(reservation, "settled", time.perf_counter(), 10, cost)

    async def budget(self, spec: BudgetSpec = BLOCK) -> BudgetState:
        _, budgets = await self.counters.look(time.perf_counter())
        return next(state for state in budgets if state.spec.key == spec.key)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            self.counters.tick(time.perf_counter(), time.time())


@asynccontextmanager
async def workers(
    server: RedisServer,
    count: int,
    rows: Rows,
    lease_s: float = 60.0,
    grace_s: float = 0.25,
    late_s: Sequence[float] = (),
) -> AsyncIterator[list[Worker]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Worker(server, rows, lease_s, grace_s, late_s)) for _ in range(count)]


async def until(true: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


async def granted(worker: Worker, reserve: int = 100, account: object = None, id: str = "") -> Reservation:
    outcome = await worker.admit(reserve, account, id)
    assert isinstance(outcome, Reservation), outcome
    return outcome


async def budgeted_again(worker: Worker) -> Reservation:
    """The first budgeted call that is let in."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            outcome = await worker.admit()
            if isinstance(outcome, Reservation):
                return outcome
            assert outcome.cause == "unavailable"
            await asyncio.sleep(0.01)


async def agree(worker: Worker, rows: Rows) -> None:
    """Sums of the counters and of the rows are the same, and nothing is reserved."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            state = await worker.budget()
            if (state.spent_nanos, state.reserved_nanos, state.bound_nanos) == (rows.total, 0, 0):
                return
            await asyncio.sleep(0.02)
