"""Keys in the SQL control database. Must bump the version and note the audit in the transaction of every change."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import ColumnElement, Connection, Engine, Update, or_, select, update
from sqlalchemy.exc import IntegrityError

from sekisho.stores.control import COMMAND_LINE, Actor
from sekisho.stores.key_rows import COLUMNS, to_record, to_row
from sekisho.stores.ports import KeyRecord, NameTaken, NotCurrent
from sekisho.stores.sql_schema import control_version, keys
from sekisho.stores.sql_transactions import bump, note, transaction, wall_us


class SqlKeyStore:
    """A KeyStore over an engine from `sql_engine`, in a database that was migrated."""

    def __init__(self, engine: Engine, now_us: Callable[[], int] = wall_us) -> None:
        self._engine = engine
        self._now_us = now_us

    def add(self, record: KeyRecord, *, replaced_until_us: int | None = None, by: Actor = COMMAND_LINE) -> None:
        try:
            with transaction(self._engine) as connection:
                bump(connection)
                old = None
                if record.replaces is not None:
                    old = _found(connection, record.replaces)
                    _mark_replaced(connection, record.replaces, record.id, replaced_until_us)
                holder = connection.scalar(select(keys.c.id).where(keys.c.name == record.name, *_CURRENT))
                if holder is not None:
                    raise NameTaken(record.name, holder)
                connection.execute(keys.insert().values({**to_row(record), "replaced_by": None}))
                action = "key.create" if old is None else "key.rotate"
                note(connection, by, action, record.id, old, _found(connection, record.id), self._now_us)
        except IntegrityError as error:
            raise ValueError(f"the id or digest of {record.id} is already there") from error

    def all(self) -> list[KeyRecord]:
        query = select(*_COLUMNS).order_by(keys.c.created_at_us, keys.c.id)
        with transaction(self._engine) as connection:
            return [to_record(tuple(row)) for row in connection.execute(query)]

    def revoke(self, key_id: str, at_us: int, *, by: Actor = COMMAND_LINE) -> bool:
        change = update(keys).where(keys.c.id == key_id, keys.c.revoked_at_us.is_(None))
        return self._change("key.revoke", key_id, change.values(revoked_at_us=at_us), by)

    def expire(self, key_id: str, at_us: int, *, by: Actor = COMMAND_LINE) -> bool:
        change = update(keys).where(keys.c.id == key_id, keys.c.revoked_at_us.is_(None), _ends_after(at_us))
        return self._change("key.expire", key_id, change.values(expires_at_us=at_us), by)

    def version(self) -> int:
        with transaction(self._engine) as connection:
            return connection.execute(select(control_version.c.version)).scalar_one()

    def _change(self, action: str, key_id: str, change: Update, by: Actor) -> bool:
        with transaction(self._engine) as connection:
            # takes the write lock, as in `add`
            bump(connection)
            before = _found(connection, key_id)
            if not connection.execute(change).rowcount:
                connection.rollback()
            else:
                note(connection, by, action, key_id, before, _found(connection, key_id), self._now_us)
            return before is not None


_COLUMNS = tuple(keys.c[name] for name in COLUMNS)
_CURRENT = (keys.c.revoked_at_us.is_(None), keys.c.replaced_by.is_(None))


def _ends_after(at_us: int) -> ColumnElement[bool]:
    return or_(keys.c.expires_at_us.is_(None), keys.c.expires_at_us > at_us)


def _found(connection: Connection, key_id: str) -> KeyRecord | None:
    row = connection.execute(select(*_COLUMNS).where(keys.c.id == key_id)).fetchone()
    return None if row is None else to_record(tuple(row))


def _mark_replaced(connection: Connection, old_id: str, new_id: str, until_us: int | None) -> None:
    marked = connection.execute(update(keys).where(keys.c.id == old_id, *_CURRENT).values(replaced_by=new_id))
    if not marked.rowcount:
        raise NotCurrent(old_id)
    if until_us is not None:
        connection.execute(
            update(keys).where(keys.c.id == old_id, _ends_after(until_us)).values(expires_at_us=until_us)
        )
