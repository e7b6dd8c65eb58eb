"""Keys in the SQL control database. Must bump `control_version` in the transaction of every change."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import ColumnElement, Connection, Engine, Update, or_, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from sekisho.stores.key_rows import COLUMNS, to_record, to_row
from sekisho.stores.ports import KeyRecord, NameTaken, NotCurrent, StoreUnavailable
from sekisho.stores.sql_schema import control_version, keys


class SqlKeyStore:
    """A KeyStore over an engine from `sql_engine`, in a database that was migrated."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, record: KeyRecord, *, replaced_until_us: int | None = None) -> None:
        try:
            with self._transaction() as connection:
                # first, because this takes the write lock: whoever comes second sees what the first one wrote
                _bump(connection)
                if record.replaces is not None:
                    _mark_replaced(connection, record.replaces, record.id, replaced_until_us)
                holder = connection.scalar(select(keys.c.id).where(keys.c.name == record.name, *_CURRENT))
                if holder is not None:
                    raise NameTaken(record.name, holder)
                connection.execute(keys.insert().values({**to_row(record), "replaced_by": None}))
        except IntegrityError as error:
            raise ValueError(f"the id or digest of {record.id} is already there") from error

    def all(self) -> list[KeyRecord]:
        query = select(*(keys.c[name] for name in COLUMNS)).order_by(keys.c.created_at_us, keys.c.id)
        with self._transaction() as connection:
            return [to_record(tuple(row)) for row in connection.execute(query)]

    def revoke(self, key_id: str, at_us: int) -> bool:
        change = update(keys).where(keys.c.id == key_id, keys.c.revoked_at_us.is_(None))
        return self._change(key_id, change.values(revoked_at_us=at_us))

    def expire(self, key_id: str, at_us: int) -> bool:
        change = update(keys).where(keys.c.id == key_id, keys.c.revoked_at_us.is_(None), _ends_after(at_us))
        return self._change(key_id, change.values(expires_at_us=at_us))

    def version(self) -> int:
        with self._transaction() as connection:
            return connection.execute(select(control_version.c.version)).scalar_one()

    def _change(self, key_id: str, change: Update) -> bool:
        with self._transaction() as connection:
            if connection.execute(change).rowcount:
                _bump(connection)
                return True
            return connection.scalar(select(keys.c.id).where(keys.c.id == key_id)) is not None

    @contextmanager
    def _transaction(self) -> Generator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise StoreUnavailable(f"the control database did not answer: {error.orig}") from error


_CURRENT = (keys.c.revoked_at_us.is_(None), keys.c.replaced_by.is_(None))


def _ends_after(at_us: int) -> ColumnElement[bool]:
    return or_(keys.c.expires_at_us.is_(None), keys.c.expires_at_us > at_us)


def _bump(connection: Connection) -> None:
    connection.execute(update(control_version).values(version=control_version.c.version + 1))


def _mark_replaced(connection: Connection, old_id: str, new_id: str, until_us: int | None) -> None:
    marked = connection.execute(update(keys).where(keys.c.id == old_id, *_CURRENT).values(replaced_by=new_id))
    if not marked.rowcount:
        raise NotCurrent(old_id)
    if until_us is not None:
        connection.execute(
            update(keys).where(keys.c.id == old_id, _ends_after(until_us)).values(expires_at_us=until_us)
        )
