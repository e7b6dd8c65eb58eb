"""The states of several workers as one: what /metrics and /health/ready of any of them show. Must be pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sekisho.app.workers.line import Gauge, Gauges, State, plain
from sekisho.ledger.tally import Tally
from sekisho.ledger.tally_sums import add, sums_of

#: gauges of which each worker has a part; of any other all workers show the same thing, and the largest is the newest
SUMMED = frozenset({"sekisho_spool_bytes", "sekisho_live_streams"})
#: gauges of what every worker sees for itself: one that sees it missing is enough
LEAST = frozenset({"sekisho_store_up"})


def together(states: Sequence[State], dead: Tally, dead_failed: int, *, gauges: Gauges, ready: dict[str, Any]) -> State:
    """One state of these, that of the worker that was asked first, and what workers that are gone had counted. `gauges`
    and `ready` are known once for all, and come before what workers say."""
    tally = Tally()
    add(tally, sums_of(dead))
    merged: dict[str, Gauge] = {}
    for state in states:
        add(tally, state.tally)
        for name, gauge in state.gauges.items():
            merged[name] = gauge if name not in merged else _merged(name, merged[name], gauge)
    own = dict(states[0].ready) if states else {}
    if any(state.ready.get("status") == "ok" for state in states):
        # Nobody can choose a worker: what the others still take is not to be lost because one has no room.
        own["status"] = "ok"
    failed = dead_failed + sum(int(state.ready.get("spool_failed", 0)) for state in states)
    return State(
        seq=0,
        tally=sums_of(tally),
        gauges={**merged, **plain(gauges)},
        ready={**own, **ready, "spool_failed": failed},
    )


def _merged(name: str, one: Gauge, other: Gauge) -> Gauge:
    if name in SUMMED:
        values = {label: one.values.get(label, 0) + other.values.get(label, 0) for label in one.values | other.values}
        return Gauge(one.help, one.value + other.value, one.label, values)
    choose = min if name in LEAST else max
    values = {label: choose(both) for label in one.values | other.values if (both := _both(label, one, other))}
    return Gauge(one.help, choose(one.value, other.value), one.label, values)


def _both(label: str, one: Gauge, other: Gauge) -> list[float]:
    return [gauge.values[label] for gauge in (one, other) if label in gauge.values]
