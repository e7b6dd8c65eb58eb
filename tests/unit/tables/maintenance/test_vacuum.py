"""Vacuum and the log: only what no version of the last hours needs goes, and never how far a spool is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest
from deltalake import DeltaTable
from tests.unit.tables.maintenance.days import data_files, filled, ids, opened, rows, want
from tests.unit.tables.maintenance.test_compact import LATER_US

from sekisho.tables.arrow import pq
from sekisho.tables.delta import HISTORY_HOURS, app_id, checkpoint, open_table
from sekisho.tables.features import UnknownFeatures
from sekisho.tables.maintenance.compact import compact
from sekisho.tables.maintenance.log import LogUnsafe, checkpoint_own, shorten
from sekisho.tables.maintenance.vacuum import Vacuumed, vacuum


def age(*files: Path, hours: float = 24 * 8) -> None:
    then_s = time.time() - hours * 3600
    for file in files:
        os.utime(file, (then_s, then_s))


def log_files(table: Path, pattern: str = "*.json") -> list[Path]:
    return sorted((table / "_delta_log").glob(pattern))


def test_files_that_left_the_table_long_ago_are_deleted_and_no_other(tmp_path: Path):
    filled(tmp_path, files=10)
    table = tmp_path / "usage"
    compact(table, LATER_US, closed=True)
    stray, other = table / "request_date=2026-11-20" / "part-orphan.zstd.parquet", table / "notes.txt"
    stray.write_bytes(b"a merge that was killed before its commit")
    other.write_text("mine")
    left = table / "request_date=2026-11-20" / "_part-x.zstd.parquet.tmp"
    left.write_bytes(b"unfinished")
    staged = table / "_delta_log" / f"{10:020d}.checkpoint.parquet#1"
    staged.write_bytes(b"a checkpoint whose writer was killed")
    age(*data_files(table), other, left, staged)
    # What was removed a moment ago is still needed by queries that run, however old the file itself is.
    assert vacuum(table, 24 * 7).files == 3
    assert not left.exists()
    assert not staged.exists()
    assert not stray.exists()
    assert len(data_files(table)) == 11
    assert vacuum(table, 0, dry_run=True).files == 10
    done = vacuum(table, 0)
    assert done.files == 10
    assert done.bytes > 0
    assert len(data_files(table)) == 1
    assert other.read_text() == "mine"
    assert ids(table) == want(50)
    assert vacuum(table, 0) == Vacuumed()


def test_a_table_with_features_of_others_is_left_alone(tmp_path: Path):
    filled(tmp_path, files=1)
    stray = tmp_path / "usage" / "request_date=2026-11-20" / "part-theirs.parquet"
    stray.write_bytes(b"known to their log alone")
    age(stray)
    DeltaTable(str(tmp_path / "usage")).alter.add_constraint({"plausible": "latency_ms >= 0"})
    with pytest.raises(UnknownFeatures, match="writer 3"):
        vacuum(tmp_path / "usage", 24)
    assert stray.exists()


def test_a_young_file_without_an_entry_may_be_a_commit_on_its_way(tmp_path: Path):
    filled(tmp_path, files=1)
    young = tmp_path / "usage" / "request_date=2026-11-20" / "part-young.zstd.parquet"
    growing = young.with_name("_part-growing.zstd.parquet.tmp")
    for one in (young, growing):
        one.write_bytes(b"about to be committed")
    assert vacuum(tmp_path / "usage", 1) == Vacuumed()
    assert young.exists()
    assert growing.exists()


def test_folders_of_days_that_are_gone_go_too(tmp_path: Path):
    filled(tmp_path, files=1)
    empty, young = tmp_path / "usage" / "request_date=2020-01-01", tmp_path / "usage" / "request_date=2020-01-02"
    empty.mkdir()
    young.mkdir()
    age(empty)
    vacuum(tmp_path / "usage", 1)
    assert not empty.exists()
    assert young.exists()
    assert len(data_files(tmp_path / "usage")) == 1


def test_old_entries_go_up_to_a_checkpoint_that_holds_everything(tmp_path: Path):
    table = tmp_path / "usage"
    folder, other = filled(tmp_path, files=10), opened(tmp_path, spool="other")
    other.append(rows(1, 50), 7)
    checkpoint(table)
    folder.open()
    folder.append(rows(1, 51), 51)
    assert shorten(table) == 0
    age(*log_files(table, "0*"), hours=HISTORY_HOURS + 1)
    assert shorten(table, dry_run=True) == 11
    assert shorten(table) == 11
    # the entry of the checkpoint itself and what came after it
    assert [int(file.stem) for file in log_files(table)] == [11, 12]
    assert ids(table) == want(52)
    read = open_table(table)
    assert read is not None
    assert read.transaction_version(app_id("s")) == 51
    assert read.transaction_version(app_id("other")) == 7
    assert opened(tmp_path, spool="other").done == 7
    folder.append(rows(1, 52), 52)
    assert ids(table) == want(53)
    assert shorten(table) == 0


def test_maintenance_makes_a_checkpoint_of_its_own_commit_and_of_no_other(tmp_path: Path):
    table = tmp_path / "usage"
    folder = filled(tmp_path, files=4)
    assert not checkpoint_own(table)
    compact(table, LATER_US, closed=True)
    folder.append(rows(5, 20), 25)
    folder.append(rows(5, 25), 30)
    assert checkpoint_own(table)
    assert [file.name for file in log_files(table, "*.checkpoint.parquet")] == [f"{5:020d}.checkpoint.parquet"]
    assert not checkpoint_own(table)
    assert ids(table) == want(30)
    assert opened(tmp_path).done == 30


def test_versions_of_the_last_hours_stay_readable(tmp_path: Path):
    table = tmp_path / "usage"
    folder = filled(tmp_path, files=4)
    checkpoint(table)
    age(*log_files(table, "0*"), hours=HISTORY_HOURS + 1)
    folder.append(rows(5, 20), 25)
    folder.append(rows(5, 25), 30)
    checkpoint(table)
    assert shorten(table) == 4
    assert DeltaTable(str(table), version=5).count() == 25
    assert DeltaTable(str(table), version=4).count() == 20


def test_a_checkpoint_that_lost_a_position_stops_it(tmp_path: Path):
    table = tmp_path / "usage"
    filled(tmp_path, files=3)
    checkpoint(table)
    file = log_files(table, "*.checkpoint.parquet")[0]
    actions = pq.read_table(file)
    pq.write_table(actions.filter(actions["txn"].is_null()), file)
    age(*log_files(table, "0*"), hours=HISTORY_HOURS + 1)
    with pytest.raises(LogUnsafe, match="has lost the position of sekisho-spool-s"):
        shorten(table)
    assert len(log_files(table)) == 4


def test_a_checkpoint_in_several_parts_is_left_to_whoever_made_it(tmp_path: Path):
    table = tmp_path / "usage"
    filled(tmp_path, files=3)
    checkpoint(table)
    age(*log_files(table, "0*"), hours=HISTORY_HOURS + 1)
    pointer = table / "_delta_log" / "_last_checkpoint"
    pointer.write_bytes(msgspec.json.encode({**msgspec.json.decode(pointer.read_bytes()), "parts": 2}))
    assert shorten(table) == 0


def test_a_writer_that_slept_looks_again_before_it_appends(tmp_path: Path):
    """Its next version may have been taken and cleaned away: an entry in that hole would never be read."""
    table = tmp_path / "usage"
    now_s = [time.time()]
    sleeper = filled(tmp_path, files=3, clock_s=lambda: now_s[0])
    for n in range(3, 8):
        opened(tmp_path, spool="other").append(rows(5, n * 5), n)
    checkpoint(table)
    age(*log_files(table, "0*"), hours=HISTORY_HOURS + 1)
    assert shorten(table) > 0
    now_s[0] += (HISTORY_HOURS + 1) * 3600
    sleeper.append(rows(5, 40), 45)
    assert ids(table) == want(45)


@pytest.mark.parametrize("left", [b"", b"PAR1torn"])
def test_a_torn_checkpoint_is_set_aside_and_the_entries_it_summed_up_are_read(tmp_path: Path, left: bytes):
    table = tmp_path / "usage"
    folder = filled(tmp_path, files=3)
    checkpoint(table)
    folder.append(rows(5, 15), 20)
    checkpoint(table)
    torn = log_files(table, "*.checkpoint.parquet")[-1]
    torn.write_bytes(left)
    with pytest.raises(OSError, match="cannot be read"):
        open_table(table)
    folder.open()
    assert folder.done == 20
    assert ids(table) == want(20)
    assert torn.with_suffix(".parquet.broken").exists()
    folder.append(rows(5, 20), 25)
    assert ids(table) == want(25)


def test_a_torn_pointer_to_a_checkpoint_does_no_harm(tmp_path: Path):
    table = tmp_path / "usage"
    folder = filled(tmp_path, files=3)
    checkpoint(table)
    (table / "_delta_log" / "_last_checkpoint").write_bytes(b'{"vers')
    folder.open()
    assert ids(table) == want(15)
