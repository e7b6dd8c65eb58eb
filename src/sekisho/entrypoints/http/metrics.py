"""The tallies as Prometheus text. Must never carry a user, key or request id as a label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from sekisho.domain.money import NANOS_PER_USD
from sekisho.ledger.tally import (
    LATENCY_BUCKETS_S,
    OPERATION_BUCKETS_S,
    ByLabel,
    Histogram,
    ModelTally,
    Series,
    Tally,
)
from sekisho.ledger.tally_sums import TallySums, add, by_model

Metric = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
#: name -> (help, value)
Gauges = Callable[[], Mapping[str, tuple[str, float | ByLabel]]]


class TallyCollector(Collector):
    """Reads the tallies when asked; nothing is computed before."""

    def __init__(self, tally: Tally, gauges: Gauges) -> None:
        self._tally = tally
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        # first, because they may find that a row which counts as appended was lost
        gauges = dict(self._gauges())
        models = by_model(self._tally)
        yield from _calls(models)
        yield from _tokens(models)
        yield from _gen_ai(self._tally.models)
        rows = CounterMetricFamily("sekisho_rows", "Rows by what became of them.", labels=["state"])
        for state, count in self._tally.rows.items():
            rows.add_metric([state], count)
        committed = gauges.pop("committed", None)
        if committed is not None and not isinstance(committed[1], ByLabel):
            rows.add_metric(["committed"], committed[1])
        yield rows
        keyed = CounterMetricFamily(
            "sekisho_idempotency", "Calls with an Idempotency-Key by what became of it.", labels=["outcome"]
        )
        for outcome, count in self._tally.idempotency.items():
            keyed.add_metric([outcome], count)
        yield keyed
        yield GaugeMetricFamily("sekisho_calls_in_flight", "Calls that have no row yet.", self._tally.in_flight)
        for name, (text, value) in gauges.items():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            if isinstance(value, ByLabel):
                family = kind(name, text, labels=[value.label])
                for label, number in value.values.items():
                    family.add_metric([label], number)
                yield family
            else:
                yield kind(name, text, value)


def exposition(tally: Tally, gauges: Gauges) -> Callable[[], bytes]:
    """A function that renders /metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(TallyCollector(tally, gauges))
    return lambda: generate_latest(registry)


def rendered(sums: TallySums, gauges: Mapping[str, tuple[str, float | ByLabel]]) -> bytes:
    """/metrics of counts that nobody goes on counting: in a thread, for hundreds of models and thousands of budgets
    take a quarter of a second, at every scrape."""
    tally = Tally()
    add(tally, sums)
    return exposition(tally, lambda: gauges)()


def _calls(models: Mapping[str, ModelTally]) -> Iterator[Metric]:
    requests = CounterMetricFamily("llm_requests", "Calls by model and status sent.", labels=["model", "status"])
    latency = HistogramMetricFamily("llm_latency_seconds", "From request to last byte.", labels=["model"])
    for model, counts in models.items():
        for status, count in counts.statuses.items():
            requests.add_metric([model, str(status)], count)
        _add(latency, [model], counts.latency, LATENCY_BUCKETS_S)
    yield requests
    yield latency


def _tokens(models: Mapping[str, ModelTally]) -> Iterator[Metric]:
    used = CounterMetricFamily(
        "llm_tokens_used", "Tokens by type; the types do not overlap.", labels=["model", "token_type"]
    )
    cost = CounterMetricFamily("llm_cost_dollars", "Cost in USD of all attempts with a known price.", labels=["model"])
    unpriced = CounterMetricFamily("sekisho_unpriced", "Calls whose price is unknown.", labels=["model"])
    for model, counts in models.items():
        tokens = counts.tokens
        for kind, value in (
            ("input", tokens.input),
            ("output", tokens.output),
            ("cache_read", tokens.cache_read),
            ("cache_creation", tokens.cache_write),
            ("reasoning", tokens.reasoning),
        ):
            used.add_metric([model, kind], value)
        cost.add_metric([model], counts.cost_nanos / NANOS_PER_USD)
        unpriced.add_metric([model], counts.unpriced)
    yield used
    yield cost
    yield unpriced


def _gen_ai(models: Mapping[Series, ModelTally]) -> Iterator[Metric]:
    """OpenTelemetry GenAI semantic conventions v1.41, in Prometheus spelling."""
    labels = ["gen_ai_provider_name", "gen_ai_request_model", "gen_ai_operation_name"]
    duration = HistogramMetricFamily("gen_ai_server_request_duration_seconds", "Time of a call.", labels=labels)
    client = HistogramMetricFamily("gen_ai_client_operation_duration_seconds", "Time of a call.", labels=labels)
    first = HistogramMetricFamily("gen_ai_server_time_to_first_token_seconds", "To the first content.", labels=labels)
    usage = HistogramMetricFamily(
        "gen_ai_client_token_usage", "Tokens of a call.", labels=[*labels, "gen_ai_token_type"]
    )
    for (provider, model, operation), counts in models.items():
        values = [provider, model, operation]
        _add(duration, values, counts.latency, OPERATION_BUCKETS_S)
        _add(client, values, counts.latency, OPERATION_BUCKETS_S)
        _add(first, values, counts.first_token)
        _add(usage, [*values, "input"], counts.input_sizes)
        _add(usage, [*values, "output"], counts.output_sizes)
    yield from (duration, client, first, usage)


def _add(
    family: HistogramMetricFamily, labels: list[str], histogram: Histogram, bounds: tuple[float, ...] | None = None
) -> None:
    family.add_metric(labels, histogram.cumulative(bounds), histogram.total)
