"""That a SQLite control database knows by which pepper its keys are hashed, as far as anybody can know it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sekisho.stores.migrate import migrate
from sekisho.stores.pepper import PepperUnusable
from sekisho.stores.ports import KeyRecord, StoreUnavailable
from sekisho.stores.sql_engine import sqlite_engine
from sekisho.stores.sql_keys import SqlKeyStore
from sekisho.stores.sqlite_pepper import Unmarked, agree

RIGHT, WRONG = b"r" * 32, b"w" * 32
PEPPER = Path("/srv/rows/key_pepper")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "control.db"
    migrate(path)
    return path


def add_key(database: Path, name: str = "app") -> str:
    record = KeyRecord(id=f"key_{name}", name=name, digest=name.encode())
    SqlKeyStore(sqlite_engine(database)).add(record)
    return record.id


def change(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement)


def refused(database: Path, pepper: bytes) -> bool:
    try:
        agree(database, pepper, PEPPER)
    except PepperUnusable as error:
        assert (error.kind, error.facts) == ("not_its_own", {"path": PEPPER, "database": database})
        return True
    return False


def test_a_database_with_keys_is_opened_with_its_own_pepper_alone(database: Path) -> None:
    assert agree(database, RIGHT, PEPPER)
    add_key(database)
    assert refused(database, WRONG)
    assert agree(database, RIGHT, PEPPER)
    change(database, "UPDATE keys SET revoked_at_us = 1")
    assert refused(database, WRONG), "its rows go by the ids of the keys, and names of keys by what was revoked"


def test_a_database_without_keys_takes_any_pepper(database: Path) -> None:
    """Nothing depends on the one that it had."""
    for pepper in (WRONG, RIGHT):
        assert agree(database, pepper, PEPPER)
    add_key(database)
    assert refused(database, WRONG)
    assert agree(database, RIGHT, PEPPER)


def test_keys_of_before_are_taken_for_those_of_a_pepper_when_it_has_opened_one(database: Path) -> None:
    """Nobody knows by which pepper they were hashed, and the wrong one must not keep the right one out."""
    known = add_key(database)
    for pepper in (WRONG, RIGHT):
        assert not agree(database, pepper, PEPPER)
    unmarked = Unmarked(database, RIGHT)
    assert not unmarked.opened(frozenset({"key_of_the_file"}))
    assert agree(database, WRONG, PEPPER) is False
    assert unmarked.opened(frozenset({"key_of_the_file", known}))
    assert refused(database, WRONG)
    assert agree(database, RIGHT, PEPPER)


def test_who_comes_second_changes_no_mark(database: Path) -> None:
    known = add_key(database)
    assert Unmarked(database, RIGHT).opened(frozenset({known}))
    assert Unmarked(database, WRONG).opened(frozenset({known})), "there is one: nothing is left to do"
    assert refused(database, WRONG)


def test_a_mark_says_nothing_of_the_pepper(database: Path) -> None:
    agree(database, RIGHT, PEPPER)
    with closing(sqlite3.connect(database)) as connection:
        [(mark,)] = connection.execute("SELECT mark FROM key_pepper").fetchall()
    assert len(mark) == 32
    assert RIGHT not in database.read_bytes()


def test_a_database_that_cannot_be_written_now_is_compared_all_the_same(database: Path) -> None:
    agree(database, RIGHT, PEPPER)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert agree(database, WRONG, PEPPER) is False, "no key, and no mark of its own: later"
        connection.execute("ROLLBACK")
    add_key(database)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert agree(database, RIGHT, PEPPER)
        assert refused(database, WRONG)
        connection.execute("ROLLBACK")


def test_a_damaged_database_is_said_to_be_that(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        agree(path, RIGHT, PEPPER)
