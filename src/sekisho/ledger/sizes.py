"""How large a call will be: what is reserved for it, and what it can cost at most. Must be cheap, and never too low
where it says "at most"."""

from __future__ import annotations

from bisect import bisect_left, insort

from sekisho.domain.money import Rates

#: reserved as output of a key and model of which little is known
FIRST_GUESS_TOKENS = 1_024
#: outputs after which their own 95th percentile is taken
ENOUGH_OUTPUTS = 20
_REMEMBERED = 64
#: what a model may answer at most where its own limit is not known: that of the largest models in use
#: (OpenAI GPT-5 128,000; Anthropic Claude Sonnet 4 64,000; Google Gemini 2.5 65,536; by their documentation)
MOST_OUTPUT_TOKENS = 128_000
#: what a caller may allow at most: no context window is longer (Meta Llama 4 Scout: 10 million). Clients that mean "no
#: limit" send the largest number they know, and such money fits into no store
LARGEST_OUTPUT_TOKENS = 10_000_000
_PER_RATE = 1_000_000


class OutputSizes:
    """The last outputs of one key and model, and their 95th percentile (nearest rank)."""

    __slots__ = ("_at", "_last", "_sorted", "guess")

    def __init__(self) -> None:
        self._last: list[int] = []
        self._sorted: list[int] = []
        self._at = 0
        #: what the next output is taken to be
        self.guess = FIRST_GUESS_TOKENS

    def observe(self, output_tokens: int) -> None:
        last, ordered = self._last, self._sorted
        if len(last) < _REMEMBERED:
            last.append(output_tokens)
        else:
            at = self._at
            del ordered[bisect_left(ordered, last[at])]
            last[at] = output_tokens
            self._at = at + 1 if at < _REMEMBERED - 1 else 0
        insort(ordered, output_tokens)
        known = len(ordered)
        if known >= ENOUGH_OUTPUTS:
            self.guess = ordered[-(-95 * known // 100) - 1]


class Tariff:
    """One model's rates, ready for reckoning before a call."""

    __slots__ = ("_input", "_most_input", "_most_output", "_output", "_rates", "most_output_tokens")

    def __init__(self, rates: Rates, most_output_tokens: int = MOST_OUTPUT_TOKENS) -> None:
        self._rates = rates if rates.tiers else None
        self._input = rates.input_nanos_per_mtok
        self._output = rates.output_nanos_per_mtok
        self._most_input, self._most_output = _most(rates)
        self.most_output_tokens = most_output_tokens

    def likely_nanos(self, input_tokens: int, output_tokens: int) -> int:
        """What so many tokens cost, nothing of them cached, rounded up."""
        rates = self._rates
        if rates is not None:
            rates = rates.for_input(input_tokens)
            nanos = input_tokens * rates.input_nanos_per_mtok + output_tokens * rates.output_nanos_per_mtok
        else:
            nanos = input_tokens * self._input + output_tokens * self._output
        return -(-nanos // _PER_RATE)

    def most_nanos(self, input_tokens: int, output_tokens: int) -> int:
        """The same at the dearest rates there are for this model: of any tier, service tier and cache write, and of
        sound and pictures."""
        return -(-(input_tokens * self._most_input + output_tokens * self._most_output) // _PER_RATE)


def _most(rates: Rates) -> tuple[int, int]:
    """The dearest input and output rates."""
    inputs = [
        rates.input_nanos_per_mtok,
        rates.cached_input_nanos_per_mtok or 0,
        rates.cache_write_nanos_per_mtok or 0,
        rates.cache_write_1h_nanos_per_mtok or 0,
    ]
    outputs = [rates.output_nanos_per_mtok]
    if (media := rates.media) is not None:
        inputs += [
            media.input_audio_nanos_per_mtok or 0,
            media.input_image_nanos_per_mtok or 0,
            media.cached_audio_nanos_per_mtok or 0,
            media.cached_image_nanos_per_mtok or 0,
        ]
        outputs += [media.output_audio_nanos_per_mtok or 0, media.output_image_nanos_per_mtok or 0]
    for tier in rates.tiers:
        inputs += [
            tier.input_nanos_per_mtok or 0,
            tier.cached_input_nanos_per_mtok or 0,
            tier.cache_write_nanos_per_mtok or 0,
            tier.cache_write_1h_nanos_per_mtok or 0,
        ]
        outputs.append(tier.output_nanos_per_mtok or 0)
    for _, other in rates.service_tiers:
        if other is not None:
            most_input, most_output = _most(other)
            inputs.append(most_input)
            outputs.append(most_output)
    return max(inputs), max(outputs)
