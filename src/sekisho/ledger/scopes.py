"""Which limits and budgets hold for a call, found once for each kind of call. Must not count anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast
from urllib.parse import quote, unquote

import msgspec

from sekisho.domain.spending import (
    PERIODS,
    Budget,
    Facts,
    Limit,
    Period,
    Scope,
    Spent,
    concreteness,
    instance_of,
    shape,
)
from sekisho.ledger.matching import RuleIndex
from sekisho.stores.counters import OTHERS, BudgetSpec, MeterSpec

_QUANTITIES = ("qpm", "tpm", "concurrency")


class Rules:
    """The limits and budgets of one configuration."""

    def __init__(self, limits: Iterable[Limit], budgets: Iterable[Budget]) -> None:
        # what teams set for themselves comes last: it narrows what is there
        self.limits = tuple(sorted(limits, key=lambda rule: rule.of_team is not None))
        self.budgets = tuple(budgets)
        self._limits, self._budgets = RuleIndex(self.limits), RuleIndex(self.budgets)
        #: names of scopes that any rule asks for: two calls that differ in others only are of one kind
        self.names = frozenset(name for rule in (*self.limits, *self.budgets) for name in shape(rule.scope))

    def meters(self, facts: Facts) -> list[MeterSpec]:
        """The limits that hold: of one shape a named value comes before `each`, quantity by quantity, and of equals
        the smaller limit; limits of different shapes hold all together."""
        best: dict[tuple[tuple[str, ...], str, bool], int] = {}
        matching = [
            (rule, at) for rule in self._limits.near(facts) if (at := instance_of(rule.scope, facts)) is not None
        ]
        for rule, _ in matching:
            for quantity in _QUANTITIES:
                if getattr(rule, quantity) is not None:
                    place = _place(rule, quantity)
                    best[place] = max(best.get(place, -1), concreteness(rule.scope))
        specs: dict[Scope, MeterSpec] = {}
        for rule, at in matching:
            for quantity in _QUANTITIES:
                if best.get(_place(rule, quantity)) == concreteness(rule.scope):
                    specs[at] = _stricter(specs.get(at) or MeterSpec(key=scope_key(at), scope=at), rule, quantity)
        return list(specs.values())

    def spending(self, facts: Facts, period: Period | None = None) -> list[tuple[Budget, BudgetSpec]]:
        """The budgets that hold. Of one shape and period those of a named value come before those of `each`; a warning
        and a block of one scope hold both."""
        matching = [
            (rule, at)
            for rule in self._budgets.near(facts)
            if period in (None, rule.period) and (at := instance_of(rule.scope, facts)) is not None
        ]
        best: dict[tuple[tuple[str, ...], str, bool], int] = {}
        for rule, _ in matching:
            place = _place(rule, rule.period)
            best[place] = max(best.get(place, -1), concreteness(rule.scope))
        found: dict[str, tuple[Budget, BudgetSpec]] = {}
        for rule, at in matching:
            if best[_place(rule, rule.period)] == concreteness(rule.scope):
                spec = _spec(rule, at)
                known = found.get(spec.key)
                if known is not None and known[0].strict != rule.strict:
                    rule, known = _strict(rule), (_strict(known[0]), known[1])
                if known is None or spec.amount_nanos < known[1].amount_nanos:
                    known = rule, spec
                found[spec.key] = known
        return list(found.values())

    def spent_by_budget(self, rows: Iterable[Spent], period: Period) -> dict[str, int]:
        """Nano-dollars by budget key, from sums of rows of one period."""
        sums: dict[str, int] = {}
        for row in rows:
            for _, spec in self.spending(row.facts, period):
                sums[spec.key] = sums.get(spec.key, 0) + row.cost_nanos
        return sums

    def counts(self, key: str) -> bool:
        """Whether what is counted under the key of a BudgetSpec is a budget that holds. True for what is counted
        together because there is too much of it."""
        return key.startswith(OTHERS) or self.budget_at(key) is not None

    def holds(self, spec: BudgetSpec) -> bool:
        """Whether it is a budget that holds, with this amount."""
        if spec.key.startswith(OTHERS):
            return True
        now = self.budget_at(spec.key)
        return now is not None and now.amount_nanos == spec.amount_nanos

    def budget_at(self, key: str) -> BudgetSpec | None:
        """The budget that is counted under a key, as it is now."""
        if key.startswith(OTHERS):
            return None
        period = cast(Period, key.rsplit("|", 2)[1])
        return next((spec for _, spec in self.spending(facts_of_key(key), period) if spec.key == key), None)

    @property
    def periods(self) -> tuple[Period, ...]:
        """Those that any budget has."""
        return tuple(period for period in PERIODS if any(rule.period == period for rule in self.budgets))


def scope_key(scope: Scope) -> str:
    """`team=research|user=taro`, every value escaped, so that no two scopes share a key."""
    return "|".join(f"{name}={quote(value, safe='')}" for name, value in scope)


def facts_of_key(key: str) -> Facts:
    """What calls have in common that are counted under the key of a BudgetSpec."""
    scope = key.rsplit("|", 2)[0]
    return {name: unquote(value) for name, _, value in (part.partition("=") for part in scope.split("|"))}


def _place(rule: Limit | Budget, what: str) -> tuple[tuple[str, ...], str, bool]:
    """Rules of one place replace each other. What a team set for itself has places of its own: it can only tighten."""
    return shape(rule.scope), what, rule.of_team is not None


def _strict(rule: Budget) -> Budget:
    return msgspec.structs.replace(rule, strict=True)


def _spec(rule: Budget, at: Scope) -> BudgetSpec:
    way = rule.on_exceed if rule.degrade_to is None else f"{rule.on_exceed}:{quote(rule.degrade_to, safe='')}"
    return BudgetSpec(
        key=f"{scope_key(at)}|{rule.period}|{way}",
        scope=at,
        amount_nanos=rule.amount_nanos,
        period=rule.period,
        on_exceed=rule.on_exceed,
        degrade_to=rule.degrade_to,
    )


def _stricter(spec: MeterSpec, rule: Limit, quantity: str) -> MeterSpec:
    wanted, known = getattr(rule, quantity), getattr(spec, quantity)
    if wanted is None or (known is not None and known <= wanted):
        return spec
    own = rule.of_team is not None and known is not None
    changes: dict[str, float] = {quantity: wanted, "wait_s": spec.wait_s if own else max(spec.wait_s, rule.wait_s)}
    if quantity != "concurrency":
        burst = f"{quantity[0]}_burst_s"
        changes[burst] = min(rule.burst_s, getattr(spec, burst)) if own else rule.burst_s
    return msgspec.structs.replace(spec, **changes)
