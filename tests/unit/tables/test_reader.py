"""SQL over the tables and the spool: each row once, and nothing but reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.unit.tables.rows import a_row, record_of, without_log

from sekisho.tables.committer import Committer
from sekisho.tables.delta import DeltaFolder
from sekisho.tables.reader import NotAQuery, SqlFailed, ask, has_data, names, open_connection, query
from sekisho.tables.schema import INFERENCE_LOG, TABLES, USAGE
from sekisho.tables.segments import SpoolReader
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.storage import Storage


def rows_of(data_dir: Path, sql: str) -> list[tuple[Any, ...]]:
    return list(ask(data_dir, sql).rows())


@pytest.fixture
def spool(tmp_path: Path):
    writer = SpoolWriter(tmp_path / "spool", 64 * 1024)
    yield writer
    writer.close()


def drain(data_dir: Path) -> None:
    committer = Committer(data_dir)
    while committer.step():
        pass


COUNTS = """
    SELECT (SELECT count(*) FROM usage), (SELECT count(DISTINCT request_id) FROM usage),
           (SELECT count(*) FROM inference_log), (SELECT count(DISTINCT request_id) FROM inference_log)
"""


def test_rows_are_there_at_once_and_once(tmp_path: Path, spool: SpoolWriter):
    assert rows_of(tmp_path, COUNTS) == [(0, 0, 0, 0)]
    for n in range(300):
        spool.append(record_of(a_row(n) if n % 2 else without_log(n)))
        if n in (100, 200):
            drain(tmp_path)
    assert rows_of(tmp_path, COUNTS) == [(300, 300, 150, 150)]
    drain(tmp_path)
    assert rows_of(tmp_path, COUNTS) == [(300, 300, 150, 150)]


def test_a_crash_between_the_two_commits_is_not_seen(
    tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch
):
    for n in range(5):
        spool.append(record_of(a_row(n)))
    append = DeltaFolder.append

    def only_usage(self: DeltaFolder, rows: Any, last_seq: int) -> None:
        if self.name == "inference_log":
            raise OSError("cut")
        append(self, rows, last_seq)

    monkeypatch.setattr(DeltaFolder, "append", only_usage)
    with pytest.raises(OSError, match="cut"):
        drain(tmp_path)
    assert rows_of(tmp_path, COUNTS) == [(5, 5, 5, 5)]


def test_a_commit_and_a_trim_while_the_snapshot_is_taken(
    tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch
):
    for n in range(400):
        spool.append(record_of(a_row(n)))
    hold = SpoolReader.hold

    def held_then_committed(self: SpoolReader) -> None:
        hold(self)
        drain(tmp_path)

    monkeypatch.setattr(SpoolReader, "hold", held_then_committed)
    assert rows_of(tmp_path, COUNTS) == [(400, 400, 400, 400)]


def test_columns_and_types_are_the_same_from_both_sources(tmp_path: Path, spool: SpoolWriter):
    def described(name: str) -> list[tuple[Any, ...]]:
        return rows_of(tmp_path, f"SELECT column_name, column_type FROM (DESCRIBE {name})")

    empty = {name: described(name) for name in names()}
    assert [name for name, _ in empty["inference_log"]] == INFERENCE_LOG.names
    assert [name for name, _ in empty["usage"]] == USAGE.names
    spool.append(record_of(a_row()))
    drain(tmp_path)
    assert {name: described(name) for name in names()} == empty


def test_a_folder_with_any_name(tmp_path: Path):
    data_dir = tmp_path / "データ it's 100%"
    writer = SpoolWriter(data_dir / "spool", 64 * 1024)
    writer.append(record_of(a_row()))
    drain(data_dir)
    assert rows_of(data_dir, "SELECT count(*) FROM usage") == [(1,)]
    writer.close()


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW usage",
        "CREATE TABLE x (a INT)",
        "INSERT INTO spool.usage SELECT * FROM usage",
        "COPY usage TO 'x.csv'",
        "ATTACH 'x.db'",
        "SET threads = 1",
        "INSTALL httpfs",
        "PRAGMA version",
        "CALL pragma_version()",
        "SELECT 1; DROP VIEW usage",
        "",
        "-- nothing",
    ],
)
def test_only_reading_is_allowed(tmp_path: Path, sql: str):
    with pytest.raises(NotAQuery):
        ask(tmp_path, sql)


@pytest.mark.parametrize("file", ["secret.csv", "secret.parquet", "tables/usage/_delta_log/0.json"])
def test_no_other_file_can_be_read(tmp_path: Path, spool: SpoolWriter, file: str):
    spool.append(record_of(a_row()))
    drain(tmp_path)
    (tmp_path / file).write_text("a\n1\n")
    for sql in (f"SELECT * FROM '{tmp_path / file}'", f"SELECT * FROM read_text('{tmp_path / file}')"):
        with pytest.raises(SqlFailed, match="disabled by configuration"):
            list(ask(tmp_path, sql).rows())


@pytest.mark.parametrize(
    "sql", ["WITH a AS (SELECT 1) FROM a", "DESCRIBE usage", "SHOW TABLES", "EXPLAIN SELECT 1", "SUMMARIZE usage"]
)
def test_what_reads_is_allowed(tmp_path: Path, sql: str):
    assert list(ask(tmp_path, sql).rows())


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN ANALYZE COPY (SELECT * FROM usage LIMIT 0) TO '{file}' (FORMAT csv, USE_TMP_FILE false)",
        "EXPLAIN (ANALYZE) COPY (SELECT * FROM usage LIMIT 0) TO '{file}' (FORMAT csv, USE_TMP_FILE false)",
        "WITH a AS (cOPY (SELECT * FROM usage LIMIT 0) TO '{file}' (FORMAT csv, USE_TMP_FILE false)) FROM a",
        "FROM query('WITH a AS (CO' || 'PY (FROM usage LIMIT 0) TO ''{file}'' (USE_TMP_FILE false)) FROM a')",
    ],
)
def test_what_writes_inside_of_what_reads_changes_no_table(tmp_path: Path, spool: SpoolWriter, sql: str):
    spool.append(record_of(a_row()))
    drain(tmp_path)
    (file,) = (tmp_path / "tables" / "usage").glob("*/*.parquet")
    before = file.read_bytes()
    with pytest.raises(SqlFailed):
        rows_of(tmp_path, sql.format(file=file))
    assert file.read_bytes() == before
    assert rows_of(tmp_path, "SELECT count(*) FROM usage WHERE 'copy' <> ''") == [(1,)]


def test_show_tables_lists_what_there_is_to_ask(tmp_path: Path):
    assert {name for (name,) in rows_of(tmp_path, "SHOW TABLES")} == set(names())


def test_settings_are_locked(tmp_path: Path):
    with open_connection(tmp_path) as connection:
        for sql in ("SET enable_external_access = true", "RESET memory_limit", "SET allowed_paths = ['/']"):
            with pytest.raises(duckdb.Error):
                connection.execute(sql)


def test_tables_that_a_statement_does_not_name_are_not_read(tmp_path: Path, spool: SpoolWriter):
    spool.append(record_of(a_row()))
    with open_connection(tmp_path, "SELECT 1") as connection:
        assert query(connection, "SELECT count(*) FROM usage").fetchall() == [(0,)]
    for name in (*TABLES, "last_user_message"):
        with open_connection(tmp_path, f"select count(*) from {name.upper()}") as connection:
            assert query(connection, f"SELECT count(*) FROM {name}").fetchall() == [(1,)]
    assert rows_of(tmp_path, "SELECT count(*) FROM query ('FROM us' || 'age')") == [(1,)]


def test_mistakes_are_told_briefly(tmp_path: Path):
    with pytest.raises(SqlFailed) as failed:
        ask(tmp_path, "SELECT nope\nFROM usage")
    assert "nope" in str(failed.value)
    assert "LINE" not in str(failed.value)
    with pytest.raises(SqlFailed, match="Conversion"):
        list(ask(tmp_path, "SELECT 'x'::INT FROM range(3)").rows())


def test_column_names_are_unique(tmp_path: Path):
    assert ask(tmp_path, "SELECT 1 AS a, 2 AS a, 3 AS a_1").columns == ["a", "a_1", "a_1_1"]


def test_nothing_recorded_yet(tmp_path: Path):
    assert not has_data(tmp_path / "none")
    assert rows_of(tmp_path / "none", COUNTS) == [(0, 0, 0, 0)]
    assert not (tmp_path / "none").exists()


def made_by_an_earlier_version(data_dir: Path) -> None:
    from deltalake import write_deltalake

    from sekisho.tables.columns import Batch
    from sekisho.tables.layout import encode_record

    batch = Batch()
    batch.add([encode_record(record_of(a_row(9)))])
    older = batch.table().select(["request_date", "event_time", "request_id"])
    write_deltalake(str(data_dir / "tables" / "usage"), older, partition_by=["request_date"])


# the word `copy` has the table read as a dataset
@pytest.mark.parametrize("where", ["true", "'copy' <> team OR team IS NULL"])
def test_a_table_of_an_earlier_version_that_no_committer_has_opened_yet(tmp_path: Path, spool: SpoolWriter, where: str):
    made_by_an_earlier_version(tmp_path)
    sql = f"SELECT request_id, team, tags, len(attempts) FROM usage WHERE {where} ORDER BY request_id"
    older = (a_row(9).request_id, None, None, None)
    assert rows_of(tmp_path, sql) == [older]
    assert rows_of(tmp_path, "SELECT calls, cost_usd, unpriced_calls FROM cost_by_day") == [(1, None, 1)]
    spool.append(record_of(a_row(1)))
    assert rows_of(tmp_path, sql) == [(a_row(1).request_id, "research", {"feature": "summary"}, 1), older]


def test_older_files_without_later_columns(tmp_path: Path, spool: SpoolWriter):
    made_by_an_earlier_version(tmp_path)
    spool.append(record_of(a_row(1)))
    drain(tmp_path)
    got = rows_of(tmp_path, "SELECT request_id, team FROM usage ORDER BY request_id")
    assert got == [(a_row(1).request_id, "research"), (a_row(9).request_id, None)]


def test_a_table_that_was_widened_and_has_older_files_alone(tmp_path: Path, spool: SpoolWriter):
    made_by_an_earlier_version(tmp_path)
    DeltaFolder(Storage.folder(tmp_path / "tables"), "usage", "spool").open()
    sql = "SELECT request_id, team, tags, len(attempts) FROM usage ORDER BY request_id"
    older = (a_row(9).request_id, None, None, None)
    assert rows_of(tmp_path, sql) == [older]
    spool.append(record_of(a_row(1)))
    assert rows_of(tmp_path, sql) == [(a_row(1).request_id, "research", {"feature": "summary"}, 1), older]
