"""Carries rows from the spool into the Delta tables, batch by batch.

Must never lose a row or write one twice: a table's `txn` says how far it has come, both tables go on from their own,
and a segment is unlinked only when both have all of it. Several may write to one table, each from a spool of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from sekisho.tables.columns import Batch
from sekisho.tables.delta import DeltaFolder
from sekisho.tables.pulse import Beat
from sekisho.tables.segments import SpoolReader, sequence
from sekisho.tables.spools import reported
from sekisho.tables.status import CommitterStatus, StatusFile
from sekisho.tables.storage import Cadence, Storage
from sekisho.tables.sync import fsync
from sekisho.tables.waiting import Waiting

_BATCH_ROWS = 10_000
#: of payload; measured with bodies of 200 KB, the process grows to 210 MB then, and to 250 MB with 32 MiB
_BATCH_BYTES = 12 * 1024 * 1024


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
        #: whose rows are carried now, and the first segment that may be of others: those before have all been
        self._writer, self._from = "", 0
        #: the highest segment whose name is known to be on the disk
        self._named = 0

    def open(self) -> bool:
        """Make or find both tables; False while there is no spool yet. Raises what the disk or delta-rs raises."""
        found = self._next_writer()
        if found is None:
            return False
        self._writer, self._from = found
        usage = DeltaFolder(self._storage, "usage", self._writer)
        log = DeltaFolder(self._storage, "inference_log", self._writer)
        for table in (usage, log):
            self._beat()
            table.open()
            # what lies before it is not its own
            table.done = max(table.done, sequence(self._from, 0))
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
        # Asked before: where there is a later writer, this one writes no more, and all that it has written is seen.
        later = self._next_writer(self._writer)
        # After a crash between the two commits one table is ahead: until the other has caught up a batch is for that
        # one alone, and ends where they meet.
        batch, last_seq, more = self._collect(after, ahead if ahead > after else None)
        at_end = not more and ahead == after
        if last_seq > after:
            self._commit(batch, last_seq)
        elif ahead > after:
            self._advance(ahead)
        elif at_end and later is not None:
            # Segments of this one go with the first rows of the next: calls that were in flight stand in them until
            # that has taken them over.
            self._from, self._tables = later[1], None
        if at_end and later is None:
            self._note(caught_up_us=began_us)
        return last_seq > after or ahead > after or self._tables is None

    def _next_writer(self, after: str | None = None) -> tuple[str, int] | None:
        """Whose rows are to be carried now, or after those of another, and the first segment of these."""
        later = [(spool_id, first) for spool_id, first in self._reader.writers().items() if first >= self._from]
        return next((found for found in later if found[0] != after), None)

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
        for chunk in self._reader.chunks(after, upto, of=self._writer):
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
        # The end of a call that the tables have must not be lost to a power cut while its beginning is not: the next
        # gateway would take the call for one that was in flight, and make a second row of it. Nor may what was carried
        # over from a segment that is about to go.
        self._reader.sync(min(usage.done, log.done), last_seq)
        if batch.rows:
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


def _now_us() -> int:
    return time.time_ns() // 1000
