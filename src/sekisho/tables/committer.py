"""Carries rows from the spool into the Delta tables; run as `python -m sekisho.tables committer --data-dir DIR`.

A process of its own beside the serving one. Must never lose a row or write one twice: a table's `txn` says how far it
has come, both tables go on from their own, and a segment is unlinked only when both have all of it. Several may write
to one table, each from spools of its own.
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
from typing import Any

import msgspec

from sekisho.stores.standard_error import standard_error
from sekisho.tables.all_spools import AllSpools
from sekisho.tables.arrow import pa
from sekisho.tables.columns import Batch
from sekisho.tables.delta import DeltaFolder
from sekisho.tables.pulse import Beat, beat_at
from sekisho.tables.segments import SpoolReader
from sekisho.tables.spools import reported
from sekisho.tables.status import CommitterStatus, StatusFile, read_status
from sekisho.tables.storage import Cadence, Storage, from_parent
from sekisho.tables.sync import fsync
from sekisho.tables.waiting import Waiting

_WAKE_S = 0.2
_BATCH_ROWS = 10_000
#: of payload; measured with bodies of 200 KB, the process grows to 210 MB then, and to 250 MB with 32 MiB
_BATCH_BYTES = 12 * 1024 * 1024
_LONGEST_BACKOFF_S = 5.0
#: committers that began together, or failed together, do not stay together
_JITTER = 0.2
_DRAIN_ATTEMPTS = 3
_COMPLAIN_EVERY_S = 60.0


class Committer:
    """The work without the process: open, then step by step. `status` is what the serving process gets to see."""

    def __init__(
        self,
        data_dir: Path,
        storage: Storage | None = None,
        cadence: Cadence | None = None,
        *,
        spool: Path | None = None,
        tell: Callable[[CommitterStatus], None] | None = None,
        beat: Beat = lambda: None,
    ) -> None:
        """Of the spool of one worker, or of the one given; the status is written beside it, or told. `beat` is called
        between any two things that may take long."""
        self.spool = spool or data_dir / "spool"
        self.cadence = cadence or Cadence()
        self.status = CommitterStatus(pid=os.getpid(), started_us=_now_us())
        self._status_file = StatusFile(self.spool) if tell is None else None
        self._tell = tell or self._written
        self._tell(self.status)
        self._beat = beat
        self._storage = storage or Storage.folder(data_dir / "tables")
        self._reader = SpoolReader(self.spool)
        self._waiting = Waiting(self.spool)
        self._tables: tuple[DeltaFolder, DeltaFolder] | None = None
        #: the highest segment whose name is known to be on the disk
        self._named = 0

    def open(self) -> bool:
        """Make or find both tables; False while there is no spool yet. Raises what the disk or delta-rs raises."""
        spool_id = self._reader.spool_id()
        if spool_id is None:
            return False
        usage = DeltaFolder(self._storage, "usage", spool_id)
        log = DeltaFolder(self._storage, "inference_log", spool_id)
        for table in (usage, log):
            self._beat()
            table.open()
        self._tables = usage, log
        self._note(state="running", committed_seq=min(usage.done, log.done))
        return True

    def step(self) -> bool:
        """Commit one batch; False when there was nothing to do. Raises what the disk raises, having lost nothing."""
        if self._tables is None and not self.open():
            self._note(caught_up_us=_now_us())
            return False
        assert self._tables is not None
        began_us = _now_us()
        positions = [table.done for table in self._tables]
        after, ahead = min(positions), max(positions)
        # After a crash between the two commits one table is ahead: until the other has caught up a batch is for that
        # one alone, and ends where they meet.
        batch, last_seq, more = self._collect(after, ahead if ahead > after else None)
        if last_seq > after:
            self._commit(batch, last_seq)
        elif ahead > after:
            self._advance(ahead)
        if not more and ahead == after:
            self._note(caught_up_us=began_us)
        return last_seq > after or ahead > after

    def reopen(self) -> None:
        """Forget what is known of the tables; the next step looks for itself."""
        self._tables = None

    def much_waits(self) -> bool:
        """Whether so much waits that there is no use in waiting for more."""
        return self._waiting.is_enough(self.status.committed_seq, self.cadence)

    def failed(self, error: Exception) -> None:
        told = f"{type(error).__name__}: {self._storage.told(error)}"
        self._note(state="failing", errors=self.status.errors + 1, last_error=told)

    def stopped(self) -> None:
        self._note(state="stopped")
        if self._status_file is not None:
            self._status_file.close()
        self._reader.close()
        self._waiting.close()

    def _collect(self, after: int, upto: int | None) -> tuple[Batch, int, bool]:
        """A bounded batch, the position it reaches, and whether there may be more."""
        batch, size, last_seq = Batch(), 0, after
        for chunk in self._reader.chunks(after, upto):
            batch.add(chunk.payloads)
            last_seq = chunk.last_seq
            size += sum(map(len, chunk.payloads))
            if batch.rows >= _BATCH_ROWS or size >= _BATCH_BYTES:
                return batch, last_seq, True
        return batch, last_seq, False

    def _commit(self, batch: Batch, last_seq: int) -> None:
        assert self._tables is not None
        usage, log = self._tables
        self._name_segment(last_seq >> 32)
        counts = [0, 0]
        if batch.rows:
            # The end of a call that the tables have must not be lost to a power cut while its beginning is not: the
            # next gateway would take the call for one that was in flight, and make a second row of it.
            self._reader.sync(min(usage.done, log.done), last_seq)
            rows, full = batch.table(), batch.full()
            self._beat()
            if usage.done < last_seq:
                usage.append(rows, last_seq)
                counts[0] = rows.num_rows
            self._beat()
            if log.done < last_seq and (wanted := full.true_count):
                log.append(rows if wanted == rows.num_rows else rows.filter(full), last_seq)
                counts[1] = wanted
        before = self.status
        self._note(
            state="running",
            committed_rows=before.committed_rows + counts[0],
            logged_rows=before.logged_rows + counts[1],
            commits=before.commits + 1,
            last_commit_us=_now_us(),
            corrupt=before.corrupt + batch.undecodable + self._reader.corrupt,
            unfit=before.unfit + batch.unfit,
        )
        self._reader.corrupt = 0
        self._advance(last_seq)
        for table in (usage, log):
            self._beat()
            table.checkpoint_if_due()

    def _name_segment(self, number: int) -> None:
        """Have the segment's name on the disk before the tables know its number. If a power cut took the name, the next
        writer would give the number again, and its rows would pass for rows that the tables have."""
        if number > self._named:
            fsync(self.spool)
            self._named = number

    def _advance(self, seq: int) -> None:
        """Both tables have everything up to here, or want none of the rest."""
        for table in self._tables or ():
            table.done = max(table.done, seq)
        # What a worker has not told its supervisor of is counted from here should it die.
        told = reported(self.spool)
        self._reader.trim(seq if told is None else min(seq, told))
        self._note(committed_seq=seq)

    def _note(self, **changes: Any) -> None:
        self.status = msgspec.structs.replace(self.status, **changes)
        self._tell(self.status)

    def _written(self, status: CommitterStatus) -> None:
        assert self._status_file is not None
        self._status_file.write(status)


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


def _now_us() -> int:
    return time.time_ns() // 1000
