"""The serving process's handle on its committer. Must never wait, except in `stop`.

The child is started with the interpreter that runs us and no shell. It ends by itself when this process dies.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from sekisho.tables.pulse import Pulse
from sekisho.tables.segments import SpoolReader
from sekisho.tables.spools import name_in, spool_of, spool_roots
from sekisho.tables.status import CommitterStatus, read_status
from sekisho.tables.storage import Cadence, Storage, to_child

log = logging.getLogger("sekisho.tables")

_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.5, 30.0
#: alive for so long, a child's death is not held against the next one
_HEALTHY_S = 60.0
_POLL_S = 0.02
#: without a sign of life for so long, a child hangs: far more than a request to a slow bucket takes
HANGS_S = 180.0
#: until a child that was killed is gone; only one that the kernel itself holds, waiting for a disk, takes longer
_KILLED_S = 5.0
#: exit status of a child whose disk fails
_GAVE_UP = 1
_NEVER = CommitterStatus(pid=0, state="not started")


class Committer:
    """Keeps one committer running for a data_dir.

    `last_seq` gives the sequence number of the last row stored, so that an empty spool is known to be empty; with
    several workers `last_seqs` gives those of their spools, by folder.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        last_seq: Callable[[], int] | None = None,
        last_seqs: Callable[[], Mapping[str, int]] | None = None,
        storage: Storage | None = None,
        cadence: Cadence | None = None,
        environ: Mapping[str, str] | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        hangs_s: float = HANGS_S,
    ) -> None:
        self.data_dir = data_dir
        self.restarts = 0
        #: children that are gone, by why
        self.lost = {"died": 0, "hung": 0}
        self._spool = spool_of(data_dir)
        self._last_seq = last_seq
        self._last_seqs = last_seqs
        self._environ = environ
        self._storage = storage or Storage.folder(data_dir / "tables")
        self._cadence = cadence or Cadence()
        self._monotonic_s = monotonic_s
        self._hangs_s = hangs_s
        self._child: subprocess.Popen[bytes] | None = None
        self._pulse = Pulse(monotonic_s)
        #: the child hung and was killed
        self._hung = False
        self._started_s = 0.0
        self._backoff_s = 0.0
        self._retry_at_s = 0.0
        self._wanted = False
        self._seen = _NEVER
        #: what children that are gone had done
        self._before = _NEVER

    def start(self) -> None:
        """Start the child. Raises OSError when there is no starting it."""
        self._wanted = True
        self._spawn()

    def poll(self) -> bool:
        """Whether the child is alive; one that hangs is killed, and one that died is started again, later each time.
        Call it every second or so."""
        if self._child is None or not self._wanted:
            return False
        if self._child.poll() is None:
            return self._is_well(self._child)
        now_s = self._monotonic_s()
        if self._retry_at_s == 0.0:
            self._bury(now_s)
        if now_s < self._retry_at_s:
            return False
        self.restarts += 1
        try:
            self._spawn()
        except OSError as error:
            log.error("committer cannot be started", extra={"error": str(error)})
            self._retry_at_s = now_s + _LONGEST_BACKOFF_S
            return False
        return True

    def _is_well(self, child: subprocess.Popen[bytes]) -> bool:
        """Kills a child that hangs. No other begins before this one is gone: what it does until then, none does beside
        it, and what it has committed by then the next one sees."""
        silent_s = self._pulse.silent_s()
        if silent_s < self._hangs_s or self._hung:
            return not self._hung
        self._hung = True
        log.error(
            "committer hangs and is killed; rows wait in the spool until another takes its place",
            extra={"pid": child.pid, "age_s": round(silent_s)},
        )
        child.kill()
        return False

    def status(self) -> CommitterStatus:
        """How far the committer is, counted over all children since `start`; a child that was killed between a commit
        and its note may leave that one batch uncounted here, never in the tables."""
        child = self._child
        # What a buried child has left in the file is counted already.
        if child is not None and self._retry_at_s == 0.0:
            read = read_status(self._spool)
            if read is not None and read.pid == child.pid:
                # With a spool that is new nobody has caught up yet, but all its rows came later.
                caught_up_us = read.caught_up_us or self._seen.caught_up_us
                self._seen = msgspec.structs.replace(read, caught_up_us=caught_up_us)
        seen, before = self._seen, self._before
        return msgspec.structs.replace(
            seen,
            # A child that has not caught up yet takes nothing from the age of what its predecessors left.
            started_us=before.started_us or seen.started_us,
            caught_up_us=seen.caught_up_us or before.caught_up_us,
            committed_rows=seen.committed_rows + before.committed_rows,
            logged_rows=seen.logged_rows + before.logged_rows,
            commits=seen.commits + before.commits,
            errors=seen.errors + before.errors,
            corrupt=seen.corrupt + before.corrupt,
            unfit=seen.unfit + before.unfit,
        )

    @property
    def running(self) -> bool:
        """Whether the child is alive, as far as the last `poll` knows."""
        return self._child is not None and self._child.returncode is None and not self._hung

    @property
    def committed_rows(self) -> int:
        return self.status().committed_rows

    def lag_s(self) -> float:
        """Upper bound of the age of the oldest row that is not committed; 0 when every row is."""
        status = self.status()
        # Until all was in once, rows of an earlier gateway may wait, and of those nobody here has a number.
        if status.caught_up_us and self._has_all(status):
            return 0.0
        since_us = status.caught_up_us or status.started_us
        return max(0.0, time.time() - since_us / 1e6) if since_us else 0.0

    def _has_all(self, status: CommitterStatus) -> bool:
        """Whether the tables are known to have all rows that this gateway has stored."""
        if self._last_seq is not None and status.committed_seq >= self._last_seq():
            return True
        last_seqs = None if self._last_seqs is None else self._last_seqs()
        return last_seqs is not None and all(status.seqs.get(name, 0) >= seq for name, seq in last_seqs.items())

    def stop(self, timeout_s: float) -> bool:
        """Have everything committed and the child end; True when it did. Other rows stay in the spool for the next
        start. Nothing may be appended any more."""
        self._wanted = False
        deadline_s = time.monotonic() + timeout_s
        while self._child is not None:
            code = self._end(self._child, deadline_s)
            if code == _GAVE_UP or time.monotonic() >= deadline_s or self._is_done():
                break
            # It died, or was told to end before us (a service manager signals the whole group): once more.
            self._successor()
        done = self._is_done()
        self._child = None
        self._pulse.close()
        return done

    def _end(self, child: subprocess.Popen[bytes], deadline_s: float) -> int:
        # Before its first status a child does not know SIGTERM yet, and would die of it instead of draining.
        while child.poll() is None and self.status().pid != child.pid and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
        child.terminate()
        try:
            return child.wait(max(_POLL_S, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            log.warning("committer did not end in time; the rest stays in the spool")
        try:
            return child.wait(_KILLED_S)
        except subprocess.TimeoutExpired:
            return _GAVE_UP

    def _is_done(self) -> bool:
        """Whether no row is left in any spool."""
        status = self.status()
        for root in spool_roots(self.data_dir):
            name = name_in(self.data_dir, root)
            reader = SpoolReader(root)
            try:
                if next(reader.chunks(status.seqs.get(name, 0) if name else status.committed_seq), None) is not None:
                    return False
            finally:
                reader.close()
        return True

    def _successor(self) -> None:
        if self._retry_at_s == 0.0:
            self._bury(self._monotonic_s())
        try:
            self._spawn()
        except OSError as error:
            log.error("committer cannot be started", extra={"error": str(error)})
            self._child = None

    def _command(self, pulse: int) -> Sequence[str]:
        # -P: a file of the working directory must not pass for one of our modules.
        module = [sys.executable, "-P", "-m", "sekisho.tables", "committer"]
        return [
            *module,
            "--data-dir",
            str(self.data_dir),
            "--parent",
            str(os.getpid()),
            "--stdin",
            "--pulse",
            str(pulse),
        ]

    def _spawn(self) -> None:
        # A session of its own: Ctrl-C in the terminal is for us, and we pass it on when the last row is stored.
        pulse = self._pulse.other_end()
        try:
            self._child = subprocess.Popen(
                self._command(pulse),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=self._environ,
                start_new_session=True,
                pass_fds=[pulse],
            )
        finally:
            os.close(pulse)
        self._hung = False
        assert self._child.stdin is not None
        # A message this small fits into the pipe, so this never waits.
        with suppress(OSError), self._child.stdin as pipe:
            pipe.write(to_child(self._storage, self._cadence))
        self._started_s = self._monotonic_s()
        self._retry_at_s = 0.0

    def _bury(self, now_s: float) -> None:
        """Note what a dead child had done, and when to start the next."""
        child = self._child
        assert child is not None
        total = self.status()
        self._before, self._seen = (
            total,
            msgspec.structs.replace(
                _NEVER,
                committed_seq=total.committed_seq,
                seqs=total.seqs,
                caught_up_us=total.caught_up_us,
                started_us=total.started_us,
            ),
        )
        lived_s = now_s - self._started_s
        self._backoff_s = _FIRST_BACKOFF_S if lived_s >= _HEALTHY_S else min(self._backoff_s * 2, _LONGEST_BACKOFF_S)
        self._backoff_s = max(self._backoff_s, _FIRST_BACKOFF_S)
        self._retry_at_s = now_s + self._backoff_s
        self.lost["hung" if self._hung else "died"] += 1
        if self._hung:
            return  # was said when it was killed
        if child.returncode:
            log.error("committer died", extra={"pid": child.pid, "exit_status": child.returncode})
        else:
            log.warning("committer was told to end by somebody else", extra={"pid": child.pid})
