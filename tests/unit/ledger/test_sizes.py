"""What is reserved, and what a call can cost at most."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.domain.money import MediaRates, Rates, RateTier, cost_nanos
from sekisho.domain.usage import MediaTokens, Usage
from sekisho.ledger.sizes import OutputSizes, Tariff

M = 1_000_000
RATES = Rates(input_nanos_per_mtok=150 * M, output_nanos_per_mtok=600 * M)
prices = st.integers(0, 100_000 * M)
media = st.fixed_dictionaries(
    dict.fromkeys(MediaTokens.__struct_fields__, st.integers(0, 300_000)),
).map(lambda counts: MediaTokens(**counts))


def test_little_is_known_before_twenty_outputs() -> None:
    sizes = OutputSizes()
    for _ in range(19):
        sizes.observe(7)
        assert sizes.guess == 1_024
    sizes.observe(7)
    assert sizes.guess == 7


@given(st.lists(st.integers(1, 10_000), min_size=20, max_size=200))
def test_the_guess_is_the_95th_percentile_of_the_last_64(outputs: list[int]) -> None:
    sizes = OutputSizes()
    for output in outputs:
        sizes.observe(output)
    last = sorted(outputs[-64:])
    assert sizes.guess == last[math.ceil(0.95 * len(last)) - 1]


def test_what_was_answered_before_the_last_64_is_forgotten() -> None:
    sizes = OutputSizes()

    def guess_after(*outputs: int) -> int:
        for output in outputs:
            sizes.observe(output)
        return sizes.guess

    for _ in range(3):
        assert guess_after(1_000, *[10] * 61, *[1_000] * 3) == 10
        assert guess_after(*[1_000] * 64) == 1_000


def test_a_reservation_is_the_price_of_the_tokens_rounded_up() -> None:
    # 101 x 0.15 + 203 x 0.60 USD a million tokens
    assert Tariff(RATES).likely_nanos(101, 203) == 15_150 + 121_800
    assert Tariff(Rates(input_nanos_per_mtok=1, output_nanos_per_mtok=0)).likely_nanos(1, 0) == 1


def test_large_requests_are_reserved_at_the_rates_of_their_tier() -> None:
    tier = RateTier(over_input_tokens=200_000, input_nanos_per_mtok=300 * M, output_nanos_per_mtok=900 * M)
    tariff = Tariff(Rates(input_nanos_per_mtok=150 * M, output_nanos_per_mtok=600 * M, tiers=(tier,)))
    assert tariff.likely_nanos(200_000, 10) == 200_000 * 150 + 10 * 600
    assert tariff.likely_nanos(200_001, 10) == 200_001 * 300 + 10 * 900


@given(
    st.tuples(prices, prices, prices, prices, prices),
    st.tuples(prices, prices, prices),
    st.none() | st.tuples(*[st.none() | prices] * 6),
    st.integers(0, 300_000),
    st.integers(0, 5_000),
    st.data(),
)
def test_no_call_costs_more_than_the_most(
    base: tuple[int, ...],
    other: tuple[int, ...],
    sounds: tuple[int | None, ...] | None,
    inputs: int,
    outputs: int,
    data: st.DataObject,
) -> None:
    tier = RateTier(
        over_input_tokens=200_000,
        input_nanos_per_mtok=other[0],
        cache_write_nanos_per_mtok=other[1],
        output_nanos_per_mtok=other[2],
    )
    flex = Rates(input_nanos_per_mtok=other[1], output_nanos_per_mtok=other[0])
    rates = Rates(
        input_nanos_per_mtok=base[0],
        output_nanos_per_mtok=base[1],
        cached_input_nanos_per_mtok=base[2],
        cache_write_nanos_per_mtok=base[3],
        cache_write_1h_nanos_per_mtok=base[4],
        tiers=(tier,),
        service_tiers=(("flex", flex), ("secret", None)),
        media=None if sounds is None else MediaRates(**dict(zip(MediaRates.__struct_fields__, sounds, strict=True))),
    )
    read = data.draw(st.integers(0, inputs))
    written = data.draw(st.integers(0, inputs - read))
    usage = Usage(
        input_tokens=inputs,
        output_tokens=outputs,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=written,
        cache_creation_1h_input_tokens=data.draw(st.integers(0, written)),
        media=data.draw(st.none() | media),
    )
    most = Tariff(rates).most_nanos(inputs, outputs)
    assert cost_nanos(usage, rates) <= most
    assert cost_nanos(usage, flex) <= most
    assert Tariff(rates).likely_nanos(inputs, outputs) <= most


DEAR = 9_000 * M
DEAREST = [
    *({"rates": {name: DEAR}} for name in ("cached_input", "cache_write", "cache_write_1h")),
    *({"media": {name: DEAR}} for name in ("input_audio", "input_image", "cached_audio", "cached_image")),
    *({"media": {name: DEAR}} for name in ("output_audio", "output_image")),
    *({"tier": {name: DEAR}} for name in ("input", "cached_input", "cache_write", "cache_write_1h", "output")),
    *({"service_tier": {name: DEAR}} for name in ("input", "cached_input", "output")),
]


def named(rates: dict[str, int]) -> dict[str, Any]:
    return {f"{name}_nanos_per_mtok": value for name, value in rates.items()}


@pytest.mark.parametrize("dearest", DEAREST, ids=str)
def test_the_most_knows_the_dearest_rate_wherever_it_stands(dearest: dict[str, dict[str, int]]) -> None:
    [(where, changes)] = dearest.items()
    rates = RATES
    if where == "rates":
        rates = msgspec.structs.replace(RATES, **named(changes))
    elif where == "media":
        rates = msgspec.structs.replace(RATES, media=MediaRates(**named(changes)))
    elif where == "tier":
        rates = msgspec.structs.replace(RATES, tiers=(RateTier(over_input_tokens=5, **named(changes)),))
    else:
        flex = msgspec.structs.replace(RATES, **named(changes))
        rates = msgspec.structs.replace(RATES, service_tiers=(("batch", None), ("flex", flex)))
    most = Tariff(rates).most_nanos
    of_output = next(iter(changes)).startswith("output")
    assert (most(1_000_000, 0), most(0, 1_000_000)) == ((150 * M, DEAR) if of_output else (DEAR, 600 * M))
