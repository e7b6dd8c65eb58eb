"""Signs of life from the committer to the process that started it, over a pipe: they come whatever the disks do.
Neither end may ever wait.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

_READ = 1 << 16
#: of the time between two looks: whoever looks may have been stopped itself, together with the committer
_MOST_AT_ONCE_S = 5.0

Beat = Callable[[], None]


class Pulse:
    """The end of the process that listens; one child after the other has the other end."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._reading = -1
        self._looked_s = self._silent_s = 0.0

    def other_end(self) -> int:
        """For the next child: it has to inherit it, and we have to close it. Raises OSError."""
        self.close()
        self._reading, writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(writing, False)
        self._looked_s, self._silent_s = self._monotonic_s(), 0.0
        return writing

    def silent_s(self) -> float:
        """Seconds since the last sign of life, of those in which somebody looked; look every second or so."""
        now_s = self._monotonic_s()
        self._silent_s += min(now_s - self._looked_s, _MOST_AT_ONCE_S)
        self._looked_s = now_s
        with suppress(OSError):
            while os.read(self._reading, _READ):
                self._silent_s = 0.0
        return self._silent_s

    def close(self) -> None:
        if self._reading >= 0:
            os.close(self._reading)
            self._reading = -1


def beat_at(fd: int | None) -> Beat:
    """What a child calls again and again; nothing comes of it where nobody listens."""

    def beat() -> None:
        if fd is not None:
            with suppress(OSError):
                os.write(fd, b".")

    return beat
