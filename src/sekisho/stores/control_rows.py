"""How control data stand in their tables, for every adapter that reads them. Must import nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, LiteralString, NamedTuple, cast

import msgspec

from sekisho.domain.spending import Budget, Limit, scope_of
from sekisho.domain.stops import Stop
from sekisho.stores.control import (
    Actor,
    AuditEntry,
    ControlRecord,
    ControlRecords,
    Kind,
    StoredBudget,
    StoredLimit,
    Team,
    User,
    kind_of,
)
from sekisho.stores.ports import KeyRecord, StoreUnavailable


class Shape(NamedTuple):
    """A table; its first column is the id."""

    table: LiteralString
    columns: tuple[LiteralString, ...]
    read: Callable[[dict[str, Any]], ControlRecord]

    @property
    def query(self) -> LiteralString:
        return "SELECT " + ", ".join(self.columns) + " FROM " + self.table + " ORDER BY " + self.columns[0]


def _rule(row: Mapping[str, Any]) -> dict[str, Any]:
    scope = msgspec.json.decode(row["scope"], type=dict[str, str])
    return {**row, "scope": scope_of(scope)}


def _team(row: dict[str, Any]) -> Team:
    return msgspec.convert(row, Team)


def _user(row: dict[str, Any]) -> User:
    return msgspec.convert(row, User)


def _budget(row: dict[str, Any]) -> StoredBudget:
    return StoredBudget(rule=msgspec.convert({**_rule(row), "strict": bool(row["strict"])}, Budget))


def _limit(row: dict[str, Any]) -> StoredLimit:
    return StoredLimit(rule=msgspec.convert(_rule(row), Limit))


def _stop(row: dict[str, Any]) -> Stop:
    return msgspec.convert({**row, "by": row["by_name"]}, Stop)


_RULE: tuple[LiteralString, ...] = ("id", "scope", "of_team")
SHAPES: Mapping[Kind, Shape] = {
    "team": Shape("teams", ("name", "department"), _team),
    "user": Shape("users", ("name", "team"), _user),
    "budget": Shape("budgets", (*_RULE, "amount_nanos", "period", "on_exceed", "degrade_to", "strict"), _budget),
    "limit": Shape("limits", (*_RULE, "qpm", "tpm", "concurrency", "burst_s", "wait_s"), _limit),
    "stop": Shape("stops", ("id", "kind", "value", "reason", "by_name", "at_us"), _stop),
}
AUDIT_COLUMNS: tuple[LiteralString, ...] = (
    "id",
    "at_us",
    "actor_id",
    "actor_name",
    "actor_role",
    "request_id",
    "action",
    "object_id",
    "before_json",
    "after_json",
)


def to_row(record: ControlRecord) -> dict[str, Any]:
    """Values by column."""
    match record:
        case Stop():
            row = {"kind": record.kind, "value": record.value, "reason": record.reason}
            return {"id": record.id, **row, "by_name": record.by, "at_us": record.at_us}
        case StoredBudget() | StoredLimit():
            rule = record.rule
            row = {column: getattr(rule, column) for column in SHAPES[kind_of(record)].columns if column != "id"}
            return {**row, "id": record.id, "scope": msgspec.json.encode(dict(rule.scope)).decode()}
        case _:
            return msgspec.structs.asdict(record)


def to_record(kind: Kind, row: Sequence[Any]) -> ControlRecord:
    """A row in the order of the shape's columns. StoreUnavailable for one that no Sekisho wrote."""
    shape = SHAPES[kind]
    try:
        return shape.read(dict(zip(shape.columns, row, strict=True)))
    except (TypeError, ValueError, KeyError, msgspec.MsgspecError) as error:
        raise StoreUnavailable(f"the table {shape.table} holds a damaged row: {row[0]!r}: {error}") from error


def to_records(rows: Callable[[LiteralString], Sequence[Sequence[Any]]]) -> ControlRecords:
    """All tables, by whatever runs a query."""
    found = {f"{kind}s": tuple(to_record(kind, row) for row in rows(shape.query)) for kind, shape in SHAPES.items()}
    return ControlRecords(**cast("dict[str, Any]", found))


def to_audit(row: Sequence[Any]) -> AuditEntry:
    """A row in the order of AUDIT_COLUMNS."""
    values = dict(zip(AUDIT_COLUMNS, row, strict=True))
    return AuditEntry(
        id=values["id"],
        at_us=values["at_us"],
        actor=Actor(
            id=values["actor_id"], name=values["actor_name"], role=values["actor_role"], request_id=values["request_id"]
        ),
        action=values["action"],
        object_id=values["object_id"],
        before=_raw(values["before_json"]),
        after=_raw(values["after_json"]),
    )


def told(record: ControlRecord | KeyRecord | None) -> str | None:
    """An object as the audit keeps it: JSON, and never a digest."""
    match record:
        case None:
            return None
        case KeyRecord():
            kept = {name: getattr(record, name) for name in record.__struct_fields__ if name not in _NOT_TOLD}
        case StoredBudget() | StoredLimit():
            kept = {**msgspec.structs.asdict(record.rule), "scope": dict(record.rule.scope)}
        case _:
            kept = msgspec.structs.asdict(record)
    return msgspec.json.encode(kept).decode()


_NOT_TOLD = ("digest", "declared")


def _raw(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text.encode())
