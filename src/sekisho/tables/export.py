"""A range of days of one table, out to other programs, rows that are still in the spool included. Must only read."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from sekisho.tables.arrow import pq
from sekisho.tables.reader import Result, SqlFailed, open_connection
from sekisho.tables.schema import TABLES
from sekisho.tables.storage import Storage

_BATCH_ROWS = 10_000


class Export:
    """Rows of a table from one day to another, both included, UTC; from `storage`, by default the folder `tables` of
    data_dir, and the spool. Raises SqlFailed, OSError, KeyError."""

    def __init__(self, data_dir: Path, name: str, first: date, last: date, storage: Storage | None = None) -> None:
        columns = ", ".join(TABLES[name].names)
        self._sql = f"SELECT {columns} FROM {name} WHERE request_date BETWEEN ? AND ?"
        self._days = [first, last]
        try:
            self._connection = open_connection(data_dir, self._sql, storage)
        except duckdb.Error as error:
            raise SqlFailed(str(error)) from None

    def result(self) -> Result:
        """The rows as Python values. Raises SqlFailed."""
        try:
            return Result(self._connection.execute(self._sql, self._days))
        except duckdb.Error as error:
            raise SqlFailed(str(error)) from None

    def write_parquet(self, file: Path) -> int:
        """All rows into a file, zstd; how many. Raises SqlFailed, OSError."""
        count = 0
        try:
            batches: Any = self._connection.sql(self._sql, params=self._days).to_arrow_reader(_BATCH_ROWS)
            with pq.ParquetWriter(file, batches.schema, compression="zstd") as writer:
                for batch in batches:
                    writer.write_batch(batch)
                    count += batch.num_rows
        except duckdb.Error as error:
            raise SqlFailed(str(error)) from None
        return count
