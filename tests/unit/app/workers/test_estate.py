"""What a worker that died had counted and what it had not told are counted once, to the last row."""

from __future__ import annotations

import os
from pathlib import Path

from tests.unit.tables.rows import records

from sekisho.app.workers.estate import Estate
from sekisho.app.workers.line import State
from sekisho.ledger.recount import count_rows
from sekisho.ledger.tally import Tally
from sekisho.ledger.tally_sums import sums_of
from sekisho.tables.layout import encode_record
from sekisho.tables.reader import ask
from sekisho.tables.segments import SpoolReader
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.spools import spool_of


def die(writer: SpoolWriter) -> None:
    """What the kernel does."""
    writer._flusher.close()
    os.close(writer._lock_fd)


def told(writer: SpoolWriter, counted: Tally) -> State:
    return State(
        seq=writer.position, last_seq=writer.last_seq, tally=sums_of(counted), gauges={}, ready={"spool_failed": 2}
    )


def test_rows_behind_the_position_and_calls_in_flight_are_counted(tmp_path: Path) -> None:
    root = spool_of(tmp_path, 1)
    SpoolWriter(root, 64 * 1024).close()
    writer, counted = SpoolWriter(root, 64 * 1024), Tally()
    rows = records(10)
    for row in rows[:4]:
        writer.append(row)
    count_rows(counted, map(encode_record, rows[:4]))
    counted.in_flight = 3
    last = told(writer, counted)
    for row in rows[4:9]:
        writer.append(row)
    assert writer.begin(rows[9])
    die(writer)
    estate = Estate()
    estate.inherit(root, last)
    assert (estate.tally.rows["appended"], estate.tally.in_flight, estate.failed) == (10, 0, 2)
    reader = SpoolReader(root)
    *_, last_chunk = reader.chunks(0)
    reader.close()
    assert estate.last_seqs == {root.name: last_chunk.last_seq}, "the call in flight is a row that waits too"
    everything = Tally()
    count_rows(everything, map(encode_record, rows))
    assert sums_of(estate.tally) == sums_of(everything)
    assert list(ask(tmp_path, "SELECT count(*), count(DISTINCT request_id) FROM usage").rows()) == [(10, 10)]


def test_one_that_had_told_everything_leaves_nothing_to_count(tmp_path: Path) -> None:
    root = spool_of(tmp_path, 1)
    writer, counted = SpoolWriter(root, 64 * 1024), Tally()
    rows = records(3)
    for row in rows:
        writer.append(row)
    count_rows(counted, map(encode_record, rows))
    last = told(writer, counted)
    writer.close()
    estate = Estate()
    estate.inherit(root, last)
    assert estate.tally.rows["appended"] == 3
    assert estate.last_seqs == {root.name: last.last_seq}


def test_rows_of_an_earlier_life_are_not_counted(tmp_path: Path) -> None:
    root = spool_of(tmp_path, 1)
    earlier = SpoolWriter(root, 64 * 1024)
    for row in records(5):
        earlier.append(row)
    earlier.close()
    writer = SpoolWriter(root, 64 * 1024)
    last = told(writer, Tally())
    [row] = records(1, 5)
    writer.append(row)
    die(writer)
    estate = Estate()
    estate.inherit(root, last)
    assert estate.tally.rows["appended"] == 1


def test_one_that_took_no_call_has_nothing(tmp_path: Path) -> None:
    estate = Estate()
    estate.inherit(spool_of(tmp_path, 1), None)
    assert estate.tally.rows["appended"] == 0
