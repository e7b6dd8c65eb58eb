"""What /health/ready says of a gateway: ready, or why it takes no calls."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.tables.rows import a_row, record_of

from sekisho.app.installation import Installation
from sekisho.ledger.tally import Tally
from sekisho.tables.spool import SpoolWriter

SMALL = 64 * 1024


def running_with(sink: SpoolWriter) -> Installation:
    late: Any = SimpleNamespace(
        running=False, status=lambda: SimpleNamespace(committed_rows=0, last_commit_us=0), lag_s=lambda: 3600.0
    )
    pipeline: Any = SimpleNamespace(tally=Tally())
    nothing: Any = None
    return Installation(nothing, pipeline, late, sink, nothing)


@pytest.mark.parametrize(("sheds_bodies", "status"), [(True, "ok"), (False, "rows_unavailable")])
def test_a_full_spool_says_so_where_calls_are_refused_for_it(tmp_path: Path, sheds_bodies: bool, status: str) -> None:
    writer = SpoolWriter(tmp_path, SMALL, max_bytes=20_000, sheds_bodies=sheds_bodies)
    running = running_with(writer)
    assert running.ready()["status"] == "ok", "a committer that lags takes no traffic away"
    for n in range(100):
        writer.append(record_of(a_row(n)))
    writer.look()
    assert running.ready()["status"] == status
    writer.close()


@pytest.mark.parametrize(("fails_open", "status"), [(True, "ok"), (False, "rows_unavailable")])
def test_a_spool_that_cannot_be_written_says_so_where_calls_are_refused_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_open: bool, status: str
) -> None:
    writer = SpoolWriter(tmp_path, SMALL, fails_open=fails_open)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sekisho.tables.mapped.reserve", full)
    while writer.begin(record_of(a_row(1))):
        pass
    assert running_with(writer).ready()["status"] == status
    writer.close()
