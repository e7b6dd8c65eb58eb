"""Keys between processes: two that want one name, and a reader that sees what others change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.stores.migrate import migrate
from sekisho.stores.ports import KeyRecord
from sekisho.stores.sqlite_snapshot import SqliteSnapshot

#: argv: database, first number, how many, name or "" for a name each; starts when a line comes on stdin
ADD = """
import sys
from pathlib import Path
from sekisho.stores.ports import KeyRecord, NameTaken
from sekisho.stores.sql_engine import sqlite_engine
from sekisho.stores.sql_keys import SqlKeyStore

path, first, count, name = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
store = SqlKeyStore(sqlite_engine(path))
print("ready", flush=True)
sys.stdin.readline()
for number in range(first, first + count):
    try:
        store.add(KeyRecord(id=f"key_{number:06}", name=name or f"key {number}", digest=number.to_bytes(32, "big")))
        print("added")
    except NameTaken as taken:
        print(taken)
"""
CHANGE = """
import sys
from pathlib import Path
from sekisho.stores.sql_engine import sqlite_engine
from sekisho.stores.sql_keys import SqlKeyStore

store = SqlKeyStore(sqlite_engine(Path(sys.argv[1])))
getattr(store, sys.argv[2])(sys.argv[3], int(sys.argv[4]))
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "control.db"
    migrate(path)
    return path


def start_together(database: Path, count: int, name: str) -> list[str]:
    """What two processes print that begin to add keys at the same moment."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ADD, str(database), str(first), str(count), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in (1, 1001)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = [process.communicate()[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return [line for lines in printed for line in lines]


def test_of_two_processes_that_want_one_name_one_wins(database: Path) -> None:
    printed = sorted(start_together(database, 1, "bench"))
    (record,) = SqliteSnapshot(database).all()
    assert printed == ["added", f"the name 'bench' belongs to {record.id}"]
    assert SqliteSnapshot(database).version() == 1


def test_two_processes_that_write_at_once_lose_nothing(database: Path) -> None:
    assert start_together(database, 25, "") == ["added"] * 50
    snapshot = SqliteSnapshot(database)
    assert len(snapshot.all()) == 50
    assert snapshot.version() == 50


@pytest.mark.parametrize(("change", "state"), [("revoke", "revoked"), ("expire", "expired")])
def test_what_another_process_ends_is_seen(database: Path, change: str, state: str) -> None:
    snapshot = SqliteSnapshot(database)
    start_together(database, 1, "")
    before = snapshot.version()
    assert [record.state(100) for record in snapshot.all()] == ["active", "active"]
    subprocess.run([sys.executable, "-c", CHANGE, str(database), change, "key_000001", "100"], check=True)
    assert snapshot.version() == before + 1
    states = {record.id: record.state(100) for record in snapshot.all()}
    assert states == {"key_000001": state, "key_001001": "active"}


def test_commands_that_want_one_name_at_once_have_one_winner(tmp_path: Path) -> None:
    (tmp_path / "sekisho.yaml").write_text(
        'providers:\n  local: {type: openai, base_url: "http://127.0.0.1:9101/v1", allow_private: true}\n'
        "endpoints:\n  chat: {targets: [{provider: local, model: mock-small}]}\n"
    )
    command = [sys.executable, "-c", "from sekisho.app.cli import main; main()", "keys", "create", "--name", "bench"]
    processes = [
        subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"LANG": "C.UTF-8"}
        )
        for _ in range(2)
    ]
    printed = [process.communicate() for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 1]
    winner, loser = sorted(printed, key=lambda texts: not texts[0])
    assert winner[0].startswith("sk-seki-")
    assert (loser[0], "the name 'bench' belongs to key_" in loser[1]) == ("", True)
    records: list[KeyRecord] = SqliteSnapshot(tmp_path / "sekisho-data" / "control.db").all()
    assert [record.name for record in records] == ["bench"]
