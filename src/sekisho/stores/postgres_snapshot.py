"""Reads the PostgreSQL control database with psycopg alone. Must never write.

The serving process uses this instead of the SQL adapter, for the reason given in `sqlite_snapshot`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString

from sekisho.stores.control import ControlRecords
from sekisho.stores.control_rows import to_records
from sekisho.stores.key_rows import COLUMNS, to_record
from sekisho.stores.migrate import is_head
from sekisho.stores.ports import KeyRecord, StoreUnavailable
from sekisho.stores.postgres_address import connect

if TYPE_CHECKING:
    import psycopg

_STATEMENT_TIMEOUT_MS = 2_000
_ALL: LiteralString = "SELECT " + ", ".join(COLUMNS) + " FROM keys ORDER BY created_at_us, id"
_VERSION: LiteralString = "SELECT version FROM control_version"
_REVISION: LiteralString = "SELECT version_num FROM alembic_version"


def open_connection(url: str) -> psycopg.Connection:
    """For one question. Raises psycopg.Error."""
    return connect(url, _STATEMENT_TIMEOUT_MS, autocommit=True)


class PostgresSnapshot:
    """A ControlSnapshot of a database that other processes change. It may block for seconds: see `polled_snapshot`.

    Read `version` before the rest, so that a change between the two is read once more and not missed.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def all(self) -> list[KeyRecord]:
        return [to_record(row) for row in self._rows(_ALL)]

    def control(self) -> ControlRecords:
        with self._open() as connection, connection.transaction():
            # one look at all tables, so that what belongs together was there at one moment
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return to_records(lambda query: connection.execute(query).fetchall())

    def version(self) -> int:
        rows = self._rows(_VERSION)
        if len(rows) != 1:
            raise StoreUnavailable("the control database has no version row")
        return int(rows[0][0])

    def schema_is_current(self) -> bool:
        """Whether a migration has nothing to do. Raises LaterVersion."""
        try:
            return is_head(self._rows(_REVISION), "PostgreSQL")
        except _MissingTable:
            return False

    def has_keys(self) -> bool:
        """Whether any key depends on the pepper. StoreUnavailable where that cannot be known."""
        return bool(self._rows("SELECT 1 FROM keys LIMIT 1"))

    def _rows(self, query: LiteralString) -> list[Sequence[Any]]:
        with self._open() as connection:
            return list(connection.execute(query).fetchall())

    @contextmanager
    def _open(self) -> Generator[psycopg.Connection]:
        import psycopg

        try:
            with open_connection(self._url) as connection:
                yield connection
        except psycopg.errors.UndefinedTable as error:
            raise _MissingTable(f"the control database has no tables yet: {error}") from error
        except psycopg.Error as error:
            raise StoreUnavailable(f"the control database cannot be read: {error}") from error


class _MissingTable(StoreUnavailable):
    pass
