"""The pepper: made once, agreed on, never replaced while keys depend on it."""

from __future__ import annotations

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sekisho.stores.migrate import migrate
from sekisho.stores.pepper import FILE_NAME, PepperUnusable, load_or_create_pepper
from sekisho.stores.ports import KeyRecord
from sekisho.stores.sql_engine import sqlite_engine
from sekisho.stores.sql_keys import SqlKeyStore


def test_a_pepper_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    pepper = load_or_create_pepper(data_dir)
    assert len(pepper) == 32
    assert load_or_create_pepper(data_dir) == pepper == (data_dir / FILE_NAME).read_bytes()
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in data_dir.iterdir()} == {0o600}
    assert load_or_create_pepper(tmp_path / "other") != pepper


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o755)
    load_or_create_pepper(data_dir)
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o755


def test_threads_that_start_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        peppers = set(pool.map(load_or_create_pepper, [tmp_path / "data"] * 8))
    assert len(peppers) == 1


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sekisho.stores.pepper import load_or_create_pepper; "
        "print(load_or_create_pepper(Path(sys.argv[1])).hex())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "data")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    assert len({process.communicate()[0] for process in processes}) == 1
    assert sorted(file.name for file in (tmp_path / "data").iterdir()) == ["key_pepper", "key_pepper.lock"]


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_a_damaged_pepper_is_not_used(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(PepperUnusable) as caught:
        load_or_create_pepper(tmp_path)
    assert caught.value.kind == "damaged"
    assert caught.value.facts == {"path": tmp_path / FILE_NAME, "size": len(content), "right_size": 32}
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_a_pepper_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    # a directory stands in for a file without permission, which root could read
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(PepperUnusable) as caught:
        load_or_create_pepper(tmp_path)
    assert caught.value.kind == "unreadable"
    assert caught.value.facts["path"] == tmp_path / FILE_NAME


def test_a_lost_pepper_is_not_replaced_while_there_are_keys(tmp_path: Path) -> None:
    database = tmp_path / "control.db"
    migrate(database)
    pepper = load_or_create_pepper(tmp_path)
    SqlKeyStore(sqlite_engine(database)).add(KeyRecord(id="key_1", name="bench", digest=bytes(32)))
    (tmp_path / FILE_NAME).rename(tmp_path / "backup")
    with pytest.raises(PepperUnusable) as caught:
        load_or_create_pepper(tmp_path)
    assert caught.value.kind == "missing"
    assert caught.value.facts == {"path": tmp_path / FILE_NAME, "database": database}
    assert not (tmp_path / FILE_NAME).exists()
    (tmp_path / "backup").rename(tmp_path / FILE_NAME)
    assert load_or_create_pepper(tmp_path) == pepper


def test_a_database_elsewhere_is_looked_at_too(tmp_path: Path) -> None:
    database = tmp_path / "elsewhere" / "keys.db"
    migrate(database)
    SqlKeyStore(sqlite_engine(database)).add(KeyRecord(id="key_1", name="bench", digest=bytes(32)))
    with pytest.raises(PepperUnusable) as caught:
        load_or_create_pepper(tmp_path / "data", database)
    assert caught.value.facts == {"path": tmp_path / "data" / FILE_NAME, "database": database}


def test_a_database_without_keys_lets_a_pepper_be_made(tmp_path: Path) -> None:
    (tmp_path / "control.db").touch()
    load_or_create_pepper(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    migrate(tmp_path / "control.db")
    load_or_create_pepper(tmp_path)


def test_a_database_that_cannot_be_read_might_hold_keys(tmp_path: Path) -> None:
    (tmp_path / "control.db").write_bytes(b"damaged" * 1000)
    with pytest.raises(PepperUnusable) as caught:
        load_or_create_pepper(tmp_path)
    assert caught.value.kind == "unknown"
    assert caught.value.facts["database"] == tmp_path / "control.db"
