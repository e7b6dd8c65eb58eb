"""Rows summed by a provider's buckets: every attempt once, in the bucket in which its call arrived."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tables.rows import NOON_US, a_row, record_of

from sekisho.domain.row import AttemptRow
from sekisho.tables.books import Books
from sekisho.tables.by_bucket import Used
from sekisho.tables.spool import SpoolWriter

HOUR_US = 3_600_000_000
BEGINS = NOON_US - NOON_US % HOUR_US
ONE, TWO = (BEGINS, BEGINS + HOUR_US), (BEGINS + HOUR_US, BEGINS + 2 * HOUR_US)
TRIES = AttemptRow(1, "openai", "a", 200, 5, None, "primary", 100, 20, 27_000, "provider")


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolWriter]:
    writer = SpoolWriter(tmp_path / "spool", 256 * 1024)
    yield writer
    writer.close()


def used(data_dir: Path, *buckets: tuple[int, int], providers: tuple[str, ...] = ("openai",)) -> list[Used]:
    books = Books(data_dir, 1)
    try:
        return books.used(buckets, providers)
    finally:
        books.close()


def record(spool: SpoolWriter, n: int, at_us: int, **changes: Any) -> str:
    row = a_row(n, event_time_us=at_us, **changes)
    spool.append(record_of(row))
    return row.request_id


def test_calls_stand_in_the_bucket_in_which_they_arrived(tmp_path: Path, spool: SpoolWriter):
    for n, at_us in enumerate((ONE[0] - 1, ONE[0], ONE[1] - 1, ONE[1], TWO[1])):
        record(spool, n, at_us, attempts=[TRIES], latency_us=0)
    first, second = used(tmp_path, ONE, TWO)
    assert first == Used(
        begins_us=ONE[0], ends_us=ONE[1], model="a", requests=2, input_tokens=200, output_tokens=40, cost_nanos=54_000
    )
    assert (second.begins_us, second.requests) == (TWO[0], 1)
    [both] = used(tmp_path, (ONE[0], TWO[1]))
    assert both.requests == 3


def test_buckets_of_many_days_in_any_order(tmp_path: Path, spool: SpoolWriter):
    days = [(BEGINS - n * 24 * HOUR_US, BEGINS - n * 24 * HOUR_US + HOUR_US) for n in range(6)]
    for n, (at_us, _) in enumerate(days):
        record(spool, n, at_us, attempts=[TRIES], latency_us=0)
    for asked in (days, days[::-1]):
        assert [(one.begins_us, one.requests) for one in used(tmp_path, *asked)] == [
            (begins, 1) for begins, _ in days[::-1]
        ]


def test_attempts_of_other_providers_and_those_without_an_answer(tmp_path: Path, spool: SpoolWriter):
    failed = AttemptRow(1, "openai", "a", 503, 5, "upstream_error", "primary", None, None, 0, "none")
    other = AttemptRow(2, "anthropic", "c", 200, 5, None, "fallback", 7, 3, 11, "provider")
    record(
        spool, 1, ONE[0], attempts=[failed, other], cache_read_input_tokens=5, cache_creation_input_tokens=2,
        latency_us=0,
    )  # fmt: skip
    [openai] = used(tmp_path, ONE)
    assert (openai.requests, openai.unanswered, openai.input_tokens, openai.cost_nanos) == (0, 1, 0, 0)
    assert openai.cache_read_input_tokens == 0, "the cache was read by the last attempt"
    [anthropic] = used(tmp_path, ONE, providers=("anthropic",))
    assert (anthropic.model, anthropic.requests, anthropic.input_tokens, anthropic.cost_nanos) == ("c", 1, 7, 11)
    assert (anthropic.cache_read_input_tokens, anthropic.cache_creation_input_tokens) == (5, 2)
    assert len(used(tmp_path, ONE, providers=("openai", "anthropic"))) == 2
    assert used(tmp_path, ONE, providers=()) == []
    assert used(tmp_path) == []
    books = Books(tmp_path, 1)
    assert books.providers(*ONE) == ["anthropic", "openai"]
    assert books.providers(*TWO) == []
    books.close()


def test_what_is_estimated_cut_off_unpriced_or_runs_over_the_edge(tmp_path: Path, spool: SpoolWriter):
    guessed = TRIES._replace(usage_source="estimated", input_tokens=9, output_tokens=1)
    dead = TRIES._replace(status_code=None, usage_source="estimated", output_tokens=0, cost_nanos=1)
    left = record(spool, 1, ONE[0], attempts=[guessed], terminal_state="client_left", latency_us=0)
    died = record(spool, 2, ONE[0] + 1, attempts=[dead], terminal_state="interrupted", latency_us=0)
    record(spool, 3, ONE[0] + 2, attempts=[TRIES._replace(cost_nanos=None)], cost_nanos=None, latency_us=0)
    record(spool, 4, ONE[1] - 1, attempts=[TRIES], latency_us=5_000_000, cache_read_input_tokens=7)
    [first, second] = used(tmp_path, ONE, TWO)
    assert (first.requests, first.estimated, first.estimated_tokens, first.cut_off, first.unpriced) == (4, 2, 110, 2, 1)
    assert (first.across, first.request_ids) == (1, sorted([left, died]))
    assert (second.requests, second.across) == (0, 1), "it may as well be counted there"
    assert (second.input_tokens, second.output_tokens, second.cost_nanos) == (0, 0, 0), "and is counted once"
    assert (first.cache_read_input_tokens, second.cache_read_input_tokens) == (7, 0)


def test_embeddings_are_told_apart(tmp_path: Path, spool: SpoolWriter):
    record(spool, 1, ONE[0], attempts=[TRIES], operation="embeddings", latency_us=0)
    record(spool, 2, ONE[0], attempts=[TRIES], latency_us=0)
    assert [(one.embeds, one.requests) for one in used(tmp_path, ONE)] == [(False, 1), (True, 1)]


def test_nothing_recorded_yet(tmp_path: Path):
    assert used(tmp_path / "none", ONE) == []
    assert time.time() * 1e6 > ONE[0]
