"""What every KeyStore promises, and what every reader beside it sees."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from sekisho.stores.memory import MemoryKeyStore
from sekisho.stores.ports import KeyRecord, KeySnapshot, KeyStore, NameTaken, NotCurrent
from sekisho.stores.postgres_snapshot import PostgresSnapshot
from sekisho.stores.sql_engine import postgres_engine, sqlite_engine
from sekisho.stores.sql_keys import SqlKeyStore
from sekisho.stores.sqlite_snapshot import SqliteSnapshot


class Stores(NamedTuple):
    """Where a test writes, and where it looks."""

    store: KeyStore
    reader: KeySnapshot


@pytest.fixture(params=["memory", "sql", "sql read by the snapshot", "postgresql", "postgresql read by the snapshot"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    if request.param == "memory":
        store = MemoryKeyStore()
        yield Stores(store, store)
        return
    if request.param.startswith("postgresql"):
        url: str = request.getfixturevalue("postgres")
        engine = postgres_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM keys")
            connection.exec_driver_sql("UPDATE control_version SET version = 0")
        store = SqlKeyStore(engine)
        yield Stores(store, store if request.param == "postgresql" else PostgresSnapshot(url))
        return
    empty_database: Path = request.getfixturevalue("empty_database")
    path = tmp_path / "control.db"
    shutil.copyfile(empty_database, path)
    store = SqlKeyStore(sqlite_engine(path))
    yield Stores(store, store if request.param == "sql" else SqliteSnapshot(path))


def key(number: int, name: str | None = None, **more: object) -> KeyRecord:
    """A key that differs from others in everything that has to be unique."""
    record = KeyRecord(
        id=f"key_{number:012}", name=name or f"key {number}", digest=bytes([number]) * 32, created_at_us=number
    )
    return msgspec.structs.replace(record, **more)


def test_a_new_store_is_empty(stores: Stores) -> None:
    assert stores.reader.all() == []
    assert stores.reader.version() == 0


def test_a_key_comes_back_as_it_was_added(stores: Stores) -> None:
    full = KeyRecord(
        id="key_AbC",
        name="経理アプリ 'quoted' \"too\" 🚀",
        digest=bytes(range(32)),
        team="営業部",
        user="山田",
        role="team_owner",
        endpoints=("chat", "local/*", 'a,"b'),
        created_at_us=1_795_219_200_123_456,
        expires_at_us=2**62,
        on_behalf=True,
    )
    stores.store.add(full)
    stores.store.add(key(1))
    assert stores.reader.all() == [key(1), full]


def test_keys_come_oldest_first(stores: Stores) -> None:
    for number in (3, 1, 2):
        stores.store.add(key(number))
    stores.store.add(key(9, created_at_us=2))
    assert [record.id[-1] for record in stores.reader.all()] == ["1", "2", "9", "3"]


def test_a_name_is_taken_until_its_key_is_revoked(stores: Stores) -> None:
    stores.store.add(key(1, "bench"))
    with pytest.raises(NameTaken) as taken:
        stores.store.add(key(2, "bench"))
    assert (taken.value.name, taken.value.holder) == ("bench", key(1).id)
    assert stores.reader.all() == [key(1, "bench")]
    stores.store.revoke(key(1).id, 50)
    stores.store.add(key(2, "bench"))
    assert [record.revoked_at_us for record in stores.reader.all()] == [50, None]


def test_an_expired_key_keeps_its_name(stores: Stores) -> None:
    stores.store.add(key(1, "bench", expires_at_us=2))
    with pytest.raises(NameTaken):
        stores.store.add(key(2, "bench", created_at_us=1_000))


def test_names_differ_by_case_and_script(stores: Stores) -> None:
    for number, name in enumerate(["bench", "Bench", "ベンチ", "べんち"]):
        stores.store.add(key(number, name))
    assert len(stores.reader.all()) == 4


@pytest.mark.parametrize("same", ["id", "digest"])
def test_an_id_or_digest_is_never_there_twice(stores: Stores, same: str) -> None:
    stores.store.add(key(1))
    stores.store.revoke(key(1).id, 5)
    with pytest.raises(ValueError, match="is already there"):
        stores.store.add(key(2, **{same: getattr(key(1), same)}))
    assert len(stores.reader.all()) == 1


def test_revoking_is_final_and_keeps_its_first_time(stores: Stores) -> None:
    stores.store.add(key(1))
    assert stores.store.revoke(key(1).id, 50)
    assert stores.store.revoke(key(1).id, 60)
    assert stores.store.expire(key(1).id, 10)
    (record,) = stores.reader.all()
    assert (record.revoked_at_us, record.expires_at_us) == (50, None)
    assert record.state(0) == "revoked"


def test_expiring_shortens_a_life_and_never_prolongs_it(stores: Stores) -> None:
    stores.store.add(key(1))
    ends: list[int | None] = []
    for at_us in (100, 200, 50):
        assert stores.store.expire(key(1).id, at_us)
        ends.append(stores.reader.all()[0].expires_at_us)
    assert ends == [100, 100, 50]
    assert [stores.reader.all()[0].state(now) for now in (49, 50, 51)] == ["active", "expired", "expired"]


def test_a_key_that_is_not_there_cannot_be_changed(stores: Stores) -> None:
    assert stores.store.revoke("key_x", 1) is False
    assert stores.store.expire("key_x", 1) is False
    assert stores.reader.version() == 0


def test_a_successor_takes_the_name_and_the_old_key_ends_after_the_overlap(stores: Stores) -> None:
    stores.store.add(key(1, "bench"))
    stores.store.add(key(2, "bench", replaces=key(1).id), replaced_until_us=500)
    old, new = stores.reader.all()
    assert (old.name, old.replaced_by, old.expires_at_us) == ("bench", new.id, 500)
    assert (new.name, new.replaces, new.expires_at_us) == ("bench", old.id, None)
    with pytest.raises(NameTaken) as taken:
        stores.store.add(key(3, "bench"))
    assert taken.value.holder == new.id


def test_an_overlap_does_not_prolong_the_life_of_the_old_key(stores: Stores) -> None:
    stores.store.add(key(1, "bench", expires_at_us=100))
    stores.store.add(key(2, "bench", replaces=key(1).id), replaced_until_us=500)
    assert stores.reader.all()[0].expires_at_us == 100


def test_a_key_is_replaced_once(stores: Stores) -> None:
    stores.store.add(key(1, "bench"))
    stores.store.add(key(2, "bench", replaces=key(1).id), replaced_until_us=500)
    before = stores.reader.all(), stores.reader.version()
    with pytest.raises(NotCurrent):
        stores.store.add(key(3, "bench", replaces=key(1).id), replaced_until_us=9)
    assert (stores.reader.all(), stores.reader.version()) == before


@pytest.mark.parametrize("replaced", ["key_x", key(1).id])
def test_only_a_current_key_can_be_replaced(stores: Stores, replaced: str) -> None:
    stores.store.add(key(1))
    stores.store.revoke(key(1).id, 5)
    with pytest.raises(NotCurrent):
        stores.store.add(key(2, replaces=replaced))
    assert len(stores.reader.all()) == 1


def test_a_successor_whose_name_is_taken_changes_nothing(stores: Stores) -> None:
    stores.store.add(key(1, "bench"))
    stores.store.add(key(2, "other"))
    before = stores.reader.all(), stores.reader.version()
    with pytest.raises(NameTaken):
        stores.store.add(key(3, "other", replaces=key(1).id), replaced_until_us=1)
    assert (stores.reader.all(), stores.reader.version()) == before


def test_the_version_grows_with_every_change_and_with_nothing_else(stores: Stores) -> None:
    seen: list[int] = []

    def after(_change: object) -> None:
        seen.append(stores.reader.version())

    after(stores.store.add(key(1)))
    after(stores.store.expire(key(1).id, 100))
    after(stores.store.expire(key(1).id, 200))
    after(stores.store.revoke(key(1).id, 50))
    after(stores.store.revoke(key(1).id, 60))
    after(stores.store.revoke("key_x", 60))
    with pytest.raises(ValueError, match="is already there"):
        stores.store.add(key(1, "another"))
    after(stores.store.all())
    assert seen == [1, 2, 2, 3, 3, 3, 3]


def test_what_the_store_marks_is_not_taken_from_the_caller(stores: Stores) -> None:
    stores.store.add(key(1, replaced_by="key_x", declared=True))
    assert stores.reader.all() == [key(1)]
