"""Warnings about rows that wait too long or are too many, as log lines. Must say it once a minute, no more."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("sekisho.tables")

#: beyond the time after which the committer commits: a minute means that it does not get through
OLDEST_S = 60.0
#: of the room there is: half of it gone in a standstill leaves as long again to mend it
FULL = 0.5
_AGAIN_S = 60.0
_LOOK_EVERY_S = 5.0


class SpoolAlarm:
    """Looks at the spool of a data_dir. `age_s` and `waiting_bytes` are asked every few seconds."""

    def __init__(
        self,
        spool: Path,
        age_s: Callable[[], float],
        waiting_bytes: Callable[[], int],
        *,
        oldest_s: float = OLDEST_S,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool = spool
        self._age_s = age_s
        self._waiting_bytes = waiting_bytes
        self._oldest_s = oldest_s
        self._monotonic_s = monotonic_s
        self._looked_s = float("-inf")
        #: alarm -> when it was last said
        self._said_s: dict[str, float] = {}

    def look(self, quota_bytes: int | None = None) -> None:
        """Warn if there is reason to. The room is what waits and what the disk still has, and at most the quota."""
        now_s = self._monotonic_s()
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        age_s, waiting = self._age_s(), self._waiting_bytes()
        room = waiting + shutil.disk_usage(self._spool).free
        if quota_bytes is not None:
            room = min(room, quota_bytes)
        facts = {"age_s": round(age_s, 1), "bytes": waiting, "quota_bytes": room, "spool": str(self._spool)}
        self._judge("rows wait long for the tables", age_s > self._oldest_s, facts)
        self._judge("rows that wait for the tables fill the spool", waiting > room * FULL, facts)

    def _judge(self, alarm: str, holds: bool, facts: dict[str, float | int | str]) -> None:
        now_s = self._monotonic_s()
        if holds and now_s - self._said_s.get(alarm, float("-inf")) >= _AGAIN_S:
            self._said_s[alarm] = now_s
            log.warning(alarm, extra=facts)
        elif not holds and self._said_s.pop(alarm, None) is not None:
            log.info("over: %s", alarm, extra=facts)
