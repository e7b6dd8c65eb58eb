"""Control data as they were a moment ago, read in a thread. Must never make the event loop wait for a database."""

from __future__ import annotations

import threading
import time

from sekisho.stores.control import ControlRecords
from sekisho.stores.ports import ControlSnapshot, KeyRecord, StoreUnavailable

EVERY_S = 1.0
#: within this a revocation is promised to hold; a source that says nothing for longer is away
SILENT_S = 5.0


class PolledSnapshot:
    """A ControlSnapshot in front of one that may block. Answers at once from what it read last.

    While the source is away `version` raises StoreUnavailable, and the rest is what was known: no valid key
    is refused because a database is being restarted.
    """

    def __init__(self, source: ControlSnapshot, every_s: float = EVERY_S, silent_s: float = SILENT_S) -> None:
        self._source = source
        self._every_s = every_s
        self._silent_s = silent_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._error: StoreUnavailable | None = None
        self._known = source.version(), source.all(), source.control()
        self._heard_s = time.monotonic()
        self._thread = threading.Thread(target=self._poll, name="keys", daemon=True)
        self._thread.start()

    def all(self) -> list[KeyRecord]:
        with self._lock:
            return self._known[1]

    def control(self) -> ControlRecords:
        with self._lock:
            return self._known[2]

    def version(self) -> int:
        with self._lock:
            if self._error is not None:
                raise self._error
            silent_s = time.monotonic() - self._heard_s
            if silent_s > self._every_s + self._silent_s:
                raise StoreUnavailable(f"the control database has not answered for {silent_s:.0f} seconds")
            return self._known[0]

    def close(self) -> None:
        """Read no more."""
        self._stop.set()
        self._thread.join()

    def _all(self, version: int) -> tuple[int, list[KeyRecord], ControlRecords]:
        return version, self._source.all(), self._source.control()

    def _poll(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                version = self._source.version()
                known = self._known if version == self._known[0] else self._all(version)
                error = None
            except StoreUnavailable as unavailable:
                known, error = self._known, StoreUnavailable(str(unavailable))
            except Exception as unforeseen:
                # a thread that ended here would leave revoked keys in force, and nobody would hear of it
                known, error = self._known, StoreUnavailable(f"{type(unforeseen).__name__}: {unforeseen}")
            with self._lock:
                self._known, self._error, self._heard_s = known, error, time.monotonic()
