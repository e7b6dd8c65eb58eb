"""The committer as a process: `python -m sekisho.tables committer --data-dir DIR`, one for all spools of a gateway.

Must go on however often the tables fail, and end when the gateway does, leaving no row that could be committed.
"""

from __future__ import annotations

import argparse
import fcntl
import gc
import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from sekisho.tables.all_spools import AllSpools
from sekisho.tables.arrow import pa
from sekisho.tables.committer import Committer
from sekisho.tables.pulse import Beat, beat_at
from sekisho.tables.standard_error import standard_error
from sekisho.tables.status import CommitterStatus, read_status
from sekisho.tables.storage import Cadence, Storage, from_parent

_WAKE_S = 0.2
_LONGEST_BACKOFF_S = 5.0
#: committers that began together, or failed together, do not stay together
_JITTER = 0.2
_DRAIN_ATTEMPTS = 3
_COMPLAIN_EVERY_S = 60.0


def run(
    committer: Committer | AllSpools,
    *,
    stopping: Callable[[], bool],
    wait: Callable[[float], None],
    jitter: Callable[[], float] = random.random,
    beat: Beat = lambda: None,
) -> int:
    """Work until told to stop, then until nothing is left. Exit status: 0, or 1 when rows had to stay in the spool."""
    due_s = backoff_s = 0.0
    complained_s = -_COMPLAIN_EVERY_S
    attempts = 0

    def spread(seconds: float) -> float:
        return seconds * (1 + _JITTER * (jitter() - 0.5))

    while True:
        beat()
        stop = stopping()
        now_s = time.monotonic()
        worked = False
        try:
            if stop or backoff_s or now_s >= due_s or committer.much_waits():
                worked = committer.step()
                backoff_s = 0.0
            if worked:
                due_s, attempts = now_s + spread(committer.cadence.every_s), 0
        except Exception as error:  # the place may be full or away for hours: rows wait in the spool until it is back
            committer.failed(error)
            committer.reopen()
            attempts += 1
            backoff_s = min(max(_WAKE_S, backoff_s * 2), _LONGEST_BACKOFF_S)
            if now_s - complained_s >= _COMPLAIN_EVERY_S:
                complained_s = now_s
                _complain(committer.status)
        if stop and not worked and (not backoff_s or attempts >= _DRAIN_ATTEMPTS):
            return 1 if backoff_s else 0
        if not (worked and (stop or committer.much_waits())):
            wait(spread(backoff_s) if backoff_s else _WAKE_S)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    wait, told = _signals()
    with suppress(OSError):
        os.nice(5)
    # One batch makes and drops some hundred thousand objects without a cycle among them.
    gc.set_threshold(50_000, 20, 20)
    # No use in more threads: this process is meant to take a part of one core.
    pa.set_cpu_count(1)
    # Arrow's own allocator keeps some 40 MB more than malloc for what is used and freed with every batch.
    pa.set_memory_pool(pa.system_memory_pool())
    os.environ.setdefault("TOKIO_WORKER_THREADS", "1")
    spool = options.data_dir / "spool"
    spool.mkdir(parents=True, exist_ok=True)

    def stopping() -> bool:
        return told() or (options.parent is not None and os.getppid() != options.parent)

    beat = beat_at(options.pulse)
    with (spool / "committer.lock").open("w") as lock:
        if not _alone(lock.fileno(), spool, stopping, wait, beat):
            return 0
        storage, cadence = _told_by_parent(options)
        committer = AllSpools(
            options.data_dir,
            cadence,
            lambda spool, tell: Committer(options.data_dir, storage, cadence, spool=spool, tell=tell, beat=beat),
        )
        try:
            return run(committer, stopping=stopping, wait=wait, beat=beat)
        finally:
            committer.stopped()


def _alone(fd: int, spool: Path, stopping: Callable[[], bool], wait: Callable[[float], None], beat: Beat) -> bool:
    """Wait until no other committer has these spools; False when told to stop before. One whose parent was killed may
    still be at its last rows, and one that hangs must not go on beside us when it wakes up."""
    complain_at_s = time.monotonic() + _COMPLAIN_EVERY_S
    while not _locked(fd):
        if stopping():
            return False
        if time.monotonic() >= complain_at_s:
            complain_at_s += _COMPLAIN_EVERY_S
            other = read_status(spool)
            _say("another committer does not end; rows wait in the spool until it does", pid=other and other.pid)
        wait(0.05)
        beat()
    return True


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sekisho.tables committer", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--parent", type=int, help="process id; end when it is no longer the parent")
    parser.add_argument("--pulse", type=int, help="file descriptor of a pipe for signs of life")
    parser.add_argument("--stdin", action="store_true", help="read where the tables are from standard input")
    return parser.parse_args(arguments)


def _told_by_parent(options: argparse.Namespace) -> tuple[Storage, Cadence]:
    """Credentials come this way: a command line and an environment can be read by others."""
    if not options.stdin:
        return Storage.folder(options.data_dir / "tables"), Cadence()
    return from_parent(sys.stdin.buffer.read())


def _signals() -> tuple[Callable[[float], None], Callable[[], bool]]:
    """A wait that SIGTERM ends at once, and whether SIGTERM has come. Ctrl-C is for the parent to pass on."""
    told: list[int] = []
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait(seconds: float) -> None:
        if select.select([reading], [], [], seconds)[0]:
            os.read(reading, 64)

    return wait, lambda: bool(told)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _complain(status: CommitterStatus) -> None:
    _say("commit failed, rows wait in the spool", error=status.last_error, errors=status.errors, pid=status.pid)


def _say(event: str, **facts: object) -> None:
    standard_error().line(json.dumps({"level": "error", "event": event, **facts}))
