"""After a power cut a new process counts on in the spool: the tables must not take its rows for rows they have."""

from __future__ import annotations

import random

import pytest

from sekisho.tables.spool import SpoolWriter
from tests.crash.disk import Disk
from tests.crash.test_every_sync_point import committed, drain
from tests.unit.tables.rows import records

SEGMENT = 64 * 1024
CUTS = 12


def live(disk: Disk, start: int, count: int) -> SpoolWriter:
    """One life of a gateway: rows into the spool and into the tables."""
    writer = SpoolWriter(disk.root / "spool", SEGMENT)
    for record in records(count, start):
        writer.append(record)
    drain(disk.root)
    return writer


@pytest.mark.parametrize("lives", [1, 2])
def test_rows_of_the_next_life_come_in_though_the_segment_before_them_vanished(disk: Disk, lives: int) -> None:
    for life in range(lives - 1):
        live(disk, life * 3, 3).close()
        disk.begin()
    writer = live(disk, (lives - 1) * 3, 3)
    for seed in range(CUTS):
        after = disk.root.with_name(f"cut-{seed}")
        disk.image(after, random.Random(seed))
        (after / "spool").mkdir(exist_ok=True)
        second = SpoolWriter(after / "spool", SEGMENT)
        for record in records(5, 1000):
            second.append(record)
        second.close()
        drain(after)
        for table in ("usage", "inference_log"):
            found = committed(after, table)
            wanted = [*range(lives * 3), *range(1000, 1005)]
            assert {name: found[name] for name in sorted(found)} == {f"req_{n:032x}": 1 for n in wanted}, (table, seed)
    writer.close()
