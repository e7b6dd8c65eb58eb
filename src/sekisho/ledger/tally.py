"""Counts for /metrics, kept as plain numbers. Must stay cheap: it runs inside every call."""

from __future__ import annotations

from bisect import bisect_left

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


class Histogram:
    """Counts per bucket (not cumulative; the last is +Inf) and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self, bounds: tuple[float, ...] | None = None) -> list[tuple[str, float]]:
        """Pairs of upper bound as text and count up to it, as Prometheus wants them; of some bounds, or of all."""
        running = 0
        pairs: list[tuple[str, float]] = []
        for bound, count in zip(self.bounds, self.counts, strict=False):
            running += count
            if bounds is None or bound in bounds:
                pairs.append((repr(bound), float(running)))
        return [*pairs, ("+Inf", float(running + self.counts[-1]))]


class ModelTally:
    """All that is counted of one model: a configured target, or `unknown`."""

    __slots__ = (
        "cache_read",
        "cache_write",
        "cost_nanos",
        "first_token",
        "input",
        "input_sizes",
        "latency",
        "operation",
        "output",
        "output_sizes",
        "provider",
        "reasoning",
        "statuses",
        "unpriced",
    )

    def __init__(self, provider: str, operation: str) -> None:
        self.provider = provider
        self.operation = operation
        self.statuses: dict[int, int] = {}
        self.latency = Histogram(DURATION_BUCKETS_S)
        self.first_token = Histogram(FIRST_TOKEN_BUCKETS_S)
        self.input_sizes = Histogram(TOKEN_BUCKETS)
        self.output_sizes = Histogram(TOKEN_BUCKETS)
        self.input = self.output = self.reasoning = self.cache_read = self.cache_write = 0
        self.cost_nanos = 0
        self.unpriced = 0

    def observe_usage(self, usage: Usage) -> None:
        """Token counts by type, disjoint, and the sizes of requests and answers."""
        inputs, outputs = usage.input_tokens, usage.output_tokens
        self.input_sizes.observe(inputs)
        self.output_sizes.observe(outputs)
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


class Tally:
    """Every count of this process. Reset only by its end, as Prometheus expects of counters."""

    def __init__(self) -> None:
        self.models: dict[str, ModelTally] = {}
        self.rows: dict[str, int] = {"appended": 0, "dropped": 0, "failed": 0}
        self.in_flight = 0
        self.terminal_states: dict[str, int] = {}

    def model(self, name: str, provider: str, operation: str) -> ModelTally:
        """The counts of a model; one model answers one operation, the one it is first asked for."""
        tally = self.models.get(name)
        if tally is None:
            tally = self.models[name] = ModelTally(provider, operation)
        return tally
