"""Control data in PostgreSQL: migrations take turns, keys stay valid while it is restarted, no password is told."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.postgres_server import PostgresServer

from sekisho.app.commands.key_desk import KeyDesk, Wish
from sekisho.app.control import control_snapshot, key_store, migrated, pepper_of, stored_keys
from sekisho.app.settings import Settings, parse
from sekisho.stores.migrate import migrate_postgres
from sekisho.stores.pepper import FILE_NAME, PepperUnusable
from sekisho.stores.polled_snapshot import PolledSnapshot
from sekisho.stores.ports import KeyRecord, LaterVersion, NotWritable, StoreUnavailable
from sekisho.stores.postgres_snapshot import PostgresSnapshot
from sekisho.stores.sql_engine import postgres_engine
from sekisho.stores.sql_keys import SqlKeyStore


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as one:
        yield one


def key(number: int) -> KeyRecord:
    return KeyRecord(id=f"key_{number}", name=f"key {number}", digest=bytes([number]) * 32, created_at_us=number)


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def settings(server: PostgresServer, folder: Path) -> Settings:
    return _parse(server.new_url(), folder, "data")


def _parse(url: str, folder: Path, data_dir: str) -> Settings:
    text = f"""
data_dir: {data_dir}
providers: {{a: {{type: openai, base_url: "https://a.example/v1"}}}}
database: {{url: "{url}"}}
"""
    return parse(text, base_dir=folder, environ={})


def test_threads_and_processes_that_migrate_at_once_take_turns(server: PostgresServer) -> None:
    url = server.new_url()
    assert not PostgresSnapshot(url).schema_is_current()
    command = [sys.executable, "-m", "sekisho.stores.migrate", "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(migrate_postgres, url) for _ in range(3)]
        _, errors = process.communicate(f"{url}\n".encode())
        for one in done:
            one.result()
    assert (process.returncode, errors) == (0, b"")
    assert PostgresSnapshot(url).schema_is_current()
    assert PostgresSnapshot(url).version() == 0


def test_writers_at_once_all_raise_the_version(server: PostgresServer) -> None:
    url = server.new_url()
    migrate_postgres(url)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: SqlKeyStore(postgres_engine(url)).add(key(number)), range(1, 9)))
    assert PostgresSnapshot(url).version() == 8
    assert len(PostgresSnapshot(url).all()) == 8


def test_a_restart_under_load_refuses_no_key_and_makes_nobody_wait(server: PostgresServer) -> None:
    url = server.new_url()
    migrate_postgres(url)
    store = SqlKeyStore(postgres_engine(url))
    store.add(key(1))
    snapshot = PolledSnapshot(PostgresSnapshot(url), every_s=0.05)
    stop = threading.Event()
    longest_s = 0.0
    known: set[int] = set()

    def look() -> None:
        nonlocal longest_s
        while not stop.is_set():
            began_s = time.monotonic()
            known.add(len(snapshot.all()))
            try:
                snapshot.version()
            except StoreUnavailable:
                known.add(-1)
            longest_s = max(longest_s, time.monotonic() - began_s)
            time.sleep(0.001)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        server.kill()
        until(lambda: -1 in known)
        with pytest.raises(StoreUnavailable):
            store.add(key(2))
        server.start()
        until(lambda: _adds(store, key(2)))
        until(lambda: 2 in known)
    finally:
        stop.set()
        looker.join()
        snapshot.close()
    assert known == {1, 2, -1}
    assert longest_s < 10.0  # only what hangs takes longer


def _adds(store: SqlKeyStore, record: KeyRecord) -> bool:
    try:
        store.add(record)
    except StoreUnavailable:
        return False
    return True


def test_the_database_of_a_newer_version_is_refused(server: PostgresServer) -> None:
    url = server.new_url()
    migrate_postgres(url)
    with postgres_engine(url).begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LaterVersion):
        PostgresSnapshot(url).schema_is_current()
    with pytest.raises(StoreUnavailable, match="another version of Sekisho"):
        migrate_postgres(url)


def test_no_error_tells_the_password(tmp_path: Path) -> None:
    url = f"postgresql://sekisho:PRIVATE@/db?host={tmp_path}"
    for ask in (
        PostgresSnapshot(url).version,
        PostgresSnapshot(url).all,
        lambda: migrate_postgres(url),
        SqlKeyStore(postgres_engine(url)).version,
    ):
        with pytest.raises(StoreUnavailable) as told:
            ask()
        assert "PRIVATE" not in str(told.value)


async def test_the_installation_uses_the_database_of_its_settings(server: PostgresServer, tmp_path: Path) -> None:
    given = settings(server, tmp_path)
    await migrated(given)
    pepper = await asyncio.to_thread(pepper_of, given)
    assert pepper == pepper_of(given)
    assert stored_keys(given) == []
    key_store(given).add(key(1))
    snapshot = control_snapshot(given)
    assert isinstance(snapshot, PolledSnapshot)
    assert snapshot.all() == stored_keys(given) == [key(1)]
    snapshot.close()
    # a second machine has to be given the pepper, or it would know no key
    assert given.database_url is not None
    other = _parse(given.database_url.reveal(), tmp_path, "other")
    with pytest.raises(PepperUnusable) as caught:
        pepper_of(other)
    assert caught.value.kind == "not_copied"
    (other.data_dir / FILE_NAME).write_bytes(pepper)
    assert pepper_of(other) == pepper


def test_machines_that_share_a_database_have_one_pepper_before_there_are_keys_too(
    server: PostgresServer, tmp_path: Path
) -> None:
    one = settings(server, tmp_path)
    assert one.database_url is not None
    other = _parse(one.database_url.reveal(), tmp_path, "other")
    pepper = pepper_of(one)  # also of a database in which there is nothing yet
    assert stored_keys(one) == []
    for _ in range(2):
        with pytest.raises(PepperUnusable) as told:
            pepper_of(other)
        assert (told.value.kind, told.value.facts) == ("another", {"path": other.data_dir / FILE_NAME})
    (other.data_dir / FILE_NAME).write_bytes(pepper)
    assert pepper_of(other) == pepper_of(one) == pepper


def test_a_command_may_be_the_first_to_come_to_an_empty_database(server: PostgresServer, tmp_path: Path) -> None:
    given = settings(server, tmp_path)
    KeyDesk(given).create(Wish(name="first"))
    assert [record.name for record in stored_keys(given)] == ["first"]


def test_options_of_the_address_hold_for_every_connection(server: PostgresServer, tmp_path: Path) -> None:
    url = server.new_url()
    with postgres_engine(url).begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA apart")
    apart = f"{url}&options=-csearch_path%3Dapart"
    given = _parse(apart, tmp_path, "data")
    pepper_of(given)
    key_store(given).add(key(1))
    assert stored_keys(given) == [key(1)]
    with postgres_engine(url).connect() as connection:
        found = connection.exec_driver_sql("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename = 'keys'")
        assert [row[0] for row in found] == ["apart"]


def test_an_address_may_name_several_hosts(server: PostgresServer, tmp_path: Path) -> None:
    url = server.new_url()
    listed = url.replace("sekisho@/", "sekisho@127.0.0.1:1,127.0.0.1:2/").partition("?")[0]
    with pytest.raises(StoreUnavailable, match=r"(?s)port: '1'.*port: '2'"):
        SqlKeyStore(postgres_engine(listed)).version()
    folder = url.partition("host=")[2]
    both = url.replace(f"host={folder}", f"host=/nowhere,{folder}")
    migrate_postgres(both)
    SqlKeyStore(postgres_engine(both)).add(key(1))
    assert PostgresSnapshot(both).all() == [key(1)]


def test_a_database_that_may_only_be_read_is_said_not_to_be_writable(server: PostgresServer, tmp_path: Path) -> None:
    url = server.new_url()
    migrate_postgres(url)
    standby = url + ("&" if "?" in url else "?") + "options=-cdefault_transaction_read_only%3Don"
    with pytest.raises(NotWritable, match="cannot be written: cannot execute INSERT"):
        pepper_of(_parse(standby, tmp_path, "data"))
    with pytest.raises(NotWritable, match="cannot be written: cannot execute"):
        SqlKeyStore(postgres_engine(standby)).add(key(1))
