"""Compaction: fewer files, the same rows, in order; safe beside writers."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import polars.testing
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.tables.maintenance.days import (
    DAY_US,
    NEXT_DAY_US,
    contents,
    data_files,
    filled,
    ids,
    opened,
    rows,
    want,
)
from tests.unit.tables.rows import NOON_US

from sekisho.tables.arrow import pa, pq
from sekisho.tables.delta import open_table
from sekisho.tables.features import UnknownFeatures
from sekisho.tables.maintenance import compact as compact_module
from sekisho.tables.maintenance import merge as merge_module
from sekisho.tables.maintenance.compact import SETTLED_US, Compacted, Step, compact, plan
from sekisho.tables.maintenance.merge import TARGET_BYTES, RowsMissing, merge
from sekisho.tables.maintenance.snapshot import LiveFile, Snapshot, take_snapshot
from sekisho.tables.maintenance.transaction import Conflict, replace
from sekisho.tables.meanings import MEANINGS
from sekisho.tables.parts import ROW_GROUP
from sekisho.tables.schema import TABLES

LATER_US = NEXT_DAY_US + SETTLED_US


def test_merged_files_do_not_repeat_what_columns_mean(tmp_path: Path):
    filled(tmp_path, files=3)
    compact(tmp_path / "usage", LATER_US, closed=True)
    for file in (tmp_path / "usage").rglob("*.parquet"):
        assert MEANINGS["cost_breakdown"].encode() not in file.read_bytes()
        assert not any(b"comment" in (field.metadata or {}) for field in pq.read_schema(file))


@pytest.mark.parametrize("name", TABLES)
def test_a_day_that_is_over_becomes_one_file_with_the_same_rows_in_order(tmp_path: Path, name: str):
    filled(tmp_path, name, days=2, files=6)
    table = tmp_path / name
    before = contents(table)
    assert compact(table, LATER_US + DAY_US, closed=True) == Compacted(days=2, files_before=12, files_after=2, rows=60)
    polars.testing.assert_frame_equal(contents(table), before)
    snapshot = take_snapshot(table)
    assert snapshot is not None
    assert [(file.day, file.rows) for file in sorted(snapshot.files, key=lambda file: file.day)] == [
        ("2026-11-20", 30),
        ("2026-11-21", 30),
    ]
    for file in snapshot.files:
        times = pq.read_table(table / file.path, partitioning=None)["event_time"].to_pylist()
        assert times == sorted(times)
        assert file.first_us == int(times[0].timestamp() * 1e6)


def test_the_log_says_of_files_that_went_what_the_protocol_asks_for(tmp_path: Path):
    """With `extendedFileMetadata` a reader may count on their partition and size; the rows are the same as before."""
    filled(tmp_path, files=2)
    table = tmp_path / "usage"
    sizes = {str(file.relative_to(table)): file.stat().st_size for file in data_files(table)}
    compact(table, LATER_US, closed=True)
    newest = max((table / "_delta_log").glob("*.json"))
    info, *actions = map(msgspec.json.decode, newest.read_bytes().splitlines())
    assert info["commitInfo"]["operationParameters"] == {}
    removed, added = ([one[kind] for one in actions if kind in one] for kind in ("remove", "add"))
    assert {one.pop("path"): one.pop("size") for one in removed} == sizes
    for one in removed:
        assert abs(one.pop("deletionTimestamp") / 1000 - time.time()) < 600
        assert one == {
            "dataChange": False,
            "extendedFileMetadata": True,
            "partitionValues": {"request_date": "2026-11-20"},
        }
    assert [one["dataChange"] for one in added] == [False]


def test_files_are_written_as_the_committer_writes_them(tmp_path: Path):
    filled(tmp_path, "inference_log", files=3, each=1000)
    table = tmp_path / "inference_log"
    small = pq.ParquetFile(data_files(table)[0])
    compact(table, LATER_US, closed=True)
    snapshot = take_snapshot(table)
    assert snapshot is not None
    merged = pq.ParquetFile(table / snapshot.files[0].path)
    assert merged.schema.equals(small.schema)
    groups = [merged.metadata.row_group(n) for n in range(merged.num_row_groups)]
    assert [group.num_rows for group in groups] == [ROW_GROUP["inference_log"], 3000 - ROW_GROUP["inference_log"]]
    columns = {groups[0].column(n).path_in_schema: groups[0].column(n) for n in range(groups[0].num_columns)}
    assert columns["request"].compression == "ZSTD"
    assert columns["request_id"].statistics.min == want(1)[0]
    assert not columns["requester"].is_stats_set
    table_read = DeltaTable(str(table))
    assert (table_read.protocol().min_reader_version, table_read.protocol().min_writer_version) == (1, 2)
    stats = pa.table(table_read.get_add_actions(flatten=True)).to_pylist()[0]
    assert (stats["num_records"], stats["max.request_id"]) == (3000, want(3000)[-1])


def test_a_second_time_there_is_nothing_to_do(tmp_path: Path):
    filled(tmp_path)
    compact(tmp_path / "usage", LATER_US, closed=True)
    table = open_table(tmp_path / "usage")
    assert table is not None
    version = table.version()
    assert compact(tmp_path / "usage", LATER_US, closed=True) == Compacted()
    again = open_table(tmp_path / "usage")
    assert again is not None
    assert again.version() == version


def test_a_day_is_over_ten_minutes_after_midnight(tmp_path: Path):
    filled(tmp_path, files=3)
    assert compact(tmp_path / "usage", LATER_US - 1, closed=True) == Compacted()
    assert compact(tmp_path / "usage", LATER_US, closed=True).files_before == 3


def test_a_late_row_is_merged_the_next_time(tmp_path: Path):
    folder = filled(tmp_path, files=3)
    compact(tmp_path / "usage", LATER_US, closed=True)
    folder.append(rows(1, 15), 16)
    assert compact(tmp_path / "usage", LATER_US, closed=True) == Compacted(
        days=1, files_before=2, files_after=1, rows=16
    )
    assert ids(tmp_path / "usage") == want(16)


def test_today_is_merged_only_when_many_files_have_come(tmp_path: Path):
    folder = filled(tmp_path, files=7)
    assert compact(tmp_path / "usage", NOON_US, closed=True) == Compacted()
    folder.append(rows(5, 35), 40)
    assert compact(tmp_path / "usage", NOON_US, closed=False) == Compacted(
        days=1, files_before=8, files_after=1, rows=40
    )
    assert ids(tmp_path / "usage") == want(40)


def test_a_dry_run_says_it_and_changes_nothing(tmp_path: Path):
    filled(tmp_path, files=9)
    before = sorted(path.name for path in (tmp_path / "usage").rglob("*"))
    assert compact(tmp_path / "usage", LATER_US, closed=True, dry_run=True) == Compacted(
        days=1, files_before=9, files_after=1, rows=45
    )
    assert sorted(path.name for path in (tmp_path / "usage").rglob("*")) == before


def test_rows_far_out_of_order_are_sorted_within_a_window(tmp_path: Path):
    folder = opened(tmp_path)
    for n in (3, 0, 2, 1):
        folder.append(rows(4, n * 4).take(pa.array([3, 1, 0, 2])), 4 - n)
    folder.open()
    compact(tmp_path / "usage", LATER_US, closed=True)
    snapshot = take_snapshot(tmp_path / "usage")
    assert snapshot is not None
    found = pq.read_table(tmp_path / "usage" / snapshot.files[0].path, partitioning=None)["request_id"].to_pylist()
    assert found == want(16)


def test_large_rows_make_small_row_groups_and_files_end_at_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(merge_module, "_GROUP_BYTES", 64 * 1024)
    folder = opened(tmp_path, "inference_log")
    for n in range(4):
        body = b'{"text":"%s"}' % bytes(97 + (i * 7919 + n) % 25 for i in range(20_000))
        folder.append(rows(10, n * 10, request=body), n + 1)
    snapshot = take_snapshot(tmp_path / "inference_log")
    assert snapshot is not None
    merged = merge(snapshot.folder, snapshot.name, snapshot.schema, snapshot.days()["2026-11-20"], target_bytes=2_000)
    assert len(merged.parts) > 1
    assert sum(part.rows for part in merged.parts) == merged.read == 40
    first = pq.ParquetFile(tmp_path / "inference_log" / merged.parts[0].path)
    assert first.metadata.row_group(0).num_rows <= 4
    replace(snapshot, snapshot.files, merged.parts, operation="OPTIMIZE", data_change=False)
    assert ids(tmp_path / "inference_log") == want(40)


def test_columns_that_came_later_are_null_in_older_rows(tmp_path: Path):
    older = rows(2).select(["request_date", "event_time", "request_id"])
    write_deltalake(str(tmp_path / "usage"), older, partition_by=["request_date"])
    opened(tmp_path).append(rows(1, 2), 1)
    before = contents(tmp_path / "usage")
    compact(tmp_path / "usage", LATER_US, closed=True)
    polars.testing.assert_frame_equal(contents(tmp_path / "usage"), before)
    assert contents(tmp_path / "usage")["provider"].to_list() == [None, None, "openai"]


def test_columns_of_somebody_else_are_kept(tmp_path: Path):
    folder = filled(tmp_path, files=1)
    own = rows(2, 5).append_column("verdict", pa.array(["good", "bad"]))
    write_deltalake(str(tmp_path / "usage"), own, mode="append", schema_mode="merge")
    folder.open()
    compact(tmp_path / "usage", LATER_US, closed=True)
    assert contents(tmp_path / "usage")["verdict"].to_list() == [None] * 5 + ["good", "bad"]


def test_a_file_without_all_its_rows_stops_the_merge_and_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    filled(tmp_path, files=3)
    pieces = merge_module._pieces
    monkeypatch.setattr(merge_module, "_pieces", lambda *words: (piece.slice(1) for piece in pieces(*words)))
    with pytest.raises(RowsMissing, match="holds 4 rows, the log says 5"):
        compact(tmp_path / "usage", LATER_US, closed=True)
    monkeypatch.undo()
    assert ids(tmp_path / "usage") == want(15)
    assert len(data_files(tmp_path / "usage")) == 3
    assert not list((tmp_path / "usage").rglob("*.tmp"))


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    filled(tmp_path, files=3)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sekisho.tables.parts.fsync", full)
    with pytest.raises(OSError, match="No space"):
        compact(tmp_path / "usage", LATER_US, closed=True)
    monkeypatch.undo()
    assert ids(tmp_path / "usage") == want(15)
    assert len(data_files(tmp_path / "usage")) == 3
    assert not list((tmp_path / "usage").rglob("*.tmp"))


# -- beside others


def test_appends_between_the_look_and_the_commit_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = filled(tmp_path, files=3)

    def slowly(*words: Any, **more: Any) -> Any:
        folder.append(rows(5, 15), 20)
        folder.append(rows(5, 20), 25)
        return merge(*words, **more)

    monkeypatch.setattr(compact_module, "merge", slowly)
    assert compact(tmp_path / "usage", LATER_US, closed=True).files_after == 1
    folder.append(rows(5, 25), 30)
    assert ids(tmp_path / "usage") == want(30)
    assert opened(tmp_path).done == 30


def test_of_two_that_merge_the_same_files_one_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    filled(tmp_path, files=3)

    def overtaken(*words: Any, **more: Any) -> Any:
        DeltaTable(str(tmp_path / "usage")).optimize.compact()
        return merge(*words, **more)

    monkeypatch.setattr(compact_module, "merge", overtaken)
    assert compact(tmp_path / "usage", LATER_US, closed=True) == Compacted(days=1, conflicts=1)
    assert ids(tmp_path / "usage") == want(15)
    # the three that were merged, and the one of the other program
    assert len(data_files(tmp_path / "usage")) == 4


def test_a_change_of_schema_in_between_is_a_conflict(tmp_path: Path):
    filled(tmp_path, files=2)
    snapshot = take_snapshot(tmp_path / "usage")
    assert snapshot is not None
    DeltaTable(str(tmp_path / "usage")).alter.set_table_properties({"delta.appendOnly": "false"})
    with pytest.raises(Conflict):
        replace(snapshot, snapshot.files, [], operation="DELETE", data_change=True)
    assert ids(tmp_path / "usage") == want(10)


def test_a_table_with_features_of_others_is_left_alone(tmp_path: Path):
    filled(tmp_path, files=3)
    DeltaTable(str(tmp_path / "usage")).alter.add_constraint({"plausible": "latency_ms >= 0"})
    with pytest.raises(UnknownFeatures, match="writer 3"):
        compact(tmp_path / "usage", LATER_US, closed=True)


# -- the plan


def snapshot_of(sizes: list[int], day: str = "2026-11-20") -> Snapshot:
    files = tuple(
        LiveFile(path=f"{day}/{at}", day=day, size=size, rows=1, first_us=at) for at, size in enumerate(sizes)
    )
    return Snapshot(folder=Path("usage"), name="usage", version=0, files=files, schema=None)


def merged(sizes: list[int], steps: list[Step]) -> list[int]:
    """Sizes of the files after these steps."""
    gone = {file.path for step in steps for file in step.files}
    left = [size for at, size in enumerate(sizes) if f"2026-11-20/{at}" not in gone]
    for step in steps:
        total = sum(file.size for file in step.files)
        left += [TARGET_BYTES] * (total // TARGET_BYTES) + [total % TARGET_BYTES] * (total % TARGET_BYTES > 0)
    return left


@settings(deadline=None)
@given(st.lists(st.integers(1_000, 2 * TARGET_BYTES), max_size=80))
def test_no_file_is_merged_twice_or_alone_or_when_it_is_large(sizes: list[int]):
    for closed, now_us in ((True, LATER_US), (False, LATER_US), (True, NOON_US)):
        steps = plan(snapshot_of(sizes), now_us, closed=closed)
        chosen = [file.path for step in steps for file in step.files]
        assert len(chosen) == len(set(chosen))
        assert all(len(step.files) > 1 for step in steps)
        assert all(file.size < TARGET_BYTES // 2 for step in steps for file in step.files)


@pytest.mark.parametrize("size", [6_000, 20_000, 300_000, 5_000_000])
def test_a_day_of_17280_commits_keeps_few_files_and_writes_each_row_again_at_most_five_times(size: int):
    sizes: list[int] = []
    written = 0
    most = 0
    for _ in range(173):
        sizes += [size] * 100
        steps = plan(snapshot_of(sizes), NOON_US, closed=False)
        written += sum(file.size for step in steps for file in step.files)
        sizes = merged(sizes, steps)
        most = max(most, sum(1 for one in sizes if one < TARGET_BYTES // 2))
    assert sum(sizes) == 17_300 * size
    assert written <= 5 * sum(sizes)
    # seven of each class
    assert most <= 28 + 1
    night = plan(snapshot_of(sizes), LATER_US, closed=True)
    assert sum(1 for one in merged(sizes, night) if one < TARGET_BYTES // 2) <= len(night) + 1


def test_one_commit_replaces_a_gigabyte_at_most():
    steps = plan(snapshot_of([60 * 1024 * 1024] * 40), LATER_US, closed=True)
    assert len(steps) == 3
    assert sum(len(step.files) for step in steps) == 40
    assert date.fromisoformat(steps[0].day) == date(2026, 11, 20)
