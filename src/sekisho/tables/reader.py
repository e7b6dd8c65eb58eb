"""SQL over the tables, rows that are still in the spool included. Must never show a row twice, nor open any other file.

The snapshot: first every segment is opened, then the table. What the committer moves meanwhile is in the table, and
left out of the segments, because the table's `txn` says up to where it has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb

from sekisho.tables.columns import Batch
from sekisho.tables.delta import WIDENED, app_id, open_table
from sekisho.tables.newest import Newest, is_newest, newest
from sekisho.tables.qualified import plain_names
from sekisho.tables.schema import PARTITION, TABLES
from sekisho.tables.segments import SpoolReader, segment_numbers
from sekisho.tables.views import MACROS, VIEWS

MEMORY_LIMIT = "2GB"
_TAIL_ROWS = 20_000
#: functions whose argument names a table that the parser does not see
_HIDDEN_NAMES = ("query(", "query_table(")
_NUMERIC = ("DECIMAL", "DOUBLE", "FLOAT", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "U")
_FETCH_ROWS = 2_000
#: what tables were like at the newest entry of their logs: who asks again need not open them until the next commit
_seen: dict[tuple[Path, str | None], tuple[Newest, tuple[list[str], int, bool]]] = {}
_MOST_SEEN = 64
_ALLOWED = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


class NotAQuery(ValueError):
    """Only one statement that reads is allowed."""


def open_connection(data_dir: Path, sql: str | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory database with `usage`, `inference_log` and the views, locked: no other file, no setting, no network.

    Given the SQL that will run, tables that it does not name stay empty, which saves reading them. A table that does
    not exist yet is empty. Raises duckdb.Error, OSError, or delta-rs's errors for a table that cannot be read.
    """
    wanted = set(TABLES) if sql is None else _named(sql)
    connection = duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        }
    )
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE SCHEMA spool")
        spool = SpoolReader(data_dir / "spool")
        try:
            spool.hold()
            files = [file for name in TABLES for file in _add_table(connection, data_dir, name, spool, name in wanted)]
        finally:
            spool.close()
        for name, definition in MACROS.items():
            connection.execute(f"CREATE MACRO {name}{definition}")
        for name, view in VIEWS.items():
            connection.execute(f"CREATE VIEW {name} AS {view.sql}")
        connection.execute("SET allowed_paths = ?", [files])
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


def query(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyConnection:
    """Run one statement that reads; rows are fetched from what it returns. Raises NotAQuery, duckdb.Error."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise NotAQuery("one statement at a time" if statements else "there is no statement")
    if statements[0].type not in _ALLOWED:
        raise NotAQuery(f"only SELECT is allowed, not {statements[0].type.name}")
    return connection.execute(statements[0])


class SqlFailed(Exception):
    """DuckDB's message, without its picture of the statement."""


class Result:
    """The rows of one statement. `numeric` says of each column whether it holds numbers; names are unique."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        description = connection.description or []
        self._connection = connection
        self.columns = _unique([str(column[0]) for column in description])
        self.numeric = [str(column[1]).startswith(_NUMERIC) for column in description]

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Raises SqlFailed: a statement may fail while it is read."""
        try:
            while rows := self._connection.fetchmany(_FETCH_ROWS):
                yield from rows
        except duckdb.Error as error:
            raise SqlFailed(_short(error)) from None


def ask(data_dir: Path, sql: str) -> Result:
    """Run one statement over what was recorded in this data_dir. Raises NotAQuery, SqlFailed, OSError."""
    sql = plain_names(sql)
    try:
        return Result(query(open_connection(data_dir, sql), sql))
    except duckdb.Error as error:
        raise SqlFailed(_short(error)) from None


def has_data(data_dir: Path) -> bool:
    """Whether anything was ever recorded here."""
    return any((data_dir / "tables" / name).is_dir() for name in TABLES) or bool(segment_numbers(data_dir / "spool"))


def names() -> list[str]:
    """Tables, then views."""
    return [*TABLES, *VIEWS]


def _named(sql: str) -> set[str]:
    """The tables that a statement may read, by the names in its text; all when a name may be hidden in a string."""
    text = sql.lower()
    if any(hidden in text.replace(" ", "") for hidden in _HIDDEN_NAMES):
        return set(TABLES)
    return {name for name in TABLES if name in text} | {view.table for name, view in VIEWS.items() if name in text}


def _add_table(
    connection: duckdb.DuckDBPyConnection, data_dir: Path, name: str, spool: SpoolReader, wanted: bool
) -> list[str]:
    """Make the view of one table; the files it reads."""
    files, done, widened = _snapshot(data_dir / "tables" / name, spool.spool_id()) if wanted else ([], 0, False)
    tail = f"spool.{name}"
    connection.register("_none", TABLES[name].empty_table())
    connection.execute(f"CREATE TABLE {tail} AS SELECT * FROM _none")
    connection.unregister("_none")
    for batch in _tail(spool, done) if wanted else ():
        rows = batch.table()
        if name == "inference_log":
            rows = rows.filter(batch.full())
        connection.register("_batch", rows.select(TABLES[name].names).cast(TABLES[name]))
        connection.execute(f"INSERT INTO {tail} SELECT * FROM _batch")
        connection.unregister("_batch")
    columns = ", ".join(TABLES[name].names)
    sources = [f"SELECT {columns} FROM {tail}"]
    if files:
        options = f"hive_partitioning = true, hive_types = {{'{PARTITION}': DATE}}, union_by_name = {widened}"
        sources.insert(0, f"SELECT {columns} FROM read_parquet([{', '.join(map(_literal, files))}], {options})")
    connection.execute(f"CREATE VIEW {name} AS {' UNION ALL '.join(sources)}")
    return files


def _snapshot(path: Path, spool_id: str | None) -> tuple[list[str], int, bool]:
    """Files of the table, how far it has the spool, and whether some files lack columns."""
    seen, found = _seen.get((path, spool_id), (None, ([], 0, False)))
    if seen is not None and is_newest(path, seen):
        return found
    if (table := open_table(path)) is None:
        return [], 0, False
    done = table.transaction_version(app_id(spool_id)) if spool_id is not None else None
    # delta-rs gives paths as in a URL, also those of a disk
    files = sorted(map(unquote, table.file_uris()))
    found = files, done or 0, WIDENED in table.metadata().configuration
    if (seen := newest(path, table.version())) is not None:
        if len(_seen) >= _MOST_SEEN:
            _seen.clear()
        _seen[path, spool_id] = seen, found
    return found


def _tail(spool: SpoolReader, done: int) -> Iterator[Batch]:
    """Rows after this position, in batches."""
    batch = Batch()
    for chunk in spool.chunks(done):
        batch.add(chunk.payloads)
        if batch.rows >= _TAIL_ROWS:
            yield batch
            batch = Batch()
    if batch.rows:
        yield batch


def _short(error: Exception) -> str:
    return str(error).partition("\n\nLINE ")[0].strip()


def _unique(names: list[str]) -> list[str]:
    """The second `a` becomes `a_1`, as DuckDB itself does it in data frames."""
    seen: set[str] = set()
    for at, name in enumerate(names):
        candidates = chain([name], (f"{name}_{n}" for n in count(1)))
        names[at] = next(candidate for candidate in candidates if candidate not in seen)
        seen.add(names[at])
    return names


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
