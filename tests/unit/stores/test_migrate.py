"""The schema of the control database and the way there."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from sekisho.stores import migrate as module
from sekisho.stores.control import NOTHING
from sekisho.stores.migrate import HEAD_REVISION, REVISIONS, main, migrate, schema_is_current
from sekisho.stores.ports import LaterVersion, StoreUnavailable
from sekisho.stores.sql_engine import sqlite_engine
from sekisho.stores.sql_schema import metadata
from sekisho.stores.sqlite_snapshot import SqliteSnapshot


def test_the_migrations_make_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    migrate(path)
    with sqlite_engine(path).connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": metadata}
        )
        assert compare_metadata(context, metadata) == []


def test_the_partial_index_is_the_one_of_the_schema(tmp_path: Path) -> None:
    # Alembic does not compare the condition of an index
    migrate(tmp_path / "migrated.db")
    created = sqlite_engine(tmp_path / "created.db")
    metadata.create_all(created)
    query = "SELECT sql FROM sqlite_master WHERE name = 'uq_keys_current_name'"
    texts: list[str] = []
    for name in ("migrated.db", "created.db"):
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            texts.append(connection.execute(query).fetchone()[0])
    assert texts[0] == texts[1]
    assert "WHERE revoked_at_us IS NULL AND replaced_by IS NULL" in texts[0]


def test_the_revisions_that_serving_knows_are_alembics() -> None:
    config = Config()
    config.set_main_option("script_location", "sekisho.stores:migrations")
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [HEAD_REVISION]
    assert {found.revision for found in script.walk_revisions()} == set(REVISIONS)


def test_a_database_is_made_in_its_directory_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "データ ?#%" / "deeper" / "control.db"
    assert not schema_is_current(path)
    migrate(path)
    assert schema_is_current(path)
    assert SqliteSnapshot(path).version() == 0
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    migrate(path)
    before = path.read_bytes()
    migrate(path)
    assert path.read_bytes() == before


def test_an_empty_file_is_a_database_to_be_made(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    path.touch()
    assert not schema_is_current(path)
    migrate(path)
    assert schema_is_current(path)


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_a_database_of_an_earlier_version_keeps_its_keys(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "control.db"
    with sqlite_engine(path, begin="IMMEDIATE").begin() as connection:
        config = Config()
        config.set_main_option("script_location", "sekisho.stores:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.exec_driver_sql(
            "INSERT INTO keys (id, name, digest, role, endpoints, created_at_us, on_behalf) "
            "VALUES ('key_1', 'app', x'00', 'user', '[\"*\"]', 5, 0)"
        )
        connection.exec_driver_sql("UPDATE control_version SET version = 7")
    assert not schema_is_current(path)
    migrate(path)
    snapshot = SqliteSnapshot(path)
    assert [(key.id, key.name, key.created_at_us) for key in snapshot.all()] == [("key_1", "app", 5)]
    assert (snapshot.version(), snapshot.control()) == (7, NOTHING)


def test_threads_that_migrate_at_once_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [path] * 4))
    assert SqliteSnapshot(path).version() == 0


def test_processes_that_migrate_at_once_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "new" / "control.db"
    words = [sys.executable, "-m", "sekisho.stores.migrate", str(path)]
    processes = [subprocess.Popen(words, stderr=subprocess.PIPE) for _ in range(2)]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [(b"", 0)] * 2
    assert schema_is_current(path)
    assert SqliteSnapshot(path).version() == 0


def test_a_failing_migration_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    with closing(sqlite3.connect(path)) as connection:
        # the first migration makes `keys` and then fails at this one
        connection.execute("CREATE TABLE control_version (something TEXT)")
    with pytest.raises(StoreUnavailable, match="cannot be upgraded"):
        migrate(path)
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert tables == [("control_version",)]
    assert not schema_is_current(path)


def test_the_database_of_a_newer_version_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "control.db"
    migrate(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(LaterVersion):
        schema_is_current(path)
    assert main([str(path)]) == 2
    assert "another version of Sekisho" in capsys.readouterr().err


def test_a_damaged_database_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    path.write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        schema_is_current(path)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        migrate(path)


def test_a_path_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="cannot be upgraded"):
        migrate(tmp_path / "file" / "control.db")


def test_the_command_explains_its_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err == "usage: python -m sekisho.stores.migrate PATH\n"


def test_checking_the_schema_imports_neither_sqlalchemy_nor_alembic() -> None:
    code = (
        f"import sys, {module.__name__}, sekisho.stores.sqlite_snapshot, sekisho.stores.pepper, sekisho.stores.memory; "
        "sys.exit(bool({'sqlalchemy', 'alembic'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
