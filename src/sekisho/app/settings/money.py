"""The sections `prices`, `unknown_price`, `currency` and `fx`. Must never pass an amount through a float."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from sekisho.app.settings import messages
from sekisho.app.settings.document import Field, Fields
from sekisho.app.settings.form import Form, form_of, number_of
from sekisho.app.settings.model import Currency, UnknownPrice
from sekisho.app.settings.names import Names, check_reference
from sekisho.domain.money import NANOS_PER_USD, Rates

_UNKNOWN_PRICE: tuple[UnknownPrice, ...] = ("allow", "block")
_CURRENCIES: tuple[Currency, ...] = ("USD", "JPY")
#: US dollars per million tokens; above it somebody has mistaken the unit
_LARGEST_PRICE = 1_000_000
_LARGEST_RATE = 1_000_000


def read_prices(root: Form, names: Names) -> dict[str, Rates]:
    """Declared prices by `provider/model` or `provider/*`."""
    prices: dict[str, Rates] = {}
    for entry in root.entries("prices"):
        _check_price_name(root, entry, names)
        form = form_of(root.reading, entry.value)
        if form is not None:
            with form:
                prices[entry.name] = Rates(
                    input_nanos_per_mtok=_required_nanos(form, "input_per_mtok"),
                    output_nanos_per_mtok=_required_nanos(form, "output_per_mtok"),
                    cached_input_nanos_per_mtok=_nanos(form, "cached_input_per_mtok"),
                    cache_write_nanos_per_mtok=_nanos(form, "cache_write_per_mtok"),
                    source="config",
                    version=root.reading.digest,
                )
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


def read_currency(root: Form) -> tuple[Currency, Decimal | None, date | None]:
    """The currency of reports, yen for one US dollar, and the day of that rate."""
    currency: Currency = root.choice("currency", _CURRENCIES, "USD")
    form = root.form("fx")
    rate: Decimal | None = None
    day: date | None = None
    if form is not None:
        with form:
            if form.node("usd_jpy") is None:
                form.missing("usd_jpy", "usd_jpy: 150.0")
            rate = form.positive("usd_jpy", most=_LARGEST_RATE)
            day = _day(form)
    elif currency == "JPY" and root.field("fx") is None:
        root.reading.warning(root.node("currency") or root.place, messages.FX_MISSING)
    return currency, rate, day


def _check_price_name(root: Form, entry: Field, names: Names) -> None:
    provider, slash, model = entry.name.partition("/")
    if not (provider and slash and model):
        root.reading.error(entry, messages.PRICE_NAME, name=entry.name)
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
        form.reading.error(node, messages.PRICE_DIGITS, text=price)
        return None
    return int(nanos)


def _day(form: Form) -> date | None:
    text = form.text("date")
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        form.reading.error(form.node("date") or form.place, messages.BAD_DAY, text=text)
        return None
