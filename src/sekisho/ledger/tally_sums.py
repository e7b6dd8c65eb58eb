"""Tallies of several processes as one, and those of one name: written down to be sent, and added up. Must lose no count
on the way.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from sekisho.ledger.tally import Histogram, ModelTally, Series, Tally, TokenSums

Key = TypeVar("Key")
#: histograms of a model, by their names in ModelTally
_HISTOGRAMS = ("latency", "first_token", "input_sizes", "output_sizes")


class ModelSums(msgspec.Struct, kw_only=True):
    """All that one process has counted of a model. Histograms are counts per bucket and a sum."""

    statuses: dict[int, int]
    cost_nanos: int
    unpriced: int
    tokens: TokenSums
    histograms: dict[str, tuple[list[int], float]]


class TallySums(msgspec.Struct, kw_only=True):
    """All that one process has counted."""

    models: dict[Series, ModelSums]
    rows: dict[str, int]
    terminal_states: dict[str, int]
    idempotency: dict[str, int]
    in_flight: int


def sums_of(tally: Tally) -> TallySums:
    """A tally as it is now."""
    return TallySums(
        models={series: _model_sums(model) for series, model in tally.models.items()},
        rows=dict(tally.rows),
        terminal_states=dict(tally.terminal_states),
        idempotency=dict(tally.idempotency),
        in_flight=tally.in_flight,
    )


def add(tally: Tally, sums: TallySums) -> None:
    """Count what another process has counted."""
    for (provider, name, operation), other in sums.models.items():
        _add(tally.model(name, provider, operation), other)
    _merge(tally.rows, sums.rows)
    _merge(tally.terminal_states, sums.terminal_states)
    _merge(tally.idempotency, sums.idempotency)
    tally.in_flight += sums.in_flight


def by_model(tally: Tally) -> dict[str, ModelTally]:
    """What is counted by the name of the model alone, whoever provides it and for whatever operation."""
    named: dict[str, list[ModelTally]] = {}
    for (_, name, _), model in tally.models.items():
        named.setdefault(name, []).append(model)
    return {name: models[0] if len(models) == 1 else _together(models) for name, models in named.items()}


def _together(models: list[ModelTally]) -> ModelTally:
    total = ModelTally()
    for model in models:
        _add(total, _model_sums(model))
    return total


def _model_sums(model: ModelTally) -> ModelSums:
    return ModelSums(
        statuses=dict(model.statuses),
        cost_nanos=model.cost_nanos,
        unpriced=model.unpriced,
        tokens=msgspec.structs.replace(model.tokens),
        histograms={one: _counted(getattr(model, one)) for one in _HISTOGRAMS},
    )


def _add(model: ModelTally, other: ModelSums) -> None:
    _merge(model.statuses, other.statuses)
    model.cost_nanos += other.cost_nanos
    model.unpriced += other.unpriced
    tokens = model.tokens
    for kind in TokenSums.__struct_fields__:
        setattr(tokens, kind, getattr(tokens, kind) + getattr(other.tokens, kind))
    for one, (counts, total) in other.histograms.items():
        histogram: Histogram = getattr(model, one)
        histogram.add(counts, total)


def _counted(histogram: Histogram) -> tuple[list[int], float]:
    return list(histogram.counts), histogram.total


def _merge(counts: dict[Key, int], others: dict[Key, int]) -> None:
    for key, count in others.items():
        counts[key] = counts.get(key, 0) + count
