"""Kept answers in the PostgreSQL of the control database, for several machines. Must not wait for a silent server
longer than the caller does: what the server itself cannot bound, the connection does.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, LiteralString, cast

from sekisho.stores.idempotency import SMALL_DIFFERENCE_US, TIMEOUT_S, wall_us
from sekisho.stores.postgres_address import connect
from sekisho.stores.sql_idempotency import TABLE, Cursor, SqlIdempotency, unavailable

if TYPE_CHECKING:
    import psycopg

#: connections to the database
_THREADS = 4
#: a number that only the making of this table locks
_LOCK = 0x5E_C1_51
_NAMED = re.compile(r":(\w+)")
#: what the server's clock is ahead of the caller's
_AHEAD: LiteralString = (
    "(SELECT CASE WHEN abs(us) < %(small)s THEN 0 ELSE us END FROM (SELECT "
    "(extract(epoch FROM statement_timestamp()) * 1000000)::BIGINT - %(own_us)s::BIGINT AS us) AS ahead)"
)
_TABLE: LiteralString = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (id BYTEA PRIMARY KEY, asked BYTEA NOT NULL, owner BYTEA NOT NULL, "
    "sealed BYTEA, until_us BIGINT NOT NULL)"
)
_INDEX: LiteralString = f"CREATE INDEX IF NOT EXISTS ix_{TABLE}_until ON {TABLE} (until_us)"


def postgres_idempotency(url: str, timeout_s: float = TIMEOUT_S, own_us: Callable[[], int] = wall_us) -> SqlIdempotency:
    """An IdempotencyStore in a table of the database, which is made when the first key comes."""
    return SqlIdempotency(_Server(url, timeout_s, own_us), _THREADS, timeout_s)


class _Server:
    """A connection for each thread; opened anew after an error."""

    def __init__(self, url: str, timeout_s: float, own_us: Callable[[], int]) -> None:
        self._url = url
        self._own_us = own_us
        self._timeout_ms = int(timeout_s * 1000)
        self._mine = threading.local()

    def exists(self) -> bool:
        return self.execute("SELECT to_regclass(:name)", {"name": TABLE}).fetchone()[0] is not None

    def has_room(self, size: int) -> bool:
        return True  # the operator of the database watches over its disk

    def execute(self, statement: str, values: dict[str, Any]) -> Cursor:
        import psycopg

        try:
            connection: psycopg.Connection | None = getattr(self._mine, "connection", None)
            if connection is None:
                connection = self._mine.connection = self._open()
            words = cast(LiteralString, _NAMED.sub(_spelled, statement))
            values = values | {"own_us": self._own_us(), "small": SMALL_DIFFERENCE_US}
            try:
                return connection.execute(words, values)
            except psycopg.errors.UndefinedTable:
                _make_table(connection)
                return connection.execute(words, values)
        except (psycopg.Error, OSError) as error:
            self.close()
            raise unavailable(error) from error

    def close(self) -> None:
        connection: psycopg.Connection | None = getattr(self._mine, "connection", None)
        self._mine.connection = None
        if connection is not None:
            connection.close()

    def _open(self) -> psycopg.Connection:
        return connect(
            self._url,
            self._timeout_ms,
            autocommit=True,
            prepare_threshold=None,  # poolers in front of the server do not know prepared statements
        )


def _spelled(name: re.Match[str]) -> str:
    """As psycopg writes it; a time is moved to the server's clock."""
    value = f"%({name[1]})s"
    return f"({value}::BIGINT + {_AHEAD})" if name[1].endswith("_us") else value


def _make_table(connection: psycopg.Connection) -> None:
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        for statement in (_TABLE, _INDEX):
            connection.execute(statement)
