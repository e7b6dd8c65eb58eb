"""What /metrics says of rows when the sink loses some."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sekisho.app.installation import Installation
from sekisho.ledger.tally import Tally


def test_a_row_the_sink_lost_is_counted_as_failed_and_not_as_appended() -> None:
    tally = Tally()
    sink: Any = SimpleNamespace(failed=0, pending_bytes=lambda: 0)
    committer: Any = SimpleNamespace(committed_rows=7, running=True, lost={}, lag_s=lambda: 0.0)
    pipeline: Any = SimpleNamespace(tally=tally, live_streams=0)
    settings: Any = None
    limits: Any = SimpleNamespace(gauges=dict, state_up=None)
    running = Installation(settings, pipeline, committer, sink, limits)

    tally.rows["appended"], tally.rows["failed"] = 10, 1  # one record could not even be made
    sink.failed = 3
    running.gauges()
    running.gauges()

    assert tally.rows == {"appended": 7, "dropped": 0, "failed": 4}
