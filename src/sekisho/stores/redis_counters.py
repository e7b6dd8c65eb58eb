"""Counters of many workers in Redis or Valkey: one script, one round trip a call. A sick server must not cost a call
more than a quarter of a second, a budget its bound, or a settlement its effect.

While the server is away limits are counted here on this worker's share of them, blocking budgets refuse with
`unavailable`, and what has to be told is kept and told later. See `redis_memory` for a server that lost its memory.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from sekisho.domain.periods import window
from sekisho.domain.spending import MARKS, PERIODS, Budget, Period
from sekisho.stores.counters import (
    BUSY_RETRY_S,
    BudgetSpec,
    BudgetState,
    Denial,
    EventSink,
    How,
    MeterSpec,
    MeterState,
    Outcome,
    Reservation,
    SpentBefore,
    event_of,
    next_mark,
)
from sekisho.stores.memory_counters import MOST_SCOPES, MemoryCounters, Shapes
from sekisho.stores.meters import Meter, denial_of
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.redis_address import address_of
from sekisho.stores.redis_died import end_reservations
from sekisho.stores.redis_held import HeldBudgets
from sekisho.stores.redis_link import TIMEOUT_S, RedisError, RedisLink, in_turn
from sekisho.stores.redis_look import look_at_budget, look_at_meter
from sekisho.stores.redis_memory import GRACE_S, LATE_S, LEASE_S, Keeper, SpentReader
from sekisho.stores.redis_outbox import Outbox
from sekisho.stores.redis_words import (
    SENT,
    Place,
    RedisAccount,
    Seen,
    Words,
    adopting,
    asking,
    begins_of,
    budget_key,
    ending,
    expiring,
    levels,
)
from sekisho.stores.redis_zones import Zones

log = logging.getLogger("sekisho.stores")

#: the epoch of what was let in without the server
_LOCAL = "-"
#: how long new budgets wait for others that are rebuilt
_ADOPT_TRIES, _ADOPT_RETRY_S = 100, 0.1
#: of ten thousand the server would stand still longer than a call waits for it
_EXPIRED_AT_ONCE, _ADOPTED_AT_ONCE = 200, 500


class RedisCounters:
    """Counters for any number of workers; see the port for the methods. `open` before the first call, `tick` about once
    a second, `close` at the end. `spent` reads what was spent before, from rows."""

    remote = True
    #: budgets that hold here or are about to, and so are rebuilt here
    in_force: Sequence[Budget] = ()
    #: whether the server knows what was spent of every budget here, as who tells it says; until then budgeted calls do
    #: without it
    adopted = True

    def __init__(
        self,
        url: str,
        zone: ZoneInfo,
        on_event: EventSink,
        spent: SpentReader,
        now_s: float,
        wall_s: float,
        *,
        timeout_s: float = TIMEOUT_S,
        lease_s: float = LEASE_S,
        grace_s: float = GRACE_S,
        late_s: Sequence[float] = LATE_S,
    ) -> None:
        self._zone = zone
        self._on_event = on_event
        self._name = os.urandom(6).hex()
        self._count = 0
        self._link = RedisLink(address_of(url), self._came_up, timeout_s)
        self._outbox = Outbox(self._link)
        self._keeper = Keeper(
            *(self._link, self._outbox, self._name, spent, lease_s, grace_s, self._windows_at, late_s),
            zones=Zones(self._name, zone),
            rebuilt=lambda: self.on_rebuilt(),
            saying=lambda epoch: self._held.words(self.in_force, epoch),
        )
        self._share = MemoryCounters(zone, on_event, now_s, wall_s)
        self._shares = 1
        self._meters: dict[str, MeterSpec] = {}
        self._budgets: dict[str, BudgetSpec] = {}
        self._shapes = Shapes()
        #: the server's clock (seconds since 1970) less our monotonic one
        self._offset_s = wall_s - now_s
        self._turn = self._tidied_turn = 0
        self._windows = self._windows_at(wall_s)
        self._windows_end_s = min(ends_s for _, ends_s in self._windows.values())
        self._fired: dict[str, int] = {}
        self._held = HeldBudgets(self._sure, self._name)
        #: called when another worker has rebuilt the budgets: it may know others than this one does
        self.on_rebuilt: Callable[[], None] = lambda: None

    async def open(self) -> None:
        """Connect, and wait until budgets can be counted or the server is known to be away."""
        await self._link.open()
        await self._keeper.ready()

    async def close(self) -> None:
        """What was told is waited for, as far as the server answers. Reservations that still run expire there."""
        await self._keeper.close()
        await self._link.close()

    async def adopt(self, spent: SpentBefore, wall_s: float, idle_since_s: Mapping[str, float] | None = None) -> None:
        """What was spent already, in the periods that hold `wall_s`: for budgets that are new in the configuration, and
        for those of `idle_since_s`, which did not hold since then. Every worker may say it, the first one is heard.
        Raises StoreUnavailable."""
        idle_ms = {key: int(since_s * 1000) for key, since_s in (idle_since_s or {}).items()}
        sums = {**dict.fromkeys(idle_ms, 0), **spent.nanos}
        if sums:
            # what the dead had reserved is in the rows, and must not come on top of them
            while len(await self._sure(expiring(_EXPIRED_AT_ONCE))) == _EXPIRED_AT_ONCE:
                pass
            await end_reservations(self._sure, spent.died)
            names = list(sums)
            for at in range(0, len(names), _ADOPTED_AT_ONCE):
                some = {key: sums[key] for key in names[at : at + _ADOPTED_AT_ONCE]}
                await self._adopt(adopting(int(wall_s * 1000), some, self._windows_at(wall_s), idle_ms))

    async def _adopt(self, words: Words) -> None:
        for _ in range(_ADOPT_TRIES):
            if await self._sure(words) != -1:
                return
            await asyncio.sleep(_ADOPT_RETRY_S)
        raise StoreUnavailable("the counters' server has no budgets that can be trusted")

    async def say_held(self, budgets: Sequence[Budget], *, again: bool = False) -> None:
        """That these hold here; `again`, every few seconds, by one worker for all that have the same. Raises
        StoreUnavailable."""
        await self._held.say(budgets, self.epoch, again=again)

    async def clock_s(self) -> float:
        """The server's clock (seconds since 1970): those of two machines may differ. Raises StoreUnavailable."""
        seconds, micros = await self._sure(("TIME",))
        return int(seconds) + int(micros) / 1e6

    async def held(self) -> list[tuple[Budget, float]]:
        """The budgets that held anywhere, and when that was said last (seconds since 1970). Raises StoreUnavailable."""
        return await self._held.said()

    async def _sure(self, words: Words) -> Any:
        """The answer. For who cannot go on without it a server that refuses (read-only, out of memory) is none."""
        try:
            return await self._link.send(words)
        except RedisError as error:
            raise StoreUnavailable(f"the counters' server refuses: {error}") from None

    def met(self) -> list[BudgetSpec]:
        """The budgets that calls here have met."""
        return list(self._budgets.values())

    @property
    def epoch(self) -> str:
        """Names what the budgets were built from; empty: unknown, or they cannot be trusted."""
        return self._keeper.epoch

    @property
    def up(self) -> bool:
        """Whether the server answers."""
        return self._link.up

    @property
    def untold(self) -> int:
        """How much waits to be told to the server."""
        return len(self._outbox)

    def bind(
        self,
        meters: Iterable[MeterSpec],
        carried: Iterable[MeterSpec],
        budgets: Iterable[BudgetSpec],
        counted: Iterable[BudgetSpec] = (),
    ) -> RedisAccount:
        # callers may invent features and users without end
        bounded = self._shapes.bounded
        asked = tuple(bounded(spec, self._meters) for spec in meters)
        added = tuple(bounded(spec, self._meters) for spec in carried)
        kept = tuple(bounded(spec, self._budgets) for spec in budgets)
        passed = tuple(bounded(spec, self._budgets) for spec in counted)
        self._meters.update((spec.key, spec) for spec in asked + added)
        self._budgets.update((spec.key, spec) for spec in kept + passed)
        local = self._share.bind(map(self._shared, asked), map(self._shared, added), ())
        return RedisAccount(asked, added, kept, passed, local)

    def admit(
        self, account: RedisAccount, now_s: float, tokens: int, reserve_nanos: int, most_nanos: int, id: str
    ) -> Outcome | Awaitable[Outcome]:
        self._roll(now_s)
        reservation = Reservation(account, now_s, tokens, reserve_nanos, most_nanos, id or self._new_id(), self._turn)
        return self._ask(reservation) if self._link.up else self._without_server(reservation)

    def dispatched(self, reservation: Reservation) -> None:
        reservation.dispatched = True
        if isinstance(reservation.seen, Seen) and reservation.how is None:
            self._outbox.tell(("SADD", SENT, reservation.id))

    def end(self, reservation: Reservation, how: How, now_s: float, tokens: int = 0, cost_nanos: int = 0) -> bool:
        again = reservation.how is not None
        if again and not (how == reservation.how == "settled" and cost_nanos):
            return False
        reservation.how = how
        account: RedisAccount = reservation.account
        seen = reservation.seen
        if isinstance(seen, Seen):
            self._keeper.live.pop(reservation.id, None)
            reservation.tokens = tokens  # of which `headroom` tells from now on
            self._tell_end(reservation.id, account, seen.place, seen.epoch, now_s, tokens, cost_nanos)
        elif isinstance(seen, Reservation):
            self._share.end(seen, how, now_s, tokens)
            if cost_nanos and account.budgets:
                place = account.placed(self._windows, self._turn)
                self._tell_end(reservation.id, account, place, _LOCAL, now_s, tokens, cost_nanos)
        return not again

    def tick(self, now_s: float, wall_s: float) -> bool:
        forgot = self._share.tick(now_s, wall_s)
        if forgot:
            self._meters.clear()
        if len(self._budgets) >= MOST_SCOPES // 2 and self._turn > self._tidied_turn:
            # a period has ended, and with it what most of them were met for; the server knows what is counted on them
            forgot, self._tidied_turn = True, self._turn
            self._budgets.clear()
        if forgot:
            self._shapes.count([*self._meters.values(), *self._budgets.values()])
        if len(self._fired) > MOST_SCOPES:
            # told again under the same names
            self._fired.clear()
        if not self._link.up:
            self._offset_s = wall_s - now_s
        self._roll(now_s)
        if self._shares != self._keeper.workers:
            self._shares = self._keeper.workers
            self._share.bind(map(self._shared, self._meters.values()), (), ())
        self._keeper.tick(now_s, wall_s)
        return forgot

    async def look(self, now_s: float, *, meters: bool = True) -> tuple[list[MeterState], list[BudgetState]]:
        """Of the scopes that this worker has met. Raises StoreUnavailable."""
        server_us = (now_s + self._offset_s) * 1e6
        looked = await in_turn(lambda spec: look_at_meter(self._link, spec, server_us), self._meters if meters else {})
        return looked, await in_turn(lambda spec: look_at_budget(self._link, spec, self._windows), self._budgets)

    def tell_marks(self, states: Iterable[BudgetState], holds: Callable[[BudgetSpec], bool]) -> None:
        """Events of what `look` has seen: sums that were adopted, and other amounts, pass marks without a settlement.
        A budget of which this worker has met an older amount, or that is no more, has none."""
        for state in states:
            spec, spent = state.spec, state.spent_nanos
            begins_s, ends_s = self._windows[spec.period]
            key = budget_key(spec.key, begins_s)
            fired = self._fired.get(f"{key}:{spec.amount_nanos}", 0)
            if spent >= next_mark(spec.amount_nanos, fired) and state.resets_at_s == ends_s and holds(spec):
                self._fire(spec, key, spent)

    async def _ask(self, reservation: Reservation) -> Outcome:
        account: RedisAccount = reservation.account
        place = account.placed(self._windows, self._turn)
        epoch = self._keeper.epoch if self.adopted else ""
        try:
            reply = await self._link.send(asking("admit", reservation, place, epoch, self._keeper.lease_ms))
        except (StoreUnavailable, RedisError) as error:
            if isinstance(error, RedisError):
                log.error("the counters' server refuses: %s", error)
                self._keeper.heed(error)
            # it may have been granted all the same
            self._tell_end(reservation.id, account, place, epoch, reservation.made_s, 0, 0)
            return self._without_server(reservation)
        except asyncio.CancelledError:
            self._tell_end(reservation.id, account, place, epoch, reservation.made_s, 0, 0)
            raise
        self._offset_s = int(reply[1]) / 1e6 - reservation.made_s
        if reply[0] == 0:
            return self._denial(account, reservation, place, reply)
        now_epoch = reply[2].decode()
        if reply[0] == -1:
            self._keeper.notice(now_epoch)
            return self._without_server(reservation)
        reservation.seen = Seen(now_epoch, place, reply)
        self._keeper.live[reservation.id] = reservation
        return reservation

    def _without_server(self, reservation: Reservation) -> Outcome:
        """Blocking budgets fail closed; limits are counted here, on this worker's share."""
        account: RedisAccount = reservation.account
        if account.blocks:
            return Denial(cause="unavailable", retry_after_s=BUSY_RETRY_S)
        outcome = self._share.admit(account.local, reservation.made_s, reservation.tokens, 0, 0)
        if isinstance(outcome, Denial):
            return outcome
        # a new name: under the old one the server may hold a reservation that is about to be voided
        reservation.id = self._new_id()
        reservation.seen = outcome
        return reservation

    def _denial(self, account: RedisAccount, reservation: Reservation, place: Place, reply: list[Any]) -> Denial:
        """The facts of a refusal, as memory counters would tell them that had seen the same."""
        now_s, at = reservation.made_s, 3 + 3 * len(account.meters)
        meters: list[Meter] = []
        for spec, (q_s, t_s, running) in zip(account.meters, levels(reply, len(account.meters)), strict=True):
            meter = Meter(spec)
            meter.q_full_s, meter.t_full_s, meter.running = now_s + q_s, now_s + t_s, running
            meters.append(meter)
        budgets: list[tuple[BudgetSpec, int, int, float]] = []
        for spec, key, stops in zip(account.budgets, place.budget_keys, account.stops, strict=True):
            self._fire(spec, key, int(reply[at]))
            if stops:
                ends_s = self._windows[spec.period][1] - self._offset_s
                budgets.append((spec, int(reply[at]), int(reply[at + 1]), ends_s))
            at += 2
        return denial_of(meters, budgets, now_s, reservation.tokens, reservation.reserved_nanos)

    def _tell_end(
        self,
        id: str,
        account: RedisAccount,
        place: Place,
        epoch: str,
        now_s: float,
        tokens: int,
        cost_nanos: int,
    ) -> None:
        def fire(sums: list[Any]) -> None:
            for spec, key, spent in zip(account.budgets, place.budget_keys, sums[1:], strict=False):
                self._fire(spec, key, int(spent))

        words = ending(id, place, epoch, int((now_s + self._offset_s) * 1000), tokens, cost_nanos)
        self._outbox.tell(words, fire if place.budget_keys else None)

    def _fire(self, spec: BudgetSpec, key: str, spent: int) -> None:
        """Events of the marks that a sum has passed. Every worker tells each once; the sink keeps one."""
        name = f"{key}:{spec.amount_nanos}"
        fired = self._fired.get(name, 0)
        if spent < next_mark(spec.amount_nanos, fired):
            return
        for percent in MARKS:
            if percent > fired and spent >= next_mark(spec.amount_nanos, percent - 1):
                self._on_event(event_of(spec, begins_of(key), percent, spent, self._keeper.server_s()))
                self._fired[name] = percent

    def _came_up(self) -> None:
        """On a new connection: the script, then the leases, so that none expires, then all that is untold."""
        self._keeper.came_up()
        self._outbox.again()

    def _shared(self, spec: MeterSpec) -> MeterSpec:
        """This worker's share of a limit."""
        return msgspec.structs.replace(
            spec,
            qpm=_part(spec.qpm, self._shares),
            tpm=_part(spec.tpm, self._shares),
            concurrency=_part(spec.concurrency, self._shares),
        )

    def _roll(self, now_s: float) -> None:
        """Go on to the periods that hold a time."""
        server_s = now_s + self._offset_s
        if server_s >= self._windows_end_s:
            self._windows = self._windows_at(server_s)
            self._windows_end_s = min(ends_s for _, ends_s in self._windows.values())
            self._turn += 1

    def _windows_at(self, server_s: float) -> dict[Period, tuple[float, float]]:
        return {period: window(period, self._zone, server_s) for period in PERIODS}

    def _new_id(self) -> str:
        self._count += 1
        return f"{self._name}-{self._count}"


def _part(limit: int | None, shares: int) -> int | None:
    return None if limit is None else max(1, limit // shares)
