"""Where a call goes first: a memory-mapped file that survives the death of this process. Must never wait.

A call is begun before it is dispatched and appended at its end: each is one encode and one copy into pages that the
kernel owns, without a system call. The next segment is made by a short-lived thread when the current one is three
quarters full. Rows that find no room wait in memory, without their bodies, until there is some.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from sekisho.domain.row import Record
from sekisho.tables.durability import Flusher, Told
from sekisho.tables.layout import encode_record, has_bodies, salvaged, without_bodies
from sekisho.tables.mapped import Mapped
from sekisho.tables.recovery import REQUEST_ID, begun_and_not_ended
from sekisho.tables.segment_supply import SegmentSupply
from sekisho.tables.segments import (
    KIND_BEGIN,
    KIND_CARRIED,
    KIND_END,
    KIND_ROW,
    LARGEST_PAYLOAD,
    RECORD_HEAD,
    head_bytes,
    segment_bytes,
    segment_path,
)
from sekisho.tables.spool_folder import LOCK, DataDirInUse, has_still, lock, remove_empty, resume

__all__ = ["DataDirInUse", "SpoolWriter"]

log = logging.getLogger("sekisho.tables")

SEGMENT_BYTES = 16 * 1024 * 1024
_WORD = struct.Struct("<I")
_HEAD, _put_head = RECORD_HEAD.size, RECORD_HEAD.pack_into
#: room for the end mark
_TAIL = 8
_RETRY_S = 1.0
_REQUEST_ID = 2 + REQUEST_ID
#: of rows that wait in memory for room on the disk
_MOST_WAITING_BYTES = 64 * 1024 * 1024
#: with less than this of the allowed room in use, bodies are kept and calls are taken again
_RELIEVED = 0.9
#: of the allowed room for a segment: the last one stays until there is another, also when the tables have all of it
_ONE = 0.25


class SpoolWriter:
    """A RowSink for one thread. Raises DataDirInUse, or OSError when the folder cannot be made or written.

    `appended` counts rows stored, `failed` rows lost, `bodies_dropped` rows stored without their bodies for want of
    room, `recovered` calls that an earlier process had begun and not ended. `max_bytes` bounds the spool: from the row
    that goes above it `full` is true and rows are stored without bodies, or only those of calls that were not begun.
    """

    __slots__ = (
        "_at", "_begun", "_current", "_failing", "_flusher", "_full_at", "_head", "_limit", "_lock_fd", "_monotonic_s",
        "_number", "_others", "_prepare_at", "_retry_at_s", "_room", "_spool_id", "_stored", "_supply", "_waiting",
        "_waiting_bytes", "appended", "bodies_dropped", "failed", "fails_open", "full", "last_seq", "max_bytes",
        "recovered", "root", "sheds_bodies", "takes_calls",
    )  # fmt: skip

    def __init__(
        self,
        root: Path,
        segment_bytes: int = SEGMENT_BYTES,
        *,
        max_bytes: int | None = None,
        sheds_bodies: bool = True,
        fails_open: bool = True,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root = root
        self.appended = self.failed = self.bodies_dropped = self.recovered = 0
        #: sequence number of the last row stored
        self.last_seq = 0
        self.max_bytes, self.sheds_bodies, self.fails_open = max_bytes, sheds_bodies, fails_open
        self.full, self.takes_calls = False, True
        self._lock_fd = lock(root)
        self._monotonic_s = monotonic_s
        self._retry_at_s, self._failing, self._stored = 0.0, False, True
        self._number, self._spool_id = resume(root)
        self._head = head_bytes(self._spool_id)
        size = max(min(segment_bytes, int((max_bytes or sys.maxsize) * _ONE)), 64 * 1024)
        self._supply = SegmentSupply(root, size, self._head)
        self._current: Mapped | None = None
        self._room: mmap.mmap
        #: calls in flight: what each becomes when this process dies
        self._begun: dict[str, bytes] = {}
        #: rows for which there was no room
        self._waiting: list[bytes] = []
        self._waiting_bytes = self._others = 0
        #: offset of the next record; end of the room for records; where the next segment is begun
        self._at = self._limit = self._prepare_at = 0
        #: where in this segment the spool is full, by the bytes of the others as last seen
        self._full_at = sys.maxsize
        self._flusher = Flusher(root)
        self._recover()
        self.look()

    @property
    def spool_id(self) -> str:
        """Under which tables remember how far they have come."""
        return self._spool_id

    @property
    def position(self) -> int:
        """A sequence number below that of every row to come, and not below that of any row there is."""
        return self.last_seq or (self._number << 32 | (0 if self._current is not None else 0xFFFFFFFF))

    def begin(self, record: Record) -> bool:
        """Note a call that is about to be dispatched, as the row it is to become when this process dies before its
        end. False where that could not be written; the call itself may go on. Never raises, never waits."""
        try:
            payload = encode_record(record)
        except Exception:
            payload = salvaged(record)
        if payload is None:
            return False
        if not self._put(payload, KIND_BEGIN):
            self._failing = True
            self._decide()
            return False
        self._begun[record[_REQUEST_ID]] = payload
        return True

    def append(self, record: Record) -> None:
        """Store a row, or keep it until there is room, or count it as failed. Never raises and never waits."""
        if self.full and (self.sheds_bodies or record[_REQUEST_ID] not in self._begun) and has_bodies(record):
            self.bodies_dropped += 1
            record = without_bodies(record, "SPOOL_FULL")
        try:
            payload = encode_record(record)
        except Exception:
            payload = salvaged(record)
        if payload is not None and self._at + len(payload) > self._full_at:
            payload = self._at_bound(record, payload)
        self._stored = payload is not None
        if payload is None:
            self.failed += 1
        elif self._put(payload, KIND_ROW):
            if self._begun:
                self._begun.pop(record[_REQUEST_ID], None)
        elif not self._put_without_bodies(record):
            self._keep(record)

    def when_durable(self, told: Told) -> None:
        """Tell, on the running loop, when every row so far would survive a power cut; False where it would not, also
        for a row just appended that could not be stored at all."""
        if not self._stored or self._waiting or self._current is None:
            asyncio.get_running_loop().call_soon(told, False)
        else:
            self._flusher.when_durable(told)

    @property
    def failing(self) -> bool:
        """Rows cannot be stored just now, or the disk does not take them."""
        return self._failing or self._flusher.failing

    def look(self) -> None:
        """About once a second: is the spool where it was, is it full, and is there room again for what waits?"""
        if self._current is not None and not has_still(segment_path(self.root, self._number), self._current.fd):
            self._leave(self._current)
        self._measure(0)
        # One that was made for a large row would keep the spool full even when the tables have that row.
        if self._waiting or self._failing or self._current is None or (self.full and self._at > self._supply.size):
            self._roll(0)
        self._decide()

    def _leave(self, lost: Mapped) -> None:
        """A segment that has lost its name takes no more rows: nobody would ever find them."""
        log.error("the spool was moved or deleted: rows wait in memory", extra={"spool": str(self.root)})
        self._end_mark()
        self._supply.retire(lost)
        self._current = None
        self._at = self._limit = 0
        self._failing = True

    def _measure(self, more: int) -> None:
        """Ask the disk whether the spool is full, with so many bytes more; and find where it will be."""
        if self.max_bytes is None:
            return
        used = self.pending_bytes()
        self._others = used - self._at
        full = used + more > (self.max_bytes * _RELIEVED if self.full else self.max_bytes)
        if full and not self.full:
            log.error("the spool is full", extra={"spool": str(self.root), "bytes": used, "most": self.max_bytes})
        self.full = full
        self._find_bound()

    def _find_bound(self) -> None:
        """So that an append finds the spool full by one comparison; once it is, only a look finds it otherwise."""
        self._full_at = sys.maxsize if self.full or self.max_bytes is None else self.max_bytes - self._others

    def _at_bound(self, record: Record, payload: bytes) -> bytes | None:
        """What is stored of a row that would fill the spool, unless the committer made room since the last look."""
        self._measure(len(payload))
        self._decide()
        if not (self.full and self.sheds_bodies and has_bodies(record)):
            return payload
        self.bodies_dropped += 1
        return salvaged(without_bodies(record, "SPOOL_FULL"))

    def _decide(self) -> None:
        self.takes_calls = (self.fails_open or not self.failing) and (self.sheds_bodies or not self.full)

    def close(self) -> None:
        """Ends the segment and gives back its unused room; rows are safe with or without it."""
        if self._waiting:
            self._retry_at_s = 0.0
            self._roll(0)
            if self._waiting:
                log.error("rows could not be stored and are lost", extra={"rows": len(self._waiting)})
            self.failed += len(self._waiting)
            self._waiting = []
        self._supply.close(owned=has_still(self.root / LOCK, self._lock_fd))
        self._flusher.close()
        if self._current is not None:
            self._end_mark()
            with suppress(OSError):
                os.ftruncate(self._current.fd, self._at + _TAIL)
            self._current.close()
            self._current = None
            self._at = self._limit = 0
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1
        self._retry_at_s = float("inf")

    def pending_bytes(self) -> int:
        """Bytes in rows that were not trimmed yet; asks the disk, so for metrics only."""
        if self._current is None:
            return segment_bytes(self.root)
        return self._at - len(self._head) + segment_bytes(self.root, but=self._number)

    def _put(self, payload: bytes, kind: int) -> bool:
        size = len(payload)
        at = self._at
        end = at + _HEAD + size
        if end > self._limit:
            if not self._roll(size):
                return False
            at = self._at
            end = at + _HEAD + size
        elif end > self._prepare_at:
            self._begin_preparing()
        # The payload comes first: a reader that meets the head before it sees a checksum that does not fit, and waits.
        room = self._room
        room[at + _HEAD : end] = payload
        _put_head(room, at, kind << 28 | size, crc32(payload))
        self._at = (end + 7) & ~7
        self._flusher.dirty = True
        if kind == KIND_ROW:
            self.last_seq = self._number << 32 | end
            self.appended += 1
        return True

    def _put_without_bodies(self, record: Record) -> bool:
        if not has_bodies(record):
            return False
        payload = salvaged(without_bodies(record, "SPOOL_FULL"))
        if payload is None or not self._put(payload, KIND_ROW):
            return False
        self._begun.pop(record[_REQUEST_ID], None)
        self.bodies_dropped += 1
        return True

    def _keep(self, record: Record) -> None:
        """In memory, until there is room: this process has to live on for that."""
        payload = salvaged(without_bodies(record, "SPOOL_FULL") if has_bodies(record) else record)
        closed = self._lock_fd < 0
        if payload is None or closed or self._waiting_bytes + len(payload) > _MOST_WAITING_BYTES:
            self.failed += 1
            self._stored = False
        else:
            self._waiting.append(payload)
            self._waiting_bytes += len(payload)
            self._begun.pop(record[_REQUEST_ID], None)
        if not self._failing:
            self._failing = True
            log.error("the spool cannot grow: rows wait in memory", extra={"spool": str(self.root)})
            self._decide()

    def _recover(self) -> None:
        """Calls that an earlier process had in flight are rows now, before anything else is written."""
        left = begun_and_not_ended(self.root)
        self._begun = {str(n): payload for n, payload in enumerate(left)}
        if not self._roll(0):
            self._begun, self._waiting, self._waiting_bytes = {}, left, sum(map(len, left))
            return
        for payload in left:
            self.recovered += self._put(payload, KIND_ROW)
        self._begun = {}
        if left:
            log.warning("calls were in flight when the gateway died", extra={"rows": self.recovered})
        remove_empty(self.root, self._number)

    def _carry(self) -> None:
        """What is still open, at the head of a new segment: older ones may go as soon as their rows are in the
        tables. The mark says that nothing is missing."""
        for payload in [*self._begun.values()]:
            self._put(payload, KIND_BEGIN)
        self._put(b"", KIND_CARRIED)
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for payload in waiting:
            if not self._put(payload, KIND_ROW):
                self._waiting.append(payload)
                self._waiting_bytes += len(payload)

    def _roll(self, size: int) -> bool:
        """Begin a segment with room for a payload of this size; False when there is none to be had just now."""
        if self._monotonic_s() < self._retry_at_s or size > LARGEST_PAYLOAD:
            return False
        try:
            fresh = self._fresh(len(self._head) + self._carried_bytes() + _HEAD + size + 8 + _TAIL)
        except OSError as error:
            self._retry_at_s = self._monotonic_s() + _RETRY_S
            if not self._failing:
                log.warning("no room for a spool segment", extra={"spool": str(self.root), "error": str(error)})
            return False
        if self._current is not None:
            self._end_mark()
            self._supply.retire(self._current)
            self._others += self._current.size
        self._number += 1
        self._current = fresh
        self._room = fresh.map
        self._at = len(self._head)
        self._limit = fresh.size - _TAIL
        self._prepare_at = fresh.size * 3 // 4
        self._failing = False
        self._find_bound()
        self._flusher.segment(fresh.fd)
        self._carry()
        return self._at + _HEAD + size <= self._limit

    def _carried_bytes(self) -> int:
        payloads = (*self._begun.values(), *self._waiting)
        return sum(map(len, payloads)) + (_HEAD + 8) * (len(payloads) + 1)

    def _fresh(self, needed: int) -> Mapped:
        """The next segment under its final name. Raises OSError."""
        if self._failing and not has_still(self.root / LOCK, self._lock_fd):
            raise OSError("the spool was moved or deleted; what stands in its place may be another gateway's")
        return self._supply.take(needed, self._number + 1)

    def _begin_preparing(self) -> None:
        self._prepare_at = self._limit
        self._supply.prepare()

    def _end_mark(self) -> None:
        if self._current is not None:
            _WORD.pack_into(self._current.map, self._at, KIND_END << 28)
