"""Lets calls in: reserves what they may use and spend, and settles it. Must end every reservation exactly once.

For each attempt: `plan_for` (kept), `reserve`, then `dispatched`, then one of `settle`, `void`, `expire`. `reserve` is
synchronous where it can be, and else returns a coroutine to be awaited.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import cast

from sekisho.domain.spending import Scope
from sekisho.ledger.plans import Plan
from sekisho.stores.counters import Counters, Denial, How, Outcome, Reservation

#: calls that may wait at one limit
MOST_WAITING = 1_000
_LIMITS = ("requests", "tokens", "concurrency")


class Lane:
    """Calls that wait at one limit, in the order they came. The first asks again, the others wait for their turn."""

    __slots__ = ("denial", "freed", "turns")

    def __init__(self, denial: Denial) -> None:
        self.denial = denial
        self.turns: deque[asyncio.Future[None]] = deque()
        #: resolved when a reservation ends, since there may be room earlier than was said
        self.freed: asyncio.Future[None] | None = None

    def full(self) -> Denial:
        """For who may not even wait: without the headroom, which is that of another caller's limits."""
        return self.denial.told(self.denial.retry_after_s, 0.0, None)


class Limiter:
    """One per process, over the counters of the installation."""

    def __init__(self, counters: Counters, clock_s: Callable[[], float] = time.perf_counter) -> None:
        self.counters = counters
        self._admit = counters.admit
        self._end = counters.end
        #: asking means a message to another process
        self.remote = counters.remote
        #: `dispatched(reservation)`: the request of the attempt goes out now
        self.dispatched = counters.dispatched
        self._clock_s = clock_s
        self._lanes: dict[Scope, Lane] = {}
        #: those from before the limits were changed
        self._former: list[Lane] = []
        self.waiting = 0

    def reserve(
        self,
        plan: Plan,
        now_s: float,
        input_tokens: int,
        max_tokens: int | None = None,
        choices: int = 1,
        id: str = "",
        since_s: float = 0.0,
    ) -> Outcome | Coroutine[None, None, Outcome]:
        """Hold what an attempt may use, in all its scopes or in none. What has to wait is returned as a coroutine.

        `input_tokens` is the estimate, `max_tokens` what the caller allows for one of `choices` answers (0 for
        embeddings), `id` new for each attempt (a store of several workers knows it by that). `now_s` is monotonic;
        `since_s` is when the same was asked for first, where it was: that long it has waited already.
        """
        tokens = reserve_nanos = most_nanos = 0
        sizes = plan.sizes
        if sizes is not None:
            output = sizes.guess if choices == 1 else sizes.guess * choices
            if max_tokens is not None and max_tokens * choices < output:
                output = max_tokens * choices
            tokens = input_tokens + output
            tariff = plan.tariff
            if tariff is not None and plan.budgets:
                most_output = tariff.most_output_tokens if max_tokens is None else max_tokens
                most_nanos = tariff.most_nanos(input_tokens, most_output * choices)
                reserve_nanos = most_nanos if plan.strict else tariff.likely_nanos(input_tokens, output)
                if most_nanos < reserve_nanos:
                    most_nanos = reserve_nanos
        if self.remote or (self.waiting and self._lane_of(plan) is not None):
            return self._wait(plan, tokens, reserve_nanos, most_nanos, id, since_s or now_s)
        outcome = self._admit(plan.account, now_s, tokens, reserve_nanos, most_nanos, id)
        if type(outcome) is Reservation:
            outcome.sizes = sizes
            return outcome
        outcome = cast(Denial, outcome)
        if outcome.wait_s > 0 and self._may_wait(outcome, since_s or now_s):
            return self._wait(plan, tokens, reserve_nanos, most_nanos, id, since_s or now_s)
        return outcome

    def settle(
        self, reservation: Reservation, now_s: float, tokens: int, cost_nanos: int | None, output_tokens: int = 0
    ) -> bool:
        """The attempt has used so many tokens (input and output together) and cost so much; None: its price is unknown,
        and nothing is charged. False when it had ended before."""
        if output_tokens > 0 and reservation.how is None and reservation.sizes is not None:
            reservation.sizes.observe(output_tokens)
        ended = self._end(reservation, "settled", now_s, tokens, cost_nanos or 0)
        if self.waiting:
            self._wake()
        return ended

    def void(self, reservation: Reservation, now_s: float) -> bool:
        """The attempt was never dispatched: tokens and money are given back. It stays counted as a request."""
        return self._over(reservation, "void", now_s)

    def expire(self, reservation: Reservation, now_s: float) -> bool:
        """Nobody knows what became of the attempt: charged as estimated if it was dispatched, else void."""
        return self._over(reservation, "expired" if reservation.dispatched else "void", now_s)

    def _over(self, reservation: Reservation, how: How, now_s: float) -> bool:
        used = how == "expired"
        ended = self._end(
            reservation,
            how,
            now_s,
            reservation.tokens if used else 0,
            reservation.reserved_nanos if used else 0,
        )
        if self.waiting:
            self._wake()
        return ended

    def limits_changed(self) -> None:
        """Who waits goes on by the limits that it met, and holds up nobody who comes from now on."""
        self._former += self._lanes.values()
        self._lanes = {}

    async def _wait(
        self, plan: Plan, tokens: int, reserve_nanos: int, most_nanos: int, id: str, since_s: float
    ) -> Outcome:
        """Ask, and where the limits let a call wait, wait in the lane of the one that refuses; whoever comes later
        comes after. A call that another limit holds up leaves its lane, so that it holds up nobody there."""

        async def ask() -> Outcome:
            outcome = self._admit(plan.account, self._clock_s(), tokens, reserve_nanos, most_nanos, id)
            if not isinstance(outcome, Reservation | Denial):
                outcome = await outcome
            if isinstance(outcome, Reservation):
                outcome.sizes = plan.sizes
            return outcome

        lane = self._lane_of(plan)
        while True:
            if lane is None:
                outcome = await ask()
            elif len(lane.turns) >= MOST_WAITING:
                return lane.full()
            else:
                # the scope may be the one that all beyond a bound share, which no plan names
                wait_s = plan.waits_s.get(lane.denial.scope, lane.denial.wait_s)
                outcome = await self._in_turn(lane, ask, since_s, wait_s)
            if isinstance(outcome, Reservation) or not self._may_wait(outcome, since_s):
                return outcome
            lane = self._lanes.setdefault(outcome.scope, Lane(outcome))

    async def _in_turn(
        self, lane: Lane, ask: Callable[[], Awaitable[Outcome]], since_s: float, wait_s: float
    ) -> Outcome:
        """What comes of asking when it is the call's turn, or when its time is over: what was told to others holds for
        their limits and sizes. A denial with which it may wait on is one of another limit."""
        turn = asyncio.get_running_loop().create_future()
        lane.turns.append(turn)
        self.waiting += 1
        if lane.turns[0] is turn:
            turn.set_result(None)
        try:
            await asyncio.wait((turn,), timeout=max(0.0, since_s + wait_s - self._clock_s()))
            while True:
                outcome = await ask()
                if (
                    isinstance(outcome, Reservation)
                    or outcome.scope != lane.denial.scope
                    or not self._may_wait(outcome, since_s)
                ):
                    return outcome
                lane.denial = outcome
                lane.freed = asyncio.get_running_loop().create_future()
                left_s = since_s + outcome.wait_s - self._clock_s()
                await asyncio.wait((lane.freed,), timeout=min(outcome.retry_after_s, left_s))
        finally:
            self.waiting -= 1
            self._leave(lane, turn)

    def _leave(self, lane: Lane, turn: asyncio.Future[None]) -> None:
        lane.turns.remove(turn)
        if not lane.turns:
            self._lanes = {scope: other for scope, other in self._lanes.items() if other is not lane}
            self._former = [other for other in self._former if other is not lane]
        elif not lane.turns[0].done():
            lane.turns[0].set_result(None)

    def _lane_of(self, plan: Plan) -> Lane | None:
        """The lane in which a call of this plan waits, because others do."""
        for scope, wait_s in plan.waits_s.items():
            lane = self._lanes.get(scope)
            if lane is not None and wait_s > 0:
                return lane
        return None

    def _may_wait(self, denial: Denial, since_s: float) -> bool:
        """Whether it may help to wait on: a limit may have room in time. When calls end that hold it up, nobody
        knows."""
        left_s = since_s + denial.wait_s - self._clock_s()
        if denial.cause not in _LIMITS or left_s <= 0:
            return False
        return denial.cause == "concurrency" or denial.retry_after_s <= left_s

    def _wake(self) -> None:
        for lane in (*self._former, *self._lanes.values()):
            if lane.freed is not None and not lane.freed.done():
                lane.freed.set_result(None)
