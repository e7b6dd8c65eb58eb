"""SQL over the tables, rows that are still in the spool included. Must never show a row twice, nor open any other file.

The snapshot: first every segment is opened, then the table. What the committer moves meanwhile is in the table, and
left out of the segments, because the table's `txn` says up to where it has them.

Files of a folder are read by DuckDB itself, and it may open no others. Those of a bucket it cannot reach, for it has
no network: it asks an Arrow dataset for columns and days, and delta-rs fetches those parts of the files. A statement
that might write is read in the same way, for whatever DuckDB may open it may write to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import unquote

import duckdb

from sekisho.tables.columns import Batch
from sekisho.tables.delta import WIDENED, app_id, open_in
from sekisho.tables.features import check_read
from sekisho.tables.newest import Newest, is_newest, newest
from sekisho.tables.qualified import plain_names
from sekisho.tables.schema import PARTITION, TABLES
from sekisho.tables.segments import SpoolReader, segment_numbers
from sekisho.tables.spools import held_spools, spool_ids, spool_roots
from sekisho.tables.storage import Storage
from sekisho.tables.views import MACROS, VIEWS

if TYPE_CHECKING:
    from deltalake import DeltaTable

MEMORY_LIMIT = "2GB"
_TAIL_ROWS = 20_000
#: functions whose argument names a table that the parser does not see
_HIDDEN_NAMES = ("query(", "query_table(")
#: how a statement that reads can hold one that writes: inside of WITH or EXPLAIN, or hidden in a string
_WRITES = ("copy", "query", "serialized")
_NUMERIC = ("DECIMAL", "DOUBLE", "FLOAT", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "U")
_FETCH_ROWS = 2_000
#: what DuckDB reads the committed rows from; it may open no files where that is a dataset
Source = Literal["files", "dataset"]
_ALLOWED = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


class NotAQuery(ValueError):
    """Only one statement that reads is allowed. `kind` is what was given instead: `nothing`, `several`, or what
    DuckDB calls the statement."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class _Committed(NamedTuple):
    """What a table has: how far each spool, its columns, the files on a disk, or an Arrow dataset over a bucket."""

    done: Mapping[str, int] = {}
    columns: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()
    widened: bool = False
    dataset: Any = None


#: what tables were like at the newest entry of their logs: who asks again need not open them until the next commit
_seen: dict[tuple[Path, tuple[str, ...]], tuple[Newest, _Committed]] = {}
_MOST_SEEN = 64


def open_connection(
    data_dir: Path, sql: str | None = None, storage: Storage | None = None
) -> duckdb.DuckDBPyConnection:
    """An in-memory database with `usage`, `inference_log` and the views, locked: no other file, no setting, no network.

    Rows of every spool of data_dir are seen. Given the SQL that will run, tables that it does not name stay empty, so
    they are not read. A table that does not exist yet is empty. Raises duckdb.Error, OSError, or delta-rs's errors for
    a table that cannot be read.
    """
    sources = _sources(sql)
    place = storage or Storage.folder(data_dir / "tables")
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
        spools = held_spools(data_dir)
        try:
            files = [file for name in TABLES for file in _add_table(connection, place, name, spools, sources.get(name))]
        finally:
            for spool in spools:
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
        raise NotAQuery("several" if statements else "nothing")
    if statements[0].type not in _ALLOWED:
        raise NotAQuery(statements[0].type.name)
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


def ask(data_dir: Path, sql: str, storage: Storage | None = None) -> Result:
    """Run one statement over the tables in `storage`, by default the folder `tables` of data_dir, and over what waits
    in the spool of data_dir. Raises NotAQuery, SqlFailed, OSError."""
    sql = plain_names(sql)
    try:
        return Result(query(open_connection(data_dir, sql, storage), sql))
    except duckdb.Error as error:
        raise SqlFailed(_short(error)) from None


def has_data(data_dir: Path, storage: Storage | None = None) -> bool:
    """Whether anything was ever recorded here; of a bucket it is taken for granted."""
    folder = data_dir / "tables" if storage is None else storage.path
    if folder is None or any((folder / name).is_dir() for name in TABLES):
        return True
    return any(map(segment_numbers, spool_roots(data_dir)))


def names() -> list[str]:
    """Tables, then views."""
    return [*TABLES, *VIEWS]


def _sources(sql: str | None) -> dict[str, Source]:
    """How each table that the statement may read is read; None for statements of ours."""
    may_write = sql is not None and any(word in sql.lower() for word in _WRITES)
    source: Source = "dataset" if may_write else "files"
    return dict.fromkeys(TABLES if sql is None else _named(sql), source)


def _named(sql: str) -> set[str]:
    """The tables that a statement may read, by the names in its text; all when a name may be hidden in a string."""
    text = sql.lower()
    if any(hidden in text.replace(" ", "") for hidden in _HIDDEN_NAMES):
        return set(TABLES)
    return {name for name in TABLES if name in text} | {view.table for name, view in VIEWS.items() if name in text}


def _add_table(
    connection: duckdb.DuckDBPyConnection,
    storage: Storage,
    name: str,
    spools: Sequence[SpoolReader],
    source: Source | None,
) -> tuple[str, ...]:
    """Make the view of one table; the files it reads."""
    committed = _Committed() if source is None else _snapshot(storage, name, spool_ids(spools), source)
    tail = f"spool.{name}"
    connection.register("_none", TABLES[name].empty_table())
    connection.execute(f"CREATE TABLE {tail} AS SELECT * FROM _none")
    connection.unregister("_none")
    for batch in () if source is None else _tail(spools, committed.done):
        rows = batch.table()
        if name == "inference_log":
            rows = rows.filter(batch.full())
        connection.register("_batch", rows.select(TABLES[name].names).cast(TABLES[name]))
        connection.execute(f"INSERT INTO {tail} SELECT * FROM _batch")
        connection.unregister("_batch")
    sources = [f"SELECT {', '.join(TABLES[name].names)} FROM {tail}"]
    # The committer of this version may not have been at a table of an earlier one yet.
    there = ", ".join(column if column in committed.columns else f"NULL AS {column}" for column in TABLES[name].names)
    if committed.files:
        options = f"hive_partitioning = true, hive_types = {{'{PARTITION}': DATE}}, union_by_name = {committed.widened}"
        files = f"read_parquet([{', '.join(map(_literal, committed.files))}], {options})"
        if committed.widened:  # until the first commit no file has the columns that the table has already
            files = f"(FROM {files} UNION ALL BY NAME FROM {tail} WHERE false)"
        sources.insert(0, f"SELECT {there} FROM {files}")
    if committed.dataset is not None:
        connection.register(f"committed_{name}", committed.dataset)
        sources.insert(0, f"SELECT {there} FROM committed_{name}")
    connection.execute(f"CREATE VIEW {name} AS {' UNION ALL '.join(sources)}")
    return committed.files


def _snapshot(storage: Storage, name: str, spools: tuple[str, ...], source: Source) -> _Committed:
    folder = None if storage.path is None else storage.path / name
    if folder is None or source == "dataset":
        # Asking a store whether there is a newer entry costs about as much as opening the table.
        if (table := _readable(storage, name)) is None:
            return _Committed()
        return _Committed(_done(table, spools), _columns(table), dataset=table.to_pyarrow_dataset())
    seen, found = _seen.get((folder, spools), (None, _Committed()))
    if seen is not None and is_newest(folder, seen):
        return found
    if (table := _readable(storage, name)) is None:
        return _Committed()
    # delta-rs gives paths as in a URL, also those of a disk
    files = tuple(sorted(map(unquote, table.file_uris())))
    found = _Committed(_done(table, spools), _columns(table), files, WIDENED in table.metadata().configuration)
    if (seen := newest(folder, table.version())) is not None:
        if len(_seen) >= _MOST_SEEN:
            _seen.clear()
        _seen[folder, spools] = seen, found
    return found


def _readable(storage: Storage, name: str) -> DeltaTable | None:
    table = open_in(storage, name)
    if table is not None:
        check_read(table, name)
    return table


def _columns(table: DeltaTable) -> frozenset[str]:
    return frozenset(field.name for field in table.schema().fields)


def _done(table: Any, spools: tuple[str, ...]) -> dict[str, int]:
    """How far the table has these spools."""
    return {spool_id: table.transaction_version(app_id(spool_id)) or 0 for spool_id in spools}


def _tail(spools: Sequence[SpoolReader], done: Mapping[str, int]) -> Iterator[Batch]:
    """Rows that the table does not have, in batches."""
    batch = Batch()
    for chunk in (chunk for spool in spools for chunk in spool.unread(done)):
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
