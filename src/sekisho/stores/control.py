"""The port of control data besides keys: teams, users, budgets, limits, stops, and who changed what. Names no adapter.

An object is found by its kind and its id. Teams and users have their name as id; the id of a budget or limit is made of
what it holds for, so that setting it again replaces it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal, Protocol

import msgspec

from sekisho.domain.spending import Budget, Limit, Scope
from sekisho.domain.stops import Stop

Kind = Literal["team", "user", "budget", "limit", "stop"]
KINDS: tuple[Kind, ...] = ("team", "user", "budget", "limit", "stop")


class Team(msgspec.Struct, frozen=True, kw_only=True):
    """To whom keys belong."""

    name: str
    department: str | None = None

    @property
    def id(self) -> str:
        return self.name


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person or program that keys may name."""

    name: str
    team: str | None = None

    @property
    def id(self) -> str:
        return self.name


class StoredBudget(msgspec.Struct, frozen=True, kw_only=True):
    rule: Budget

    @property
    def id(self) -> str:
        return budget_id(self.rule)


class StoredLimit(msgspec.Struct, frozen=True, kw_only=True):
    rule: Limit

    @property
    def id(self) -> str:
        return limit_id(self.rule)


ControlRecord = Team | User | StoredBudget | StoredLimit | Stop


class ControlRecords(msgspec.Struct, frozen=True, kw_only=True):
    """All of it at one moment, each in the order of its id."""

    teams: tuple[Team, ...] = ()
    users: tuple[User, ...] = ()
    budgets: tuple[StoredBudget, ...] = ()
    limits: tuple[StoredLimit, ...] = ()
    stops: tuple[Stop, ...] = ()


NOTHING = ControlRecords()


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a change: a key by its id and name, or `command_line`."""

    id: str
    name: str
    role: str = ""
    request_id: str | None = None


#: whoever may read and write the control database itself
COMMAND_LINE = Actor(id="command_line", name="command line", role="admin")


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change, written in its transaction. `before` and `after` are JSON objects without secrets; None: there was
    or is nothing. `at_us`: microseconds since 1970, UTC."""

    id: int
    at_us: int
    actor: Actor
    #: `budget.set`, `budget.delete`, `key.create`, …
    action: str
    object_id: str
    before: msgspec.Raw | None = None
    after: msgspec.Raw | None = None


class ControlReader(Protocol):
    """The reading half."""

    def control(self) -> ControlRecords: ...


class ControlStore(ControlReader, Protocol):
    """Control data besides keys. Every method raises StoreUnavailable when the store does not answer.

    A change that changes nothing is no change: no entry of the audit, and the version of the database stays.
    """

    def put(self, record: ControlRecord, by: Actor) -> ControlRecord | None:
        """Add or replace; what was there before. The entry of the audit is written in the same transaction."""
        ...

    def remove(self, kind: Kind, object_id: str, by: Actor) -> ControlRecord | None:
        """What was removed, None if there was no such object."""
        ...

    def audit(self, *, most: int, before_id: int | None = None) -> list[AuditEntry]:
        """Changes, newest first: those with ids below `before_id`."""
        ...


def kind_of(record: ControlRecord) -> Kind:
    match record:
        case Team():
            return "team"
        case User():
            return "user"
        case StoredBudget():
            return "budget"
        case StoredLimit():
            return "limit"
        case Stop():
            return "stop"


def budget_id(rule: Budget) -> str:
    """Budgets of one scope, period and way are one, whatever their amount; a team's own stands beside it."""
    return _id("bud", rule.scope, rule.period, rule.on_exceed, rule.degrade_to, rule.of_team)


def limit_id(rule: Limit) -> str:
    """Limits of one scope are one; a team's own stands beside it."""
    return _id("lim", rule.scope, rule.of_team)


def _id(prefix: str, scope: Scope, *more: str | None) -> str:
    text = json.dumps([scope, *more], ensure_ascii=True)
    return f"{prefix}_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
