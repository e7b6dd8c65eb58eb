"""How much of each limit and budget is used now, from the counters that calls are counted on. Must not count anything.

A budget that no call has touched since the start is not known to the counters yet, though money may have been spent
on it before: so the instances that keys, teams and users make are bound first, as a call would do it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from sekisho.domain.spending import EACH, Budget, Facts, Limit, Scope, concreteness, instance_of, shape
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

    def of_budget(self, rule: Budget, peers: Iterable[Budget]) -> list[BudgetState] | None:
        """Of the instances for which it holds: where none of its peers names more values."""
        if not self.known:
            return None
        rivals = [peer for peer in peers if peer.period == rule.period and _rivals(rule, peer)]
        return [
            state
            for state in self.budgets
            if state.spec.period == rule.period
            and (state.spec.on_exceed, state.spec.degrade_to) == (rule.on_exceed, rule.degrade_to)
            and _governs(rule.scope, rivals, state.spec.scope)
        ]

    def of_limit(self, rule: Limit, peers: Iterable[Limit]) -> list[MeterState] | None:
        """Of the instances for which any of its quantities holds."""
        if not self.known:
            return None
        given = [name for name in ("qpm", "tpm", "concurrency") if getattr(rule, name) is not None]
        rivals = {
            name: [peer for peer in peers if getattr(peer, name) is not None and _rivals(rule, peer)] for name in given
        }
        return [
            state
            for state in self.meters
            if any(_governs(rule.scope, rivals[name], state.spec.scope) for name in given)
        ]


NOTHING_KNOWN = States(meters=[], budgets=[], known=False)


async def look(counted: Counted, facts: list[Facts]) -> States:
    """The states of all rules; `facts` are those of the keys in force."""
    meters, budgets = await asyncio.to_thread(_specs, counted.rules, facts)
    counted.counters.bind(meters, (), budgets)
    try:
        found = await counted.counters.look(counted.now_s())
    except StoreUnavailable:
        return NOTHING_KNOWN
    return States(meters=found[0], budgets=found[1])


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


def _rivals(rule: Budget | Limit, peer: Budget | Limit) -> bool:
    """The peer takes the rule's place where both match."""
    return (
        shape(peer.scope) == shape(rule.scope)
        and (peer.of_team is None) == (rule.of_team is None)
        and concreteness(peer.scope) > concreteness(rule.scope)
    )


def _governs(scope: Scope, rivals: Iterable[Budget | Limit], at: Scope) -> bool:
    facts = dict(at)
    return instance_of(scope, facts) == at and not any(instance_of(rival.scope, facts) == at for rival in rivals)
