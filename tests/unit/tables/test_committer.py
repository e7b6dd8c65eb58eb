"""From the spool into both tables: nothing lost, nothing twice, wherever the work was cut off."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars
import pytest
from tests.unit.tables.rows import a_row, record_of, records, without_log

from sekisho.tables import committer as module
from sekisho.tables.committer import Committer
from sekisho.tables.committer_process import run
from sekisho.tables.delta import DeltaFolder
from sekisho.tables.disk import DiskFiles
from sekisho.tables.segments import KIND_ROW, segment_numbers
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.status import read_status

SMALL = 64 * 1024


def ids(data_dir: Path, table: str) -> list[str]:
    path = data_dir / "tables" / table
    return sorted(polars.read_delta(str(path), columns=["request_id"])["request_id"].to_list())


def want(count: int) -> list[str]:
    return [f"req_{n:032x}" for n in range(count)]


def drain(committer: Committer) -> None:
    while committer.step():
        pass


@pytest.fixture
def spool(tmp_path: Path):
    writer = SpoolWriter(tmp_path / "spool", SMALL)
    yield writer
    writer.close()


def test_every_row_is_in_usage_and_full_ones_in_the_log(tmp_path: Path, spool: SpoolWriter):
    for n in range(20):
        spool.append(record_of(a_row(n) if n % 2 else without_log(n)))
    committer = Committer(tmp_path)
    drain(committer)
    assert ids(tmp_path, "usage") == want(20)
    assert ids(tmp_path, "inference_log") == want(20)[1::2]
    assert committer.status.committed_rows == 20
    assert committer.status.logged_rows == 10
    assert committer.status.committed_seq == spool.last_seq
    assert read_status(tmp_path / "spool") == committer.status


def test_rows_are_on_the_disk_before_the_tables_have_them(
    tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch
):
    """Else a power cut could leave the beginning of a call without its end, and the next gateway make a second row."""
    happened: list[str] = []
    append = DeltaFolder.append

    def noted(self: DeltaFolder, rows: Any, seq: int) -> None:
        happened.append(self.name)
        append(self, rows, seq)

    monkeypatch.setattr("sekisho.tables.segments.fdatasync", lambda fd: happened.append("spool"))
    monkeypatch.setattr(DeltaFolder, "append", noted)
    committer = Committer(tmp_path)
    for n in range(2):
        spool.append(record_of(a_row(n)))
        drain(committer)
    assert happened == ["spool", "usage", "inference_log"] * 2


def test_what_was_carried_over_is_on_the_disk_before_the_older_segment_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also where nothing in the newer one can be read as a row: calls in flight stand in it, and nowhere else soon."""
    spool = SpoolWriter(tmp_path / "spool", SMALL)
    spool.begin(record_of(a_row(0)))
    committer = Committer(tmp_path)
    spool.append(record_of(a_row(1)))
    drain(committer)
    first = segment_numbers(tmp_path / "spool")
    spool._roll(0)
    spool._put(b"\xc1 no record", KIND_ROW)
    gone_at_sync: list[bool] = []

    def noted(_fd: int) -> None:
        gone_at_sync.append(first[0] not in segment_numbers(tmp_path / "spool"))

    monkeypatch.setattr("sekisho.tables.segments.fdatasync", noted)
    drain(committer)
    assert gone_at_sync == [False, False], "both segments, while both were there"
    assert first[0] not in segment_numbers(tmp_path / "spool")
    assert committer.status.corrupt == 1
    spool.close()


def test_a_segment_whose_name_could_not_be_put_on_the_disk_is_tried_again_first(
    tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch
):
    """Else a power cut could take the name, and the rows of the next segment of that number pass for committed ones."""
    spool.append(record_of(a_row()))
    committer = Committer(tmp_path)
    happened: list[str] = []

    def failing(path: Path) -> None:
        happened.append("failed" if not happened else "named")
        if happened == ["failed"]:
            raise OSError(5, "Input/output error")

    append = DeltaFolder.append

    def noted(self: DeltaFolder, rows: Any, seq: int) -> None:
        happened.append(self.name)
        append(self, rows, seq)

    monkeypatch.setattr(module, "fsync", failing)
    monkeypatch.setattr(DeltaFolder, "append", noted)
    with pytest.raises(OSError, match="Input/output"):
        committer.step()
    committer.reopen()
    drain(committer)
    assert happened == ["failed", "named", "usage", "inference_log"]


def test_metadata_alone_never_touches_the_log(tmp_path: Path, spool: SpoolWriter):
    for n in range(5):
        spool.append(record_of(without_log(n)))
    drain(Committer(tmp_path))
    assert ids(tmp_path, "inference_log") == []
    assert not list((tmp_path / "tables" / "inference_log").rglob("*.parquet"))


def test_batches_are_bounded_by_rows_and_by_bytes(tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch):
    for record in records(2000):
        spool.append(record)
    monkeypatch.setattr(module, "_BATCH_ROWS", 600)
    committer = Committer(tmp_path)
    drain(committer)
    assert committer.status.commits == 4
    for record in records(500, 2000):
        spool.append(record)
    monkeypatch.setattr(module, "_BATCH_ROWS", 20_000)
    monkeypatch.setattr(module, "_BATCH_BYTES", 1000)
    drain(committer)
    assert committer.status.commits > 6
    assert ids(tmp_path, "usage") == want(2500)


def test_committed_segments_go_and_the_newest_stays(tmp_path: Path, spool: SpoolWriter):
    for record in records(1000):
        spool.append(record)
    assert len(segment_numbers(tmp_path / "spool")) > 3
    drain(Committer(tmp_path))
    assert len(segment_numbers(tmp_path / "spool")) == 1


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


def _cut_after(monkeypatch: pytest.MonkeyPatch, name: str, table: str, count: int) -> None:
    """Let the process die right after the n-th append to a table, before anything is noted of it."""
    append: Callable[..., None] = getattr(DeltaFolder, name)
    seen = [0]

    def dying(self: DeltaFolder, *arguments: Any) -> None:
        append(self, *arguments)
        if self.name == table:
            seen[0] += 1
            if seen[0] == count:
                raise Killed

    monkeypatch.setattr(DeltaFolder, name, dying)


@pytest.mark.parametrize("table", ["usage", "inference_log"])
@pytest.mark.parametrize("count", [1, 2])
def test_death_between_the_commits_neither_loses_nor_doubles(
    tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch, table: str, count: int
):
    monkeypatch.setattr(module, "_BATCH_ROWS", 512)
    for n in range(1500):
        spool.append(record_of(a_row(n) if n % 3 else without_log(n)))
    _cut_after(monkeypatch, "append", table, count)
    with pytest.raises(Killed):
        drain(Committer(tmp_path))
    monkeypatch.undo()
    for record in records(10, 1500):
        spool.append(record)
    drain(Committer(tmp_path))
    assert ids(tmp_path, "usage") == want(1510)
    assert ids(tmp_path, "inference_log") == [one for n, one in enumerate(want(1510)) if n % 3 or n >= 1500]


@pytest.mark.parametrize("method", ["put", "put_new"])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_death_around_a_data_file_or_a_log_entry_neither_loses_nor_doubles(
    tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch, method: str, done: bool, count: int
):
    monkeypatch.setattr(module, "_BATCH_ROWS", 512)
    for record in records(1500):
        spool.append(record)
    write: Callable[..., Any] = getattr(DiskFiles, method)
    seen = [0]

    def dying(self: DiskFiles, path: str, body: Any) -> Any:
        seen[0] += 1
        if seen[0] == count and not done:
            raise Killed
        result = write(self, path, body)
        if seen[0] == count:
            raise Killed
        return result

    monkeypatch.setattr(DiskFiles, method, dying)
    with pytest.raises(Killed):
        drain(Committer(tmp_path))
    monkeypatch.undo()
    drain(Committer(tmp_path))
    assert ids(tmp_path, "usage") == ids(tmp_path, "inference_log") == want(1500)


@pytest.mark.parametrize("method", ["put", "put_new"])
@pytest.mark.parametrize("number", [13, 28, 30, 122], ids=["EACCES", "ENOSPC", "EROFS", "EDQUOT"])
def test_a_place_that_cannot_be_written_is_waited_for(
    tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch, method: str, number: int
):
    for record in records(3):
        spool.append(record)
    committer = Committer(tmp_path)
    write: Callable[..., Any] = getattr(DiskFiles, method)
    failures = [4]

    def failing(self: DiskFiles, path: str, body: Any) -> Any:
        if failures[0]:
            failures[0] -= 1
            raise OSError(number, os.strerror(number), path)
        return write(self, path, body)

    monkeypatch.setattr(DiskFiles, method, failing)
    assert run(committer, stopping=lambda: not failures[0], wait=lambda _: None) == 0
    assert ids(tmp_path, "usage") == ids(tmp_path, "inference_log") == want(3)
    assert committer.status.errors == 4


def test_a_failing_disk_is_tried_again_until_it_is_back(
    tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    for record in records(3):
        spool.append(record)
    committer = Committer(tmp_path)
    failures = [5]

    def failing(self: DeltaFolder, rows: Any, last_seq: int) -> None:
        if self.name == "inference_log" and failures[0]:
            failures[0] -= 1
            raise OSError(30, "Read-only file system")
        append(self, rows, last_seq)

    append = DeltaFolder.append
    monkeypatch.setattr(DeltaFolder, "append", failing)
    waits: list[float] = []
    code = run(committer, stopping=lambda: not failures[0], wait=waits.append, jitter=lambda: 0.5)
    assert code == 0
    assert ids(tmp_path, "usage") == ids(tmp_path, "inference_log") == want(3)
    assert waits[:5] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2])
    assert committer.status.errors == 5
    assert "Read-only" in (committer.status.last_error or "")
    assert len(capfd.readouterr().err.splitlines()) == 1, "one line a minute"


def test_told_to_stop_while_the_disk_fails_it_leaves_the_rows_in_the_spool(
    tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch
):
    for record in records(3):
        spool.append(record)

    def failing(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DeltaFolder, "append", failing)
    assert run(Committer(tmp_path), stopping=lambda: True, wait=lambda _: None) == 1
    monkeypatch.undo()
    drain(Committer(tmp_path))
    assert ids(tmp_path, "usage") == want(3)


def test_it_waits_for_a_spool_that_is_not_there_yet(tmp_path: Path):
    committer = Committer(tmp_path)
    assert not committer.step()
    writer = SpoolWriter(tmp_path / "spool", SMALL)
    writer.append(record_of(a_row(0)))
    drain(committer)
    assert ids(tmp_path, "usage") == want(1)
    writer.close()


def test_bodies_that_are_no_utf8_do_not_stop_the_rest(tmp_path: Path, spool: SpoolWriter):
    spool.append(record_of(a_row(0, request=b'{"messages":[{"role":"user","content":"\xff"}]}')))
    spool.append(record_of(a_row(1, response=b'{"choices":[{"message":{"content":"\xff"}}]}')))
    spool.append(record_of(a_row(2)))
    drain(Committer(tmp_path))
    assert ids(tmp_path, "usage") == want(3)
    assert ids(tmp_path, "inference_log") == want(3)


def test_a_record_that_cannot_be_read_does_not_stop_the_rest(tmp_path: Path, spool: SpoolWriter):
    spool.append(("no", "record"))
    for record in records(2):
        spool.append(record)
    committer = Committer(tmp_path)
    drain(committer)
    assert ids(tmp_path, "usage") == want(2)
    assert committer.status.corrupt == 1
    spool.append(("only", "this"))
    drain(committer)
    assert committer.status.committed_seq == spool.last_seq
