"""Files of a table in a folder: whole or not there, and mended by one process at a time."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from sekisho.tables.disk import DiskFiles, set_aside_broken_entry
from sekisho.tables.files import LOG, entry_path

WHOLE = b'{"commitInfo":{}}\n'


@pytest.fixture
def files(tmp_path: Path) -> DiskFiles:
    files = DiskFiles(tmp_path / "usage")
    files.prepare()
    (files.path / LOG).mkdir()
    return files


def left(files: DiskFiles) -> list[str]:
    return sorted(str(file.relative_to(files.path)) for file in files.path.rglob("*") if file.is_file())


def test_nobody_but_the_owner_may_look_into_a_table(tmp_path: Path):
    """Also where the data folder is one that everybody may read, as system managers make it."""
    tmp_path.chmod(0o755)
    path = tmp_path / "tables" / "usage"
    before = os.umask(0)
    try:
        DiskFiles(path).prepare()
    finally:
        os.umask(before)
    assert [folder.stat().st_mode & 0o777 for folder in (path.parent, path)] == [0o700, 0o700]
    path.chmod(0o750)
    DiskFiles(path).prepare()
    assert path.stat().st_mode & 0o777 == 0o750, "what its owner chose stays"


def test_a_name_is_taken_once(files: DiskFiles):
    assert files.put_new(entry_path(0), WHOLE)
    assert not files.put_new(entry_path(0), b'{"txn":{}}\n')
    assert files.put_new(entry_path(0), WHOLE), "the same body is the same put"
    assert list(files.entries(-1)) == [(0, WHOLE)]
    assert left(files) == [entry_path(0)]


def test_entries_end_at_the_first_gap(files: DiskFiles):
    for version in (0, 1, 2, 4):
        files.put_new(entry_path(version), WHOLE)
    assert [version for version, _ in files.entries(0)] == [1, 2]


@pytest.mark.parametrize("call", ["fsync", "write", "open", "link"])
def test_a_full_disk_leaves_nothing_behind(files: DiskFiles, monkeypatch: pytest.MonkeyPatch, call: str):
    files.put(f"day=1/{0}.parquet", b"before")
    before = left(files)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space"):
        files.put_new(entry_path(0), WHOLE)
    if call != "link":
        with pytest.raises(OSError, match="No space"):
            files.put("day=1/1.parquet", b"rows")
    monkeypatch.undo()
    assert left(files) == before
    assert files.put_new(entry_path(0), WHOLE)


def test_without_hard_links_a_name_is_still_taken_once(files: DiskFiles, monkeypatch: pytest.MonkeyPatch):
    def no_links(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert files.put_new(entry_path(0), WHOLE)
    assert not files.put_new(entry_path(0), b'{"txn":{}}\n')
    assert list(files.entries(-1)) == [(0, WHOLE)]


def test_a_broken_entry_that_another_process_mended_meanwhile_is_left_alone(files: DiskFiles):
    broken = files.path / entry_path(0)
    broken.write_bytes(b'{"add":')
    lock = os.open(files.path / LOG, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    mended: list[str | None] = []
    other = threading.Thread(target=lambda: mended.append(set_aside_broken_entry(files.path)))
    other.start()
    other.join(0.2)
    assert other.is_alive(), "it waits for the one who is at it"
    broken.write_bytes(WHOLE)
    os.close(lock)
    other.join(30)
    assert mended == [None]
    assert left(files) == [entry_path(0)]


def test_what_delta_rs_wrote_is_synced(files: DiskFiles, monkeypatch: pytest.MonkeyPatch):
    files.put_new(entry_path(0), WHOLE)
    (files.path / LOG / f"{0:020d}.checkpoint.parquet").write_bytes(b"checkpoint")
    (files.path / LOG / "_last_checkpoint").write_bytes(b"{}")
    synced: list[str] = []
    monkeypatch.setattr("sekisho.tables.disk.fsync", lambda path: synced.append(path.name))
    files.settle()
    names = [LOG, "usage", files.path.parent.name, files.path.parent.parent.name]
    assert synced == [f"{0:020d}.json", *names]
    synced.clear()
    files.settle(0)
    assert synced == [f"{0:020d}.checkpoint.parquet", "_last_checkpoint", *names]
