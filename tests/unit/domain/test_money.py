"""Money: twelve bills written out by hand, and properties against arithmetic with Decimal."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.domain.money import (
    TOKEN_TYPES,
    MediaRates,
    Rates,
    RateTier,
    cost_breakdown,
    cost_nanos,
    format_usd,
    served_tier,
    usd_to_nanos,
)
from sekisho.domain.usage import MediaTokens, Usage


def usd(per_mtok: str) -> int:
    return int(Decimal(per_mtok) * 1_000_000_000)


SMALL = Rates(
    input_nanos_per_mtok=usd("0.15"), output_nanos_per_mtok=usd("0.60"), cached_input_nanos_per_mtok=usd("0.075")
)
CACHING = Rates(
    input_nanos_per_mtok=usd("3"),
    output_nanos_per_mtok=usd("15"),
    cached_input_nanos_per_mtok=usd("0.30"),
    cache_write_nanos_per_mtok=usd("3.75"),
    cache_write_1h_nanos_per_mtok=usd("6"),
    tiers=(
        RateTier(
            over_input_tokens=200_000,
            input_nanos_per_mtok=usd("6"),
            output_nanos_per_mtok=usd("22.5"),
            cached_input_nanos_per_mtok=usd("0.60"),
            cache_write_nanos_per_mtok=usd("7.5"),
            cache_write_1h_nanos_per_mtok=usd("12"),
        ),
    ),
)
SPEAKING = Rates(
    input_nanos_per_mtok=usd("4"),
    output_nanos_per_mtok=usd("16"),
    cached_input_nanos_per_mtok=usd("0.4"),
    media=MediaRates(
        input_audio_nanos_per_mtok=usd("32"),
        input_image_nanos_per_mtok=usd("5"),
        cached_image_nanos_per_mtok=usd("0.5"),
        output_audio_nanos_per_mtok=usd("64"),
    ),
)

#: a busy machine is not a failure
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PENNY = Rates(input_nanos_per_mtok=500_000, output_nanos_per_mtok=250_000)
FREE = Rates(input_nanos_per_mtok=0, output_nanos_per_mtok=0)
NO_EXTRAS = Rates(input_nanos_per_mtok=usd("2"), output_nanos_per_mtok=usd("8"))


@pytest.mark.parametrize(
    ("rates", "usage", "nanos"),
    [
        # 1,000 x 0.15 / 1,000,000 = 0.00015; 500 x 0.60 / 1,000,000 = 0.0003; together 0.00045 USD
        (SMALL, Usage(input_tokens=1_000, output_tokens=500), 450_000),
        # 1,000 in, 800 of them cached: 200 x 0.15 = 30, 800 x 0.075 = 60, 100 x 0.60 = 60; 150 / 1,000,000 USD
        (SMALL, Usage(input_tokens=1_000, output_tokens=100, cache_read_input_tokens=800), 150_000),
        # one token of input: 0.15 / 1,000,000 = 150 nano-dollars
        (SMALL, Usage(input_tokens=1), 150),
        # reasoning tokens are output tokens already: 700 x 0.60 / 1,000,000 = 0.00042
        (SMALL, Usage(output_tokens=700, reasoning_output_tokens=600), 420_000),
        # 10,000 in, of which 6,000 read, 3,000 written (1,000 for an hour), 1,000 fresh:
        # 1,000 x 3 = 3,000; 6,000 x 0.30 = 1,800; 2,000 x 3.75 = 7,500; 1,000 x 6 = 6,000; out 2,000 x 15 = 30,000;
        # 48,300 / 1,000,000 = 0.0483
        (
            CACHING,
            Usage(
                input_tokens=10_000,
                output_tokens=2_000,
                cache_read_input_tokens=6_000,
                cache_creation_input_tokens=3_000,
                cache_creation_1h_input_tokens=1_000,
            ),
            48_300_000,
        ),
        # exactly 200,000 is not over 200,000: 200,000 x 3 / 1,000,000 = 0.6; 1,000 x 15 / 1,000,000 = 0.015
        (CACHING, Usage(input_tokens=200_000, output_tokens=1_000), 615_000_000),
        # one more and the whole request costs more: 200,001 x 6 / 1,000,000 = 1.200006; 1,000 x 22.5 = 0.0225
        (CACHING, Usage(input_tokens=200_001, output_tokens=1_000), 1_222_506_000),
        # over the tier, all of it written for an hour: 300,000 x 12 / 1,000,000 = 3.6
        (
            CACHING,
            Usage(input_tokens=300_000, cache_creation_input_tokens=300_000, cache_creation_1h_input_tokens=300_000),
            3_600_000_000,
        ),
        # no cached rates: 500 fresh + 400 read + 100 written all at 2: 1,000 x 2 / 1,000,000 = 0.002
        (
            NO_EXTRAS,
            Usage(input_tokens=1_000, cache_read_input_tokens=400, cache_creation_input_tokens=100),
            2_000_000,
        ),
        # 1 x 0.0005 / 1,000,000 USD = half a nano-dollar, to the even 0
        (PENNY, Usage(input_tokens=1), 0),
        # 3 x 0.5 = one and a half, to the even 2
        (PENNY, Usage(input_tokens=3), 2),
        # free is 0, however much is used
        (FREE, Usage(input_tokens=10**9, output_tokens=10**9, cache_read_input_tokens=10**8), 0),
    ],
)
def test_a_bill_written_out_by_hand(rates: Rates, usage: Usage, nanos: int) -> None:
    assert cost_nanos(usage, rates) == nanos
    assert sum(cost_breakdown(usage, rates).values()) == nanos


@pytest.mark.parametrize(
    ("usage", "nanos"),
    [
        # 900 text at 4, 100 sound at 32; out 50 text at 16, 200 sound at 64: 3,600 + 3,200 + 800 + 12,800 = 20,400
        (
            Usage(
                input_tokens=1_000,
                output_tokens=250,
                media=MediaTokens(input_audio_tokens=100, output_audio_tokens=200),
            ),
            20_400_000,
        ),
        # 300 of 500 pictures and 100 of 500 text were cached: 400 x 4 + 200 x 5 + 100 x 0.4 + 300 x 0.5 = 2,790
        (
            Usage(
                input_tokens=1_000,
                cache_read_input_tokens=400,
                media=MediaTokens(input_image_tokens=500, cache_read_image_tokens=300),
            ),
            2_790_000,
        ),
        # no rate for cached sound: that of cached text. 50 x 32 + 50 x 0.4 = 1,620
        (
            Usage(
                input_tokens=100,
                cache_read_input_tokens=50,
                media=MediaTokens(input_audio_tokens=100, cache_read_audio_tokens=50),
            ),
            1_620_000,
        ),
        # 100 text, 100 sound of which half was cached: 100 x 4 + 50 x 32 + 50 x 0.4 = 2,020
        (
            Usage(
                input_tokens=200,
                cache_read_input_tokens=50,
                media=MediaTokens(input_audio_tokens=100, cache_read_audio_tokens=50),
            ),
            2_020_000,
        ),
        # more of both was cached than was read from the cache: all of it is sound. 40 x 32 + 50 x 5 + 10 x 0.4 = 1,534
        (
            Usage(
                input_tokens=100,
                cache_read_input_tokens=10,
                media=MediaTokens(
                    input_audio_tokens=50, input_image_tokens=50, cache_read_audio_tokens=10, cache_read_image_tokens=10
                ),
            ),
            1_534_000,
        ),
        # no rate for pictures out: that of text. 10 x 16
        (Usage(output_tokens=10, media=MediaTokens(output_image_tokens=10)), 160_000),
        # more sound than there is input: all of it is sound. 10 x 32
        (Usage(input_tokens=10, media=MediaTokens(input_audio_tokens=99, input_image_tokens=99)), 320_000),
    ],
)
def test_sound_and_pictures_are_billed_at_their_own_rates(usage: Usage, nanos: int) -> None:
    assert cost_nanos(usage, SPEAKING) == nanos
    assert sum(cost_breakdown(usage, SPEAKING).values()) == nanos


def test_sound_costs_what_text_costs_where_no_rate_is_known() -> None:
    usage = Usage(input_tokens=10, output_tokens=10, media=MediaTokens(input_audio_tokens=10, output_audio_tokens=5))
    assert cost_nanos(usage, SMALL) == cost_nanos(msgspec.structs.replace(usage, media=None), SMALL)


def test_a_breakdown_names_sound_and_pictures() -> None:
    usage = Usage(
        input_tokens=1_000, output_tokens=250, media=MediaTokens(input_audio_tokens=100, output_audio_tokens=200)
    )
    assert cost_breakdown(usage, SPEAKING) == {
        "input": 3_600_000,
        "output": 800_000,
        "input_audio": 3_200_000,
        "output_audio": 12_800_000,
    }


@pytest.mark.parametrize(
    ("fields", "tier"),
    [
        ({}, None),
        ({"service_tier": "default"}, "default"),
        ({"service_tier": "FLEX"}, "flex"),
        ({"service_tier": "standard", "processing": "batch"}, "batch"),
        ({"service_tier": "standard", "speed": "fast"}, "fast"),
        ({"service_tier": "standard", "speed": "standard"}, "standard"),
    ],
)
def test_what_a_provider_says_it_served_has_one_name(fields: dict[str, str], tier: str | None) -> None:
    assert served_tier(**{"service_tier": None, **fields}) == tier


def test_rounding_happens_once_and_not_for_each_kind_of_token() -> None:
    # 0.5 + 0.5 nano-dollars are 1; each half alone would be rounded to the even 0
    usage = Usage(input_tokens=1, output_tokens=2)
    assert cost_nanos(usage, PENNY) == 1
    assert cost_breakdown(usage, PENNY) == {"input": 1, "output": 0}


def test_a_breakdown_names_what_was_used() -> None:
    usage = Usage(
        input_tokens=10_000,
        output_tokens=2_000,
        cache_read_input_tokens=6_000,
        cache_creation_input_tokens=3_000,
        cache_creation_1h_input_tokens=1_000,
    )
    assert cost_breakdown(usage, CACHING) == {
        "input": 3_000_000,
        "cache_read": 1_800_000,
        "cache_write": 13_500_000,
        "output": 30_000_000,
    }
    assert cost_breakdown(Usage(), SMALL) == {"input": 0, "output": 0}


@pytest.mark.parametrize(
    ("usage", "nanos"),
    [
        # more cached than input: all 100 are cached, 100 x 0.30
        (Usage(input_tokens=100, cache_read_input_tokens=150), 30_000),
        # what is read leaves 40 for what is written: 60 x 0.30 + 40 x 3.75 = 168
        (Usage(input_tokens=100, cache_read_input_tokens=60, cache_creation_input_tokens=90), 168_000),
        # more written for an hour than written: 10 x 6
        (Usage(input_tokens=10, cache_creation_input_tokens=10, cache_creation_1h_input_tokens=70), 60_000),
        (Usage(input_tokens=-5, output_tokens=10), 150_000),
        (Usage(input_tokens=10, output_tokens=-5), 30_000),
        (Usage(input_tokens=10, cache_read_input_tokens=-10), 30_000),
        (Usage(cache_read_input_tokens=10, cache_creation_input_tokens=10), 0),
    ],
)
def test_counts_that_contradict_each_other_are_cut_to_what_is_possible(usage: Usage, nanos: int) -> None:
    assert cost_nanos(usage, CACHING) == nanos
    assert sum(cost_breakdown(usage, CACHING).values()) == nanos


def test_a_tier_rate_of_zero_is_a_rate() -> None:
    rates = msgspec.structs.replace(
        CACHING, tiers=(RateTier(over_input_tokens=10, cached_input_nanos_per_mtok=0, cache_write_nanos_per_mtok=0),)
    )
    assert cost_nanos(Usage(input_tokens=20, cache_read_input_tokens=20), rates) == 0
    # the output rate goes on: 20 x 15
    assert cost_nanos(Usage(input_tokens=20, output_tokens=20, cache_read_input_tokens=20), rates) == 300_000


def test_a_service_tier_has_its_own_rates_or_the_standard_ones() -> None:
    flex = Rates(input_nanos_per_mtok=1, output_nanos_per_mtok=2)
    rates = msgspec.structs.replace(SMALL, service_tiers=(("flex", flex), ("scale", None)))
    assert rates.for_service_tier("flex") is flex
    assert rates.for_service_tier("scale") is None
    assert rates.for_service_tier("default") is rates
    assert rates.for_service_tier(None) is rates


@pytest.mark.parametrize(
    ("media", "known"),
    [
        (MediaTokens(), True),
        # the standard rates have none either: it costs what text costs
        (MediaTokens(output_image_tokens=1), True),
        (MediaTokens(input_audio_tokens=1), True),
        (MediaTokens(input_audio_tokens=1, output_audio_tokens=1), False),
        (MediaTokens(input_image_tokens=1), False),
        (MediaTokens(input_image_tokens=1, cache_read_image_tokens=1), False),
    ],
)
def test_what_only_the_standard_rates_have_a_price_for_is_unknown_in_a_tier(media: MediaTokens, known: bool) -> None:
    special = MediaRates(input_audio_nanos_per_mtok=usd("16"))
    flex = Rates(input_nanos_per_mtok=usd("2"), output_nanos_per_mtok=usd("8"), media=special)
    rates = msgspec.structs.replace(SPEAKING, service_tiers=(("flex", flex),))
    assert rates.for_service_tier("flex", media) is (flex if known else None)
    assert rates.for_service_tier(None, media) is rates


def test_a_default_price_is_that_of_sound_and_pictures_too() -> None:
    default = Rates(input_nanos_per_mtok=usd("3"), output_nanos_per_mtok=usd("15"))
    filled = msgspec.structs.replace(SPEAKING, service_tiers=(("scale", None),)).with_unknown_tiers(default)
    usage = Usage(
        input_tokens=10,
        output_tokens=10,
        cache_read_input_tokens=4,
        media=MediaTokens(input_audio_tokens=5, input_image_tokens=3, cache_read_image_tokens=2, output_audio_tokens=4),
    )
    rates = filled.for_service_tier("scale", usage.media)
    assert rates is not None
    assert cost_nanos(usage, rates) == cost_nanos(usage, default)


def test_a_default_price_fills_the_tiers_that_nobody_has_a_price_for() -> None:
    flex = Rates(input_nanos_per_mtok=1, output_nanos_per_mtok=2)
    rates = msgspec.structs.replace(SMALL, service_tiers=(("flex", flex), ("scale", None)))
    filled = rates.with_unknown_tiers(NO_EXTRAS)
    assert filled.for_service_tier("scale") == NO_EXTRAS
    assert filled.for_service_tier("flex") == flex
    assert filled.for_service_tier(None) is filled
    assert SMALL.with_unknown_tiers(NO_EXTRAS) is SMALL


def test_rates_are_values() -> None:
    assert hash(CACHING) == hash(msgspec.json.decode(msgspec.json.encode(CACHING), type=Rates))


@pytest.mark.parametrize(
    ("amount", "nanos"),
    [("1", 10**9), ("0.15", 150_000_000), (0.1, 100_000_000), (Decimal("0.0000000005"), 0), ("0.0000000015", 2)],
)
def test_dollars_become_whole_nano_dollars(amount: str | float | Decimal, nanos: int) -> None:
    assert usd_to_nanos(amount) == nanos


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (1_500, "0.0000015"),
        (10**9, "1"),
        (12_500_000_000, "12.5"),
        (-1_500, "-0.0000015"),
    ],
)
def test_dollars_are_written_plainly(nanos: int, text: str) -> None:
    assert format_usd(nanos) == text


tokens = st.integers(min_value=-10, max_value=3_000_000)
rate = st.integers(min_value=0, max_value=200 * 10**9)
some_rate = st.none() | rate
tiers = st.lists(
    st.builds(
        RateTier,
        over_input_tokens=st.integers(min_value=0, max_value=2_000_000),
        input_nanos_per_mtok=some_rate,
        cached_input_nanos_per_mtok=some_rate,
        cache_write_nanos_per_mtok=some_rate,
        cache_write_1h_nanos_per_mtok=some_rate,
        output_nanos_per_mtok=some_rate,
    ),
    max_size=3,
    unique_by=lambda tier: tier.over_input_tokens,
).map(tuple)
media = st.none() | st.builds(
    MediaTokens,
    input_audio_tokens=tokens,
    input_image_tokens=tokens,
    cache_read_audio_tokens=tokens,
    cache_read_image_tokens=tokens,
    output_audio_tokens=tokens,
    output_image_tokens=tokens,
)
media_rates = st.none() | st.builds(
    MediaRates,
    input_audio_nanos_per_mtok=some_rate,
    input_image_nanos_per_mtok=some_rate,
    cached_audio_nanos_per_mtok=some_rate,
    cached_image_nanos_per_mtok=some_rate,
    output_audio_nanos_per_mtok=some_rate,
    output_image_nanos_per_mtok=some_rate,
)
usages = st.builds(
    Usage,
    input_tokens=tokens,
    output_tokens=tokens,
    cache_read_input_tokens=tokens,
    cache_creation_input_tokens=tokens,
    cache_creation_1h_input_tokens=tokens,
)
speaking_usages = st.builds(
    Usage,
    input_tokens=tokens,
    output_tokens=tokens,
    cache_read_input_tokens=tokens,
    cache_creation_input_tokens=tokens,
    media=media,
)
any_rates = st.builds(
    Rates,
    input_nanos_per_mtok=rate,
    output_nanos_per_mtok=rate,
    cached_input_nanos_per_mtok=some_rate,
    cache_write_nanos_per_mtok=some_rate,
    cache_write_1h_nanos_per_mtok=some_rate,
    tiers=tiers,
)


def decimal_bill(usage: Usage, rates: Rates) -> int:
    """The same bill as a person would write it: dollars, one line a kind of token, rounded at the end."""

    def dollars(field: str, *defaults: str) -> Decimal:
        reached = [tier for tier in rates.tiers if usage.input_tokens > tier.over_input_tokens]
        tier = max(reached, key=lambda tier: tier.over_input_tokens) if reached else None
        for name in (field, *defaults):
            for source in (tier, rates):
                value = getattr(source, f"{name}_nanos_per_mtok", None)
                if value is not None:
                    return Decimal(value) / 10**9 / 10**6
        raise AssertionError(field)

    def within(count: int, most: int) -> int:
        return min(max(count, 0), most)

    inputs = max(usage.input_tokens, 0)
    read = within(usage.cache_read_input_tokens, inputs)
    written = within(usage.cache_creation_input_tokens, inputs - read)
    hour = within(usage.cache_creation_1h_input_tokens, written)
    with localcontext() as context:
        context.prec = 60
        bill = (inputs - read - written) * dollars("input")
        bill += read * dollars("cached_input", "input")
        bill += (written - hour) * dollars("cache_write", "input")
        bill += hour * dollars("cache_write_1h", "cache_write", "input")
        bill += max(usage.output_tokens, 0) * dollars("output")
        return int(bill.quantize(Decimal("0.000000001"), ROUND_HALF_EVEN) * 10**9)


@STEADY
@given(usages, any_rates)
def test_a_cost_is_what_decimal_arithmetic_gives(usage: Usage, rates: Rates) -> None:
    assert cost_nanos(usage, rates) == decimal_bill(usage, rates)


@STEADY
@given(usages, any_rates)
def test_a_breakdown_sums_to_the_cost_and_no_part_is_off_by_a_nano_dollar(usage: Usage, rates: Rates) -> None:
    parts = cost_breakdown(usage, rates)
    assert sum(parts.values()) == cost_nanos(usage, rates)
    assert set(parts) <= set(TOKEN_TYPES)
    assert all(part >= 0 for part in parts.values())
    in_force = rates.for_input(usage.input_tokens)
    output = max(usage.output_tokens, 0) * in_force.output_nanos_per_mtok
    assert abs(parts["output"] * 1_000_000 - output) < 1_000_000


@STEADY
@given(speaking_usages, any_rates, media_rates)
def test_a_breakdown_with_sound_and_pictures_sums_to_the_cost(
    usage: Usage, rates: Rates, special: MediaRates | None
) -> None:
    rates = msgspec.structs.replace(rates, media=special)
    parts = cost_breakdown(usage, rates)
    assert sum(parts.values()) == cost_nanos(usage, rates)
    assert all(part >= 0 for part in parts.values())
    assert set(parts) <= set(TOKEN_TYPES)


@STEADY
@given(speaking_usages, rate)
def test_one_rate_for_everything_makes_kinds_irrelevant(usage: Usage, one: int) -> None:
    alike = dict.fromkeys(MediaRates.__struct_fields__, one)
    rates = Rates(
        input_nanos_per_mtok=one,
        output_nanos_per_mtok=one,
        cached_input_nanos_per_mtok=one,
        cache_write_nanos_per_mtok=one,
        media=MediaRates(**alike),
    )
    plain = Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
    assert cost_nanos(usage, rates) == cost_nanos(plain, rates)


@STEADY
@given(usages, any_rates)
def test_a_cost_is_never_negative(usage: Usage, rates: Rates) -> None:
    assert cost_nanos(usage, rates) >= 0


@STEADY
@given(usages, any_rates, st.integers(min_value=0, max_value=1_000_000))
def test_more_output_never_costs_less(usage: Usage, rates: Rates, more: int) -> None:
    longer = msgspec.structs.replace(usage, output_tokens=usage.output_tokens + more)
    assert cost_nanos(longer, rates) >= cost_nanos(usage, rates)


@STEADY
@given(usages, any_rates, st.integers(min_value=0, max_value=1_000_000))
def test_more_input_of_one_size_tier_never_costs_less(usage: Usage, rates: Rates, more: int) -> None:
    flat = msgspec.structs.replace(rates, tiers=())
    parts = max(usage.cache_read_input_tokens, 0) + max(usage.cache_creation_input_tokens, 0)
    # within the counts that are possible: else more input only makes room for more of what is cached
    honest = msgspec.structs.replace(usage, input_tokens=max(usage.input_tokens, parts))
    longer = msgspec.structs.replace(honest, input_tokens=honest.input_tokens + more)
    assert cost_nanos(longer, flat) >= cost_nanos(honest, flat)


@STEADY
@given(usages, any_rates, rate)
def test_a_dearer_rate_never_costs_less(usage: Usage, rates: Rates, more: int) -> None:
    dearer = msgspec.structs.replace(rates, input_nanos_per_mtok=rates.input_nanos_per_mtok + more)
    assert cost_nanos(usage, dearer) >= cost_nanos(usage, rates)
