"""Limits and budgets of a running gateway, from its start through its reloads to its end. Must count nothing itself.

Counters outlive a configuration, a planner does not: a reload makes another one over the same counters.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from sekisho.app.limits import open_counters, rules_of, spent_before
from sekisho.app.settings.model import Settings
from sekisho.domain.spending import EACH, Spent, scope_text
from sekisho.ledger.limiter import Limiter
from sekisho.ledger.plans import Planner, SizeBook
from sekisho.ledger.scopes import Rules
from sekisho.ledger.tally import ByLabel
from sekisho.stores.budget_events import BudgetEvents, PostgresEvents, SqliteEvents
from sekisho.stores.control import NOTHING, ControlRecords
from sekisho.stores.counters import BudgetSpec, BudgetState
from sekisho.stores.memory_counters import MemoryCounters
from sekisho.stores.ports import StoreUnavailable
from sekisho.tables.spent import SpentUnknown, spent_rows

if TYPE_CHECKING:
    from sekisho.stores.redis_counters import RedisCounters

log = logging.getLogger("sekisho.app")

#: what is told of budgets may be so old: asking a store about each of a thousand is not free
_LOOK_EVERY_S = 5.0


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
        self._writing: asyncio.Future[None] | None = None
        self._looking: asyncio.Future[None] | None = None
        self._look_at_s = 0.0
        self._budgets: list[BudgetState] = []

    def planner(self) -> Planner | None:
        """Plans of calls by the rules in force, anew for each snapshot; None: nothing is limited."""
        rules = self.rules
        limited = bool(rules.limits or rules.budgets)
        self._planner = Planner(rules, self.counters, self._sizes) if limited else None
        return self._planner

    async def change(self, settings: Settings, key_names: Mapping[str, str], control: ControlRecords) -> None:
        """Go on by other rules. Raises SpentUnknown or StoreUnavailable where new budgets cannot be told what was
        spent; then the old rules go on."""
        rules = rules_of(settings, control)
        self._books.key_names = key_names
        if rules.budgets and rules.budgets != self.rules.budgets:
            wall_s = time.time()
            sums = await spent_before(settings, rules, self._books.spent)(wall_s)
            if isinstance(self.counters, MemoryCounters):
                self.counters.adopt(sums, wall_s)
            else:
                await self.counters.adopt(sums, wall_s)
        self.rules = rules

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

    async def close(self) -> None:
        """Keep the last events, and tell a remote store what it does not know yet."""
        for task in (self._writing, self._looking):
            if task is not None:
                await asyncio.wait({task}, timeout=5)
        await self._write()
        if not isinstance(self.counters, MemoryCounters):
            await self.counters.close()

    def gauges(self) -> dict[str, tuple[str, ByLabel]]:
        """Of every budget that was met since the start, as of some seconds ago."""
        if not self._budgets:
            return {}
        ratios: dict[str, float] = {}
        bounds: dict[str, float] = {}
        for one in self._budgets:
            label = _label(one.spec)
            ratio = (one.spent_nanos + one.reserved_nanos) / one.spec.amount_nanos
            ratios[label] = max(ratio, ratios.get(label, 0.0))
            bounds[label] = bounds.get(label, 0.0) + one.bound_nanos / 1e9
        return {
            "sekisho_budget_ratio": (
                "Spent and reserved, as a part of the budget; of budgets of users or keys the fullest one.",
                ByLabel("budget", ratios),
            ),
            "sekisho_budget_bound_dollars": (
                "By how much the calls in flight can exceed the budget at most.",
                ByLabel("budget", bounds),
            ),
        }

    async def _write(self) -> None:
        try:
            await asyncio.to_thread(self.events.write)
        except StoreUnavailable as error:
            log.warning("%s; they are kept and written later", error)

    async def _look(self, now_s: float) -> None:
        try:
            _, self._budgets = await self.counters.look(now_s)
        except StoreUnavailable:
            self._budgets = []  # better nothing than old numbers


def _label(spec: BudgetSpec) -> str:
    """As in `budgets`, without a user's or a key's name: those do not go into metrics."""
    named = ((name, EACH if name in ("user", "key") else value) for name, value in spec.scope)
    return f"{scope_text(tuple(named))}, {spec.period}, {spec.on_exceed}"


class _Books:
    """Reads from the rows what was spent."""

    def __init__(self, settings: Settings, key_names: Mapping[str, str]) -> None:
        self._settings = settings
        #: id -> name, for budgets of keys: rows hold ids
        self.key_names = key_names

    def spent(self, since_s: Sequence[float], until_s: float) -> list[list[Spent]]:
        """Blocks. Raises SpentUnknown."""
        found = spent_rows(self._settings.data_dir, self._settings.storage, since_s, until_s)
        for one in chain.from_iterable(found):
            key_id = one.facts["key"]
            one.facts["key"] = None if key_id is None else self.key_names.get(key_id, key_id)
        return found


async def open_limits_and_budgets(
    settings: Settings, key_names: Mapping[str, str], control: ControlRecords = NOTHING
) -> LimitsAndBudgets:
    """Counters that know what was spent before. Raises StoreUnavailable where that is unknown and a budget may stop
    calls by it."""
    url = settings.database_url
    table = SqliteEvents(settings.database_path) if url is None else PostgresEvents(url.reveal())
    events = BudgetEvents(table)
    books = _Books(settings, key_names)
    rules = rules_of(settings, control)
    try:
        counters = await open_counters(settings, events.note, spent_before(settings, rules, books.spent))
    except SpentUnknown as error:
        raise StoreUnavailable(f"{error}; budgets cannot be kept without it") from None
    return LimitsAndBudgets(rules, counters, events, books)
