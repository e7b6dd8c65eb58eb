"""What the process that knows prices is asked and answers. Must stay light: the serving process imports it."""

from __future__ import annotations

import msgspec

from sekisho.domain.money import Rates

#: a genai-prices provider id (`openai`, `anthropic`, `google`, …; None: no list of prices applies) and a model name
Pair = tuple[str | None, str]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    provider: str | None
    model: str


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """The price of one model, `rates` None when it is unknown for `reason`.

    `valid_until_s` (seconds since 1970) is when the price may change: the next UTC midnight, since prices have dates,
    or sooner where a provider has peak hours.
    """

    provider: str | None
    model: str
    rates: Rates | None
    valid_until_s: int
    reason: str | None = None

    @property
    def pair(self) -> Pair:
        return self.provider, self.model


class Quotes(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, and the form of the cache file. `price_version` is the version of genai-prices."""

    price_version: str
    quotes: tuple[Quote, ...] = ()
