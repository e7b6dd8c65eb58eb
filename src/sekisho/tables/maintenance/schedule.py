"""When maintenance is due, and the child process that does it. Must never wait, except in `stop`.

The child ends with its job. One that is killed, crashes or hangs harms nobody: the tables are whole at every step, and
the next one begins again.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sekisho.tables.maintenance.policy import Plan, Policy, encode
from sekisho.tables.maintenance.state import Run, State, folder_of, read_state

log = logging.getLogger("sekisho.tables")

#: commits that make a light pass worth its start
CROWD = 100
#: after the start of the gateway, before it catches up on a night that it slept through
_GRACE_S = 600.0
#: after a night's job that failed or was killed
_AGAIN = timedelta(hours=1)
_CLOCK_SLIP = timedelta(minutes=5)
#: a clock that goes so far ahead at once is believed so much later: by a wrong one all days would be beyond retention
_LEAP_S = _DOUBT_S = 24 * 3600.0
_LONGEST_S = 6 * 3600.0
_BUSY = 3


def night_is_due(plan: Plan, last: Run | None, now: datetime) -> bool:
    """Whether the last night job began before the newest hour that it was meant for, or failed an hour ago."""
    local = now.astimezone(ZoneInfo(plan.timezone))
    meant = local.replace(hour=plan.hour, minute=0, second=0, microsecond=0, fold=0)
    if meant > local:
        meant -= timedelta(days=1)
    if last is None:
        return True
    began = datetime.fromtimestamp(last.began_us / 1e6, UTC)
    # One of the future tells that the clock was ahead: it is no reason to wait until that day has come.
    if began < meant.astimezone(UTC) or began > now + _CLOCK_SLIP:
        return True
    unfinished = last.ended_us == 0 or last.error is not None
    return unfinished and now - began >= _AGAIN


class Schedule:
    """Starts jobs for a data_dir and the tables in `tables_dir`, by default its folder `tables`, one at a time.
    `commits` counts what the committer has committed so far."""

    def __init__(
        self,
        data_dir: Path,
        commits: Callable[[], int],
        *,
        tables_dir: Path | None = None,
        environ: Mapping[str, str] | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._data_dir = data_dir
        self._tables_dir = tables_dir or data_dir / "tables"
        self._commits = commits
        self._environ = environ
        self._monotonic_s = monotonic_s
        self._now = now
        self._child: subprocess.Popen[bytes] | None = None
        self._job = ""
        self._opened_s = self._began_s = monotonic_s()
        #: of the clock, over what has passed since some moment; and until when the clock is in doubt
        self._ahead_s = now().timestamp() - self._opened_s
        self._doubted_until_s = 0.0
        # An earlier process may have left many small files: the first light pass waits for time alone.
        self._seen = -CROWD if self._tables_dir.is_dir() else 0
        self._state = State()
        self._stamp = 0
        #: jobs started, and those that did not end well
        self.started = self.failed = 0

    def look(self, plan: Plan) -> None:
        """Start what is due. Call it about once a second."""
        self._watch_clock()
        if self._child is not None and not self._ended():
            return
        if plan.enabled and (job := self._due(plan)):
            self._start(job, plan.policy)

    def state(self) -> State:
        """What the last jobs found and did."""
        with suppress(OSError):
            stamp = (folder_of(self._data_dir) / "state.json").stat().st_mtime_ns
            if stamp != self._stamp:
                self._stamp, self._state = stamp, read_state(self._data_dir)
        return self._state

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def stop(self) -> None:
        """End a job in progress: it loses what it has not committed, and nothing else."""
        if self._child is not None:
            with suppress(OSError):
                self._child.kill()
            self._child.wait()
            self._child = None

    def _watch_clock(self) -> None:
        ahead_s = self._now().timestamp() - self._monotonic_s()
        if ahead_s - self._ahead_s > _LEAP_S:
            self._doubted_until_s = self._monotonic_s() + _DOUBT_S
            days = f"by {(ahead_s - self._ahead_s) / 86_400:.1f} days"
            log.warning("the clock was set ahead: nightly maintenance waits a day", extra={"reason": days})
        self._ahead_s = ahead_s

    def _due(self, plan: Plan) -> str | None:
        now_s = self._monotonic_s()
        if now_s - self._began_s < plan.every_s:
            return None
        believed = now_s - self._opened_s >= _GRACE_S and now_s >= self._doubted_until_s
        if believed and night_is_due(plan, self.state().jobs.get("night"), self._now()):
            return "night"
        return "light" if self._commits() - self._seen >= CROWD else None

    def _start(self, job: str, policy: Policy) -> None:
        self._began_s = self._monotonic_s()
        self._seen = self._commits()
        self._job = job
        module = [sys.executable, "-P", "-m", "sekisho.tables", "maintenance", job]
        places = ["--data-dir", str(self._data_dir), "--tables-dir", str(self._tables_dir)]
        options = [*places, "--policy", encode(policy), "--parent", str(os.getpid())]
        try:
            self._child = subprocess.Popen(
                [*module, *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=self._environ,
                start_new_session=True,
            )
            self.started += 1
        except OSError as error:
            self.failed += 1
            log.error("maintenance cannot be started", extra={"error": str(error)})

    def _ended(self) -> bool:
        assert self._child is not None
        code = self._child.poll()
        if code is None:
            if self._monotonic_s() - self._began_s > _LONGEST_S:
                log.error("maintenance takes too long and is ended", extra={"pid": self._child.pid})
                self._child.kill()
            return False
        if code not in (0, _BUSY):
            self.failed += 1
            log.error("maintenance failed", extra={"pid": self._child.pid, "exit_status": code, "reason": self._job})
        self._child = None
        return True
