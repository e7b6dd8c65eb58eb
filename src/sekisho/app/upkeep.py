"""What the serving process does for its tables once a second: start maintenance, watch the spool. Must never wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from sekisho.app.alarms import OLDEST_S, SpoolAlarm
from sekisho.ledger.tally import ByLabel
from sekisho.tables.maintenance.policy import Plan
from sekisho.tables.maintenance.schedule import Schedule
from sekisho.tables.maintenance.state import State
from sekisho.tables.storage import Cadence, Storage
from sekisho.tables.supervise import Committer

#: committers spread themselves by a tenth of their time
_SPREAD = 1.1


class Spool(Protocol):
    """What is asked of a spool, or of those of all workers together."""

    @property
    def root(self) -> Path: ...

    @property
    def max_bytes(self) -> int | None: ...

    def pending_bytes(self) -> int: ...


class Upkeep:
    """The schedule of maintenance and the alarms about the spool, for one data_dir."""

    def __init__(self, data_dir: Path, storage: Storage, cadence: Cadence, sink: Spool, committer: Committer) -> None:
        self.schedule = Schedule(data_dir, lambda: committer.status().commits, tables_dir=storage.path)
        #: a bucket is not: all of maintenance is about files of this machine
        self._maintained = storage.path is not None
        self._quota_bytes = sink.max_bytes
        self._alarm = SpoolAlarm(
            sink.root, committer.lag_s, sink.pending_bytes, oldest_s=OLDEST_S + _SPREAD * cadence.every_s
        )

    def look(self, plan: Plan) -> None:
        """Call it about once a second. Raises OSError when the disk cannot be asked."""
        if self._maintained:
            self.schedule.look(plan)
        self._alarm.look(self._quota_bytes)

    def gauges(self) -> dict[str, tuple[str, ByLabel]]:
        state = self.schedule.state() if self._maintained else State()
        ended = {job: run.well_us / 1e6 for job, run in state.jobs.items() if run.well_us}
        files = {name: float(size.files) for name, size in state.tables.items()}
        sizes = {name: float(size.bytes) for name, size in state.tables.items()}
        return {
            "sekisho_table_files": ("Files of a table after the last maintenance.", ByLabel("table", files)),
            "sekisho_table_bytes": ("Bytes of a table after the last maintenance.", ByLabel("table", sizes)),
            "sekisho_maintenance_last_success_timestamp_seconds": (
                "When a maintenance job last ended well, seconds since 1970.",
                ByLabel("job", ended),
            ),
        }

    def stop(self) -> None:
        """End a job in progress; it loses nothing."""
        self.schedule.stop()


def committer_gauges(committer: Committer) -> dict[str, tuple[str, float | ByLabel]]:
    """For /metrics."""
    return {
        "committed": ("", float(committer.committed_rows)),
        "sekisho_spool_oldest_seconds": ("Age of the oldest row that is not in Delta yet.", committer.lag_s()),
        "sekisho_committer_up": ("1 while the committer process runs.", float(committer.running)),
        "sekisho_committer_restarts_total": (
            "Committer processes that were replaced.",
            ByLabel("reason", {reason: float(count) for reason, count in committer.lost.items()}),
        ),
    }


def committer_state(committer: Committer) -> dict[str, Any]:
    """For /health/ready."""
    status = committer.status()
    return {
        "committer": "running" if committer.running else "restarting",
        "committed_rows": status.committed_rows,
        "last_commit_us": status.last_commit_us,
    }
