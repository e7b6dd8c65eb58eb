"""Finds the rules that can hold for a call without asking each. Must leave out none that holds, and keep their order.

A company has a budget and a limit for each of thousands of people, and a call is told by a handful of names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from sekisho.domain.spending import EACH, Budget, Facts, Limit, Scope

#: names by which rules are found, the one that tells most rules apart first. A model has several spellings, and the
#: organisation is everybody.
_TELLING = ("key", "user", "feature", "team", "department", "endpoint")

Rule = TypeVar("Rule", Budget, Limit)


class RuleIndex(Generic[Rule]):
    """Rules by one name that each of them asks for."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._named: dict[tuple[str, str], list[int]] = {}
        #: those that name nothing to be found by
        self._others: list[int] = []
        for at, rule in enumerate(self._rules):
            pair = _telling(rule.scope)
            (self._others if pair is None else self._named.setdefault(pair, [])).append(at)

    def near(self, facts: Facts) -> list[Rule]:
        """In their order, all that hold for a call and some that do not."""
        found = self._others
        for name in _TELLING:
            value = facts.get(name)
            if value is not None and (named := self._named.get((name, value))):
                found = found + named
        return [self._rules[at] for at in (found if found is self._others else sorted(found))]


def _telling(scope: Scope) -> tuple[str, str] | None:
    named = {name: value for name, value in scope if value != EACH}
    return next(((name, named[name]) for name in _TELLING if name in named), None)
