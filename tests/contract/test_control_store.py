"""What every ControlStore promises, what every reader beside it sees, and that no change is without its audit."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from tests.support.postgres_server import PostgresServer

from sekisho.domain.spending import EACH, Budget, Limit
from sekisho.domain.stops import Stop
from sekisho.stores.control import (
    COMMAND_LINE,
    NOTHING,
    Actor,
    ControlRecord,
    ControlRecords,
    StoredBudget,
    StoredLimit,
    Team,
    User,
    budget_id,
    kind_of,
    limit_id,
)
from sekisho.stores.migrate import migrate, migrate_postgres
from sekisho.stores.ports import ControlSnapshot, KeyRecord, NameTaken, StoreUnavailable
from sekisho.stores.postgres_snapshot import PostgresSnapshot
from sekisho.stores.sql_control import SqlControlStore
from sekisho.stores.sql_engine import postgres_engine, sqlite_engine
from sekisho.stores.sql_keys import SqlKeyStore
from sekisho.stores.sqlite_snapshot import SqliteSnapshot

HANAKO = Actor(id="key_hanako", name="花子", role="admin", request_id="req_1")
BUDGET = StoredBudget(
    rule=Budget(
        scope=(("team", "研究 'quoted' 🚀"), ("user", EACH)),
        amount_nanos=10**18,
        period="week",
        on_exceed="degrade",
        degrade_to="small",
        strict=True,
        of_team="研究",
    )
)
LIMIT = StoredLimit(rule=Limit(scope=(("key", "a"),), qpm=10**12, tpm=1, burst_s=0.5, wait_s=2.25))
STOP = Stop(kind="model", value="openai/*", reason="費用", by="花子", at_us=1_795_219_200_123_456)
EVERY_KIND: tuple[ControlRecord, ...] = (
    Team(name="研究", department="rd"),
    User(name="山田 太郎", team="研究"),
    BUDGET,
    LIMIT,
    STOP,
)


class Stores(NamedTuple):
    """Where a test writes, where it looks, and how it damages."""

    store: SqlControlStore
    keys: SqlKeyStore
    reader: ControlSnapshot


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("control") / "control.db"
    migrate(path)
    return path


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with PostgresServer() as server:
        url = server.new_url()
        migrate_postgres(url)
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres")
        engine = postgres_engine(url)
        with engine.begin() as connection:
            for table in ("keys", "teams", "users", "budgets", "limits", "stops", "audit"):
                connection.exec_driver_sql(f"DELETE FROM {table}")
            connection.exec_driver_sql("UPDATE control_version SET version = 0")
        return Stores(SqlControlStore(engine, lambda: 77), SqlKeyStore(engine, lambda: 78), PostgresSnapshot(url))
    path = tmp_path / "control.db"
    shutil.copyfile(request.getfixturevalue("empty_database"), path)
    engine = sqlite_engine(path)
    return Stores(SqlControlStore(engine, lambda: 77), SqlKeyStore(engine, lambda: 78), SqliteSnapshot(path))


def test_a_new_database_holds_nothing(stores: Stores) -> None:
    assert stores.reader.control() == stores.store.control() == NOTHING
    assert stores.store.audit(most=10) == []
    assert stores.reader.version() == 0


def test_every_kind_comes_back_as_it_was_put(stores: Stores) -> None:
    for record in EVERY_KIND:
        assert stores.store.put(record, HANAKO) is None
    team, user, budget, limit, stop = EVERY_KIND
    wanted = ControlRecords(teams=(team,), users=(user,), budgets=(budget,), limits=(limit,), stops=(stop,))  # type: ignore[arg-type]
    assert stores.reader.control() == stores.store.control() == wanted
    assert stores.reader.version() == len(EVERY_KIND)


def test_every_change_is_an_entry_of_the_audit_newest_first(stores: Stores) -> None:
    for record in EVERY_KIND:
        stores.store.put(record, HANAKO)
        stores.store.remove(kind_of(record), record.id, COMMAND_LINE)
    found = stores.store.audit(most=100)
    kinds = [kind_of(record) for record in EVERY_KIND]
    assert [entry.action for entry in reversed(found)] == [
        f"{kind}.{what}" for kind in kinds for what in ("set", "delete")
    ]
    assert [entry.actor for entry in found] == [COMMAND_LINE, HANAKO] * len(EVERY_KIND)
    assert {entry.at_us for entry in found} == {77}
    first = found[-1]
    assert (first.object_id, first.before) == ("研究", None)
    assert first.after is not None
    assert msgspec.json.decode(first.after) == {"name": "研究", "department": "rd"}
    assert stores.store.audit(most=2) == found[:2]
    assert stores.store.audit(most=100, before_id=found[3].id) == found[4:]


def test_putting_again_replaces_and_says_what_was_there(stores: Stores) -> None:
    stores.store.put(BUDGET, HANAKO)
    less = StoredBudget(rule=msgspec.structs.replace(BUDGET.rule, amount_nanos=1, strict=False))
    assert stores.store.put(less, HANAKO) == BUDGET
    assert stores.reader.control().budgets == (less,)
    newest = stores.store.audit(most=1)[0]
    assert newest.before is not None
    assert newest.after is not None
    assert msgspec.json.decode(newest.before)["amount_nanos"] == 10**18
    assert msgspec.json.decode(newest.after)["amount_nanos"] == 1


def test_what_changes_nothing_leaves_no_trace(stores: Stores) -> None:
    stores.store.put(STOP, HANAKO)
    version = stores.reader.version()
    assert stores.store.put(STOP, COMMAND_LINE) == STOP
    assert stores.store.remove("stop", "stop_unknown", HANAKO) is None
    assert stores.reader.version() == version
    assert len(stores.store.audit(most=10)) == 1


def test_keys_are_noted_without_their_digest(stores: Stores) -> None:
    digest = bytes(range(32))
    stores.keys.add(KeyRecord(id="key_1", name="app", digest=digest, team="研究", created_at_us=1), by=HANAKO)
    stores.keys.add(
        KeyRecord(id="key_2", name="app", digest=b"2" * 32, created_at_us=2, replaces="key_1"), replaced_until_us=9
    )
    stores.keys.expire("key_2", 8)
    stores.keys.revoke("key_2", 5, by=HANAKO)
    stores.keys.revoke("key_2", 6, by=HANAKO)
    found = stores.store.audit(most=10)
    assert [entry.action for entry in found] == ["key.revoke", "key.expire", "key.rotate", "key.create"]
    assert [entry.actor.id for entry in found] == ["key_hanako", "command_line", "command_line", "key_hanako"]
    assert [entry.object_id for entry in found] == ["key_2", "key_2", "key_2", "key_1"]
    assert found[2].before is not None
    assert msgspec.json.decode(found[2].before)["id"] == "key_1"
    texts = b"".join(bytes(part) for entry in found for part in (entry.before, entry.after) if part is not None)
    assert "研究".encode() in texts
    assert b"digest" not in texts
    assert msgspec.json.encode(digest)[1:-1] not in texts


def test_a_change_that_fails_is_not_noted(stores: Stores) -> None:
    stores.keys.add(KeyRecord(id="key_1", name="app", digest=b"1" * 32))
    with pytest.raises(NameTaken):
        stores.keys.add(KeyRecord(id="key_2", name="app", digest=b"2" * 32))
    with pytest.raises(ValueError, match="key_1"):
        stores.keys.add(KeyRecord(id="key_1", name="other", digest=b"3" * 32))
    assert not stores.keys.revoke("key_3", 1)
    assert len(stores.store.audit(most=10)) == 1
    assert stores.reader.version() == 1


def test_changes_made_at_once_are_all_noted(stores: Stores) -> None:
    def write(number: int) -> None:
        stores.store.put(Team(name="one", department=str(number)), HANAKO)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = stores.store.audit(most=100)
    assert stores.reader.version() == len(found) == 8
    # each saw what the one before it had written
    for later, earlier in itertools.pairwise(found):
        assert later.before == earlier.after


def test_ids_say_what_a_rule_holds_for_and_not_how_much() -> None:
    rule = BUDGET.rule
    assert budget_id(rule) == budget_id(msgspec.structs.replace(rule, amount_nanos=5, strict=False))
    for other in ({"period": "day"}, {"on_exceed": "block", "degrade_to": None}, {"of_team": None}, {"scope": ()}):
        assert budget_id(msgspec.structs.replace(rule, **other)) != budget_id(rule)
    assert limit_id(LIMIT.rule) == limit_id(msgspec.structs.replace(LIMIT.rule, qpm=5))
    assert limit_id(LIMIT.rule) != limit_id(msgspec.structs.replace(LIMIT.rule, of_team="a"))
    assert Stop(kind="all", reason="a").id == Stop(kind="all", reason="b").id
    assert Stop(kind="user", value="a").id != Stop(kind="team", value="a").id


@pytest.mark.parametrize("column", ["scope = '{'", "period = 'year'"])
def test_a_damaged_row_is_a_sick_store_and_not_a_missing_budget(tmp_path: Path, column: str) -> None:
    path = tmp_path / "control.db"
    migrate(path)
    engine = sqlite_engine(path)
    SqlControlStore(engine).put(BUDGET, HANAKO)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE budgets SET {column}")
    with pytest.raises(StoreUnavailable, match="budgets"):
        SqliteSnapshot(path).control()
