"""The counters of a gateway under test, and what must be true of them when no call is in flight."""

from __future__ import annotations

import time
from collections.abc import Iterable
from zoneinfo import ZoneInfo

from sekisho.app.limits import rules_of
from sekisho.app.settings.model import Settings
from sekisho.domain.row import AttemptRow
from sekisho.domain.spending import BudgetEvent
from sekisho.ledger.limiter import Limiter
from sekisho.ledger.plans import Planner, SizeBook
from sekisho.stores.counters import BudgetState
from sekisho.stores.memory_counters import MemoryCounters

#: so wide that nothing is refused, and everything is counted
WIDE = """
limits:
  - {scope: {key: "*"}, qpm: 100000000, tpm: 1000000000000, concurrency: 1000000}
  - {scope: {model: "*"}, qpm: 100000000, tpm: 1000000000000}
budgets:
  - {scope: {organisation: "*"}, usd: 1000000, on_exceed: warn}
  - {scope: {user: "*"}, usd: 1000000, period: day, on_exceed: warn}
"""


class Counting:
    """Memory counters over the rules of some settings."""

    def __init__(self, settings: Settings) -> None:
        self.events: list[BudgetEvent] = []
        self.counters = MemoryCounters(
            ZoneInfo(settings.timezone), self.events.append, time.perf_counter(), time.time()
        )
        self.limiter = Limiter(self.counters)
        self._before = 0
        rules = rules_of(settings)
        limited = bool(rules.limits or rules.budgets)
        self.planner = Planner(rules, self.counters, SizeBook()) if limited else None

    async def budgets(self) -> dict[str, BudgetState]:
        """By scope and period, as `organisation month`."""
        _, states = await self.counters.look(time.perf_counter())
        return {f"{state.spec.scope[0][0]} {state.spec.period}": state for state in states}

    def check(self, attempts: Iterable[AttemptRow] | None) -> None:
        """Nothing is held, and what the organisation spent is what the rows say; None: not all rows are there."""
        for meter in self.counters._meters.values():  # pyright: ignore[reportPrivateUsage]
            assert meter.running == 0, f"a call still runs at {meter.spec.key}"
        spends = self.counters._budgets.values()  # pyright: ignore[reportPrivateUsage]
        for spend in spends:
            assert spend.held == spend.spent, f"a reservation of {spend.spec.key} has no end"
            assert spend.exposed == 0, spend.spec.key
        if attempts is not None and (spent := self._organisation()) is not None:
            wanted = sum(attempt.cost_nanos or 0 for attempt in attempts)
            assert spent - self._before == wanted, "ledger = rows"

    def begin_anew(self) -> None:
        """Rows that were taken away before are not asked for any more."""
        self._before = self._organisation() or 0

    def _organisation(self) -> int | None:
        spends = self.counters._budgets.values()  # pyright: ignore[reportPrivateUsage]
        return next((spend.spent for spend in spends if spend.spec.scope == (("organisation", "*"),)), None)
