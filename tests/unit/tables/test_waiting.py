"""How much waits: by rows and by bytes, over segments, and always from where the tables are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.tables.rows import a_row, record_of, records

from sekisho.tables.segments import segment_numbers
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.storage import Cadence
from sekisho.tables.waiting import Waiting


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolWriter]:
    writer = SpoolWriter(tmp_path, 64 * 1024)
    yield writer
    writer.close()


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Waiting]:
    waiting = Waiting(tmp_path)
    yield waiting
    waiting.close()


def test_rows_are_enough_from_their_number_on(spool: SpoolWriter, waiting: Waiting):
    few = Cadence(rows=10)
    assert not waiting.is_enough(0, few)
    for record in records(9):
        spool.append(record)
        assert not waiting.is_enough(0, few)
    spool.append(record_of(a_row(9)))
    assert waiting.is_enough(0, few)
    assert waiting.is_enough(0, few), "asking changes nothing"
    assert waiting.rows == 10


def test_what_the_tables_have_does_not_count(spool: SpoolWriter, waiting: Waiting):
    few = Cadence(rows=10)
    for record in records(10):
        spool.append(record)
    done = spool.last_seq
    assert waiting.is_enough(0, few)
    assert not waiting.is_enough(done, few)
    for record in records(10, 10):
        spool.append(record)
    assert waiting.is_enough(done, few)


def test_rows_are_counted_over_segments(tmp_path: Path, spool: SpoolWriter, waiting: Waiting):
    many = Cadence(rows=1000)
    for record in records(999):
        spool.append(record)
    assert len(segment_numbers(tmp_path)) > 3
    assert not waiting.is_enough(0, many)
    assert waiting.rows == 999
    spool.append(record_of(a_row()))
    assert waiting.is_enough(0, many)


def test_bytes_are_enough_with_few_rows(spool: SpoolWriter, waiting: Waiting):
    large = Cadence(mb=1)
    for n in range(11):
        assert not waiting.is_enough(0, large)
        spool.append(record_of(a_row(n, request=bytes(100_000).hex().encode()[:100_000])))
    assert waiting.is_enough(0, large)


def test_a_spool_that_is_not_there_has_nothing(tmp_path: Path):
    waiting = Waiting(tmp_path / "none")
    assert not waiting.is_enough(0, Cadence())
    waiting.close()
