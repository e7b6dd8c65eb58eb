"""Kept answers of one machine in a SQLite file. Must survive a restart of the gateway, and may lose a power cut's last
moments, as rows do by default: a sync of the disk for every call would cost more than the call.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sekisho.stores.idempotency import TIMEOUT_S
from sekisho.stores.private_files import private_directory, private_file
from sekisho.stores.sql_idempotency import TABLE, Cursor, SqlIdempotency, unavailable

FILE_NAME = "idempotency.db"
#: of all kept answers together; beyond it new ones are not kept
MOST_BYTES = 1024 * 1024 * 1024
#: a writer waits so long for another one; there is only one process on a data folder
_BUSY_S = 0.5
_TABLE = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (id BLOB PRIMARY KEY, asked BLOB NOT NULL, owner BLOB NOT NULL, sealed BLOB, "
    "until_us INTEGER NOT NULL)"
)
_INDEX = f"CREATE INDEX IF NOT EXISTS ix_{TABLE}_until ON {TABLE} (until_us)"


def sqlite_idempotency(path: Path, most_bytes: int = MOST_BYTES, timeout_s: float = TIMEOUT_S) -> SqlIdempotency:
    """An IdempotencyStore in a file, which is made with mode 0600 when the first key comes."""
    return SqlIdempotency(_File(path, most_bytes), threads=1, timeout_s=timeout_s)


class _File:
    """One connection, in one thread; opened anew after an error."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._connection: sqlite3.Connection | None = None

    def exists(self) -> bool:
        return self._connection is not None or self._path.exists()

    def execute(self, statement: str, values: dict[str, Any]) -> Cursor:
        try:
            if self._connection is None:
                self._connection = self._open()
            return self._connection.execute(statement, values)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise unavailable(error) from error

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def has_room(self, size: int) -> bool:
        """By the pages in use: those that were freed are used again before the file grows."""
        used = 0
        for sign, pragma in ((1, "page_count"), (-1, "freelist_count")):
            used += sign * self.execute(f"PRAGMA {pragma}", {}).fetchone()[0]
        page_bytes = self.execute("PRAGMA page_size", {}).fetchone()[0]
        return used * page_bytes + size <= self._most_bytes

    def _open(self) -> sqlite3.Connection:
        private_directory(self._path.parent)
        private_file(self._path)
        connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
        try:
            # answers are gone from the file when their time is over, not only from its index
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON"):
                connection.execute(f"PRAGMA {pragma}")
            for statement in (_TABLE, _INDEX):
                connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        return connection
