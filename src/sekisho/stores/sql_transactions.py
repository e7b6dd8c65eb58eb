"""What every write to the control database shares: a transaction, the version, the audit. Must not decide anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from sekisho.stores.control import Actor, ControlRecord
from sekisho.stores.control_rows import told
from sekisho.stores.ports import KeyRecord, NotWritable, StoreUnavailable
from sekisho.stores.sql_schema import audit, control_version

#: read_only_sql_transaction, insufficient_privilege of PostgreSQL
_NOT_WRITABLE = ("25006", "42501", "SQLITE_READONLY")


def wall_us() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


@contextmanager
def transaction(engine: Engine) -> Generator[Connection]:
    """Raises StoreUnavailable; an IntegrityError is for the caller."""
    try:
        with engine.begin() as connection:
            yield connection
    except IntegrityError:
        raise
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)
        if state in _NOT_WRITABLE:
            raise NotWritable(error.orig) from error
        raise StoreUnavailable(f"the control database did not answer: {error.orig}") from error


def bump(connection: Connection) -> None:
    """Other processes see by this that something changed. As the first statement of a transaction it takes the write
    lock: whoever comes second sees what the first one wrote."""
    connection.execute(update(control_version).values(version=control_version.c.version + 1))


def note(
    connection: Connection,
    by: Actor,
    action: str,
    object_id: str,
    before: ControlRecord | KeyRecord | None,
    after: ControlRecord | KeyRecord | None,
    now_us: Callable[[], int],
) -> None:
    """The audit's entry of the change that this transaction makes."""
    connection.execute(
        audit.insert().values(
            at_us=now_us(),
            actor_id=by.id,
            actor_name=by.name,
            actor_role=by.role,
            request_id=by.request_id,
            action=action,
            object_id=object_id,
            before_json=told(before),
            after_json=told(after),
        )
    )
