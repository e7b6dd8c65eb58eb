"""Money as whole nano-dollars (1 USD = 1_000_000_000). Must not use floats: sums have to agree to the last digit."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple, overload

import msgspec

from sekisho.domain.usage import MediaTokens, Usage

NANOS_PER_USD = 1_000_000_000
_TOKENS_PER_RATE = 1_000_000

#: the disjoint kinds of tokens that a cost is broken down by
TOKEN_TYPES = (
    "input",
    "cache_read",
    "cache_write",
    "output",
    "input_audio",
    "input_image",
    "output_audio",
    "output_image",
)


class RateLine(NamedTuple):
    """Rates of text without anything left out, for requests of more than `over_input_tokens`; nano-dollars per million
    tokens."""

    over_input_tokens: int
    input: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    output: int


class ExchangeRate(NamedTuple):
    """Yen for a dollar in billionths, None where it is unknown. It holds from one moment to just before another, in
    microseconds since 1970."""

    usd_jpy_nanos: int | None
    from_us: int
    until_us: int


class MediaRates(msgspec.Struct, frozen=True, kw_only=True):
    """Nano-dollars per million tokens of sound and pictures. None: they cost what text costs in their place.

    A missing cached rate means the cached rate of text, or the fresh rate where that is missing too.
    """

    input_audio_nanos_per_mtok: int | None = None
    input_image_nanos_per_mtok: int | None = None
    cached_audio_nanos_per_mtok: int | None = None
    cached_image_nanos_per_mtok: int | None = None
    output_audio_nanos_per_mtok: int | None = None
    output_image_nanos_per_mtok: int | None = None


_NO_MEDIA = MediaRates()
#: field of MediaTokens -> its field of MediaRates
_MEDIA = (
    ("input_audio_tokens", "input_audio_nanos_per_mtok"),
    ("input_image_tokens", "input_image_nanos_per_mtok"),
    ("cache_read_audio_tokens", "cached_audio_nanos_per_mtok"),
    ("cache_read_image_tokens", "cached_image_nanos_per_mtok"),
    ("output_audio_tokens", "output_audio_nanos_per_mtok"),
    ("output_image_tokens", "output_image_nanos_per_mtok"),
)


class RateTier(msgspec.Struct, frozen=True, kw_only=True):
    """Rates in force above `over_input_tokens`, for the whole request (not for the part above it).

    None means that the rate outside the tier goes on.
    """

    over_input_tokens: int
    input_nanos_per_mtok: int | None = None
    cached_input_nanos_per_mtok: int | None = None
    cache_write_nanos_per_mtok: int | None = None
    cache_write_1h_nanos_per_mtok: int | None = None
    output_nanos_per_mtok: int | None = None


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """What one model costs: nano-dollars per million tokens, so 0.15 USD per million is 150_000_000.

    A missing cached or cache-write rate means that those tokens cost what other input tokens cost; a missing 1-hour
    rate, what other cache writes cost. `source` and `version` stand on every row priced with these rates.
    """

    input_nanos_per_mtok: int
    output_nanos_per_mtok: int
    cached_input_nanos_per_mtok: int | None = None
    cache_write_nanos_per_mtok: int | None = None
    cache_write_1h_nanos_per_mtok: int | None = None
    tiers: tuple[RateTier, ...] = ()
    #: rates by the tier that was served, as `served_tier` names it; None: the price of that tier is unknown
    service_tiers: tuple[tuple[str, Rates | None], ...] = ()
    #: None: sound and pictures cost what text costs
    media: MediaRates | None = None
    source: str = "config"
    version: str = ""

    def for_service_tier(self, tier: str | None, media: MediaTokens | None = None) -> Rates | None:
        """The rates of a service tier. One that is not listed (`default`, `standard`, …) costs the standard rates.

        None: the price is unknown, also that of `media` which have a price of their own in the standard rates alone.
        """
        for name, rates in self.service_tiers:
            if name == tier:
                if media is None or rates is None or self.media is None:
                    return rates
                return None if _lacks(rates.media or _NO_MEDIA, self.media, media) else rates
        return self

    def with_unknown_tiers(self, default: Rates) -> Rates:
        """These rates with `default` for the tiers whose price is unknown, for all that they were asked."""
        if self.media is not None:
            default = msgspec.structs.replace(default, media=_as_text(default))
        tiers = tuple((name, rates or default) for name, rates in self.service_tiers)
        return self if tiers == self.service_tiers else msgspec.structs.replace(self, service_tiers=tiers)

    def lines(self) -> tuple[RateLine, ...]:
        """The rates of text for every size of request, smallest first: the last one that a request is over holds."""
        overs = sorted({tier.over_input_tokens for tier in self.tiers})
        return tuple(self.for_input(over + 1)._line(over) for over in (-1, *overs))

    def _line(self, over: int) -> RateLine:
        full = self.input_nanos_per_mtok
        written = _first(self.cache_write_nanos_per_mtok, full)
        return RateLine(
            over_input_tokens=over,
            input=full,
            cache_read=_first(self.cached_input_nanos_per_mtok, full),
            cache_write=written,
            cache_write_1h=_first(self.cache_write_1h_nanos_per_mtok, written),
            output=self.output_nanos_per_mtok,
        )

    def for_input(self, input_tokens: int) -> Rates:
        """The rates of the size tier that a request with so many input tokens falls into."""
        best: RateTier | None = None
        for tier in self.tiers:
            if input_tokens > tier.over_input_tokens and (
                best is None or tier.over_input_tokens > best.over_input_tokens
            ):
                best = tier
        if best is None:
            return self
        return Rates(
            input_nanos_per_mtok=_first(best.input_nanos_per_mtok, self.input_nanos_per_mtok),
            output_nanos_per_mtok=_first(best.output_nanos_per_mtok, self.output_nanos_per_mtok),
            cached_input_nanos_per_mtok=_first(best.cached_input_nanos_per_mtok, self.cached_input_nanos_per_mtok),
            cache_write_nanos_per_mtok=_first(best.cache_write_nanos_per_mtok, self.cache_write_nanos_per_mtok),
            cache_write_1h_nanos_per_mtok=_first(
                best.cache_write_1h_nanos_per_mtok, self.cache_write_1h_nanos_per_mtok
            ),
            media=self.media,
            source=self.source,
            version=self.version,
        )


def served_tier(service_tier: str | None, *, processing: str | None = None, speed: str | None = None) -> str | None:
    """The name under which `Rates.service_tiers` holds what a provider says it served.

    `service_tier` is the field of that name in OpenAI's, Groq's and Anthropic's answers and Gemini's `serviceTier`;
    `processing` is `batch` for an answer out of a batch file, which no field of the answer says at OpenAI and Google;
    `speed` is Anthropic's. A batch is a batch in whatever tier it ran.
    """
    if processing == "batch":
        return "batch"
    if speed == "fast":
        return "fast"
    return None if service_tier is None else service_tier.lower()


def cost_nanos(usage: Usage, rates: Rates) -> int:
    """Nano-dollars of one attempt, rounded half-even once; never negative.

    input_tokens includes cached tokens and output_tokens includes reasoning tokens (see `Usage`), so the parts
    are subtracted before they are priced at their own rate. Counts that contradict each other (more cached tokens
    than input tokens, negative ones) are cut to what is possible.
    """
    inputs = usage.input_tokens
    outputs = usage.output_tokens
    if rates.tiers:
        rates = rates.for_input(inputs)
    if (
        usage.cache_read_input_tokens
        or usage.cache_creation_input_tokens
        or usage.media is not None
        or inputs < 0
        or outputs < 0
    ):
        total = sum(_priced(usage, rates))
    else:
        total = inputs * rates.input_nanos_per_mtok + outputs * rates.output_nanos_per_mtok
    quotient, rest = divmod(total, _TOKENS_PER_RATE)
    return quotient if rest * 2 < _TOKENS_PER_RATE else _rounded(total)


def cost_breakdown(usage: Usage, rates: Rates) -> dict[str, int]:
    """Nano-dollars by disjoint token type; the values sum to `cost_nanos` exactly.

    `input` (read afresh) and `output` are always there, `cache_read` and `cache_write` when there are such tokens,
    those of sound and pictures when they cost anything. Each value is the exact cost rounded down, and the nano-dollars
    that are then missing go one each to the types with the largest remainders (Hamilton's method; on a tie in the order
    of `TOKEN_TYPES`), so none is off by a whole nano-dollar.
    """
    exact = _priced(usage, rates.for_input(usage.input_tokens))
    parts = [part // _TOKENS_PER_RATE for part in exact]
    if missing := _rounded(sum(exact)) - sum(parts):
        rests = [part % _TOKENS_PER_RATE for part in exact]
        for _ in range(missing):
            largest = rests.index(max(rests))
            parts[largest] += 1
            rests[largest] = -1
    used = {"input", "output"}
    if usage.cache_read_input_tokens > 0:
        used.add("cache_read")
    if usage.cache_creation_input_tokens > 0:
        used.add("cache_write")
    return {name: part for name, part in zip(TOKEN_TYPES, parts, strict=True) if part or name in used}


def usd_to_nanos(amount: Decimal | str | float) -> int:
    """Whole nano-dollars, half-even; a float is read by its shortest decimal form."""
    value = amount if isinstance(amount, Decimal) else Decimal(str(amount))
    return int((value * NANOS_PER_USD).to_integral_value(ROUND_HALF_EVEN))


def format_usd(nanos: int) -> str:
    """`1500` -> `0.0000015`: plain decimal, no exponent, no trailing zeros."""
    if 0 < nanos < NANOS_PER_USD:  # nearly every call
        return "0." + f"{nanos:09d}".rstrip("0")
    sign = "-" if nanos < 0 else ""
    whole, part = divmod(abs(nanos), NANOS_PER_USD)
    if not part:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{part:09d}".rstrip("0")


def _lacks(special: MediaRates, standard: MediaRates, media: MediaTokens) -> bool:
    """Something that was used has a rate among the standard ones and none here."""
    return any(
        getattr(media, tokens) > 0 and getattr(special, rate) is None and getattr(standard, rate) is not None
        for tokens, rate in _MEDIA
    )


def _as_text(rates: Rates) -> MediaRates:
    """Sound and pictures at the rates of text, said in so many words."""
    cached = _first(rates.cached_input_nanos_per_mtok, rates.input_nanos_per_mtok)
    return MediaRates(
        input_audio_nanos_per_mtok=rates.input_nanos_per_mtok,
        input_image_nanos_per_mtok=rates.input_nanos_per_mtok,
        cached_audio_nanos_per_mtok=cached,
        cached_image_nanos_per_mtok=cached,
        output_audio_nanos_per_mtok=rates.output_nanos_per_mtok,
        output_image_nanos_per_mtok=rates.output_nanos_per_mtok,
    )


_Priced = tuple[int, int, int, int, int, int, int, int]


def _priced(usage: Usage, rates: Rates) -> _Priced:
    """Tokens times rate by TOKEN_TYPES, in millionths of a nano-dollar. `rates` are those of the size tier.

    Comparisons instead of min() and max(): this runs for every call that hits a provider's cache.
    """
    inputs = max(0, usage.input_tokens)
    outputs = max(0, usage.output_tokens)
    full = rates.input_nanos_per_mtok
    fresh = inputs
    read = write_cost = 0
    if (read := usage.cache_read_input_tokens) > 0:
        read = min(fresh, read)
        fresh -= read
    else:
        read = 0
    if (write := usage.cache_creation_input_tokens) > 0:
        write = min(fresh, write)
        fresh -= write
        write_cost = _write_cost(write, usage.cache_creation_1h_input_tokens, rates)
    if usage.media is not None and rates.media is not None:
        return _with_media(fresh, read, write_cost, outputs, usage.media, rates, rates.media)
    read_cost = read * _first(rates.cached_input_nanos_per_mtok, full) if read else 0
    return fresh * full, read_cost, write_cost, outputs * rates.output_nanos_per_mtok, 0, 0, 0, 0


def _with_media(
    fresh: int, read: int, write_cost: int, outputs: int, media: MediaTokens, rates: Rates, special: MediaRates
) -> _Priced:
    """Sound and pictures at their own rates. What of them was read from the cache is a part of `cache_read`."""
    full, written = rates.input_nanos_per_mtok, rates.output_nanos_per_mtok
    cached = rates.cached_input_nanos_per_mtok
    audio_rate = _first(special.input_audio_nanos_per_mtok, full)
    image_rate = _first(special.input_image_nanos_per_mtok, full)
    cached_audio = _within(media.cache_read_audio_tokens, read, media.input_audio_tokens)
    cached_image = _within(media.cache_read_image_tokens, read - cached_audio, media.input_image_tokens)
    audio = _within(media.input_audio_tokens - cached_audio, fresh)
    image = _within(media.input_image_tokens - cached_image, fresh - audio)
    spoken = _within(media.output_audio_tokens, outputs)
    drawn = _within(media.output_image_tokens, outputs - spoken)
    read_cost = (
        (read - cached_audio - cached_image) * _first(cached, full)
        + cached_audio * _first(special.cached_audio_nanos_per_mtok, _first(cached, audio_rate))
        + cached_image * _first(special.cached_image_nanos_per_mtok, _first(cached, image_rate))
    )
    return (
        (fresh - audio - image) * full,
        read_cost,
        write_cost,
        (outputs - spoken - drawn) * written,
        audio * audio_rate,
        image * image_rate,
        spoken * _first(special.output_audio_nanos_per_mtok, written),
        drawn * _first(special.output_image_nanos_per_mtok, written),
    )


def _within(count: int, *bounds: int) -> int:
    return max(0, min(count, *bounds))


def _write_cost(tokens: int, tokens_1h: int, rates: Rates) -> int:
    tokens_1h = min(max(tokens_1h, 0), tokens)
    rate = _first(rates.cache_write_nanos_per_mtok, rates.input_nanos_per_mtok)
    return (tokens - tokens_1h) * rate + tokens_1h * _first(rates.cache_write_1h_nanos_per_mtok, rate)


def _rounded(total: int) -> int:
    """Millionths of a nano-dollar to whole ones, half-even."""
    quotient, rest = divmod(total, _TOKENS_PER_RATE)
    if rest * 2 > _TOKENS_PER_RATE or (rest * 2 == _TOKENS_PER_RATE and quotient & 1):
        quotient += 1
    return quotient


@overload
def _first(value: int | None, other: int) -> int: ...
@overload
def _first(value: int | None, other: int | None) -> int | None: ...
def _first(value: int | None, other: int | None) -> int | None:
    return other if value is None else value
