"""The bound of the spool holds from one row to the next, and is not guessed where the committer made room."""

from __future__ import annotations

import pathlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.tables.rows import a_row, record_of, without_log

from sekisho.domain.row import Record
from sekisho.tables.layout import OWN, SHAPE
from sekisho.tables.segments import SpoolReader, segment_numbers, segment_path
from sekisho.tables.spool import SpoolWriter

SMALL = 64 * 1024
BODY = 10_000
BOUND = 3 * SMALL


def large(n: int) -> Record:
    return record_of(a_row(n, request=b"x" * BODY))


def stored(root: Path) -> list[dict[str, Any]]:
    reader = SpoolReader(root)
    rows = [msgspec.msgpack.decode(payload) for chunk in reader.chunks(0, None) for payload in chunk.payloads]
    reader.close()
    return [dict(zip((*SHAPE, *OWN), (*shape, *own), strict=True)) for shape, _, *own in rows]


def trim(writer: SpoolWriter) -> None:
    """What the committer does."""
    for number in segment_numbers(writer.root)[:-1]:
        segment_path(writer.root, number).unlink()


def test_calls_are_refused_from_the_row_that_fills_the_spool(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL, max_bytes=BOUND, sheds_bodies=False)
    assert writer.begin(large(1000))
    taken = 0
    while writer.takes_calls and taken < 1000:
        writer.append(large(taken))
        taken += 1
    assert writer.full
    assert BOUND - SMALL < writer.pending_bytes() < BOUND + SMALL, "no look was needed"
    writer.append(large(1000))
    assert len(stored(tmp_path)) == taken + 1, "what runs is stored whole"
    assert writer.bodies_dropped == 0
    writer.close()


def test_the_rows_of_refused_calls_have_no_bodies(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL, max_bytes=BOUND, sheds_bodies=False)
    taken = 0
    while writer.takes_calls and taken < 1000:
        writer.append(large(taken))
        taken += 1
    for n in range(50):
        writer.append(large(taken + n))
    assert writer.pending_bytes() < BOUND + 2 * SMALL, "callers who try again do not fill the disk"
    assert len(stored(tmp_path)) == taken + 50
    assert stored(tmp_path)[-1]["logging_error_codes"] == ["SPOOL_FULL"]
    writer.close()


def test_bodies_are_shed_from_the_row_that_would_fill_the_spool(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL, max_bytes=BOUND)
    for n in range(60):
        writer.append(large(n))
    assert writer.takes_calls
    rows = stored(tmp_path)
    assert len(rows) == writer.appended == 60, "rows are never shed"
    shed = [row["logging_error_codes"] == ["SPOOL_FULL"] for row in rows]
    assert writer.bodies_dropped == sum(shed) > 30
    assert shed == sorted(shed), "once full, until a look finds room"
    writer.append(record_of(without_log(60)))
    assert stored(tmp_path)[-1]["logging_error_codes"] is None, "a row that has no bodies misses none"
    assert writer.bodies_dropped == sum(shed)
    assert writer.pending_bytes() < BOUND + SMALL
    trim(writer)
    writer.look()
    writer.append(large(61))
    assert stored(tmp_path)[-1]["logging_error_codes"] is None
    writer.close()


@pytest.mark.parametrize("sheds_bodies", [True, False])
def test_room_that_the_committer_made_since_the_last_look_is_found(tmp_path: Path, sheds_bodies: bool):
    writer = SpoolWriter(tmp_path, SMALL, max_bytes=BOUND, sheds_bodies=sheds_bodies)
    for n in range(100):
        writer.append(large(n))
        trim(writer)
    assert not writer.full
    assert writer.takes_calls
    assert writer.bodies_dropped == 0
    writer.close()


@pytest.mark.parametrize(("body", "sheds_bodies"), [(BODY, True), (BODY, False), (2 * SMALL, True), (2 * BOUND, False)])
def test_rows_that_the_tables_have_do_not_fill_a_small_spool(tmp_path: Path, body: int, sheds_bodies: bool):
    # as the share of one worker of several may be: smaller than a segment usually is
    writer = SpoolWriter(tmp_path, max_bytes=2 * BOUND, sheds_bodies=sheds_bodies)
    for n in range(120):
        assert writer.takes_calls
        writer.append(record_of(a_row(n, request=b"x" * body)))
        trim(writer)
        writer.look()
        trim(writer)
        writer.look()
    assert writer.bodies_dropped == 0
    writer.close()


def test_a_spool_that_is_full_at_the_start_is_known_to_be(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL)
    for n in range(40):
        writer.append(large(n))
    writer.close()
    again = SpoolWriter(tmp_path, SMALL, max_bytes=BOUND, sheds_bodies=False)
    assert not again.takes_calls
    again.close()


def test_the_disk_is_not_asked_for_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    stat = pathlib.Path.stat
    monkeypatch.setattr(pathlib.Path, "stat", lambda self, **more: (asked.append(self), stat(self, **more))[1])
    writer = SpoolWriter(tmp_path, SMALL, max_bytes=BOUND)
    for n in range(60):
        writer.append(large(n))
    assert writer.full
    assert len(asked) < 10
    writer.close()
