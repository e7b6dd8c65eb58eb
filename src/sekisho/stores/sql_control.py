"""Teams, users, budgets, limits, stops and the audit in the SQL control database. Must note every change it makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Table, select, text

from sekisho.stores.control import Actor, AuditEntry, ControlRecord, ControlRecords, Kind, kind_of
from sekisho.stores.control_rows import AUDIT_COLUMNS, SHAPES, to_audit, to_record, to_records, to_row
from sekisho.stores.sql_schema import audit, metadata
from sekisho.stores.sql_transactions import bump, note, transaction, wall_us


class SqlControlStore:
    """A ControlStore over an engine from `sql_engine`, in a database that was migrated."""

    def __init__(self, engine: Engine, now_us: Callable[[], int] = wall_us) -> None:
        self._engine = engine
        self._now_us = now_us

    def control(self) -> ControlRecords:
        with transaction(self._engine) as connection:

            def rows(query: str) -> Sequence[Sequence[Any]]:
                return [tuple(row) for row in connection.execute(text(query))]

            return to_records(rows)

    def put(self, record: ControlRecord, by: Actor) -> ControlRecord | None:
        kind = kind_of(record)
        table = _table(kind)
        with transaction(self._engine) as connection:
            bump(connection)
            before = _found(connection, kind, record.id)
            if before == record:
                connection.rollback()
                return before
            if before is None:
                connection.execute(table.insert().values(to_row(record)))
            else:
                connection.execute(table.update().where(_id(table) == record.id).values(to_row(record)))
            note(connection, by, f"{kind}.set", record.id, before, record, self._now_us)
            return before

    def remove(self, kind: Kind, object_id: str, by: Actor) -> ControlRecord | None:
        table = _table(kind)
        with transaction(self._engine) as connection:
            bump(connection)
            before = _found(connection, kind, object_id)
            if before is None:
                connection.rollback()
                return None
            connection.execute(table.delete().where(_id(table) == object_id))
            note(connection, by, f"{kind}.delete", object_id, before, None, self._now_us)
            return before

    def audit(self, *, most: int, before_id: int | None = None) -> list[AuditEntry]:
        query = select(*(audit.c[name] for name in AUDIT_COLUMNS)).order_by(audit.c.id.desc()).limit(most)
        if before_id is not None:
            query = query.where(audit.c.id < before_id)
        with transaction(self._engine) as connection:
            return [to_audit(tuple(row)) for row in connection.execute(query)]


def _table(kind: Kind) -> Table:
    return metadata.tables[SHAPES[kind].table]


def _id(table: Table) -> ColumnElement[str]:
    return next(iter(table.primary_key.columns))


def _found(connection: Connection, kind: Kind, object_id: str) -> ControlRecord | None:
    table = _table(kind)
    columns = (table.c[name] for name in SHAPES[kind].columns)
    row = connection.execute(select(*columns).where(_id(table) == object_id)).fetchone()
    return None if row is None else to_record(kind, tuple(row))
