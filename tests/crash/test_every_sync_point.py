"""The power goes at any one sync of the committer's work: the tables open, no row is missing, none is there twice."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from pathlib import Path

import polars
import pytest

from sekisho.tables import delta
from sekisho.tables.committer import Committer
from sekisho.tables.spool import SpoolWriter
from tests.crash.disk import Disk
from tests.unit.tables.rows import NOON_US, a_row, record_of

COMMITS, ROWS = 5, 3
DAY_US = 86_400_000_000
#: different fates for the same moment
DICE = 1


class Moments:
    """While `watching`, what a cut just before each sync leaves, beside how many rows were safe in the spool then."""

    def __init__(self, disk: Disk) -> None:
        self.taken: list[tuple[int, Path]] = []
        self.rows = 0
        self.watching = False
        self._disk = disk
        self._sync = os.fsync

    def fsync(self, fd: int) -> None:
        # The spool syncs itself in a thread of its own; the moments are the committer's.
        mine = threading.current_thread() is threading.main_thread()
        for die in range(DICE if self.watching and mine else 0):
            after = self._disk.root.with_name(f"cut-{len(self.taken)}")
            self._disk.image(after, random.Random(f"{len(self.taken)} {die}"))
            self.taken.append((self.rows, after))
        self._sync(fd)


def sync_spool(data_dir: Path) -> None:
    for path in (*(data_dir / "spool").iterdir(), data_dir / "spool"):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def drain(data_dir: Path) -> None:
    committer = Committer(data_dir)
    while committer.step():
        pass
    committer.stopped()


def committed(data_dir: Path, table: str) -> Counter[str]:
    path = data_dir / "tables" / table
    return Counter(polars.read_delta(str(path), columns=["request_id"])["request_id"].to_list())


def test_the_power_goes_at_any_sync_of_the_committer(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    (disk.root / "spool").mkdir()
    disk.begin()
    moments = Moments(disk)
    monkeypatch.setattr(os, "fsync", moments.fsync)
    monkeypatch.setattr(delta, "CHECKPOINT_EVERY", 2)
    writer = SpoolWriter(disk.root / "spool", 64 * 1024)
    committer = Committer(disk.root)
    for n in range(COMMITS):
        for at in range(n * ROWS, (n + 1) * ROWS):
            when_us = NOON_US + DAY_US * (n // 2)
            writer.append(record_of(a_row(at, event_time_us=when_us, request=b"x" * 20_000)))
        sync_spool(disk.root)
        moments.rows += ROWS
        moments.watching = True
        while committer.step():
            pass
        moments.watching = False
    committer.stopped()
    writer.close()
    assert len(moments.taken) > 50
    for rows, after in moments.taken:
        drain(after)
        for table in ("usage", "inference_log"):
            assert committed(after, table) == Counter(f"req_{n:032x}" for n in range(rows)), (table, after)
