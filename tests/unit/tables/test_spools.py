"""One spool for each worker: found by their names, settled when nobody owns them, read as one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.unit.tables.rows import a_row, record_of, records

from sekisho.tables.layout import encode_record
from sekisho.tables.maintenance.erase import waiting
from sekisho.tables.overview import overview
from sekisho.tables.reader import ask, has_data
from sekisho.tables.segments import segment_numbers
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.spools import (
    held_spools,
    is_free,
    name_in,
    note_reported,
    reported,
    settle,
    settle_left,
    spool_of,
    spool_roots,
)


def write(root: Path, rows: int, start: int = 0) -> SpoolWriter:
    writer = SpoolWriter(root, 64 * 1024)
    for record in records(rows, start):
        writer.append(record)
    return writer


def test_spools_are_found_by_name_in_the_order_of_their_workers(tmp_path: Path) -> None:
    assert spool_roots(tmp_path) == [tmp_path / "spool"]
    for name in ("worker-10", "worker-2", "worker-x", "other"):
        (tmp_path / "spool" / name).mkdir(parents=True)
    assert spool_roots(tmp_path) == [spool_of(tmp_path), spool_of(tmp_path, 2), spool_of(tmp_path, 10)]
    assert [name_in(tmp_path, root) for root in spool_roots(tmp_path)] == ["", "worker-2", "worker-10"]


def test_rows_of_all_spools_are_read_as_one(tmp_path: Path) -> None:
    assert not has_data(tmp_path)
    write(spool_of(tmp_path), 3).close()
    write(spool_of(tmp_path, 1), 4, 3).close()
    running = write(spool_of(tmp_path, 3), 5, 7)
    assert has_data(tmp_path)
    assert list(ask(tmp_path, "SELECT count(*), count(DISTINCT request_id) FROM usage").rows()) == [(12, 12)]
    _, waits = overview(tmp_path)
    assert (waits.rows, waits.segments) == (12, 3)
    [(user,)] = ask(tmp_path, "SELECT requester FROM usage LIMIT 1").rows()
    assert waiting(tmp_path, tmp_path / "tables", user) == 12
    running.close()


def test_of_all_spools_the_row_that_waits_longest_is_told(tmp_path: Path) -> None:
    now_us, size = time.time_ns() // 1000, 0
    for worker, ages_s in ((None, (100, 50)), (1, (5000, 9)), (2, (10,))):
        writer = SpoolWriter(spool_of(tmp_path, worker), 64 * 1024)
        for age_s in ages_s:
            record = record_of(a_row(age_s, event_time_us=now_us - age_s * 1_000_000, latency_us=0))
            writer.append(record)
            size += len(encode_record(record))
        writer.close()
    _, waits = overview(tmp_path)
    assert (waits.rows, waits.bytes) == (5, size)
    assert waits.age_s is not None
    assert 5000 <= waits.age_s < 5060


def test_calls_of_an_owner_that_died_become_rows_once(tmp_path: Path) -> None:
    root = spool_of(tmp_path, 1)
    dead = write(root, 2)
    [begun] = records(1, 2)
    assert dead.begin(begun)
    with pytest.raises(RuntimeError):
        settle(root)
    assert not settle_left(tmp_path, frozenset()), "it is owned"
    assert not is_free(root)
    dead._flusher.close()
    __import__("os").close(dead._lock_fd)  # what the kernel does when it dies
    note_reported(root, 5)
    assert settle_left(tmp_path, frozenset({root})), "somebody else sees to it"
    assert settle(root) == 1
    assert settle(root) == 0
    assert is_free(root)
    assert reported(root) is None, "nobody keeps count any more"
    assert list(ask(tmp_path, "SELECT count(*), count(DISTINCT request_id) FROM usage").rows()) == [(3, 3)]


def test_folders_without_a_segment_are_left_alone(tmp_path: Path) -> None:
    spool_of(tmp_path, 1).mkdir(parents=True)
    assert settle_left(tmp_path, frozenset())
    assert segment_numbers(spool_of(tmp_path, 1)) == []
    assert held_spools(tmp_path) == []
    assert is_free(spool_of(tmp_path, 7))


def test_what_was_told_is_written_down(tmp_path: Path) -> None:
    assert reported(tmp_path) is None
    for seq in (1 << 40, 7):
        note_reported(tmp_path, seq)
        assert reported(tmp_path) == seq
    open_files = len(os.listdir("/dev/fd"))
    for seq in range(9):
        note_reported(tmp_path, seq)
    assert len(os.listdir("/dev/fd")) == open_files, "it is written every second, for years"
    (tmp_path / "reported").write_bytes(b"torn")
    assert reported(tmp_path) is None
