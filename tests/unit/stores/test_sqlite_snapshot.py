"""The snapshot reader: sees other writers, never waits long, never takes an error for an empty list."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from sekisho.stores.migrate import migrate
from sekisho.stores.ports import KeyRecord, StoreUnavailable
from sekisho.stores.sql_engine import sqlite_engine
from sekisho.stores.sql_keys import SqlKeyStore
from sekisho.stores.sqlite_snapshot import SqliteSnapshot

RECORD = KeyRecord(id="key_1", name="bench", digest=bytes(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    database = tmp_path / "control.db"
    migrate(database)
    return database


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("content", [None, b"", b"not a database" * 1000])
def test_a_database_that_cannot_be_read_is_unavailable(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "control.db"
    if content is not None:
        path.write_bytes(content)
    snapshot = SqliteSnapshot(path)
    with pytest.raises(StoreUnavailable):
        snapshot.all()
    with pytest.raises(StoreUnavailable):
        snapshot.version()
    assert (path.read_bytes() if content is not None else None) == content


def test_a_missing_database_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        SqliteSnapshot(tmp_path / "control.db").version()
    assert list(tmp_path.iterdir()) == []


def test_a_transaction_that_is_open_elsewhere_neither_blocks_nor_shows(path: Path) -> None:
    snapshot = SqliteSnapshot(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE control_version SET version = 7")
        started = time.monotonic()
        assert snapshot.version() == 0
        assert time.monotonic() - started < 5
        writer.execute("COMMIT")
    assert snapshot.version() == 7


def test_a_database_locked_for_good_is_given_up_soon(path: Path) -> None:
    change(path, "PRAGMA journal_mode = DELETE")
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="locked"):
            SqliteSnapshot(path).version()
        assert 0.2 < time.monotonic() - started < 20


def test_a_restored_backup_is_seen(path: Path, tmp_path: Path) -> None:
    SqlKeyStore(sqlite_engine(path)).add(RECORD)
    snapshot = SqliteSnapshot(path)
    assert snapshot.all() == [RECORD]
    backup = tmp_path / "backup.db"
    migrate(backup)
    for rest in ("-wal", "-shm"):
        path.with_name(path.name + rest).unlink(missing_ok=True)
    shutil.move(backup, path)
    assert snapshot.all() == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE keys SET endpoints = 'chat'",
        "UPDATE keys SET endpoints = '{}'",
        "UPDATE keys SET digest = 1.5",
    ],
)
def test_a_damaged_row_is_unavailable_and_not_skipped(path: Path, damage: str) -> None:
    SqlKeyStore(sqlite_engine(path)).add(RECORD)
    change(path, damage)
    with pytest.raises(StoreUnavailable, match="damaged row: 'key_1'"):
        SqliteSnapshot(path).all()


def test_a_database_without_its_version_is_unavailable(path: Path) -> None:
    change(path, "DELETE FROM control_version")
    with pytest.raises(StoreUnavailable, match="no version row"):
        SqliteSnapshot(path).version()


def test_the_snapshot_cannot_write(path: Path) -> None:
    with (
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("DELETE FROM keys")


def test_a_writer_that_cannot_get_the_lock_is_told_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.stores.sql_engine.BUSY_TIMEOUT_S", 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            SqlKeyStore(sqlite_engine(path)).add(RECORD)


def test_control_data_survives_a_power_cut(path: Path) -> None:
    with sqlite_engine(path).connect() as connection:
        journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()
    # 2 is FULL
    assert (journal, synchronous) == ("wal", 2)
