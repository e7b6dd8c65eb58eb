"""What the committer works out for many rows at once is what the books say of each."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tables.rows import a_row, record_of

from sekisho.domain.money import Rates, RateTier, cost_breakdown, cost_nanos
from sekisho.domain.row import InferenceRow
from sekisho.domain.usage import Usage
from sekisho.tables.columns import Batch
from sekisho.tables.layout import encode_record

NANO = Decimal(1).scaleb(-9)

rate = st.integers(0, 10**12) | st.sampled_from([1, 3, 150_000_000, 333_333_333])
maybe = st.none() | rate
tiers = st.lists(
    st.builds(
        RateTier,
        over_input_tokens=st.integers(0, 2_000),
        input_nanos_per_mtok=maybe,
        cached_input_nanos_per_mtok=maybe,
        cache_write_nanos_per_mtok=maybe,
        cache_write_1h_nanos_per_mtok=maybe,
        output_nanos_per_mtok=maybe,
    ),
    max_size=3,
    unique_by=lambda tier: tier.over_input_tokens,
).map(tuple)
rates = st.builds(
    Rates,
    input_nanos_per_mtok=rate,
    output_nanos_per_mtok=rate,
    cached_input_nanos_per_mtok=maybe,
    cache_write_nanos_per_mtok=maybe,
    cache_write_1h_nanos_per_mtok=maybe,
    tiers=tiers,
)
count = st.integers(-5, 3_000)
usages = st.builds(
    Usage,
    input_tokens=count,
    output_tokens=count,
    cache_read_input_tokens=count,
    cache_creation_input_tokens=count,
    cache_creation_1h_input_tokens=count,
)


def row_of(n: int, usage: Usage, its_rates: Rates, **changes: Any) -> InferenceRow:
    found: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
        "cache_creation_input_tokens": usage.cache_creation_input_tokens,
        "cache_creation_1h_input_tokens": usage.cache_creation_1h_input_tokens,
        "cost_nanos": cost_nanos(usage, its_rates),
        "cost_breakdown": None,
        "rates": its_rates.lines(),
    }
    return a_row(n, **{**found, **changes})


def parts_of(rows: list[InferenceRow]) -> list[dict[str, Decimal] | None]:
    batch = Batch()
    batch.add([encode_record(record_of(row)) for row in rows])
    return [None if value is None else dict(value) for value in batch.table()["cost_breakdown"].to_pylist()]


def in_dollars(parts: dict[str, int]) -> dict[str, Decimal]:
    return {name: nanos * NANO for name, nanos in parts.items()}


@given(st.lists(st.tuples(usages, rates), min_size=1, max_size=6))
def test_the_parts_are_those_of_the_books(calls: list[tuple[Usage, Rates]]) -> None:
    found = parts_of([row_of(n, usage, its_rates) for n, (usage, its_rates) in enumerate(calls)])
    assert found == [in_dollars(cost_breakdown(usage, its_rates)) for usage, its_rates in calls]
    totals = [cost_nanos(usage, its_rates) * NANO for usage, its_rates in calls]
    assert [sum((one or {}).values()) for one in found] == totals


PLAIN = Rates(input_nanos_per_mtok=150_000_000, output_nanos_per_mtok=600_000_000)
CALL = Usage(input_tokens=1_000, output_tokens=10)
OF_CALL = {"input": Decimal("0.000150000"), "output": Decimal("0.000006000")}


def test_parts_that_do_not_sum_to_the_cost_are_unknown() -> None:
    reserved = row_of(0, CALL, PLAIN, cost_nanos=999_999)
    unpriced = row_of(1, CALL, PLAIN, cost_nanos=None)
    uncounted = row_of(2, CALL, PLAIN, input_tokens=None)
    without_rates = row_of(3, CALL, PLAIN, rates=None)
    absurd = row_of(4, Usage(input_tokens=2**61, output_tokens=1), PLAIN, cost_nanos=7)
    assert parts_of([reserved, unpriced, uncounted, without_rates, row_of(5, CALL, PLAIN)]) == [None] * 4 + [OF_CALL]
    assert parts_of([absurd]) == [None]


def test_tokens_of_a_cache_that_nobody_counted_are_no_part() -> None:
    cached = ("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation_1h_input_tokens")
    assert parts_of([row_of(0, CALL, PLAIN, **dict.fromkeys(cached)), row_of(1, CALL, PLAIN)]) == [OF_CALL] * 2


def test_a_number_beyond_all_bounds_costs_no_other_row_its_parts() -> None:
    absurd = row_of(0, Usage(input_tokens=2**61, output_tokens=1), PLAIN, cost_nanos=7)
    assert parts_of([absurd, row_of(1, CALL, PLAIN)]) == [None, OF_CALL]


def test_parts_that_a_row_has_itself_stay() -> None:
    spoken = {"input": 5, "output": 6, "output_audio": 70}
    own = row_of(0, CALL, PLAIN, cost_breakdown=spoken, cost_nanos=81)
    assert parts_of([own, row_of(1, CALL, PLAIN)]) == [in_dollars(spoken), OF_CALL]
