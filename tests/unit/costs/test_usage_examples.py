"""Two hundred usage objects of providers' documentation, each with its cost written out beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from tests.unit.costs.arithmetic import reckon

from sekisho.app.settings import parse
from sekisho.costs.lookup import Question, quote
from sekisho.domain.money import Rates, cost_breakdown, cost_nanos, served_tier
from sekisho.domain.usage import Usage
from sekisho.formats import usage as readers
from sekisho.formats.openai import WireUsage

FOLDER = Path(__file__).parent / "usages"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def openai_chat(value: Any) -> Usage | None:
    return msgspec.json.decode(json.dumps(value), type=WireUsage).normalised()


READERS: dict[str, Callable[[Any], Usage | None]] = {
    "openai_chat": openai_chat,
    "responses": readers.responses_usage,
    "anthropic": readers.anthropic_usage,
    "gemini": readers.gemini_usage,
    "bedrock": readers.bedrock_usage,
    "cohere": readers.cohere_usage,
}


@cache
def rates_of(price: str) -> Rates | None:
    provider, _, model = price.partition("/")
    return quote(Question(provider=None if provider == "none" else provider, model=model), NOON).rates


def declared(price: object) -> Rates:
    text = json.dumps({"providers": {"local": {"type": "vllm"}}, "prices": {"local/m": price}})
    rates = parse(text, "sekisho.yaml", {}).rates_for("local", "m")
    assert rates is not None
    return rates


def examples() -> Iterator[Any]:
    for file in sorted(FOLDER.glob("*.yaml")):
        for place, group in enumerate(yaml.safe_load(file.read_text("utf-8"))):
            for n, case in enumerate(group["cases"]):
                yield pytest.param(group, case, id=f"{file.stem}-{place}-{n}")


def half_even(nanos: Fraction) -> int:
    return round(nanos)


@pytest.mark.parametrize(("group", "case"), list(examples()))
def test_a_documented_usage_costs_what_is_written_beside_it(group: Any, case: Any) -> None:
    usage = READERS[group["reader"]](case["usage"])
    assert usage is not None
    rates = declared(group["rates"]) if "rates" in group else rates_of(group["price"])
    if rates is not None:
        tier = group.get("tier")
        rates = rates.for_service_tier(served_tier(tier) if tier != "batch" else served_tier(None, processing="batch"))
    if case["usd_per_million"] == "unknown":
        assert rates is None
        return
    assert rates is not None
    nanos = half_even(reckon(case["usd_per_million"]) * 1_000)
    assert cost_nanos(usage, rates) == nanos
    assert sum(cost_breakdown(usage, rates).values()) == nanos


def test_there_are_two_hundred_and_each_names_its_source() -> None:
    groups = [group for file in FOLDER.glob("*.yaml") for group in yaml.safe_load(file.read_text("utf-8"))]
    assert sum(len(group["cases"]) for group in groups) >= 200
    assert all(group["source"].startswith("https://") for group in groups)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2*3 + 4", 10),
        ("2*(3 + 4)", 14),
        ("(5 - 2)*0.15", Fraction(9, 20)),
        ("10 - 3 - 2", 5),
        ("7*0.075", Fraction(21, 40)),
    ],
)
def test_the_sums_are_reckoned_as_written(text: str, value: Fraction | int) -> None:
    assert reckon(text) == value


@pytest.mark.parametrize("text", ["", "2*", "(1 + 2", "1 2", "2**3", "a", "__import__('os')", "1)"])
def test_what_is_no_sum_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        reckon(text)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("value", [None, [], "x", {}, {"input_tokens": "many"}, {"billed_units": {}}, {"usage": 1}])
def test_what_is_no_usage_counts_nothing(reader: str, value: Any) -> None:
    if reader == "openai_chat" and not isinstance(value, dict):
        return
    assert READERS[reader](value) is None


def test_impossible_counts_are_cut_or_counted_as_nothing() -> None:
    assert readers.anthropic_usage({"input_tokens": 10**15, "output_tokens": 1}) is None
    assert readers.responses_usage({"input_tokens": 5, "input_tokens_details": {"cached_tokens": 9}}) == Usage(
        input_tokens=5, cache_read_input_tokens=5
    )
    details = {"cached_tokens": 4, "cache_write_tokens": 9}
    assert readers.responses_usage({"input_tokens": 5, "input_tokens_details": details}) == Usage(
        input_tokens=5, cache_read_input_tokens=4, cache_creation_input_tokens=1
    )
    assert readers.gemini_usage({"promptTokenCount": -5, "candidatesTokenCount": 2.0}) == Usage(output_tokens=2)


@pytest.mark.parametrize(
    ("read", "sent", "answered"),
    [
        (readers.anthropic_usage, "input_tokens", "output_tokens"),
        (readers.gemini_usage, "promptTokenCount", "candidatesTokenCount"),
        (readers.responses_usage, "input_tokens", "output_tokens"),
        (readers.bedrock_usage, "inputTokens", "outputTokens"),
    ],
)
def test_one_of_the_two_counts_is_a_usage(read: Callable[[Any], Usage | None], sent: str, answered: str) -> None:
    assert read({sent: 7}) == Usage(input_tokens=7)
    assert read({answered: 7}) == Usage(output_tokens=7)


def test_what_was_written_to_the_cache_is_at_least_the_sum_of_its_parts() -> None:
    parts = {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 70}
    usage = readers.anthropic_usage({"input_tokens": 1, "cache_creation_input_tokens": 60, "cache_creation": parts})
    assert usage == Usage(input_tokens=101, cache_creation_input_tokens=100, cache_creation_1h_input_tokens=70)


def test_details_of_realtime_have_names_of_their_own() -> None:
    usage = {
        "input_tokens": 9, "input_token_details": {"cached_tokens": 4},
        "output_tokens": 8, "output_token_details": {"reasoning_tokens": 3},
    }  # fmt: skip
    assert readers.responses_usage(usage) == Usage(
        input_tokens=9, cache_read_input_tokens=4, output_tokens=8, reasoning_output_tokens=3
    )


def test_what_a_provider_counts_beside_its_totals_is_part_of_ours() -> None:
    claude = readers.anthropic_usage(
        {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 100}
    )
    assert claude is not None
    assert (claude.input_tokens, claude.total_tokens) == (113, 115)
    gemini = readers.gemini_usage({"promptTokenCount": 1, "candidatesTokenCount": 2, "thoughtsTokenCount": 30})
    assert gemini is not None
    assert (gemini.output_tokens, gemini.reasoning_output_tokens) == (32, 30)
