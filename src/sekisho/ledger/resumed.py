"""Which budgets have not held for a while, so that what is counted of them is old. Must not count anything itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from sekisho.domain.spending import Budget
from sekisho.ledger.scopes import Rules

#: a budget that somebody said to hold within this time goes on. Gateways say it every five seconds; and what a killed
#: one had reserved is charged after a minute: by then it has been, and does not come on top of the rows
FRESH_S = 75.0
#: nobody knows since when: what was begun by another worker a moment ago goes on all the same
UNKNOWN_S = 60.0


def all_held(budgets: Iterable[Budget], held: Sequence[tuple[Budget, float]], now_s: float) -> bool:
    """Whether each of these holds somewhere, whatever its amount."""
    fresh = {_plain(budget) for budget, said_s in held if said_s >= now_s - FRESH_S}
    return all(_plain(budget) in fresh for budget in budgets)


def idle_since(keys: Iterable[str], held: Sequence[tuple[Budget, float]], now_s: float) -> dict[str, float]:
    """Keys of budgets that do not hold anywhere now, and since when (seconds since 1970, as `now_s`). `held` are the
    budgets that held, each with the time when that was said last."""
    fresh = Rules((), (budget for budget, said_s in held if said_s >= now_s - FRESH_S))
    stale = [(Rules((), (budget,)), said_s) for budget, said_s in held if said_s < now_s - FRESH_S]
    return {
        key: max((said_s for rules, said_s in stale if rules.counts(key)), default=now_s - UNKNOWN_S)
        for key in keys
        if not fresh.counts(key)
    }


def _plain(budget: Budget) -> Budget:
    return msgspec.structs.replace(budget, amount_nanos=0, strict=False)
