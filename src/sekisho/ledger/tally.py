"""Counts for /metrics, kept as plain numbers. Must stay cheap: it runs inside every call."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from sekisho.domain.usage import Usage

#: seconds; the contract's, and finer below
LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
#: seconds; OpenTelemetry GenAI v1.41: gen_ai.client.operation.duration, gen_ai.server.request.duration
OPERATION_BUCKETS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
#: a call's time is counted once, in buckets that serve both families
DURATION_BUCKETS_S = tuple(sorted({*LATENCY_BUCKETS_S, *OPERATION_BUCKETS_S}))
#: OpenTelemetry GenAI v1.41: gen_ai.server.time_to_first_token
FIRST_TOKEN_BUCKETS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
#: OpenTelemetry GenAI v1.41: gen_ai.client.token.usage, powers of four
TOKEN_BUCKETS = tuple(float(4**power) for power in range(14))
_FOLD_EVERY = 2_048
#: what is counted apart: provider, model, operation; two providers may have models of one name
Series = tuple[str, str, str]


class ByLabel(NamedTuple):
    """A gauge with one label: its name, and a number for each of its values."""

    label: str
    values: dict[str, float]


class Histogram:
    """Counts per bucket (not cumulative; the last is +Inf) and their sum.

    `observe` is one append to a list: sorting a thousand values and looking for the bounds in them costs a third of
    looking for each value's bucket.
    """

    __slots__ = ("_counts", "_total", "_waiting", "bounds", "observe")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._waiting: list[float] = []
        self.observe: Callable[[float], None] = self._waiting.append

    def fold(self) -> None:
        """Count what was observed since the last time."""
        waiting = self._waiting
        if not waiting:
            return
        self._total += sum(waiting)
        waiting.sort()
        before = 0
        for n, bound in enumerate(self.bounds):
            upto = bisect_right(waiting, bound, before)
            self._counts[n] += upto - before
            before = upto
        self._counts[-1] += len(waiting) - before
        waiting.clear()

    def add(self, counts: list[int], total: float) -> None:
        """Count what another histogram with the same bounds has counted."""
        self._counts = [one + other for one, other in zip(self.counts, counts, strict=True)]
        self._total += total

    @property
    def counts(self) -> list[int]:
        self.fold()
        return self._counts

    @property
    def total(self) -> float:
        self.fold()
        return self._total

    def cumulative(self, bounds: tuple[float, ...] | None = None) -> list[tuple[str, float]]:
        """Pairs of upper bound as text and count up to it, as Prometheus wants them; of some bounds, or of all."""
        running = 0
        pairs: list[tuple[str, float]] = []
        counts = self.counts
        for bound, count in zip(self.bounds, counts, strict=False):
            running += count
            if bounds is None or bound in bounds:
                pairs.append((repr(bound), float(running)))
        return [*pairs, ("+Inf", float(running + counts[-1]))]


class TokenSums(msgspec.Struct):
    """Tokens by type; the types do not overlap."""

    input: int = 0
    output: int = 0
    reasoning: int = 0
    cache_read: int = 0
    cache_write: int = 0

    def add(self, usages: list[Usage]) -> None:
        for usage in usages:
            inputs, outputs = usage.input_tokens, usage.output_tokens
            if read := usage.cache_read_input_tokens:
                self.cache_read += read
                inputs -= read
            if written := usage.cache_creation_input_tokens:
                self.cache_write += written
                inputs -= written
            if reasoning := usage.reasoning_output_tokens:
                self.reasoning += reasoning
                outputs -= reasoning
            self.input += inputs
            self.output += outputs


class ModelTally:
    """All that is counted of one model of a provider in one operation: a configured target, or `unknown`."""

    __slots__ = (
        "_tokens",
        "_usages",
        "cost_nanos",
        "first_token",
        "input_sizes",
        "latency",
        "observe_usage",
        "output_sizes",
        "statuses",
        "unpriced",
    )

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.latency = Histogram(DURATION_BUCKETS_S)
        self.first_token = Histogram(FIRST_TOKEN_BUCKETS_S)
        self.input_sizes = Histogram(TOKEN_BUCKETS)
        self.output_sizes = Histogram(TOKEN_BUCKETS)
        self.cost_nanos = 0
        self.unpriced = 0
        self._tokens = TokenSums()
        self._usages: list[Usage] = []
        #: the sizes of requests and answers, and tokens by type; counted when somebody asks or when many wait
        self.observe_usage: Callable[[Usage], None] = self._usages.append

    @property
    def tokens(self) -> TokenSums:
        self.fold()
        return self._tokens

    def fold(self) -> None:
        """Count what waits."""
        usages = self._usages
        if usages:
            self._tokens.add(usages)
            for usage in usages:
                self.input_sizes.observe(usage.input_tokens)
                self.output_sizes.observe(usage.output_tokens)
            usages.clear()
        for histogram in (self.latency, self.first_token, self.input_sizes, self.output_sizes):
            histogram.fold()


class Tally:
    """Every count of this process. Reset only by its end, as Prometheus expects of counters."""

    def __init__(self) -> None:
        self._models: dict[Series, ModelTally] = {}
        self._closed = 0
        self.rows: dict[str, int] = {"appended": 0, "dropped": 0, "failed": 0}
        self.in_flight = 0
        self.terminal_states: dict[str, int] = {}
        #: calls with an Idempotency-Key, by what became of the key
        self.idempotency: dict[str, int] = {}

    @property
    def models(self) -> dict[Series, ModelTally]:
        """By series, everything counted."""
        for tally in self._models.values():
            tally.fold()
        return self._models

    def model(self, name: str, provider: str, operation: str) -> ModelTally:
        """HOT. The counts of a model of a provider in an operation."""
        series = provider, name, operation
        tally = self._models.get(series)
        if tally is None:
            tally = self._models[series] = ModelTally()
        return tally

    def closed(self, name: str, provider: str, operation: str) -> ModelTally:
        """HOT. As `model`, for a call that has ended. Now and then what waits is counted, so that it cannot pile up."""
        self.in_flight -= 1
        self._closed += 1
        if not self._closed % _FOLD_EVERY:
            for tally in self._models.values():
                tally.fold()
        return self._models.get((provider, name, operation)) or self.model(name, provider, operation)
