"""What the rows of a period cost, by facts, and what of it nobody can say for sure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tables.rows import NOON_US, a_row, record_of

from sekisho.domain.row import AttemptRow
from sekisho.tables.books import Books
from sekisho.tables.by_period import PeriodSum
from sekisho.tables.spool import SpoolWriter

DAY_US = 86_400_000_000
#: midnight: what runs over the beginning stands on the day before
BEGINS = NOON_US // DAY_US * DAY_US
ENDS = BEGINS + DAY_US
SECOND_US = 1_000_000
TRY = AttemptRow(1, "mock", "a", 200, 5, None, "primary", 1, 1, 7, "provider")


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolWriter]:
    writer = SpoolWriter(tmp_path / "spool", 256 * 1024)
    yield writer
    writer.close()


def record(spool: SpoolWriter, n: int, at_us: int, **changes: Any) -> None:
    spool.append(record_of(a_row(n, event_time_us=at_us, **{"latency_us": 0, "attempts": [TRY], **changes})))


def summed(data_dir: Path) -> list[PeriodSum]:
    books = Books(data_dir, 1)
    try:
        return sorted(books.of_period(BEGINS, ENDS), key=lambda one: str(one.facts["model"]))
    finally:
        books.close()


def test_every_attempt_counts_under_its_own_facts(tmp_path: Path, spool: SpoolWriter):
    at_us = BEGINS + 10 * SECOND_US
    record(spool, 1, at_us, attempts=[TRY, TRY._replace(n=2, model="b", cost_nanos=5)], requester="太郎")
    record(spool, 2, ENDS - 1, requester="太郎")
    record(spool, 3, ENDS, requester="太郎")
    first, second = summed(tmp_path)
    assert first == PeriodSum(
        facts={
            "department": "rd", "team": "research", "key": "key_1", "user": "太郎", "endpoint": "chat",
            "feature": "summary", "model": "mock/a",
        },
        cost_nanos=14,
    )  # fmt: skip
    assert (second.facts["model"], second.cost_nanos) == ("mock/b", 5)


def test_calls_at_the_beginning_are_summed_apart(tmp_path: Path, spool: SpoolWriter):
    record(spool, 1, BEGINS + 2 * SECOND_US, attempts=[TRY._replace(cost_nanos=1)])
    record(spool, 2, BEGINS, attempts=[TRY._replace(cost_nanos=10)])
    record(spool, 3, BEGINS - SECOND_US, attempts=[TRY._replace(cost_nanos=100)])
    record(spool, 4, BEGINS - 60 * SECOND_US, latency_us=61 * SECOND_US, attempts=[TRY._replace(cost_nanos=1000)])
    record(spool, 5, BEGINS - 60 * SECOND_US, latency_us=50 * SECOND_US, attempts=[TRY._replace(cost_nanos=10_000)])
    [one] = summed(tmp_path)
    assert (one.cost_nanos, one.edge_nanos) == (1, 1110)


def test_what_was_charged_otherwise_is_counted(tmp_path: Path, spool: SpoolWriter):
    at_us = BEGINS + 10 * SECOND_US
    unknown = TRY._replace(cost_nanos=None)
    record(spool, 1, at_us, attempts=[unknown], cost_nanos=None)
    record(spool, 2, at_us, attempts=[unknown], cost_nanos=None, price_source=None)
    record(spool, 3, at_us, attempts=[TRY._replace(cost_nanos=9)], terminal_state="interrupted")
    record(spool, 5, at_us, attempts=[TRY._replace(cost_nanos=2)], terminal_state="interrupted")
    record(spool, 4, at_us, attempts=[unknown, unknown._replace(n=2, usage_source="none")], price_source=None)
    [one] = summed(tmp_path)
    assert (one.unpriced, one.interrupted, one.interrupted_nanos, one.cost_nanos) == (2, 2, 11, 11)


@pytest.mark.parametrize("at_us", [BEGINS, BEGINS + 10 * SECOND_US])
def test_what_has_no_price_at_all_costs_nothing(tmp_path: Path, spool: SpoolWriter, at_us: int):
    record(spool, 1, at_us, attempts=[TRY._replace(cost_nanos=None)], cost_nanos=None)
    [one] = summed(tmp_path)
    assert (one.cost_nanos, one.edge_nanos, one.interrupted_nanos, one.unpriced) == (0, 0, 0, 1)


def test_nothing_recorded_yet(tmp_path: Path):
    assert summed(tmp_path / "none") == []
