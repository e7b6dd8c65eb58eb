"""Erasing one person: bodies go, costs stay without a name, and what could not be reached is said."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tables.maintenance.days import contents, data_files, ids, opened, rows, want
from tests.unit.tables.maintenance.test_compact import LATER_US
from tests.unit.tables.rows import a_row, record_of

from sekisho.domain.row import ERASED
from sekisho.tables.committer import Committer
from sekisho.tables.maintenance.compact import compact
from sekisho.tables.maintenance.erase import Erased, erase, waiting
from sekisho.tables.maintenance.transaction import Conflict, replace
from sekisho.tables.maintenance.vacuum import vacuum
from sekisho.tables.spool import SpoolWriter


def two_people(root: Path, name: str) -> Path:
    """taro in files 0, 2, 4 of each of two days, 山田 in the others; one row where taro is the end user."""
    folder = opened(root, name)
    n = 0
    for day in range(2):
        for file in range(6):
            who = "taro" if file % 2 == 0 else "山田"
            folder.append(rows(5, n, day=day, requester=who, user_agent="x", conversation_id="c"), n + 5)
            n += 5
    folder.append(rows(1, n, day=1, requester="bot", end_user="taro"), n + 1)
    return root / name


def test_bodies_of_the_person_go(tmp_path: Path):
    table = two_people(tmp_path, "inference_log")
    assert erase(table, "taro", dry_run=True).rows == 31
    assert ids(table) == want(61)
    assert erase(table, "taro") == Erased(rows=31, files=7)
    left = contents(table)
    assert set(left["requester"]) == {"山田"}
    assert left.height == 30
    assert erase(table, "taro") == Erased()


def test_costs_stay_without_a_name(tmp_path: Path):
    table = two_people(tmp_path, "usage")
    before = contents(table)
    assert erase(table, "taro").rows == 31
    after = contents(table)
    assert ids(table) == want(61)
    assert after["cost_usd"].sum() == before["cost_usd"].sum() == Decimal("0.001647000")
    mine = after.filter(before["requester"] == "taro")
    assert set(mine["requester"]) == {ERASED}
    for name in ("user_agent", "conversation_id", "api_key_id", "tags", "end_user", "client_ip_prefix"):
        assert mine[name].null_count() == mine.height, name
    assert set(mine["team"]) == {"research"}
    assert after[-1]["requester"].to_list() == [ERASED]
    untouched = before["requester"] == "山田"
    assert after.filter(untouched).equals(before.filter(untouched))


def test_nothing_that_the_person_or_a_program_of_theirs_wrote_is_left(tmp_path: Path):
    texts = ("client_request_id", "trace_id", "span_id", "conversation_id", "end_user", "user_agent")
    about = {name: f"taro {name}" for name in (*texts, "api_key_id", "client_ip_prefix", "input_hash")}
    opened(tmp_path, "usage").append(rows(2, requester="taro", tags={"of": "taro", "taro": "1"}, **about), 2)
    assert erase(tmp_path / "usage", "taro").rows == 2
    assert contents(tmp_path / "usage").height == 2
    assert "taro" not in str(contents(tmp_path / "usage").to_dicts())


def test_what_was_erased_is_gone_from_the_disk_with_purge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[Path] = []
    monkeypatch.setattr("sekisho.tables.maintenance.erase.fsync", synced.append)
    table = two_people(tmp_path, "inference_log")
    # the small files that compaction left behind hold the person too
    compact(table, LATER_US, closed=True)
    done = erase(table, "taro", purge=True)
    assert done.deleted >= 4
    # or a power cut could bring them back
    assert sorted(day.name for day in synced) == ["request_date=2026-11-20", "request_date=2026-11-21"]
    texts = [file for file in data_files(table) if b"taro" in file.read_bytes()]
    assert texts == []
    assert len(ids(table)) == 30
    vacuum(table, 0)
    assert len(ids(table)) == 30


def test_what_another_writer_changes_at_every_try_is_left_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def taken(*_: object, **__: object) -> int:
        raise Conflict("usage: version 1 was committed by another writer")

    monkeypatch.setattr("sekisho.tables.maintenance.erase.replace", taken)
    table = two_people(tmp_path, "usage")
    assert erase(table, "taro") == Erased(left=7)


@pytest.mark.parametrize(("conflicts", "left"), [(1, 0), (8, 0), (9, 3)])
def test_what_another_writer_changed_at_other_tries_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conflicts: int, left: int
):
    """Two days, and five tries for each."""
    tries = iter(range(10))

    def sometimes(*given: object, **more: object) -> int:
        if next(tries) < conflicts:
            raise Conflict("usage: a version was committed by another writer")
        return replace(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("sekisho.tables.maintenance.erase.replace", sometimes)
    table = two_people(tmp_path, "usage")
    done = erase(table, "taro")
    assert (done.left, done.files) == (left, 7 - left)
    assert done.rows == 31 - 5 * left


def test_what_went_at_the_last_try_is_not_said_to_be_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    taken = [Conflict("usage: version 1 was committed by another writer")] * 2 * 4  # both days, four times

    def at_last(*given: Any, **named: Any) -> int:
        if taken:
            raise taken.pop()
        return replace(*given, **named)

    monkeypatch.setattr("sekisho.tables.maintenance.erase.replace", at_last)
    table = two_people(tmp_path, "usage")
    assert erase(table, "taro") == Erased(rows=31, files=7)
    assert "taro" not in contents(table)["requester"]


def test_purge_leaves_what_the_table_has_and_what_is_on_its_way_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def taken(*_: object, **__: object) -> int:
        raise Conflict("inference_log: version 1 was committed by another writer")

    table = two_people(tmp_path, "inference_log")
    live = data_files(table)
    of_taro = next(file for file in live if b"taro" in file.read_bytes())
    coming, forgotten = of_taro.with_name("part-coming.parquet"), of_taro.with_name("part-forgotten.parquet")
    for copy in (coming, forgotten):
        copy.write_bytes(of_taro.read_bytes())
    for old in (*live, forgotten):
        os.utime(old, (0, 0))
    monkeypatch.setattr("sekisho.tables.maintenance.erase.replace", taken)
    done = erase(table, "taro", purge=True)
    assert (done.left, done.deleted) == (7, 1)
    assert {coming, *live} <= set(data_files(table))
    assert not forgotten.exists()
    assert ids(table) == want(61)


def test_rows_in_the_spool_are_counted(tmp_path: Path):
    writer = SpoolWriter(tmp_path / "spool", 64 * 1024)
    for n in range(3):
        writer.append(record_of(a_row(n, requester="taro" if n else "jiro")))
    assert waiting(tmp_path, tmp_path / "tables", "taro") == 2
    assert waiting(tmp_path, tmp_path / "tables", "nobody") == 0
    writer.close()


def test_rows_of_the_spool_that_are_in_the_tables_are_not_counted_again(tmp_path: Path):
    opened(tmp_path / "tables", "usage", spool="another")
    writer = SpoolWriter(tmp_path / "spool", 64 * 1024)
    for n in range(2):
        writer.append(record_of(a_row(n, requester="taro")))
    assert waiting(tmp_path, tmp_path / "tables", "taro") == 2
    committer = Committer(tmp_path)
    while committer.step():
        pass
    assert waiting(tmp_path, tmp_path / "tables", "taro") == 0
    writer.append(record_of(a_row(2, requester="taro")))
    assert waiting(tmp_path, tmp_path / "tables", "taro") == 1
    writer.close()


def test_names_are_compared_whole_and_as_they_are(tmp_path: Path):
    table = two_people(tmp_path, "usage")
    assert erase(table, "tar") == Erased()
    assert erase(table, "TARO") == Erased()
    assert erase(table, "山田").rows == 30


def test_a_name_is_found_in_every_spelling_that_the_gateway_takes_for_the_same(tmp_path: Path):
    """A key made for `鈴木　一郎` has `鈴木 一郎` on its rows; end users stand there as callers wrote them."""
    spool = SpoolWriter(tmp_path / "spool", 64 * 1024)
    spool.append(record_of(a_row(0, requester="鈴木 一郎")))
    assert waiting(tmp_path, tmp_path / "tables", "鈴木　一郎") == 1
    spool.close()
    folder = opened(tmp_path, "inference_log")
    folder.append(rows(2, 0, requester="鈴木 一郎"), 2)
    folder.append(rows(3, 2, requester="bot", end_user="ﾀﾅｶ　１"), 5)
    folder.append(rows(4, 5, requester="bot", end_user="タナカ2"), 9)
    table = tmp_path / "inference_log"
    assert erase(table, "鈴木　一郎").rows == 2
    assert erase(table, "タナカ 1").rows == 3
    assert erase(table, " ") == Erased()
    assert len(ids(table)) == 4
