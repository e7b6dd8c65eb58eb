"""Prices from genai-prices: every model it knows, against its own calculation."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_EVEN, Decimal

import genai_prices
import msgspec
import pytest
from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from sekisho.costs.lookup import Question, quote, read_questions
from sekisho.costs.quotes import Quote, Quotes
from sekisho.domain.money import MediaRates, Rates, RateTier, cost_nanos
from sekisho.domain.usage import MediaTokens, Usage

NOON = datetime(2026, 8, 3, 12, tzinfo=UTC)
MIDNIGHT_S = int(datetime(2026, 8, 4, tzinfo=UTC).timestamp())

USAGES = (
    Usage(input_tokens=1, output_tokens=1),
    Usage(input_tokens=12_345, output_tokens=678, cache_read_input_tokens=9_999),
    Usage(
        input_tokens=199_999,
        output_tokens=3,
        cache_read_input_tokens=100_001,
        cache_creation_input_tokens=50_003,
        cache_creation_1h_input_tokens=20_007,
    ),
    Usage(input_tokens=900_001, output_tokens=64_000, cache_creation_input_tokens=7),
    Usage(
        input_tokens=5_000,
        output_tokens=3_000,
        media=MediaTokens(input_audio_tokens=1_001, input_image_tokens=2_003, output_audio_tokens=555),
    ),
    Usage(input_tokens=5_000, output_tokens=3_000, media=MediaTokens(output_image_tokens=1_290)),
)


def priced(
    prices: ModelPrice | list[ConditionalPrice],
    now: datetime = NOON,
    *,
    variants: list[PriceVariant] | None = None,
    deprecated: bool = False,
) -> Quote:
    """The quote for a made-up model with these prices."""
    match = ClauseEquals(equals="m")
    model = ModelInfo(id="m", match=match, prices=prices, price_variants=variants, deprecated=deprecated)
    provider = Provider(id="p", name="P", api_pattern="p", models=[model])
    return quote(Question(provider="p", model="m"), now, DataSnapshot(providers=[provider], from_auto_update=False))


def rates_of(prices: ModelPrice, variants: list[PriceVariant] | None = None) -> Rates:
    rates = priced(prices, variants=variants).rates
    assert rates is not None
    return rates


def library_bill(
    usage: Usage, provider: str, model: str, now: datetime = NOON, context: dict[str, str] | None = None
) -> int:
    """What genai-prices itself says, in nano-dollars."""
    media = usage.media or MediaTokens()
    counts = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_input_tokens,
        cache_write_tokens=usage.cache_creation_input_tokens,
        cache_write_1h_tokens=usage.cache_creation_1h_input_tokens,
        input_audio_tokens=media.input_audio_tokens,
        input_image_tokens=media.input_image_tokens,
        cache_audio_read_tokens=media.cache_read_audio_tokens,
        cache_image_read_tokens=media.cache_read_image_tokens,
        output_audio_tokens=media.output_audio_tokens,
        output_image_tokens=media.output_image_tokens,
    )
    price = genai_prices.calc_price(
        counts, model, provider_id=provider, genai_request_timestamp=now, price_context=context
    )
    return int((price.total_price * 10**9).to_integral_value(ROUND_HALF_EVEN))


def test_every_model_that_has_rates_costs_what_the_library_says() -> None:
    compared = unknown = 0
    for provider in get_snapshot().providers:
        for model in provider.models:
            found = quote(Question(provider=provider.id, model=model.id), NOON)
            if found.rates is None:
                # some ids are found only with the prefix that their provider asks for
                unknown += not (found.reason or "").startswith("Unable to find model")
                assert found.reason
                continue
            for usage in USAGES:
                assert cost_nanos(usage, found.rates) == library_bill(usage, provider.id, model.id), found
                compared += 1
    assert compared > 8_000
    # images, sound, pages, per-request prices, and cents that no nano-dollar divides
    assert unknown < 80


def test_every_service_tier_costs_what_the_library_says() -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    compared = {"batch": 0, "flex": 0, "priority": 0, "fast": 0}
    for provider in get_snapshot().providers:
        for model in provider.models:
            rates = quote(Question(provider=provider.id, model=model.id), now).rates
            variants = [variant.when for variant in model.price_variants or ()]
            for name, tier in rates.service_tiers if rates else ():
                contexts = ({"processing": name}, {"service_tier": name}, {"speed": name})
                context = next((context for context in contexts if context in variants), None)
                if tier is None:
                    assert context is None, "a tier that the library prices is not unknown"
                    continue
                assert context is not None
                compared[name] += 1
                for usage in USAGES:
                    expected = library_bill(usage, provider.id, model.id, now, context)
                    assert cost_nanos(usage, tier) == expected, (provider.id, model.id, name)
    assert compared["batch"] >= 100
    assert min(compared.values()) > 15


def test_a_batch_is_never_silently_priced_as_standard() -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    rates = quote(Question(provider="openai", model="gpt-4o-mini"), now).rates
    assert rates is not None
    batch = rates.for_service_tier("batch")
    assert batch is not None
    assert batch.input_nanos_per_mtok * 2 == rates.input_nanos_per_mtok
    # no batch price is known for it: better no cost than one that is twice too high
    reseller = quote(Question(provider="together", model="meta-llama/Llama-3.3-70B-Instruct-Turbo"), NOON).rates
    assert reseller is not None
    assert reseller.for_service_tier("batch") is None


def test_the_tiers_of_groq_cost_the_same_as_its_standard_one() -> None:
    # https://console.groq.com/docs/flex-processing
    rates = quote(Question(provider="groq", model="llama-3.3-70b-versatile"), NOON).rates
    assert rates is not None
    assert rates.for_service_tier("flex") is rates
    assert rates.for_service_tier("on_demand") is rates


@pytest.mark.parametrize(
    ("provider", "model", "input_usd", "output_usd"),
    [
        ("openai", "gpt-4o-mini", "0.15", "0.6"),
        ("openai", "gpt-4o-mini-2024-07-18", "0.15", "0.6"),
        ("anthropic", "claude-haiku-4-5", "1", "5"),
        ("google", "gemini-2.5-flash", "0.3", "2.5"),
        ("groq", "llama-3.3-70b-versatile", "0.59", "0.79"),
        ("openai", "text-embedding-3-small", "0.02", "0"),
    ],
)
def test_prices_that_people_know(provider: str, model: str, input_usd: str, output_usd: str) -> None:
    rates = quote(Question(provider=provider, model=model), NOON).rates
    assert rates is not None
    assert rates.input_nanos_per_mtok == Decimal(input_usd) * 10**9
    assert rates.output_nanos_per_mtok == Decimal(output_usd) * 10**9
    assert rates.source == "genai-prices"
    assert rates.version.split("+")[0] == genai_prices.__version__


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "no-such-model"), ("no-such-provider", "gpt-4o"), (None, "gpt-4o")]
)
def test_what_the_library_does_not_know_is_unknown_and_not_free(provider: str | None, model: str) -> None:
    found = quote(Question(provider=provider, model=model), NOON)
    assert found.rates is None
    assert found.reason
    assert found.valid_until_s == MIDNIGHT_S


def test_every_field_has_its_place() -> None:
    rates = rates_of(
        ModelPrice(
            input_mtok=Decimal(3),
            output_mtok=Decimal(15),
            cache_read_mtok=Decimal("0.3"),
            cache_write_mtok=Decimal("3.75"),
            cache_write_1h_mtok=Decimal(6),
        )
    )
    assert rates == Rates(
        input_nanos_per_mtok=3_000_000_000,
        output_nanos_per_mtok=15_000_000_000,
        cached_input_nanos_per_mtok=300_000_000,
        cache_write_nanos_per_mtok=3_750_000_000,
        cache_write_1h_nanos_per_mtok=6_000_000_000,
        service_tiers=(("batch", None),),
        source="genai-prices",
        version=genai_prices.__version__,
    )


def test_a_price_for_five_minute_writes_is_more_specific_than_one_for_writes() -> None:
    prices = ModelPrice(cache_write_5m_mtok=Decimal(2), cache_write_mtok=Decimal(1), input_mtok=Decimal(1))
    assert rates_of(prices).cache_write_nanos_per_mtok == 2_000_000_000


def test_size_tiers_of_several_fields_become_tiers_of_the_model() -> None:
    prices = ModelPrice(
        input_mtok=TieredPrices(
            base=Decimal(1), tiers=[Tier(start=100, price=Decimal(2)), Tier(start=200, price=Decimal(4))]
        ),
        output_mtok=TieredPrices(base=Decimal(10), tiers=[Tier(start=150, price=Decimal(20))]),
        cache_read_mtok=Decimal("0.5"),
    )
    usd = 1_000_000_000
    assert rates_of(prices).tiers == (
        RateTier(over_input_tokens=100, input_nanos_per_mtok=2 * usd, output_nanos_per_mtok=10 * usd),
        RateTier(over_input_tokens=150, input_nanos_per_mtok=2 * usd, output_nanos_per_mtok=20 * usd),
        RateTier(over_input_tokens=200, input_nanos_per_mtok=4 * usd, output_nanos_per_mtok=20 * usd),
    )


def test_a_model_without_any_price_is_free_unless_it_was_withdrawn() -> None:
    assert rates_of(ModelPrice()) == Rates(
        input_nanos_per_mtok=0, output_nanos_per_mtok=0, source="genai-prices", version=genai_prices.__version__
    )
    assert priced(ModelPrice(), deprecated=True).rates is None


@pytest.mark.parametrize(
    ("prices", "reason"),
    [
        ({"requests_kcount": Decimal(5)}, "requests_kcount"),
        ({"output_reasoning_mtok": Decimal(3)}, "output_reasoning_mtok"),
        ({"rerank_searches_kcount": Decimal(3)}, "rerank_searches_kcount"),
        ({"input_mtok": Decimal("0.0833333333333333")}, "no whole number of nano-dollars"),
        ({"cache_read_mtok": Decimal("0.0000000001")}, "no whole number of nano-dollars"),
        ({"input_mtok": Decimal(-1)}, "no whole number of nano-dollars"),
        ({"input_mtok": Decimal("NaN")}, "is no price"),
        ({"input_mtok": TieredPrices(base=Decimal(1), tiers=[Tier(start=9, price=Decimal("1e-10"))])}, "no whole"),
    ],
)
def test_a_price_that_cannot_be_held_exactly_is_unknown(prices: dict[str, Decimal | TieredPrices], reason: str) -> None:
    found = priced(ModelPrice(**{"input_mtok": Decimal(1), "output_mtok": Decimal(2), **prices}))
    assert found.rates is None
    assert reason in (found.reason or "")


@pytest.mark.parametrize("prices", [{"audio_hours": Decimal(1)}, {"output_mtok": Decimal(1)}])
def test_a_model_that_is_not_priced_by_input_tokens_is_unknown(prices: dict[str, Decimal]) -> None:
    assert priced(ModelPrice(**prices)).rates is None


def test_sound_and_pictures_have_rates_of_their_own() -> None:
    rates = rates_of(ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2), input_audio_mtok=Decimal(9)))
    assert rates.media == MediaRates(input_audio_nanos_per_mtok=9_000_000_000)
    assert rates.version == genai_prices.__version__


def test_video_is_priced_as_text_and_the_version_says_so() -> None:
    rates = rates_of(ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2), input_video_mtok=Decimal(9)))
    assert rates.input_nanos_per_mtok == 1_000_000_000
    assert rates.version == f"{genai_prices.__version__}+text"


def test_charges_for_tools_stand_beside_the_price_of_tokens() -> None:
    rates = rates_of(ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2), web_searches_kcount=Decimal(10)))
    assert rates.version == genai_prices.__version__


def test_a_price_has_dates() -> None:
    prices = [
        ConditionalPrice(prices=ModelPrice(input_mtok=Decimal(1))),
        ConditionalPrice(StartDateConstraint(date(2026, 8, 4)), prices=ModelPrice(input_mtok=Decimal(2))),
    ]
    before, after = priced(prices), priced(prices, datetime(2026, 8, 4, tzinfo=UTC))
    assert before.rates is not None
    assert before.rates.input_nanos_per_mtok == 1_000_000_000
    assert before.valid_until_s == MIDNIGHT_S
    assert after.rates is not None
    assert after.rates.input_nanos_per_mtok == 2_000_000_000


@pytest.mark.parametrize(
    ("hour", "usd", "until_hour"), [(3, 1, 16), (16, 4, 20), (19, 4, 20), (20, 1, 24), (23, 1, 24)]
)
def test_a_price_by_hours_holds_until_the_hour(hour: int, usd: int, until_hour: int) -> None:
    peak = TimeOfDateConstraint(time(16, tzinfo=UTC), time(20))
    prices = [
        ConditionalPrice(prices=ModelPrice(input_mtok=Decimal(1))),
        ConditionalPrice(peak, prices=ModelPrice(input_mtok=Decimal(4))),
    ]
    found = priced(prices, NOON.replace(hour=hour))
    assert found.rates is not None
    assert found.rates.input_nanos_per_mtok == usd * 1_000_000_000
    assert found.rates.version == f"{genai_prices.__version__}+hours"
    assert found.valid_until_s == MIDNIGHT_S - (24 - until_hour) * 3_600


def test_hours_that_a_later_price_made_history_are_not_mentioned() -> None:
    prices = [
        ConditionalPrice(TimeOfDateConstraint(time(16), time(20)), prices=ModelPrice(input_mtok=Decimal(4))),
        ConditionalPrice(StartDateConstraint(date(2026, 1, 1)), prices=ModelPrice(input_mtok=Decimal(2))),
    ]
    found = priced(prices)
    assert found.rates is not None
    assert found.rates.version == genai_prices.__version__
    assert found.valid_until_s == MIDNIGHT_S


def test_a_service_tier_is_listed_when_its_price_differs() -> None:
    def tier(name: str, **prices: Decimal) -> PriceVariant:
        return PriceVariant(when={"service_tier": name}, prices=ModelPrice(**prices))

    rates = rates_of(
        ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(8)),
        [
            tier("default"),
            tier("flex", input_mtok=Decimal(1)),
            tier("odd", input_mtok=Decimal("1e-10")),
            PriceVariant(when={"processing": "batch"}, prices=ModelPrice(input_mtok=Decimal(1))),
            PriceVariant(when={"service_tier": "x", "region": "eu"}, prices=ModelPrice(input_mtok=Decimal(1))),
        ],
    )
    assert [name for name, _ in rates.service_tiers] == ["batch", "flex", "odd"]
    flex = rates.for_service_tier("flex")
    assert flex is not None
    assert (flex.input_nanos_per_mtok, flex.output_nanos_per_mtok) == (1_000_000_000, 8_000_000_000)
    assert (flex.source, flex.version) == (rates.source, rates.version)
    assert rates.for_service_tier("odd") is None


def test_the_service_tiers_of_a_maker_do_not_hold_at_a_reseller() -> None:
    flex = PriceVariant(when={"service_tier": "flex"}, prices=ModelPrice(input_mtok=Decimal(1)))
    match = ClauseEquals(equals="m")
    model = ModelInfo(id="m", match=match, prices=ModelPrice(input_mtok=Decimal(2)), price_variants=[flex])
    maker = Provider(id="maker", name="M", api_pattern="m", models=[model])
    reseller = Provider(id="reseller", name="R", api_pattern="r", fallback_model_providers=["maker"])
    snapshot = DataSnapshot(providers=[maker, reseller], from_auto_update=False)
    listed: dict[str, list[str]] = {}
    for name in ("maker", "reseller"):
        rates = quote(Question(provider=name, model="m"), NOON, snapshot).rates
        assert rates is not None
        assert rates.input_nanos_per_mtok == 2_000_000_000
        listed[name] = [tier for tier, _ in rates.service_tiers]
    # where it is resold, what a batch costs is unknown too
    assert listed == {"maker": ["batch", "flex"], "reseller": ["batch"]}


@pytest.mark.parametrize(
    "text",
    [
        b'[{"provider": "openai", "model": "a"}, {"provider": null, "model": "b"}]',
        b' \n{"provider": "openai", "model": "a"}\n\n{"provider": null, "model": "b"}\n',
    ],
)
def test_questions_come_as_an_array_or_one_a_line(text: bytes) -> None:
    assert read_questions(text) == [Question(provider="openai", model="a"), Question(provider=None, model="b")]


def test_the_process_answers_in_the_order_of_the_questions() -> None:
    questions = b'[{"provider": "openai", "model": "gpt-4o-mini"}, {"provider": "openai", "model": "no-such"}]'
    done = subprocess.run(
        [sys.executable, "-m", "sekisho.costs.lookup"], input=questions, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    answer = msgspec.json.decode(done.stdout, type=Quotes)
    assert answer.price_version == genai_prices.__version__
    assert [found.model for found in answer.quotes] == ["gpt-4o-mini", "no-such"]
    assert answer.quotes[0].rates is not None
    assert answer.quotes[1].rates is None


def test_the_process_refuses_what_is_not_a_question() -> None:
    done = subprocess.run([sys.executable, "-m", "sekisho.costs.lookup"], input=b"{}", capture_output=True, check=False)
    assert done.returncode == 2
    assert b"not a list of questions" in done.stderr
