"""The parts of a running gateway, as commands, `/admin` and tests see them. Must not open or close anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sekisho.app.limits_and_budgets import LimitsAndBudgets
from sekisho.app.settings.model import Settings
from sekisho.app.upkeep import Upkeep, committer_gauges, committer_state
from sekisho.gateway.pipeline import Pipeline
from sekisho.ledger.refusals import ROWS_UNAVAILABLE
from sekisho.ledger.tally import ByLabel, Tally
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.supervise import Committer

if TYPE_CHECKING:
    from sekisho.entrypoints.http.admin.wiring import Office
    from sekisho.stores.sqlite_pepper import Unmarked


class Installation:
    """The parts of a running gateway that commands and tests may look at."""

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        committer: Committer | None,
        sink: SpoolWriter,
        limits: LimitsAndBudgets,
    ) -> None:
        self.settings = settings
        self.limits = limits
        self.pipeline = pipeline
        #: None in one of several workers: their supervisor has it
        self.committer = committer
        self.sink = sink
        self.tally: Tally = pipeline.tally
        self.upkeep: Upkeep | None = None
        #: since when the counters count; microseconds since 1970, UTC
        self.started_us = time.time_ns() // 1000
        #: nothing is left to settle in the spools of workers, where there were several before
        self.settled = True
        #: the control database answered when it was last asked
        self.database_up = True
        #: the control database, until it is known that its keys are hashed under the pepper here
        self.unmarked: Unmarked | None = None
        self._lost = 0
        #: opens what `/admin` works with
        self.office: Callable[[], Office] | None = None
        #: the server of a separate metrics port
        self.background: asyncio.Task[None] | None = None

    def gauges(self) -> dict[str, tuple[str, float | ByLabel]]:
        self._count_lost()
        return {
            **(self.upkeep.gauges() if self.upkeep is not None else {}),
            **self.limits.gauges(),
            "sekisho_store_up": ("1 while a store answers.", ByLabel("store", self._stores())),
            **(committer_gauges(self.committer) if self.committer is not None else {}),
            "sekisho_spool_bytes": ("Bytes of rows in the spool.", float(self.sink.pending_bytes())),
            "sekisho_live_streams": ("Streams in progress.", float(self.pipeline.live_streams)),
        }

    def _stores(self) -> dict[str, float]:
        """Those that can be away: counters in memory cannot."""
        state = self.limits.state_up
        return {"database": float(self.database_up), **({} if state is None else {"state": float(state)})}

    def _count_lost(self) -> None:
        """A full disk loses a row inside the sink, after the ledger had counted it as appended: say so instead."""
        lost = self.sink.failed - self._lost
        self._lost += lost
        self.tally.rows["appended"] -= lost
        self.tally.rows["failed"] += lost

    def ready(self) -> dict[str, Any]:
        """Not "ok" only where new calls are refused; a late committer is said, but does not take traffic away."""
        return {
            "status": "ok" if self.sink.takes_calls else ROWS_UNAVAILABLE,
            **(committer_state(self.committer) if self.committer is not None else {}),
            "spool_failed": self.sink.failed,
            "started_us": self.started_us,
            "spool": self.sink.spool_id,
        }
