"""Which budgets have not held for a while, so that what is counted of them is old. Must not count anything itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from sekisho.domain.spending import Budget
from sekisho.ledger.matching import RuleIndex
from sekisho.ledger.scopes import Rules, facts_of_key

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
    stale = _Stale((budget, said_s) for budget, said_s in held if said_s < now_s - FRESH_S)
    return {key: stale.said_s(key, now_s - UNKNOWN_S) for key in keys if not fresh.counts(key)}


class _Stale:
    """Budgets that hold no more, each by itself: of two of one shape neither takes the place of the other. After a
    night without a gateway that may be ten thousand."""

    def __init__(self, held: Iterable[tuple[Budget, float]]) -> None:
        known = list(held)
        self._near = RuleIndex(budget for budget, _ in known).near
        self._alone = {id(budget): (Rules((), (budget,)), said_s) for budget, said_s in known}
        self._known = known  # or an id might become another's

    def said_s(self, key: str, unknown_s: float) -> float:
        """When it was said last that what is counted under a key holds."""
        near = (self._alone[id(budget)] for budget in self._near(facts_of_key(key)))
        return max((said_s for rules, said_s in near if rules.counts(key)), default=unknown_s)


def _plain(budget: Budget) -> Budget:
    return msgspec.structs.replace(budget, amount_nanos=0, strict=False)
