"""Lines on stderr that never wait for whoever reads them: a log that nobody reads must not stop what is logged about.

A pipe or a socket has room for some 64 KB; what does not fit is lost, and the next line that does says how many were.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import stat
import sys
from collections.abc import Callable

Write = Callable[[bytes], int]


class StandardError:
    """For one process: give it whole lines. `lost` counts those that found no room since the last one that did."""

    def __init__(self, fd: int = 2) -> None:
        self.lost = 0
        self._torn = False
        self._write, self.close = _writer(fd)

    def line(self, text: str) -> bool:
        """Whether it was written. Never raises: whoever read may be gone, and the disk may be full."""
        data = (b"\n" if self._torn else b"") + text.encode(errors="backslashreplace") + b"\n"
        try:
            written = self._write(data)
        except (OSError, ValueError):
            self.lost += 1
            return False
        self._torn = written < len(data)
        self.lost = self.lost + 1 if self._torn else 0
        return not self._torn


@functools.cache
def standard_error() -> StandardError:
    """That of this process."""
    return StandardError()


def _writer(fd: int) -> tuple[Write, Callable[[], None]]:
    """What writes, and what ends it. Not to wait is asked for apart from `fd` itself, whose flags are shared with all
    who have it open."""
    with contextlib.suppress(OSError):
        kind = os.fstat(fd).st_mode
        if stat.S_ISFIFO(kind):
            own = os.open(f"/dev/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            return functools.partial(os.write, own), functools.partial(os.close, own)
        if stat.S_ISSOCK(kind):
            sock = socket.socket(fileno=os.dup(fd))
            return lambda data: sock.send(data, socket.MSG_DONTWAIT), sock.close
    return _through_python, lambda: None


def _through_python(data: bytes) -> int:
    # None where the process was started without one.
    if sys.stderr is not None:
        sys.stderr.write(data.decode())
        sys.stderr.flush()
    return len(data)


def open_standard_streams() -> None:
    """Let closed standard streams lead nowhere. Else the next files that are opened, those of the spool and of the
    database, take their numbers, and what a library prints is written into them."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:  # which nobody expects who flushes it
            setattr(sys, name, os.fdopen(fd, mode, encoding="utf-8", closefd=False))
