"""The simulated disk itself: it keeps what was synced, and forgets what was not, in every way a disk may."""

from __future__ import annotations

import mmap
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.disk import PAGE, Disk

MANY = 60


def sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def images(disk: Disk, read: Callable[[Path], object]) -> set[object]:
    """What many cuts at this moment leave, read in one way."""
    found: set[object] = set()
    for seed in range(MANY):
        after = disk.root.with_name("after")
        disk.image(after, random.Random(seed))
        found.add(read(after))
    return found


def body(name: str) -> Callable[[Path], object]:
    return lambda root: (root / name).read_bytes() if (root / name).exists() else None


def test_a_file_and_its_name_that_were_synced_stay(disk: Disk) -> None:
    file = disk.root / "a"
    file.write_bytes(b"safe")
    sync(file)
    sync(disk.root)
    assert images(disk, body("a")) == {b"safe"}


def test_a_file_without_any_sync_may_be_gone_empty_zeros_torn_or_whole(disk: Disk) -> None:
    (disk.root / "a").write_bytes(b"x" * 8)
    found = images(disk, body("a"))
    assert {None, b"", bytes(8), b"x" * 8} <= found
    assert any(isinstance(one, bytes) and 0 < len(one) < 8 for one in found)


def test_a_name_that_was_not_synced_may_be_gone(disk: Disk) -> None:
    file = disk.root / "a"
    file.write_bytes(b"safe")
    sync(file)
    assert images(disk, body("a")) == {None, b"safe"}


def test_what_was_synced_of_a_file_stays_while_the_rest_is_torn(disk: Disk) -> None:
    file = disk.root / "a"
    file.write_bytes(b"safe")
    sync(file)
    sync(disk.root)
    with file.open("ab") as more:
        more.write(b"+lost")
    found = images(disk, body("a"))
    assert {b"safe", b"safe+lost"} <= found
    assert all(isinstance(one, bytes) and one.startswith(b"safe") for one in found)


def test_pages_of_a_mapping_reach_the_disk_one_by_one(disk: Disk) -> None:
    file = disk.root / "a"
    file.write_bytes(bytes(3 * PAGE))
    with file.open("r+b") as opened:
        mapping = mmap.mmap(opened.fileno(), 0)
    mapping[:PAGE] = b"1" * PAGE
    mapping.flush()
    sync(disk.root)
    for at in (1, 2):
        mapping[at * PAGE : (at + 1) * PAGE] = b"2" * PAGE
    found = images(disk, lambda root: tuple((root / "a").read_bytes()[at * PAGE : at * PAGE + 1] for at in range(3)))
    mapping.close()
    assert found == {(b"1", second, third) for second in (b"2", b"\0") for third in (b"2", b"\0")}


def test_a_rename_happens_or_does_not(disk: Disk) -> None:
    old, new = disk.root / "old", disk.root / "new"
    old.write_bytes(b"one")
    sync(old)
    sync(disk.root)
    old.rename(new)
    assert images(disk, lambda root: (body("old")(root), body("new")(root))) == {(b"one", None), (None, b"one")}


def test_a_deleted_file_may_come_back_until_its_folder_is_synced(disk: Disk) -> None:
    file = disk.root / "a"
    file.write_bytes(b"one")
    sync(file)
    sync(disk.root)
    file.unlink()
    assert images(disk, body("a")) == {None, b"one"}
    sync(disk.root)
    assert images(disk, body("a")) == {None}


def test_a_folder_vanishes_with_all_it_holds_unless_its_parent_was_synced(disk: Disk) -> None:
    folder = disk.root / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(b"one")
    sync(folder / "a")
    sync(folder)
    assert images(disk, body("folder/a")) == {None, b"one"}
    sync(disk.root)
    assert images(disk, body("folder/a")) == {b"one"}


def test_after_a_cut_what_is_there_is_on_the_disk(disk: Disk) -> None:
    (disk.root / "a").write_bytes(b"x" * 10_000)
    disk.cut(random.Random(3))
    assert len(images(disk, body("a"))) == 1


def test_a_full_disk_gives_no_room(disk: Disk) -> None:
    fd = os.open(disk.root / "a", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"before")
    disk.full(True)
    with pytest.raises(OSError, match="No space left"):
        os.write(fd, b"after")
    if hasattr(os, "posix_fallocate"):
        with pytest.raises(OSError, match="No space left"):
            os.posix_fallocate(fd, 0, 4096)
    disk.full(False)
    os.write(fd, b"after")
    os.close(fd)
