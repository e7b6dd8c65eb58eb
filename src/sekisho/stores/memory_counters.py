"""Counters of one process, in memory. Must cost a microsecond or two a call, and hold all of a call or nothing."""

# ruff: noqa: FURB136  (max() is a call, and these lines run several times in every call)
from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar
from zoneinfo import ZoneInfo

import msgspec

from sekisho.domain.periods import window
from sekisho.domain.spending import EACH, MARKS, PERIODS, Period
from sekisho.stores.counters import (
    OTHERS,
    BudgetSpec,
    BudgetState,
    Denial,
    EventSink,
    Headroom,
    How,
    MeterSpec,
    MeterState,
    Outcome,
    Reservation,
    event_of,
    next_mark,
)
from sekisho.stores.meters import Meter, denial_of, tightest

_ENDLESS = float("inf")
#: scopes of one `each` beyond this share one: callers may invent features and users without end
MOST_SCOPES = 50_000
_CLOCK_SLIP_S = 0.01
#: so far a clock is set at once, and not by the small steps that keep it right
_CLOCK_JUMP_S = 60.0


class Spend:
    """One budget in its present period. `held` is what was spent and what is reserved."""

    __slots__ = (
        "amount",
        "begins_wall_s",
        "ends_wall_s",
        "exposed",
        "held",
        "mark",
        "next_mark_nanos",
        "spec",
        "spent",
        "turn",
    )

    def __init__(self, spec: BudgetSpec) -> None:
        self.amount = -1
        self.begin(0.0, 0.0, 0)
        self.renew(spec)

    def begin(self, begins_wall_s: float, ends_wall_s: float, turn: int) -> None:
        """A new period. What is still reserved from the last one does not count in it."""
        self.begins_wall_s, self.ends_wall_s = begins_wall_s, ends_wall_s
        self.turn = turn
        self.spent = self.held = self.exposed = 0
        self.set_mark(0)

    def renew(self, spec: BudgetSpec) -> None:
        """Another amount; its marks are passed anew."""
        self.spec = spec
        self.amount = spec.amount_nanos
        self.set_mark(0)

    def set_mark(self, percent: int) -> None:
        self.mark = percent
        self.next_mark_nanos = next_mark(self.amount, percent)

    def state(self) -> BudgetState:
        return BudgetState(
            spec=self.spec,
            spent_nanos=self.spent,
            reserved_nanos=self.held - self.spent,
            bound_nanos=self.exposed,
            resets_at_s=self.ends_wall_s,
        )


class Account:
    """What one kind of call is counted on. `carried` are meters that this attempt adds to without asking them."""

    __slots__ = ("budgets", "carried", "every", "meters", "stopping")

    def __init__(
        self,
        meters: tuple[Meter, ...],
        carried: tuple[Meter, ...],
        budgets: tuple[Spend, ...],
        stopping: tuple[Spend, ...],
    ) -> None:
        self.meters = meters
        self.carried = carried
        self.every = meters + carried
        self.budgets = budgets
        self.stopping = stopping

    def headroom(self, _reservation: Reservation | None, now_s: float) -> Headroom | None:
        return tightest(self.every, now_s)


class MemoryCounters:
    """Counters for one worker; see the port for the methods."""

    remote = False

    def __init__(self, zone: ZoneInfo, on_event: EventSink, now_s: float, wall_s: float) -> None:
        self._zone = zone
        self._on_event = on_event
        self._meters: dict[str, Meter] = {}
        self._budgets: dict[str, Spend] = {}
        self._shapes = Shapes()
        self._restored: Mapping[str, int] = {}
        self._restored_wall_s = 0.0
        self._wall_offset_s = wall_s - now_s
        #: when it was last told what time it is
        self._wall_s = wall_s
        #: the clock was set to another period: what was spent in that is to be adopted, also for the budgets of these
        #: keys, which began it at nothing
        self.clock_set = False
        self.astray: set[str] = set()
        self._turn = self._tidied_turn = 0
        self._windows: dict[Period, tuple[float, float]] = {one: window(one, zone, wall_s) for one in PERIODS}
        self._set_next_roll()

    def adopt(self, spent_nanos: Mapping[str, int], wall_s: float, resumed: Collection[str] = ()) -> None:
        """What was spent already, by budget key, in the periods that hold `wall_s`: for budgets on which nothing was
        counted yet, and for those of `resumed`, which did not hold for a while. Before the first call, and before those
        of a new configuration. The marks that this passes are told when the budgets are bound, with their amounts."""
        self._restored, self._restored_wall_s = spent_nanos, wall_s
        self._wall_s = wall_s
        for key in resumed:
            if (budget := self._budgets.get(key)) is not None:
                self._take_restored(budget)
        self.clock_set = False
        self.astray.difference_update(resumed)

    def met(self) -> list[BudgetSpec]:
        """The budgets that calls have met."""
        return [budget.spec for budget in self._budgets.values()]

    def bind(
        self,
        meters: Iterable[MeterSpec],
        carried: Iterable[MeterSpec],
        budgets: Iterable[BudgetSpec],
        counted: Iterable[BudgetSpec] = (),
    ) -> Account:
        pairs = [(self._budget(spec), spec) for spec in budgets]
        return Account(
            tuple(map(self._meter, meters)),
            tuple(map(self._meter, carried)),
            (*(budget for budget, _ in pairs), *map(self._budget, counted)),
            tuple(budget for budget, spec in pairs if spec.on_exceed != "warn"),
        )

    def admit(
        self, account: Account, now_s: float, tokens: int, reserve_nanos: int, most_nanos: int, id: str = ""
    ) -> Outcome:
        if now_s >= self._next_roll_s:
            self._roll(now_s)
        for meter in account.meters:
            if (
                meter.q_full_s > now_s + meter.q_slack_s
                or meter.running >= meter.most_running
                or (meter.t_full_s > now_s and meter.t_full_s + tokens * meter.t_interval_s > now_s + meter.t_burst_s)
            ):
                return self._deny(account, now_s, tokens, reserve_nanos)
        for budget in account.stopping:
            if budget.held + reserve_nanos > budget.amount:
                return self._deny(account, now_s, tokens, reserve_nanos)
        for meter in account.meters:
            full_s = meter.q_full_s
            meter.q_full_s = (full_s if full_s > now_s else now_s) + meter.q_interval_s
            full_s = meter.t_full_s
            meter.t_full_s = (full_s if full_s > now_s else now_s) + tokens * meter.t_interval_s
            meter.running += 1
        if account.carried:
            _carry(account.carried, now_s, tokens)
        for budget in account.budgets:
            budget.held += reserve_nanos
            budget.exposed += most_nanos - reserve_nanos
        return Reservation(account, now_s, tokens, reserve_nanos, most_nanos, id, self._turn)

    def dispatched(self, reservation: Reservation) -> None:
        reservation.dispatched = True

    def end(self, reservation: Reservation, how: How, now_s: float, tokens: int = 0, cost_nanos: int = 0) -> bool:
        if reservation.how is not None:
            return False
        reservation.how = how
        account: Account = reservation.account
        more = tokens - reservation.tokens
        for meter in account.every:
            meter.running -= 1
            if more < 0:
                meter.t_full_s += more * meter.t_interval_s
            elif more:
                full_s = meter.t_full_s
                meter.t_full_s = (full_s if full_s > now_s else now_s) + more * meter.t_interval_s
        reserved = reservation.reserved_nanos
        for budget in account.budgets:
            # what was reserved in an earlier period went with it
            if reservation.turn >= budget.turn:
                budget.held += cost_nanos - reserved
                budget.spent += cost_nanos
                budget.exposed -= reservation.most_nanos - reserved
                if budget.spent >= budget.next_mark_nanos:
                    self._fire(budget, now_s + self._wall_offset_s)
        return True

    def tick(self, now_s: float, wall_s: float) -> bool:
        self._wall_s = wall_s
        slip_s = wall_s - now_s - self._wall_offset_s
        if abs(slip_s) > _CLOCK_SLIP_S:
            self._wall_offset_s = wall_s - now_s
            self._set_next_roll()
            if abs(slip_s) > _CLOCK_JUMP_S:
                self._turn_to(wall_s)
        if now_s >= self._next_roll_s:
            self._roll(now_s)
        return self._tidied(now_s)

    async def look(self, now_s: float, *, meters: bool = True) -> tuple[list[MeterState], list[BudgetState]]:
        looked = [meter.state(now_s) for meter in self._meters.values()] if meters else []
        return looked, [budget.state() for budget in self._budgets.values()]

    def _tidied(self, now_s: float) -> bool:
        """Forget meters on which nothing is counted, where there are many, and such budgets once a period has ended."""
        many_budgets = len(self._budgets) >= MOST_SCOPES // 2 and self._turn > self._tidied_turn
        if len(self._meters) < MOST_SCOPES // 2 and not many_budgets:
            return False
        self._meters = {key: meter for key, meter in self._meters.items() if not meter.idle(now_s)}
        if many_budgets:
            self._tidied_turn = self._turn
            self._budgets = {key: budget for key, budget in self._budgets.items() if budget.held or budget.spent}
        self._shapes.count([one.spec for one in (*self._meters.values(), *self._budgets.values())])
        return True

    def _meter(self, spec: MeterSpec) -> Meter:
        spec = self._shapes.bounded(spec, self._meters)
        meter = self._meters.get(spec.key)
        if meter is None:
            meter = self._meters[spec.key] = Meter(spec)
        elif meter.spec != spec:
            meter.renew(spec)
        return meter

    def _budget(self, spec: BudgetSpec) -> Spend:
        spec = self._shapes.bounded(spec, self._budgets)
        budget = self._budgets.get(spec.key)
        if budget is None:
            budget = self._budgets[spec.key] = Spend(spec)
            budget.begin(*self._windows[spec.period], self._turn)
            self._take_restored(budget)
        elif budget.amount != spec.amount_nanos:
            budget.renew(spec)
        if budget.spent >= budget.next_mark_nanos:
            # by what was restored or by another amount; a budget that stops all calls sees no end that would tell it
            self._fire(budget, self._wall_s)
        return budget

    def _take_restored(self, budget: Spend) -> None:
        if budget.begins_wall_s <= self._restored_wall_s < budget.ends_wall_s:
            more = self._restored.get(budget.spec.key, 0) - budget.spent
            budget.spent += more
            budget.held += more

    def _deny(self, account: Account, now_s: float, tokens: int, reserve_nanos: int) -> Denial:
        budgets = [
            (budget.spec, budget.spent, budget.held - budget.spent, budget.ends_wall_s - self._wall_offset_s)
            for budget in account.stopping
        ]
        return denial_of(account.meters, budgets, now_s, tokens, reserve_nanos)

    def _fire(self, budget: Spend, wall_s: float) -> None:
        for percent in MARKS:
            if percent > budget.mark and budget.spent >= next_mark(budget.amount, percent - 1):
                self._on_event(event_of(budget.spec, budget.begins_wall_s, percent, budget.spent, wall_s))
                budget.set_mark(percent)

    def _roll(self, now_s: float) -> None:
        """Begin the periods that have come."""
        wall_s = now_s + self._wall_offset_s
        self._turn += 1
        for period, (_, ends_s) in self._windows.items():
            if wall_s >= ends_s:
                self._windows[period] = window(period, self._zone, wall_s)
        for budget in self._budgets.values():
            if wall_s >= budget.ends_wall_s:
                budget.begin(*self._windows[budget.spec.period], self._turn)
        self._set_next_roll()

    def _turn_to(self, wall_s: float) -> None:
        """The clock was set: perhaps to an earlier period, and perhaps to one in which calls were counted before."""
        windows: dict[Period, tuple[float, float]] = {period: window(period, self._zone, wall_s) for period in PERIODS}
        if windows == self._windows:
            return
        self._windows, self.clock_set = windows, True
        self._turn += 1
        for key, budget in self._budgets.items():
            if not budget.begins_wall_s <= wall_s < budget.ends_wall_s:
                budget.begin(*self._windows[budget.spec.period], self._turn)
                self.astray.add(key)
        self._set_next_roll()

    def _set_next_roll(self) -> None:
        self._next_roll_s = min(end for _, end in self._windows.values()) - self._wall_offset_s


def _carry(meters: tuple[Meter, ...], now_s: float, tokens: int) -> None:
    for meter in meters:
        full_s = meter.t_full_s
        meter.t_full_s = (full_s if full_s > now_s else now_s) + tokens * meter.t_interval_s
        meter.running += 1


_Spec = TypeVar("_Spec", MeterSpec, BudgetSpec)


class Shapes:
    """How many scopes there are of each shape: those that callers invent of one take no room from the others."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def bounded(self, spec: _Spec, known: Mapping[str, object]) -> _Spec:
        """The specification, or that of all scopes of its shape together once there are too many others. Who asks keeps
        it among the known ones."""
        if spec.key in known:
            return spec
        key = _key_of_all(spec)
        count = self._counts.get(key, 0)
        if count < MOST_SCOPES:
            self._counts[key] = count + 1
            return spec
        return msgspec.structs.replace(spec, key=key, scope=tuple((name, EACH) for name, _ in spec.scope))

    def count(self, specs: Iterable[MeterSpec | BudgetSpec]) -> None:
        """Anew, when some were forgotten."""
        self._counts.clear()
        for spec in specs:
            if not spec.key.startswith(OTHERS):
                key = _key_of_all(spec)
                self._counts[key] = self._counts.get(key, 0) + 1


def _key_of_all(spec: MeterSpec | BudgetSpec) -> str:
    key = OTHERS + "+".join(name for name, _ in spec.scope)
    return key + "|" + "|".join(spec.key.rsplit("|", 2)[1:]) if isinstance(spec, BudgetSpec) else key
