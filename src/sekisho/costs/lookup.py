"""Looks prices up in genai-prices: `python -m sekisho.costs.lookup`, JSON in, JSON out.

Must run in a process of its own (the library costs some 70 MB and 0.6 s) and must not round: what whole nano-dollars
cannot express is unknown. Reads `{"provider": "openai", "model": "gpt-4o"}` objects from stdin, as a JSON array or
one a line, and writes one `Quotes`. No network: genai-prices carries its data.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import genai_prices
import msgspec
from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, PriceContext, Provider, TieredPrices, TimeOfDateConstraint

from sekisho.costs.quotes import Question, Quote, Quotes
from sekisho.domain.money import NANOS_PER_USD, Rates, RateTier

#: genai-prices' price keys (all USD per million tokens) to ours; of two for one field the later is more specific
_FIELDS = {
    "input_mtok": "input_nanos_per_mtok",
    "output_mtok": "output_nanos_per_mtok",
    "cache_read_mtok": "cached_input_nanos_per_mtok",
    "cache_write_mtok": "cache_write_nanos_per_mtok",
    "cache_write_5m_mtok": "cache_write_nanos_per_mtok",
    "cache_write_1h_mtok": "cache_write_1h_nanos_per_mtok",
}
_MEDIA_FIELDS = {
    "input_audio_mtok": "input_audio_nanos_per_mtok",
    "input_image_mtok": "input_image_nanos_per_mtok",
    "cache_audio_read_mtok": "cached_audio_nanos_per_mtok",
    "cache_image_read_mtok": "cached_image_nanos_per_mtok",
    "output_audio_mtok": "output_audio_nanos_per_mtok",
    "output_image_mtok": "output_image_nanos_per_mtok",
}
#: what genai-prices calls the circumstances of a price -> our name of the tier, see `served_tier`
_VARIANTS = (("service_tier", None), ("processing", "batch"), ("speed", "fast"))
#: tiers that a provider bills otherwise than its standard one: where the library has no price for one, it is unknown
_SPECIAL_TIERS = {
    # https://platform.openai.com/docs/pricing; scale units are bought ahead
    "openai": ("batch", "flex", "priority", "fast", "scale"),
    # https://docs.claude.com/en/api/service-tiers: priority is capacity that was committed to
    "anthropic": ("batch", "priority", "fast"),
    "google": ("batch", "flex", "priority"),
}
_ANYWHERE_SPECIAL = ("batch",)
#: charged beside the tokens, by the use of a provider's own tool; a cost here is of tokens only
_TOOLS = {"web_searches_kcount", "social_searches_kcount", "storage_searches_kcount", "code_executions_kcount"}
#: usage does not say how many tokens were video, so they are priced as text and the version says `text`
_OTHER_MEDIA = {"audio", "image", "video"}

_PriceValue = Decimal | TieredPrices


class Inexpressible(Exception):
    """A price that `Rates` cannot hold exactly; the text says why."""


def quote(question: Question, now: datetime, snapshot: DataSnapshot | None = None) -> Quote:
    """The price of a model at a time (UTC).

    Without a provider there is no price: a model of the same name elsewhere (a local copy, a reseller) costs
    something else, so a guess by name would be wrong money.
    """
    snapshot = snapshot or get_snapshot()
    midnight = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
    try:
        if question.provider is None:
            raise LookupError("no price list for this provider")
        provider, model = snapshot.find_provider_model(question.model, None, question.provider, None)
        rates = _rates(provider, model, now)
        until = _next_change(model, now, midnight)
    except (LookupError, Inexpressible) as error:
        return _quote(question, None, midnight, str(error))
    notes = (["text"] if _has_other_media(model.get_prices(now)) else []) + (["hours"] if _by_hours(model, now) else [])
    version = genai_prices.__version__ + ("+" + ".".join(notes) if notes else "")
    return _quote(question, _with_version(rates, version), until, None)


def _quote(question: Question, rates: Rates | None, until: datetime, reason: str | None) -> Quote:
    return Quote(
        provider=question.provider,
        model=question.model,
        rates=rates,
        valid_until_s=int(until.timestamp()),
        reason=reason,
    )


def _with_version(rates: Rates, version: str) -> Rates:
    service_tiers = tuple((name, tier and _with_version(tier, version)) for name, tier in rates.service_tiers)
    return msgspec.structs.replace(rates, source="genai-prices", version=version, service_tiers=service_tiers)


def _rates(provider: Provider, model: ModelInfo, now: datetime) -> Rates:
    """The standard rates with those of the service tiers that differ from them."""
    standard = _convert(model.get_prices(now), deprecated=bool(model.deprecated))
    # as genai-prices itself: variants hold where the model is sold by its own provider, not where it is resold
    own = any(model is other for other in provider.models)
    special = _SPECIAL_TIERS.get(provider.id, _ANYWHERE_SPECIAL)
    tiers: dict[str, Rates | None] = {}
    for name, context in _service_tiers(model, now) if own else ():
        try:
            rates = _convert(model.get_prices(now, context), deprecated=False)
        except Inexpressible:
            rates = None
        if rates != standard:
            tiers[name] = rates
        elif name in special:
            tiers[name] = standard
    if standard.input_nanos_per_mtok or standard.output_nanos_per_mtok:
        tiers = {**dict.fromkeys(special), **tiers}
    return msgspec.structs.replace(standard, service_tiers=tuple(sorted(tiers.items(), key=lambda tier: tier[0])))


def _service_tiers(model: ModelInfo, now: datetime) -> list[tuple[str, PriceContext]]:
    """Our names of the tiers that have prices of their own now, with what the library calls them."""
    found: dict[str, PriceContext] = {}
    for variant in model.price_variants or ():
        if variant.constraint is not None and not variant.constraint.active(now):
            continue
        for key, only in _VARIANTS:
            value = variant.when.get(key)
            if set(variant.when) == {key} and value is not None and only in (None, value):
                found[str(value)] = {key: value}
    return sorted(found.items())


def _convert(price: ModelPrice, *, deprecated: bool) -> Rates:
    prices = _values(price)
    if not prices:
        # the library writes free models (`:free`, Gemma on the Gemini API) as those without any price; a withdrawn
        # one without a price is just not known any more
        if deprecated:
            raise Inexpressible("withdrawn, without a price")
        return Rates(input_nanos_per_mtok=0, output_nanos_per_mtok=0)
    if "input_mtok" not in prices:
        raise Inexpressible("not priced by input tokens")
    tokens = {key: value for key, value in prices.items() if key in _FIELDS}
    for key in prices:
        if key not in tokens and key not in _TOOLS and not _is_other_media(key):
            raise Inexpressible(f"priced by {key} too")
    media = {_MEDIA_FIELDS[key]: _nanos(_flat(key, prices[key])) for key in _MEDIA_FIELDS if key in prices}
    fields = {_FIELDS[key]: _nanos(_at(tokens[key], 0)) for key in _FIELDS if key in tokens}
    # what has no output price has no output: embeddings, moderation, decisions
    return msgspec.convert(
        {"output_nanos_per_mtok": 0, **fields, "media": media or None, "tiers": _size_tiers(tokens)}, Rates
    )


def _size_tiers(tokens: Mapping[str, _PriceValue]) -> tuple[RateTier, ...]:
    """genai-prices has tiers per price key, we have prices per tier; both hold above their start, for all tokens."""
    tiered = {key: value for key, value in tokens.items() if isinstance(value, TieredPrices)}
    starts = sorted({tier.start for value in tiered.values() for tier in value.tiers})
    return tuple(
        msgspec.convert(
            {
                "over_input_tokens": start,
                **{_FIELDS[key]: _nanos(_at(tiered[key], start + 1)) for key in _FIELDS if key in tiered},
            },
            RateTier,
        )
        for start in starts
    )


def _flat(key: str, value: _PriceValue) -> Decimal:
    if isinstance(value, Decimal):
        return value
    raise Inexpressible(f"{key} depends on the size of the request")


def _at(value: _PriceValue, input_tokens: int) -> Decimal:
    """The price for a request with so many input tokens, as `genai_prices.types.calc_unit_price` chooses it."""
    if isinstance(value, Decimal):
        return value
    price = value.base
    for tier in value.tiers:
        if input_tokens > tier.start:
            price = tier.price
    return price


def _nanos(usd: Decimal) -> int:
    try:
        numerator, denominator = usd.as_integer_ratio()
    except (ValueError, OverflowError):
        raise Inexpressible(f"{usd} is no price") from None
    nanos, rest = divmod(numerator * NANOS_PER_USD, denominator)
    if rest or nanos < 0:
        raise Inexpressible(f"{usd} USD per million tokens is no whole number of nano-dollars")
    return nanos


def _values(price: ModelPrice) -> dict[str, _PriceValue]:
    return {key: value for key, value in vars(price).items() if value is not None and not key.startswith("_")}


def _has_other_media(price: ModelPrice) -> bool:
    return any(_is_other_media(key) and key not in _MEDIA_FIELDS for key in _values(price))


def _is_other_media(key: str) -> bool:
    return not _OTHER_MEDIA.isdisjoint(key.split("_"))


def _next_change(model: ModelInfo, now: datetime, midnight: datetime) -> datetime:
    """The first moment before midnight at which another price holds, else midnight."""
    changes = [moment for moment in _boundaries(model, now) if now < moment < midnight]
    return next((moment for moment in changes if model.get_prices(moment) != model.get_prices(now)), midnight)


def _by_hours(model: ModelInfo, now: datetime) -> bool:
    return any(model.get_prices(moment) != model.get_prices(now) for moment in _boundaries(model, now))


def _boundaries(model: ModelInfo, now: datetime) -> list[datetime]:
    """The times of this UTC day at which a condition on the time of day begins or ends, in order."""
    if isinstance(model.prices, ModelPrice):
        return []
    moments: set[datetime] = set()
    for price in model.prices:
        if isinstance(price.constraint, TimeOfDateConstraint):
            for moment in (price.constraint.start_time, price.constraint.end_time):
                # a time without a zone is UTC, as in the library
                at = datetime.combine(now.date(), moment, moment.tzinfo or UTC).astimezone(UTC)
                moments.add(datetime.combine(now.date(), at.time(), UTC))
    return sorted(moments)


def read_questions(text: bytes) -> list[Question]:
    """A JSON array, or one object a line. Raises msgspec.DecodeError or ValidationError."""
    if text.lstrip().startswith(b"["):
        return msgspec.json.decode(text, type=list[Question])
    return [msgspec.json.decode(line, type=Question) for line in text.splitlines() if line.strip()]


def answer(questions: Iterable[Question], now: datetime) -> Quotes:
    """The quotes in the order of the questions."""
    return Quotes(price_version=genai_prices.__version__, quotes=tuple(quote(question, now) for question in questions))


def main() -> int:
    try:
        questions = read_questions(sys.stdin.buffer.read())
    except msgspec.MsgspecError as error:
        print(f"not a list of questions: {error}", file=sys.stderr)
        return 2
    sys.stdout.buffer.write(msgspec.json.encode(answer(questions, datetime.now(UTC))) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
