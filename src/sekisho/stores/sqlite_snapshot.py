"""Reads the SQLite control database with the standard library alone. Must never write.

The serving process uses this instead of the SQL adapter: SQLAlchemy costs more memory and time than serving does.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sekisho.stores.control import ControlRecords
from sekisho.stores.control_rows import to_records
from sekisho.stores.key_rows import COLUMNS, to_record
from sekisho.stores.ports import KeyRecord, StoreUnavailable

#: seconds that a call waits for a locked database; it may be called on the event loop
BUSY_TIMEOUT_S = 0.25
_ALL = f"SELECT {', '.join(COLUMNS)} FROM keys ORDER BY created_at_us, id"
_VERSION = "SELECT version FROM control_version"


class SqliteSnapshot:
    """A ControlSnapshot of a database file that other processes change.

    A connection per call (some 0.2 ms): nothing stays locked, and a file that was restored from a backup is seen.
    Read `version` before the rest, so that a change between the two is read once more and not missed.
    """

    def __init__(self, path: Path) -> None:
        self._uri = f"{path.absolute().as_uri()}?mode=ro"

    def all(self) -> list[KeyRecord]:
        return [to_record(row) for row in self._rows(_ALL)]

    def control(self) -> ControlRecords:
        with self._open() as connection:
            # one transaction, so that what belongs together was there at one moment
            connection.execute("BEGIN")
            return to_records(lambda query: connection.execute(query).fetchall())

    def version(self) -> int:
        rows = self._rows(_VERSION)
        if len(rows) != 1:
            raise StoreUnavailable("the control database has no version row")
        return int(rows[0][0])

    def _rows(self, query: str) -> list[Sequence[Any]]:
        with self._open() as connection:
            return connection.execute(query).fetchall()

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._uri, uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the control database cannot be read: {error}") from error
