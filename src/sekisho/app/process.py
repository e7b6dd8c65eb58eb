"""What a serving process asks of the system and of its interpreter: memory, files. Must work, if less well, where they
do not do it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import logging
import resource

log = logging.getLogger("sekisho.app")

#: parameters of mallopt(3), from glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: files of our own: spool, tables, database, Redis, pipes to the committer
_OWN_FILES = 100
_FEWEST_CONNECTIONS = 16
#: between two lines in the log about files that cannot be opened
_REMIND_S = 60.0


def keep_memory() -> None:
    """Let the C library keep what a large body leaves behind, instead of giving it back and faulting it in again for
    the next one: measured, half the CPU of a 300 KB prompt. glibc only; elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 4 * 1024 * 1024)
        library.mallopt(_M_TRIM_THRESHOLD, 16 * 1024 * 1024)


def settle_memory() -> None:
    """What exists at the start stays: the collector need not look at it again, nor so often at what calls make."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def allow_many_files() -> None:
    """1,000 streams are 2,000 sockets; the usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections() -> int:
    """Connections of clients for which there are files: one more for each call's provider, and those of our own."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = 65_536 if soft == resource.RLIM_INFINITY else soft
    return max(_FEWEST_CONNECTIONS, (files - _OWN_FILES) // 2)


class Housekeeping:
    """What the log says of housekeeping that failed: all of it, unless only a file could not be opened, which may be so
    each second for as long as callers hold that many connections."""

    def __init__(self) -> None:
        self._said_s = float("-inf")

    def failed(self, error: Exception, now_s: float) -> None:
        """To be called where the error is handled; `now_s` by the clock of the loop."""
        if not (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
            log.error("housekeeping failed; it is tried again", exc_info=error)
        elif now_s - self._said_s >= _REMIND_S:
            self._said_s = now_s
            log.warning("housekeeping waits, because no more files can be opened: raise `ulimit -n`: %s", error)
