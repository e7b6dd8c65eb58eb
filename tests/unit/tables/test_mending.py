"""A checkpoint that a power cut left broken is set aside, and the table opens; a whole one is not touched."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import polars
import pytest
from tests.unit.tables.rows import a_row, record_of

from sekisho.tables import delta
from sekisho.tables.arrow import pa
from sekisho.tables.columns import Batch
from sekisho.tables.delta import DeltaFolder, open_table
from sekisho.tables.layout import encode_record
from sekisho.tables.mending import mend_checkpoint


def opened(root: Path) -> DeltaFolder:
    folder = DeltaFolder(root, "usage", "one")
    folder.open()
    return folder


def append(folder: DeltaFolder, n: int) -> None:
    batch = Batch()
    batch.add([encode_record(record_of(a_row(n)))])
    folder.append(batch.table(), n + 1)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four rows in four commits, a checkpoint after the second and after the fourth."""
    monkeypatch.setattr(delta, "CHECKPOINT_EVERY", 2)
    folder = opened(tmp_path)
    for n in range(4):
        append(folder, n)
        folder.checkpoint_if_due()
    assert len(list((tmp_path / "usage" / "_delta_log").glob("*.checkpoint*"))) == 2
    return tmp_path


def hint(log: Path) -> Path:
    return log / "_last_checkpoint"


def newest(log: Path) -> Path:
    return max(log.glob("*.checkpoint.parquet"))


LEFT: dict[str, Callable[[Path], object]] = {
    "no checkpoint": lambda log: newest(log).unlink(),
    "an empty checkpoint": lambda log: newest(log).write_bytes(b""),
    "a checkpoint of zeros": lambda log: newest(log).write_bytes(bytes(newest(log).stat().st_size)),
    "half a checkpoint": lambda log: newest(log).write_bytes(
        newest(log).read_bytes()[: newest(log).stat().st_size // 2]
    ),
    "an empty hint": lambda log: hint(log).write_bytes(b""),
    "half a hint": lambda log: hint(log).write_bytes(hint(log).read_bytes()[:9]),
    "a hint of zeros": lambda log: hint(log).write_bytes(bytes(40)),
    "neither": lambda log: (newest(log).unlink(), hint(log).unlink()),
}


@pytest.mark.parametrize("left", [*LEFT])
def test_whatever_a_power_cut_left_of_a_checkpoint_the_table_opens_with_all_rows(table: Path, left: str) -> None:
    LEFT[left](table / "usage" / "_delta_log")
    folder = opened(table)
    assert folder.done == 4
    append(folder, 4)
    folder.checkpoint_if_due()
    found = polars.read_delta(str(table / "usage"))["request_id"].to_list()
    assert sorted(found) == [f"req_{n:032x}" for n in range(5)]
    assert open_table(table / "usage") is not None


def test_a_whole_checkpoint_and_its_hint_stay(table: Path) -> None:
    log = table / "usage" / "_delta_log"
    before = sorted(log.iterdir())
    assert mend_checkpoint(log) == []
    assert sorted(log.iterdir()) == before


def test_what_is_set_aside_is_told_and_kept(table: Path) -> None:
    log = table / "usage" / "_delta_log"
    name = newest(log).name
    newest(log).write_bytes(b"")
    assert mend_checkpoint(log) == [name, "_last_checkpoint"]
    assert (log / f"{name}.broken").exists()
    assert not hint(log).exists()


@pytest.mark.parametrize(
    "trouble", [OSError(errno.EMFILE, "no files"), PermissionError(errno.EACCES, "no"), pa.ArrowMemoryError()]
)
def test_a_checkpoint_that_cannot_be_read_just_now_is_left_alone(
    table: Path, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    log = table / "usage" / "_delta_log"
    # a table that had a quiet night: all that its rows have is the checkpoint
    for entry in sorted(log.glob("*.json"))[:-1]:
        entry.unlink()
    before = sorted(log.iterdir())
    with monkeypatch.context() as patched:
        patched.setattr("sekisho.tables.mending.pq.read_table", raising(trouble))
        with pytest.raises(OSError):  # noqa: PT011  whatever the reason is
            opened(table)
    assert sorted(log.iterdir()) == before
    assert opened(table).done == 4


def raising(trouble: Exception) -> Callable[..., object]:
    def read(*_: object, **__: object) -> object:
        raise trouble

    return read


def test_a_log_without_checkpoints_is_fine(tmp_path: Path) -> None:
    opened(tmp_path)
    assert mend_checkpoint(tmp_path / "usage" / "_delta_log") == []
    assert mend_checkpoint(tmp_path / "nowhere") == []
