"""Counts for /metrics: cumulative, disjoint, never going down."""

from __future__ import annotations

import bisect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.domain.usage import Usage
from sekisho.ledger.tally import (
    DURATION_BUCKETS_S,
    LATENCY_BUCKETS_S,
    OPERATION_BUCKETS_S,
    Histogram,
    ModelTally,
    Tally,
)

VALUES = st.lists(st.floats(0, 200, allow_nan=False), max_size=30)


def test_a_value_on_a_bound_belongs_to_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    assert histogram.cumulative() == [("1.0", 2.0), ("2.0", 4.0), ("+Inf", 5.0)]
    assert histogram.total == 7.0


@given(VALUES)
def test_cumulative_counts_are_those_of_prometheus(values: list[float]) -> None:
    histogram = Histogram(LATENCY_BUCKETS_S)
    for value in values:
        histogram.observe(value)
    pairs = histogram.cumulative()
    ordered = sorted(values)
    assert pairs == [
        *((repr(bound), float(bisect.bisect_right(ordered, bound))) for bound in LATENCY_BUCKETS_S),
        ("+Inf", float(len(values))),
    ]


@given(VALUES)
def test_some_of_the_bounds_count_as_if_there_were_no_others(values: list[float]) -> None:
    both, alone = Histogram(DURATION_BUCKETS_S), Histogram(OPERATION_BUCKETS_S)
    for value in values:
        both.observe(value)
        alone.observe(value)
    assert both.cumulative(OPERATION_BUCKETS_S) == alone.cumulative()
    assert both.total == pytest.approx(alone.total)


def test_the_contracts_latency_buckets_are_there() -> None:
    assert {0.5, 1.0, 2.0, 5.0, 10.0, 30.0} <= set(LATENCY_BUCKETS_S) <= set(DURATION_BUCKETS_S)
    for bounds in (LATENCY_BUCKETS_S, OPERATION_BUCKETS_S, DURATION_BUCKETS_S):
        assert list(bounds) == sorted(set(bounds))


@given(st.lists(st.tuples(*[st.integers(0, 50)] * 5), max_size=10))
def test_token_types_do_not_overlap(counts: list[tuple[int, int, int, int, int]]) -> None:
    tally = ModelTally()
    total = 0
    for fresh, read, written, said, thought in counts:
        usage = Usage(
            input_tokens=fresh + read + written,
            output_tokens=said + thought,
            cache_read_input_tokens=read,
            cache_creation_input_tokens=written,
            reasoning_output_tokens=thought,
        )
        tally.observe_usage(usage)
        total += usage.total_tokens
    sums = tally.tokens
    parts = (sums.input, sums.cache_read, sums.cache_write, sums.output, sums.reasoning)
    assert parts == tuple(sum(one[place] for one in counts) for place in range(5))
    assert sum(parts) == total == tally.input_sizes.total + tally.output_sizes.total


def test_a_model_of_a_provider_has_one_tally_for_each_operation() -> None:
    tally = Tally()
    model = tally.model("m", "openai", "chat")
    assert tally.model("m", "openai", "chat") is model
    assert tally.model("m", "other", "chat") is not model
    assert tally.model("m", "openai", "embeddings") is not model
    assert list(tally.models) == [("openai", "m", "chat"), ("other", "m", "chat"), ("openai", "m", "embeddings")]
