"""How much of each limit and budget is used now, from the counters that calls are counted on. Must not count anything.

A budget that no call has touched since the start is not known to the counters yet, though money may have been spent
on it before: so the instances that keys, teams and users make are bound first, as a call would do it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from sekisho.domain.spending import EACH, Budget, Facts, Limit, Scope, concreteness, instance_of, place_of, shape
from sekisho.ledger.matching import Rule, RuleIndex
from sekisho.ledger.scopes import Rules
from sekisho.stores.counters import BudgetSpec, BudgetState, Counters, MeterSpec, MeterState
from sekisho.stores.ports import StoreUnavailable


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """The rules in force and what they are counted on."""

    rules: Rules
    counters: Counters
    now_s: Callable[[], float]


class States(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is counted, at one moment. `known` is False while the counters do not answer."""

    meters: list[MeterState]
    budgets: list[BudgetState]
    known: bool = True

    @property
    def answer(self) -> Literal["ok", "unavailable"]:
        return "ok" if self.known else "unavailable"

    def seen_by(self, facts: Facts) -> States:
        """Those of instances that are of no one else: whose scope says the same wherever it says anything."""
        if not facts:
            return self
        return msgspec.structs.replace(
            self,
            meters=[one for one in self.meters if _agrees(one.spec.scope, facts)],
            budgets=[one for one in self.budgets if _agrees(one.spec.scope, facts)],
        )

    def of_budgets(self, rules: Sequence[Budget]) -> list[list[BudgetState] | None]:
        """For each of all budgets the instances for which it holds: where none of the others names more values. None:
        nobody knows."""
        if not self.known:
            return [None] * len(rules)
        found: dict[int, list[BudgetState]] = {id(rule): [] for rule in rules}
        near = RuleIndex(rules).near
        for state in self.budgets:
            spec = state.spec
            matching = [rule for rule in _matching(near, spec.scope) if rule.period == spec.period]
            most = _most_concrete((rule, "") for rule in matching)
            for rule in matching:
                way = rule.on_exceed, rule.degrade_to
                if way == (spec.on_exceed, spec.degrade_to) and concreteness(rule.scope) == most[_place(rule, "")]:
                    found[id(rule)].append(state)
        return [found[id(rule)] for rule in rules]

    def of_limits(self, rules: Sequence[Limit]) -> list[list[MeterState] | None]:
        """For each of all limits the instances for which any of its quantities holds. None: nobody knows."""
        if not self.known:
            return [None] * len(rules)
        found: dict[int, list[MeterState]] = {id(rule): [] for rule in rules}
        near = RuleIndex(rules).near
        for state in self.meters:
            given = [(rule, name) for rule in _matching(near, state.spec.scope) for name in _given(rule)]
            most = _most_concrete(given)
            governing = {id(rule) for rule, name in given if concreteness(rule.scope) == most[_place(rule, name)]}
            for one in governing:
                found[one].append(state)
        return [found[id(rule)] for rule in rules]


NOTHING_KNOWN = States(meters=[], budgets=[], known=False)


async def look(counted: Counted, facts: list[Facts]) -> States:
    """The states of all rules; `facts` are those of the keys in force."""
    meters, budgets = await asyncio.to_thread(_specs, counted.rules, facts)
    counted.counters.bind(meters, (), budgets)
    try:
        found = await counted.counters.look(counted.now_s())
    except StoreUnavailable:
        return NOTHING_KNOWN
    # as they were met they would stand in no order that anybody knows
    return await asyncio.to_thread(_in_order, *found)


def _in_order(meters: list[MeterState], budgets: list[BudgetState]) -> States:
    return States(
        meters=sorted(meters, key=lambda state: place_of(state.spec.scope)),
        budgets=sorted(budgets, key=lambda state: place_of(state.spec.scope)),
    )


def _specs(rules: Rules, facts: list[Facts]) -> tuple[list[MeterSpec], list[BudgetSpec]]:
    """Of what keys make, and of rules that name all their values."""
    named = [dict(rule.scope) for rule in (*rules.limits, *rules.budgets) if _is_fact(rule.scope)]
    meters: dict[str, MeterSpec] = {}
    budgets: dict[str, BudgetSpec] = {}
    for one in (*facts, *named):
        meters |= {spec.key: spec for spec in rules.meters(one)}
        budgets |= {spec.key: spec for _, spec in rules.spending(one)}
    return [*meters.values()], [*budgets.values()]


def _agrees(scope: Scope, facts: Facts) -> bool:
    return all(name not in facts or facts[name] == value for name, value in scope)


def _is_fact(scope: Scope) -> bool:
    """Whether a call can have these very values. No call has a part of a model's name for its model."""
    return all(
        name == "organisation"
        or (value != EACH and not (name == "model" and ("/" not in value or value.endswith("/*"))))
        for name, value in scope
    )


def _matching(near: Callable[[Facts], list[Rule]], at: Scope) -> list[Rule]:
    """The rules of which `at` is an instance."""
    facts = dict(at)
    return [rule for rule in near(facts) if instance_of(rule.scope, facts) == at]


def _given(limit: Limit) -> list[str]:
    return [name for name in ("qpm", "tpm", "concurrency") if getattr(limit, name) is not None]


def _place(rule: Budget | Limit, what: str) -> tuple[tuple[str, ...], bool, str]:
    """Of the rules of one place those that name the most values take the place of the others."""
    return shape(rule.scope), rule.of_team is None, what


def _most_concrete(rules: Iterable[tuple[Budget | Limit, str]]) -> dict[tuple[tuple[str, ...], bool, str], int]:
    most: dict[tuple[tuple[str, ...], bool, str], int] = {}
    for rule, what in rules:
        place = _place(rule, what)
        most[place] = max(most.get(place, 0), concreteness(rule.scope))
    return most
