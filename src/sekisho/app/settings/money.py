"""The sections `prices`, `unknown_price`, `currency` and `fx`. Must never pass an amount through a float."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

import msgspec

from sekisho.app.settings import messages, money_messages
from sekisho.app.settings.document import Field, Fields, Node
from sekisho.app.settings.form import Form, form_of, number_of
from sekisho.app.settings.model import Currency, FxRates, UnknownPrice
from sekisho.app.settings.names import Names, check_reference
from sekisho.domain.money import NANOS_PER_USD, MediaRates, Rates, RateTier

_UNKNOWN_PRICE: tuple[UnknownPrice, ...] = ("allow", "block")
_CURRENCIES: tuple[Currency, ...] = ("USD", "JPY")
#: US dollars per million tokens; above it somebody has mistaken the unit
_LARGEST_PRICE = 1_000_000
_LARGEST_RATE = 1_000_000
_SMALLEST_RATE = Decimal("0.001")
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


#: setting -> field of MediaRates
_MEDIA_RATES = {
    "audio_input_per_mtok": "input_audio_nanos_per_mtok",
    "cached_audio_input_per_mtok": "cached_audio_nanos_per_mtok",
    "audio_output_per_mtok": "output_audio_nanos_per_mtok",
    "image_input_per_mtok": "input_image_nanos_per_mtok",
    "cached_image_input_per_mtok": "cached_image_nanos_per_mtok",
    "image_output_per_mtok": "output_image_nanos_per_mtok",
}


def read_prices(root: Form, names: Names) -> dict[str, Rates]:
    """Declared prices by `provider/model` or `provider/*`."""
    prices: dict[str, Rates] = {}
    for entry in root.entries("prices"):
        _check_price_name(root, entry, names)
        form = form_of(root.reading, entry.value)
        if form is not None:
            with form:
                prices[entry.name] = _rates(form, root.reading.digest)
    return prices


def read_unknown_price(root: Form) -> UnknownPrice | Rates:
    """What happens to a call whose price nobody knows: `allow`, `block`, or rates to take instead."""
    node = root.node("unknown_price")
    if not isinstance(node, Fields):
        choice: UnknownPrice = root.choice("unknown_price", _UNKNOWN_PRICE, "allow")
        return choice
    with Form(root.reading, node) as form:
        return Rates(
            input_nanos_per_mtok=_required_nanos(form, "input_per_mtok"),
            output_nanos_per_mtok=_required_nanos(form, "output_per_mtok"),
            source="config",
            version=root.reading.digest,
        )


def read_currency(root: Form) -> tuple[Currency, FxRates]:
    """The currency of reports, and yen for one US dollar by day."""
    currency: Currency = root.choice("currency", _CURRENCIES, "USD")
    form = root.form("fx")
    rates: FxRates = ()
    if form is not None:
        with form:
            if form.node("usd_jpy") is None:
                form.missing("usd_jpy", "usd_jpy: 150.0")
            rates = _fx_rates(form)
    elif currency == "JPY" and root.field("fx") is None:
        root.reading.warning(root.node("currency") or root.place, money_messages.FX_MISSING)
    return currency, rates


def _fx_rates(form: Form) -> FxRates:
    """One rate with its day, or a mapping of days to rates; in the order of their days."""
    if not isinstance(form.node("usd_jpy"), Fields):
        rate = form.positive("usd_jpy", most=_LARGEST_RATE, least=_SMALLEST_RATE)
        day = _day(form, form.node("date"))
        return () if rate is None else ((day, rate),)
    rates: dict[date, Decimal] = {}
    days = form.form("usd_jpy")
    assert days is not None
    with days:
        if next(form.entries("usd_jpy"), None) is None:
            form.missing("usd_jpy", "usd_jpy: 150.0")
        for entry in form.entries("usd_jpy"):
            rate = days.positive(entry.name, most=_LARGEST_RATE, least=_SMALLEST_RATE)
            day = _day(form, entry, entry.name)
            if rate is not None and day is not None:
                rates[day] = rate
    return tuple(sorted(rates.items()))


def _rates(form: Form, version: str) -> Rates:
    """One price with its service tiers, each of which may have all that the price itself may have."""
    standard = _one_tier(form, version)
    service_tiers: list[tuple[str, Rates | None]] = []
    seen: dict[str, Field] = {}
    for entry in form.entries("service_tiers"):
        tier = entry.name.lower()
        if (first := seen.setdefault(tier, entry)) is not entry:
            form.reading.error(entry, messages.DUPLICATE_KEY, name=entry.name, first=first.line, second=entry.line)
        inner = form_of(form.reading, entry.value)
        if inner is not None:
            with inner:
                service_tiers.append((tier, _one_tier(inner, version)))
    return msgspec.structs.replace(standard, service_tiers=tuple(service_tiers))


def _one_tier(form: Form, version: str) -> Rates:
    """Text with its cached rates, sound and pictures, and size tiers."""
    media = {field: _nanos(form, key) for key, field in _MEDIA_RATES.items()}
    tiers: dict[int, RateTier] = {}
    for node in form.items("size_tiers"):
        if (tier := _size_tier(form, node)) is not None:
            if tier.over_input_tokens in tiers:
                form.reading.error(node, money_messages.SIZE_TWICE, text=tier.over_input_tokens)
            tiers[tier.over_input_tokens] = tier
    return Rates(
        input_nanos_per_mtok=_required_nanos(form, "input_per_mtok"),
        output_nanos_per_mtok=_required_nanos(form, "output_per_mtok"),
        source="config",
        version=version,
        cached_input_nanos_per_mtok=_nanos(form, "cached_input_per_mtok"),
        cache_write_nanos_per_mtok=_nanos(form, "cache_write_per_mtok"),
        cache_write_1h_nanos_per_mtok=_nanos(form, "cache_write_1h_per_mtok"),
        tiers=tuple(tiers.values()),
        media=MediaRates(**media) if any(rate is not None for rate in media.values()) else None,
    )


def _size_tier(form: Form, node: Node) -> RateTier | None:
    inner = form_of(form.reading, node)
    if inner is None:
        return None
    with inner:
        if inner.node("over_input_tokens") is None:
            inner.missing("over_input_tokens", "over_input_tokens: 200000")
        return RateTier(
            over_input_tokens=inner.whole("over_input_tokens", 0, least=0),
            input_nanos_per_mtok=_nanos(inner, "input_per_mtok"),
            output_nanos_per_mtok=_nanos(inner, "output_per_mtok"),
            cached_input_nanos_per_mtok=_nanos(inner, "cached_input_per_mtok"),
            cache_write_nanos_per_mtok=_nanos(inner, "cache_write_per_mtok"),
            cache_write_1h_nanos_per_mtok=_nanos(inner, "cache_write_1h_per_mtok"),
        )


def _check_price_name(root: Form, entry: Field, names: Names) -> None:
    provider, slash, model = entry.name.partition("/")
    if not (provider and slash and model):
        root.reading.error(entry, money_messages.PRICE_NAME, name=entry.name)
    else:
        check_reference(root.reading, entry, provider, names.providers)


def _required_nanos(form: Form, key: str) -> int:
    if form.node(key) is None:
        form.missing(key, f"{key}: 1.00")
    return _nanos(form, key) or 0


def _nanos(form: Form, key: str) -> int | None:
    """US dollars per million tokens as nano-dollars; free is 0, nothing is None."""
    node = form.node(key)
    price = None if node is None else number_of(form.reading, node)
    if node is None or price is None:
        return None
    if price < 0:
        form.reading.error(node, messages.TOO_SMALL, text=price, least=0)
        return None
    if price > _LARGEST_PRICE:
        form.reading.error(node, messages.TOO_LARGE, text=price, most=f"{_LARGEST_PRICE} (USD / 1,000,000 tokens)")
        return None
    nanos = price * NANOS_PER_USD
    if nanos != nanos.to_integral_value():
        form.reading.error(node, money_messages.PRICE_DIGITS, text=price)
        return None
    return int(nanos)


def _day(form: Form, node: Node | Field | None, text: str | None = None) -> date | None:
    if text is None:
        text = form.text("date")
    if text is None:
        return None
    try:
        if not _DAY.fullmatch(text):  # one spelling, so that no day is there twice
            raise ValueError(text)
        return date.fromisoformat(text)
    except ValueError:
        form.reading.error(node or form.place, money_messages.BAD_DAY, text=text)
        return None
