"""What callers may use and spend: limits, budgets, and whom they hold for. Must stay data: counting is the stores'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

#: in the order in which they stand in keys and messages
SCOPE_NAMES = ("organisation", "department", "team", "key", "user", "endpoint", "model", "feature")
#: "each": every value has a limit or budget of its own
EACH = "*"

#: pairs of scope name and wanted value, in the order of SCOPE_NAMES; several pairs must all match
Scope = tuple[tuple[str, str], ...]
#: what a call is, by scope name; None: it has no such thing
Facts = Mapping[str, str | None]

Period = Literal["day", "week", "month"]
PERIODS: tuple[Period, ...] = ("day", "week", "month")
OnExceed = Literal["block", "warn", "degrade"]

#: percent of a budget at which an event is recorded
MARKS = (50, 80, 100)


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """Calls and tokens a minute, and calls at once; None: not limited here.

    The bucket holds what is refilled in `burst_s` seconds: a whole minute's worth by default. `wait_s`: how long a call
    may wait for room before it is refused.
    """

    scope: Scope
    qpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    burst_s: float = 60.0
    wait_s: float = 0.0
    #: the team that set it for itself: it holds beside what was set for the team, never in its place
    of_team: str | None = None


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Money for a period. `strict` reserves the most a call can cost, so that nothing is ever overspent."""

    scope: Scope
    amount_nanos: int
    period: Period = "month"
    on_exceed: OnExceed = "block"
    #: the endpoint that takes over, where `on_exceed` is `degrade`
    degrade_to: str | None = None
    strict: bool = False
    #: as for limits
    of_team: str | None = None


class BudgetEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A budget has reached a mark. `id` is the same whoever notices it, so a sink keeps one of equal ids."""

    id: str
    budget: str
    scope: str
    period: Period
    percent: int
    spent_nanos: int
    amount_nanos: int
    #: beginning of the period, seconds since 1970
    period_start_s: float
    at_s: float


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What calls with the same facts have cost together, as a reader of the rows sums it."""

    facts: dict[str, str | None]
    cost_nanos: int
    #: of one call alone, which died with its gateway within the last day: its request id. Who lets calls in may have
    #: counted it already
    died: str | None = None


def scope_of(wanted: Mapping[str, str]) -> Scope:
    """A scope in its normal form: `group` is `team`, and an organisation is the installation, whatever its name."""
    found = {("team" if name == "group" else name): value for name, value in wanted.items()}
    if "organisation" in found:
        found["organisation"] = EACH
    return tuple((name, found[name]) for name in SCOPE_NAMES if name in found)


def place_of(scope: Scope) -> tuple[tuple[int, str], ...]:
    """To sort scopes by, as people look for them: by what they name, in the order of SCOPE_NAMES, then by the names."""
    return tuple((SCOPE_NAMES.index(name), value) for name, value in scope)


def shape(scope: Scope) -> tuple[str, ...]:
    """The names alone: rules of one shape replace each other, rules of different shapes all hold."""
    return tuple(name for name, _ in scope)


def concreteness(scope: Scope) -> int:
    """How many values are named: a named one comes before `each`."""
    return sum(value != EACH for _, value in scope)


def instance_of(scope: Scope, facts: Facts) -> Scope | None:
    """The scope with the call's own values in the place of `each`; None where it does not hold for the call."""
    found: list[tuple[str, str]] = []
    for name, wanted in scope:
        if name == "organisation":
            found.append((name, EACH))
            continue
        have = facts.get(name)
        if have is None:
            return None
        if wanted not in (EACH, have) and not (name == "model" and _is_model(wanted, have)):
            return None
        found.append((name, have if wanted == EACH else wanted))
    return tuple(found)


def scope_text(scope: Scope) -> str:
    """`team research, user taro`, for people."""
    return ", ".join(name if name == "organisation" else f"{name} {value}" for name, value in scope)


def _is_model(wanted: str, have: str) -> bool:
    """`provider/model` by its model alone, or all models of a provider as `provider/*`."""
    provider, _, model = have.partition("/")
    return wanted in (model, f"{provider}/*")
