"""What is answered, as types that also make the OpenAPI description. Must not hold a digest or, but once, a secret."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from sekisho.domain.money import format_usd
from sekisho.domain.spending import Budget, Limit, OnExceed, Period
from sekisho.domain.stops import Stop, StopKind
from sekisho.entrypoints.http.admin.access import Role
from sekisho.stores.control import AuditEntry, budget_id, limit_id
from sekisho.stores.counters import BudgetState, MeterState
from sekisho.stores.ports import KeyRecord, KeyState

_US = 1_000_000
T = TypeVar("T")
NextAfter = str | UnsetType


class Answer(msgspec.Struct, kw_only=True):
    """A body."""


class Key(Answer):
    id: str
    name: str
    team: str | None
    user: str | None
    role: str
    endpoints: tuple[str, ...]
    on_behalf: bool
    #: None for a key of the file
    created_at: str | None
    expires_at: str | None
    revoked_at: str | None
    replaces: str | None
    replaced_by: str | None
    state: KeyState
    #: it stands in the configuration file, where alone it can be changed
    declared: bool


class NewKey(Key):
    """With the secret, which is shown this once and kept nowhere."""

    key: str
    #: the key that a rotation replaces, as it is now
    replaced: Key | None = None

    def __repr__(self) -> str:
        return f"NewKey({self.id!r})"  # never the secret


class Team(Answer):
    name: str
    department: str | None
    declared: bool
    #: current keys that name it
    keys: int
    stopped: bool


class User(Answer):
    name: str
    team: str | None
    #: a key of the file names the user
    declared: bool
    #: in the database; others are known from keys alone
    stored: bool
    keys: int
    stopped: bool


class FormerUser(User):
    #: ids of the keys that ended
    revoked: tuple[str, ...]
    #: ids of keys of the file that still name the user
    remaining: tuple[str, ...]


class BudgetNow(Answer):
    """One instance of a budget. Money as decimal US dollars."""

    scope: dict[str, str]
    limit_usd: str
    spent_usd: str
    #: held for calls in flight
    reserved_usd: str
    remaining_usd: str
    #: of the limit that is spent
    percent: float
    #: calls in flight cannot overspend it by more
    bound_usd: str
    resets_at: str


class BudgetShown(Answer):
    id: str
    scope: dict[str, str]
    usd: str
    period: Period
    on_exceed: Literal["block", "warn"] | dict[Literal["degrade"], str]
    strict: bool
    declared: bool
    #: the team that set it for itself
    of_team: str | None
    #: None: the counters do not answer
    states: list[BudgetNow] | None = None


class LimitNow(Answer):
    """One instance of a limit: what is left of a minute's worth, and the calls that run."""

    scope: dict[str, str]
    remaining_requests: int | None
    remaining_tokens: int | None
    #: None where calls at once are not limited
    running: int | None


class LimitShown(Answer):
    id: str
    scope: dict[str, str]
    qpm: int | None
    tpm: int | None
    concurrency: int | None
    burst_s: float
    wait_s: float
    declared: bool
    of_team: str | None
    states: list[LimitNow] | None = None


class StopShown(Answer):
    id: str
    kind: StopKind
    value: str
    reason: str
    by: str
    at: str


class ActorShown(Answer):
    id: str
    name: str
    role: str


class AuditShown(Answer):
    id: int
    at: str
    actor: ActorShown
    request_id: str | None
    action: str
    object_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Many(Answer, Generic[T]):
    data: list[T]
    #: `after` of the next page; left out of the last one
    next_after: NextAfter = UNSET


class Budgets(Answer):
    data: list[BudgetShown]
    #: `unavailable`: states are not known now
    counters: Literal["ok", "unavailable"]
    next_after: NextAfter = UNSET


class Limits(Answer):
    data: list[LimitShown]
    counters: Literal["ok", "unavailable"]
    next_after: NextAfter = UNSET


class AuditPage(Answer):
    data: list[AuditShown]
    #: `before` of the next page; None: this is the last one
    next_before: int | None


class Me(Answer):
    """What holds for the asking key."""

    name: str
    role: Role
    key: Key | None
    budgets: list[BudgetShown]
    limits: list[LimitShown]
    stops: list[StopShown]
    counters: Literal["ok", "unavailable"]


def time_of(at_us: int | None) -> str | None:
    """RFC 3339 in UTC, to the second."""
    return None if at_us is None else datetime.fromtimestamp(at_us // _US, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def key_fields(record: KeyRecord, now_us: int) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "team": record.team,
        "user": record.user,
        "role": record.role,
        "endpoints": record.endpoints,
        "on_behalf": record.on_behalf,
        "created_at": None if record.declared else time_of(record.created_at_us),
        "expires_at": time_of(record.expires_at_us),
        "revoked_at": time_of(record.revoked_at_us),
        "replaces": record.replaces,
        "replaced_by": record.replaced_by,
        "state": record.state(now_us),
        "declared": record.declared,
    }


def key_shown(record: KeyRecord, now_us: int) -> Key:
    return Key(**key_fields(record, now_us))


def budget_shown(rule: Budget, *, declared: bool, states: list[BudgetState] | None) -> BudgetShown:
    return BudgetShown(
        id=budget_id(rule),
        scope=dict(rule.scope),
        usd=format_usd(rule.amount_nanos),
        period=rule.period,
        on_exceed=_way(rule.on_exceed, rule.degrade_to),
        strict=rule.strict,
        declared=declared,
        of_team=rule.of_team,
        states=None if states is None else [_budget_now(rule, state) for state in states],
    )


def limit_shown(rule: Limit, *, declared: bool, states: list[MeterState] | None) -> LimitShown:
    return LimitShown(
        id=limit_id(rule),
        scope=dict(rule.scope),
        qpm=rule.qpm,
        tpm=rule.tpm,
        concurrency=rule.concurrency,
        burst_s=rule.burst_s,
        wait_s=rule.wait_s,
        declared=declared,
        of_team=rule.of_team,
        states=None if states is None else [_limit_now(rule, state) for state in states],
    )


def stop_shown(stop: Stop) -> StopShown:
    return StopShown(
        id=stop.id, kind=stop.kind, value=stop.value, reason=stop.reason, by=stop.by, at=time_of(stop.at_us) or ""
    )


def audit_shown(entry: AuditEntry) -> AuditShown:
    return AuditShown(
        id=entry.id,
        at=time_of(entry.at_us) or "",
        actor=ActorShown(id=entry.actor.id, name=entry.actor.name, role=entry.actor.role),
        request_id=entry.actor.request_id,
        action=entry.action,
        object_id=entry.object_id,
        before=None if entry.before is None else msgspec.json.decode(entry.before),
        after=None if entry.after is None else msgspec.json.decode(entry.after),
    )


def _way(on_exceed: OnExceed, degrade_to: str | None) -> Literal["block", "warn"] | dict[Literal["degrade"], str]:
    return {"degrade": degrade_to or ""} if on_exceed == "degrade" else on_exceed


def _budget_now(rule: Budget, state: BudgetState) -> BudgetNow:
    """By the amount of the rule: the counters take a new one over with the next call."""
    amount = rule.amount_nanos
    return BudgetNow(
        scope=dict(state.spec.scope),
        limit_usd=format_usd(amount),
        spent_usd=format_usd(state.spent_nanos),
        reserved_usd=format_usd(state.reserved_nanos),
        remaining_usd=format_usd(max(0, amount - state.spent_nanos - state.reserved_nanos)),
        percent=round(state.spent_nanos * 100 / amount, 1) if amount else 100.0,
        bound_usd=format_usd(state.bound_nanos),
        resets_at=time_of(int(state.resets_at_s * _US)) or "",
    )


def _limit_now(rule: Limit, state: MeterState) -> LimitNow:
    return LimitNow(
        scope=dict(state.spec.scope),
        remaining_requests=None if rule.qpm is None else state.remaining_requests,
        remaining_tokens=None if rule.tpm is None else state.remaining_tokens,
        running=None if rule.concurrency is None else state.running,
    )
