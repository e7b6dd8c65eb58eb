"""Has the disk hold what the spool wrote: every half second, and at once for calls that wait for it. One thread.

Must never touch the mappings: the serving thread writes them, the kernel writes them out. A file is synced by its own
descriptor here, so that the writer may let go of a finished segment at any time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sekisho.tables.sync import fdatasync, fsync

log = logging.getLogger("sekisho.tables")

#: a power cut may cost rows of level `process` so old at most, and what one sync of the disk takes
EVERY_S = 0.5
Told = Callable[[bool], None]


class Flusher:
    """Syncs the segments of one spool. `failing` while the last attempt failed."""

    def __init__(self, root: Path, *, every_s: float = EVERY_S) -> None:
        self._root = root
        self._every_s = every_s
        self._condition = threading.Condition()
        #: descriptors of segments that may hold something unsynced; the last is the one being written
        self._files: list[int] = []
        self._new_names = True
        self._waiting: list[tuple[asyncio.AbstractEventLoop, Told]] = []
        #: set by the writer for every record: a call would be a tenth of what a record costs
        self.dirty = False
        self._stopping = False
        self.failing = False
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name="spool-flush", daemon=True)
        self._thread.start()

    def segment(self, fd: int) -> None:
        """A segment is begun; its name is new in the folder."""
        with self._condition:
            self._files.append(os.dup(fd))
            self._new_names = True

    def when_durable(self, told: Told) -> None:
        """Tell, on this loop, when all that was written so far is on the disk; False where the disk refuses."""
        with self._condition:
            self._waiting.append((asyncio.get_running_loop(), told))
            self._condition.notify()

    def close(self) -> None:
        """Sync once more and end. Never raises."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()
        for fd in self._files:
            os.close(fd)
        self._files = []

    def _run(self) -> None:
        while True:
            with self._condition:
                if not self._waiting and not self._stopping:
                    self._condition.wait(self._every_s)
                waiting, self._waiting = self._waiting, []
                stopping = self._stopping
            wanted = self.dirty or bool(waiting)
            self.dirty = False
            done = self._sync() if wanted or stopping else True
            if not done:
                self.dirty = True
            for loop, told in waiting:
                with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                    loop.call_soon_threadsafe(told, done)
            if stopping:
                return

    def _sync(self) -> bool:
        with self._condition:
            files, names = list(self._files), self._new_names
            self._new_names = False
        try:
            for fd in files:
                fdatasync(fd)
            if names:
                for folder in (self._root, self._root.parent):
                    fsync(folder)
        except OSError as error:
            self._new_names = True
            self.failures += 1
            if not self.failing:
                self.failing = True
                log.error("the disk does not take the spool", extra={"spool": str(self._root), "error": str(error)})
            return False
        self.failing = False
        with self._condition:
            for fd in files[:-1]:
                os.close(fd)
            self._files = self._files[len(files) - 1 :] if files else self._files
        return True
