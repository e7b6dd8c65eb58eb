"""Limits and budgets of a running gateway, from its start through its reloads to its end. Must count nothing itself.

Counters outlive a configuration, a planner does not: a reload makes another one over the same counters.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from sekisho.app.limits import open_counters, rules_of, spent_before
from sekisho.app.settings.model import Settings
from sekisho.domain.spending import EACH, Spent, scope_text
from sekisho.ledger.limiter import Limiter
from sekisho.ledger.plans import Planner, SizeBook
from sekisho.ledger.resumed import all_held, idle_since
from sekisho.ledger.scopes import Rules
from sekisho.ledger.tally import ByLabel
from sekisho.stores.budget_events import BudgetEvents, PostgresEvents, SqliteEvents
from sekisho.stores.control import NOTHING, ControlRecords
from sekisho.stores.counters import BudgetSpec, BudgetState, SpentBefore
from sekisho.stores.memory_counters import MemoryCounters
from sekisho.stores.ports import StoreUnavailable
from sekisho.tables.spent import SpentUnknown, spent_rows

if TYPE_CHECKING:
    from sekisho.stores.redis_counters import RedisCounters

log = logging.getLogger("sekisho.app")

#: what is told of budgets may be so old: asking a store about each of a thousand is not free
_LOOK_EVERY_S = 5.0
_RENEWED_AT_ONCE = 500
#: scopes whose names are the installation's own, and those whose names a call may bring with it
_OURS, _INVENTED = ("organisation", "department", "team"), ("endpoint", "model", "feature")


class LimitsAndBudgets:
    """What lets calls in, and what keeps it true."""

    def __init__(
        self, rules: Rules, counters: MemoryCounters | RedisCounters, events: BudgetEvents, books: _Books
    ) -> None:
        self.counters = counters
        self.limiter = Limiter(counters)
        self.events = events
        self._books = books
        self._sizes = SizeBook()
        #: those in force
        self.rules = rules
        self._planner: Planner | None = None
        self._public = _public(rules, books.settings)
        self._writing: asyncio.Future[None] | None = None
        self._looking: asyncio.Future[None] | None = None
        self._adopting: asyncio.Future[None] | None = None
        #: or the end of one would let calls in that wait for the other
        self._one_adoption = asyncio.Lock()
        self._look_at_s = 0.0
        #: of every budget that was met, as /metrics shows it
        self._shown = _gauges((), self._public)
        if not isinstance(counters, MemoryCounters):
            counters.on_rebuilt = self._rebuilt_elsewhere
        self._rebuild_by(rules)

    def planner(self) -> Planner | None:
        """Plans of calls by the rules in force, anew for each snapshot; None: nothing is limited."""
        rules = self.rules
        limited = bool(rules.limits or rules.budgets)
        self._planner = Planner(rules, self.counters, self._sizes) if limited else None
        return self._planner

    async def change(self, settings: Settings, key_names: Mapping[str, str], control: ControlRecords) -> None:
        """Go on by other rules. Raises SpentUnknown or StoreUnavailable where new budgets cannot be told what was
        spent; then the old rules go on."""
        # a tenth of a second where a company has a budget and a limit for each of thousands of people
        rules = await asyncio.to_thread(rules_of, settings, control)
        self._books.key_names = key_names
        if rules.budgets and rules.budgets != self.rules.budgets:
            await self.adopt(rules)
        changed = rules.budgets != self.rules.budgets
        if rules.limits != self.rules.limits:
            self.limiter.limits_changed()
        self.rules = rules
        self._rebuild_by(rules)
        self._public = _public(rules, settings)
        if changed:
            # other amounts are taken over at once, also where nobody calls: their marks may be passed already
            await self._renew(self.counters.met())

    async def _renew(self, met: list[BudgetSpec]) -> None:
        """Bind the budgets that were met as they are now, a few at a time: there may be tens of thousands."""
        for at in range(0, len(met), _RENEWED_AT_ONCE):
            now = (self.rules.budget_at(spec.key) for spec in met[at : at + _RENEWED_AT_ONCE])
            self.counters.bind((), (), [spec for spec in now if spec is not None])
            await asyncio.sleep(0)

    async def adopt(self, rules: Rules | None = None) -> None:
        """Tell the counters what was spent of budgets that are about to hold and did not until now; None: of those in
        force. Raises SpentUnknown or StoreUnavailable."""
        async with self._one_adoption:
            rules = rules or self.rules
            if isinstance(self.counters, MemoryCounters):
                gone = await asyncio.to_thread(_keys, self.counters.met(), self.rules, False)
                wall_s = time.time()
                spent = await spent_before(self._books.settings, rules, self._books.spent)(wall_s)
                self.counters.adopt(spent.nanos, wall_s, gone | self.counters.astray)
                return
            # before anything is read, so that a rebuild meanwhile knows of them
            self._rebuild_by(rules)
            try:
                await self._adopt_shared(self.counters, rules)
            except BaseException:
                self._rebuild_by(self.rules)
                raise

    def _rebuild_by(self, rules: Rules) -> None:
        """What is rebuilt from now on, and said to be."""
        self._books.rules = rules
        if not isinstance(self.counters, MemoryCounters):
            self.counters.in_force = rules.budgets

    async def _adopt_shared(self, counters: RedisCounters, rules: Rules) -> None:
        epoch = None
        while epoch != counters.epoch:  # rebuilt meanwhile, perhaps without these
            epoch = counters.epoch
            # by the server's clock: that of another machine may be ahead of ours by more than a budget stays fresh
            now_s = await counters.clock_s()
            held = await counters.held()
            if not await asyncio.to_thread(all_held, rules.budgets, held, now_s):
                spent = await spent_before(self._books.settings, rules, self._books.spent)(now_s)
                sums, met = spent.nanos, await asyncio.to_thread(_keys, counters.met(), rules, True)
                idle = await asyncio.to_thread(idle_since, sums.keys() | met, held, now_s)
                # a budget that goes on has counted by itself what the rows hold
                sums = {key: sums[key] for key in idle if key in sums}
                await counters.adopt(msgspec.structs.replace(spent, nanos=sums), now_s, idle)
        await counters.say_held(rules.budgets)
        if epoch == counters.epoch:  # or what was adopted went with it
            counters.adopted = True

    async def begin(self) -> None:
        """At the start. Where the counters' server is away, or still rebuilds budgets, ours wait for it: who calls
        meanwhile waits at the door."""
        if isinstance(self.counters, MemoryCounters) or not self.rules.budgets:
            return
        self.counters.adopted = False
        if self.counters.up and not self.counters.epoch:
            log.warning("budgets are being rebuilt; calls with a blocking budget are refused until they are there")
            return
        try:
            await self.adopt()
        except StoreUnavailable as error:
            log.warning("%s; calls with a blocking budget are refused until it is there", error)

    def tick(self) -> None:
        """About once a second."""
        now_s = time.perf_counter()
        if self.counters.tick(now_s, time.time()) and self._planner is not None:
            self._planner.forget()
        if self.events.waiting and (self._writing is None or self._writing.done()):
            self._writing = asyncio.ensure_future(self._write())
        if self.rules.budgets and now_s >= self._look_at_s and (self._looking is None or self._looking.done()):
            self._look_at_s = now_s + _LOOK_EVERY_S
            self._looking = asyncio.ensure_future(self._look(now_s))
        if self._unadopted and (self._adopting is None or self._adopting.done()):
            self._adopting = asyncio.ensure_future(self._adopt_late())

    def _rebuilt_elsewhere(self) -> None:
        """By a worker whose configuration may lack budgets of this one: what was spent on those is read here."""
        if isinstance(self.counters, MemoryCounters) or not self.rules.budgets:
            return
        self.counters.adopted = False
        if self._adopting is None or self._adopting.done():
            self._adopting = asyncio.ensure_future(self._adopt_late())

    @property
    def _unadopted(self) -> bool:
        counters = self.counters
        if isinstance(counters, MemoryCounters):
            return counters.clock_set and bool(self.rules.budgets)
        # nothing can be told before there is an epoch
        return not counters.adopted and counters.up and bool(counters.epoch)

    async def _adopt_late(self) -> None:
        here = isinstance(self.counters, MemoryCounters)
        try:
            await self.adopt()
        except (StoreUnavailable, SpentUnknown) as error:
            meanwhile = "budgets count anew" if here else "calls with a blocking budget are refused"
            log.warning("%s; %s until it is there", error, meanwhile)
        else:
            if here:
                log.warning("the clock was set; what was spent in the periods that it is in now was read from the rows")

    async def close(self) -> None:
        """Keep the last events, and tell a remote store what it does not know yet."""
        for task in (self._writing, self._looking, self._adopting):
            if task is not None:
                await asyncio.wait({task}, timeout=5)
        await self._write()
        if not isinstance(self.counters, MemoryCounters):
            await self.counters.close()

    @property
    def state_up(self) -> bool | None:
        """Whether the server of the counters answers; None where they are in memory."""
        return None if isinstance(self.counters, MemoryCounters) else self.counters.up

    def gauges(self) -> dict[str, tuple[str, ByLabel]]:
        """Of every budget that was met since the start, as of some seconds ago; the names are there without any."""
        return self._shown

    async def _write(self) -> None:
        try:
            await asyncio.to_thread(self.events.write)
        except StoreUnavailable as error:
            log.warning("%s; they are kept and written later", error)

    async def _look(self, now_s: float) -> None:
        try:
            # who waits to hear what was spent must not keep others from asking
            if not isinstance(self.counters, MemoryCounters) and self.counters.adopted:
                await self.counters.say_held(self.rules.budgets, again=True)
            _, budgets = await self.counters.look(now_s, meters=False)
            if not isinstance(self.counters, MemoryCounters):
                self.counters.tell_marks(budgets, self.rules.holds)
            # beside the calls, and not whenever somebody asks: with several workers that is every second
            self._shown = await asyncio.to_thread(_gauges, budgets, self._public)
        except StoreUnavailable:
            self._shown = _gauges((), self._public)  # better nothing than old numbers


def _keys(met: Iterable[BudgetSpec], rules: Rules, hold: bool) -> set[str]:
    """Of the budgets that were met those that hold, or that do not: a quarter of a second where it is ten thousand."""
    return {spec.key for spec in met if rules.counts(spec.key) is hold}


def _gauges(budgets: Iterable[BudgetState], public: frozenset[tuple[str, str]]) -> dict[str, tuple[str, ByLabel]]:
    ratios: dict[str, float] = {}
    bounds: dict[str, float] = {}
    for one in budgets:
        label = _label(one.spec, public)
        ratio = (one.spent_nanos + one.reserved_nanos) / one.spec.amount_nanos
        ratios[label] = max(ratio, ratios.get(label, 0.0))
        bounds[label] = bounds.get(label, 0.0) + one.bound_nanos / 1e9
    return {
        "sekisho_budget_ratio": (
            "Spent and reserved, as a part of the budget; of those that share a label the fullest one.",
            ByLabel("budget", ratios),
        ),
        "sekisho_budget_bound_dollars": (
            "By how much the calls in flight can exceed the budget at most.",
            ByLabel("budget", bounds),
        ),
    }


def _label(spec: BudgetSpec, public: frozenset[tuple[str, str]]) -> str:
    """As in `budgets`, with the names that may stand in metrics."""
    named = ((name, value if name in _OURS or (name, value) in public else EACH) for name, value in spec.scope)
    return f"{scope_text(tuple(named))}, {spec.period}, {spec.on_exceed}"


def _public(rules: Rules, settings: Settings) -> frozenset[tuple[str, str]]:
    """Names that may stand in metrics: those that rules declare and those of endpoints and their targets. Callers
    invent others without end, and a user's or a key's name is nobody's business there."""
    found = {pair for rule in (*rules.limits, *rules.budgets) for pair in rule.scope if pair[0] in _INVENTED}
    for endpoint in settings.endpoints.values():
        found.add(("endpoint", endpoint.name))
        found |= {("model", f"{one.provider}/{one.model}") for one in (*endpoint.targets, *endpoint.fallbacks)}
    return frozenset(found)


class _Books:
    """Reads from the rows what was spent."""

    def __init__(self, settings: Settings, key_names: Mapping[str, str], rules: Rules) -> None:
        self.settings = settings
        #: those by which counters are rebuilt that lost their memory
        self.rules = rules
        #: id -> name, for budgets of keys: rows hold ids
        self.key_names = key_names

    def spent(self, since_s: Sequence[float], until_s: float) -> list[list[Spent]]:
        """Blocks. Raises SpentUnknown."""
        found = spent_rows(self.settings.data_dir, self.settings.storage, since_s, until_s)
        for one in chain.from_iterable(found):
            key_id = one.facts["key"]
            one.facts["key"] = None if key_id is None else self.key_names.get(key_id, key_id)
        return found

    async def spent_by_budget(self, as_of_s: float) -> SpentBefore:
        """By the rules in force. Raises SpentUnknown."""
        return await spent_before(self.settings, self.rules, self.spent)(as_of_s)


async def open_limits_and_budgets(
    settings: Settings, key_names: Mapping[str, str], control: ControlRecords = NOTHING
) -> LimitsAndBudgets:
    """Counters that know what was spent before. Raises StoreUnavailable where that is unknown and a budget may stop
    calls by it."""
    url = settings.database_url
    table = SqliteEvents(settings.database_path) if url is None else PostgresEvents(url.reveal())
    events = BudgetEvents(table)
    rules = rules_of(settings, control)
    books = _Books(settings, key_names, rules)
    try:
        counters = await open_counters(settings, events.note, books.spent_by_budget)
        found = LimitsAndBudgets(rules, counters, events, books)
        await found.begin()
    except SpentUnknown as error:
        raise StoreUnavailable(f"{error}; budgets cannot be kept without it") from None
    return found
