"""One Delta table: appended to exactly once, safe against torn entries and other writers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import polars
import pytest
from deltalake import DeltaTable, Schema, write_deltalake
from tests.unit.tables.rows import records

from sekisho.tables import delta
from sekisho.tables.arrow import pa
from sekisho.tables.columns import Batch
from sekisho.tables.delta import WIDENED, DeltaFolder, TableChanged, app_id, open_table
from sekisho.tables.disk import set_aside_broken_entry
from sekisho.tables.layout import encode_record
from sekisho.tables.meanings import MEANINGS, TABLE_MEANINGS, described
from sekisho.tables.schema import USAGE


def rows(count: int, start: int = 0) -> Any:
    batch = Batch()
    batch.add([encode_record(record) for record in records(count, start)])
    return batch.table()


def opened(root: Path, spool: str = "s") -> DeltaFolder:
    folder = DeltaFolder(root, "usage", spool)
    folder.open()
    return folder


def ids(root: Path) -> list[str]:
    frame = polars.read_delta(str(root / "usage"), columns=["request_id"])
    return sorted(frame["request_id"].to_list())


def want(count: int) -> list[str]:
    return [f"req_{n:032x}" for n in range(count)]


def entries(root: Path) -> list[Path]:
    return sorted((root / "usage" / "_delta_log").glob("*.json"))


def test_appends_are_there_and_the_table_remembers_how_far_it_has_come(tmp_path: Path):
    folder = opened(tmp_path)
    folder.append(rows(3), 30)
    folder.append(rows(2, 3), 50)
    assert ids(tmp_path) == want(5)
    assert opened(tmp_path).done == 50
    table = open_table(tmp_path / "usage")
    assert table is not None
    assert table.transaction_version(app_id("s")) == 50
    assert (table.protocol().min_reader_version, table.protocol().min_writer_version) == (1, 2)
    assert Schema.from_arrow(described(USAGE)) == table.schema()


def test_a_table_says_what_it_and_its_columns_mean_and_its_files_do_not_repeat_it(tmp_path: Path):
    opened(tmp_path).append(rows(3), 30)
    table = DeltaTable(str(tmp_path / "usage"))
    assert {field.name: field.metadata for field in table.schema().fields} == {
        name: {"comment": MEANINGS[name]} for name in USAGE.names
    }
    assert table.metadata().description == TABLE_MEANINGS["usage"]
    for file in (tmp_path / "usage").rglob("*.parquet"):
        assert MEANINGS["cost_breakdown"].encode() not in file.read_bytes()


def test_two_committers_of_one_spool_cannot_double_a_row(tmp_path: Path):
    first, second = opened(tmp_path), opened(tmp_path)
    first.append(rows(3), 30)
    with pytest.raises(TableChanged):
        second.append(rows(3), 30)
    second.open()
    assert second.done == 30
    assert ids(tmp_path) == want(3)


def test_spools_of_several_nodes_share_a_table(tmp_path: Path):
    one, two = opened(tmp_path, "one"), opened(tmp_path, "two")
    one.append(rows(2), 7)
    two.append(rows(2, 2), 9)
    one.append(rows(1, 4), 8)
    assert ids(tmp_path) == want(5)
    assert (opened(tmp_path, "one").done, opened(tmp_path, "two").done) == (8, 9)


def test_appends_go_with_maintenance_by_others(tmp_path: Path):
    folder = opened(tmp_path)
    for n in range(3):
        folder.append(rows(1, n), n + 1)
    DeltaTable(str(tmp_path / "usage")).optimize.compact()
    folder.append(rows(1, 3), 4)
    assert ids(tmp_path) == want(4)


def test_a_writer_that_slept_looks_again_before_it_appends(tmp_path: Path):
    now_s = [1e9]
    sleeper = DeltaFolder(tmp_path, "usage", "sleeper", clock_s=lambda: now_s[0])
    sleeper.open()
    sleeper.append(rows(1), 1)
    other = opened(tmp_path, "other")
    for n in range(3):
        other.append(rows(1, 1 + n), n + 1)
    DeltaTable(str(tmp_path / "usage")).create_checkpoint()
    for entry in entries(tmp_path)[:-1]:
        entry.unlink()
    now_s[0] += 4000
    sleeper.append(rows(1, 4), 2)
    assert ids(tmp_path) == want(5)
    twin = opened(tmp_path, "sleeper")
    twin.append(rows(1, 5), 3)
    now_s[0] += 4000
    with pytest.raises(TableChanged):
        sleeper.append(rows(1, 5), 3)
    assert ids(tmp_path) == want(6)


def test_a_change_of_schema_by_others_is_noticed(tmp_path: Path):
    folder = opened(tmp_path)
    DeltaTable(str(tmp_path / "usage")).alter.add_columns([Schema.from_arrow(pa.schema([("x", pa.int64())])).fields[0]])
    with pytest.raises(TableChanged):
        folder.append(rows(1), 1)
    folder.open()
    folder.append(rows(1), 1)
    assert ids(tmp_path) == want(1)


@pytest.mark.parametrize("left", [b"", b'{"add":{"path":"requ', b'{"commitInfo":{}}\n{"add"'])
def test_a_torn_newest_entry_is_set_aside_and_its_rows_come_again(tmp_path: Path, left: bytes):
    folder = opened(tmp_path)
    folder.append(rows(2), 2)
    folder.append(rows(1, 2), 3)
    torn = entries(tmp_path)[-1]
    torn.write_bytes(left)
    again = opened(tmp_path)
    assert again.done == 2
    assert torn.with_suffix(".json.broken").exists()
    again.append(rows(1, 2), 3)
    assert ids(tmp_path) == want(3)
    assert set_aside_broken_entry(tmp_path / "usage") is None


def test_checkpoints_keep_the_log_short_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(delta, "CHECKPOINT_EVERY", 3)
    folder = opened(tmp_path)
    for n in range(7):
        folder.append(rows(1, n), n + 1)
        folder.checkpoint_if_due()
    last = msgspec.json.decode((tmp_path / "usage" / "_delta_log" / "_last_checkpoint").read_bytes())
    assert last["version"] == 6
    for entry in entries(tmp_path)[:6]:
        entry.unlink()
    assert opened(tmp_path).done == 7
    assert ids(tmp_path) == want(7)


def test_nothing_is_left_of_an_append_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = opened(tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.append(rows(1), 1)
    assert not list((tmp_path / "usage").rglob("part-*"))
    assert folder.done == 0
    monkeypatch.undo()
    monkeypatch.setattr("os.link", full)
    with pytest.raises(OSError, match="No space"):
        folder.append(rows(1), 1)
    assert not list((tmp_path / "usage" / "_delta_log").glob("*.tmp"))
    assert folder.done == 0
    monkeypatch.undo()
    folder.append(rows(1), 1)
    assert ids(tmp_path) == want(1)


def test_a_disk_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_links(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    folder, other = opened(tmp_path), opened(tmp_path, "other")
    monkeypatch.setattr("os.link", no_links)
    folder.append(rows(2), 2)
    other.append(rows(1, 2), 2)
    assert ids(tmp_path) == want(3)


def test_a_table_of_an_earlier_version_gets_the_columns_it_lacks(tmp_path: Path):
    older = rows(1).select(["request_date", "event_time", "request_id"])
    write_deltalake(str(tmp_path / "usage"), older, partition_by=["request_date"])
    folder = opened(tmp_path)
    folder.append(rows(1, 1), 1)
    table = DeltaTable(str(tmp_path / "usage"))
    assert {field.name for field in table.schema().fields} == set(USAGE.names)
    assert table.metadata().configuration[WIDENED] == "true"
    # what was there stays as it was
    comments = {field.name: field.metadata.get("comment") for field in table.schema().fields}
    assert comments == {name: None if name in older.schema.names else MEANINGS[name] for name in USAGE.names}
    assert ids(tmp_path) == want(2)


def test_columns_that_a_killed_committer_left_half_added_are_told_to_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    older = rows(1).select(["request_date", "event_time", "request_id"])
    write_deltalake(str(tmp_path / "usage"), older, partition_by=["request_date"])
    for step in ("add_columns", "set_table_properties"):
        with monkeypatch.context() as patched:
            patched.setattr(f"deltalake.table.TableAlterer.{step}", killed)
            with pytest.raises(KeyboardInterrupt):
                opened(tmp_path)
    opened(tmp_path)
    assert DeltaTable(str(tmp_path / "usage")).metadata().configuration[WIDENED] == "true"


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_table_that_cannot_be_read_says_so(tmp_path: Path):
    assert open_table(tmp_path / "usage") is None
    opened(tmp_path)
    entries(tmp_path)[0].write_bytes(b"{}\nnonsense")
    with pytest.raises(OSError, match="usage"):
        open_table(tmp_path / "usage")
