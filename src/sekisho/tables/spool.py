"""Where a finished call goes first: a memory-mapped file that survives the death of this process. Must never wait.

An append is one encode and one copy into pages that the kernel owns, without a system call. The next segment is made
by a short-lived thread when the current one is three quarters full. What cannot be stored is counted and told once a
run of failures; the call itself is never touched by it.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import mmap
import os
import struct
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from zlib import crc32

import msgspec

from sekisho.domain.row import OWN_FIELDS, Record
from sekisho.tables.layout import encodable, encode_record, has_bodies, without_bodies
from sekisho.tables.segments import (
    KIND_END,
    KIND_ROW,
    LARGEST_PAYLOAD,
    RECORD_HEAD,
    Segment,
    head_bytes,
    segment_numbers,
    segment_path,
)

log = logging.getLogger("sekisho.tables")

SEGMENT_BYTES = 16 * 1024 * 1024
_PREPARED, _LARGE = "next.tmp", "large.tmp"
_WORD = struct.Struct("<I")
_HEAD = RECORD_HEAD.size
#: room for the end mark
_TAIL = 8
_RETRY_S = 1.0
_REQUEST_ID = 2 + OWN_FIELDS.index("request_id")


class DataDirInUse(RuntimeError):
    """Another serving process owns this spool."""


class _Mapped:
    """A preallocated file and its mapping, not yet or no longer a segment."""

    def __init__(self, path: Path, size: int, head: bytes) -> None:
        """Raises OSError when the disk has no room; nothing is left behind then."""
        self.size = size
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _reserve(self.fd, size)
            self.map = mmap.mmap(self.fd, size)
        except BaseException:
            os.close(self.fd)
            path.unlink(missing_ok=True)
            raise
        self.map[: len(head)] = head

    def close(self) -> None:
        self.map.close()
        os.close(self.fd)


class SpoolWriter:
    """A RowSink for one thread. Raises DataDirInUse, or OSError when the folder cannot be made or written.

    `appended` counts rows stored, `failed` rows lost, `bodies_dropped` rows stored without their bodies for want of
    room.
    """

    def __init__(
        self, root: Path, segment_bytes: int = SEGMENT_BYTES, *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root = root
        self.appended = self.failed = self.bodies_dropped = 0
        #: sequence number of the last row stored
        self.last_seq = 0
        self._lock_fd = _lock(root)
        self._segment_bytes = max(segment_bytes, 64 * 1024)
        self._monotonic_s = monotonic_s
        self._retry_at_s = 0.0
        self._failing = False
        self._number, self._spool_id = _resume(root)
        self._head = head_bytes(self._spool_id)
        self._current: _Mapped | None = None
        self._room: mmap.mmap
        self._prepared: _Mapped | None = None
        self._retired: _Mapped | None = None
        self._preparing: threading.Thread | None = None
        #: offset of the next record; end of the room for records; where the next segment is begun
        self._at = self._limit = self._prepare_at = 0
        if self._roll(0):
            _remove_empty(root, self._number)

    @property
    def spool_id(self) -> str:
        """Under which tables remember how far they have come."""
        return self._spool_id

    def append(self, record: Record) -> None:
        """Store a row, or count it as failed. Never raises and never waits for the disk to be written."""
        try:
            payload = encode_record(record)
        except Exception:
            payload = _salvaged(record)
        if payload is None or not (self._put(payload) or self._put_without_bodies(record)):
            self.failed += 1
            if not self._failing:
                self._failing = True
                log.error("rows are being lost: the spool cannot grow", extra={"spool": str(self.root)})

    def close(self) -> None:
        """Ends the segment and gives back its unused room; rows are safe with or without it."""
        if self._preparing is not None:
            self._preparing.join()
        if self._prepared is not None:
            self._prepared.close()
            self._prepared = None
        (self.root / _PREPARED).unlink(missing_ok=True)
        if self._retired is not None:
            self._retired.close()
            self._retired = None
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
        total = 0
        for number in segment_numbers(self.root):
            if number == self._number:
                total += self._at - len(self._head)
                continue
            with suppress(OSError):
                total += segment_path(self.root, number).stat().st_size
        return total

    def _put(self, payload: bytes) -> bool:
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
        RECORD_HEAD.pack_into(room, at, KIND_ROW << 28 | size, crc32(payload))
        self._at = (end + 7) & ~7
        self.last_seq = self._number << 32 | end
        self.appended += 1
        return True

    def _put_without_bodies(self, record: Record) -> bool:
        if not has_bodies(record):
            return False
        payload = _salvaged(without_bodies(record, "SPOOL_FULL"))
        if payload is None or not self._put(payload):
            return False
        self.bodies_dropped += 1
        return True

    def _roll(self, size: int) -> bool:
        """Begin a segment with room for a payload of this size; False when there is none to be had just now."""
        if self._monotonic_s() < self._retry_at_s or size > LARGEST_PAYLOAD:
            return False
        try:
            fresh = self._fresh(len(self._head) + _HEAD + size + 8 + _TAIL)
        except OSError as error:
            self._retry_at_s = self._monotonic_s() + _RETRY_S
            if not self._failing:
                log.warning("no room for a spool segment", extra={"spool": str(self.root), "error": str(error)})
            return False
        if self._current is not None:
            self._end_mark()
            self._retired = self._current
        self._number += 1
        self._current = fresh
        self._room = fresh.map
        self._at = len(self._head)
        self._limit = fresh.size - _TAIL
        self._prepare_at = fresh.size * 3 // 4
        self._failing = False
        return True

    def _fresh(self, needed: int) -> _Mapped:
        """The next segment under its final name: the prepared one, or one made now."""
        if self._preparing is not None:
            self._preparing.join()
            self._preparing = None
        fresh, self._prepared = self._prepared, None
        name = _PREPARED
        if fresh is None:
            fresh = _Mapped(self.root / name, max(self._segment_bytes, needed), self._head)
        elif fresh.size < needed:
            name, self._prepared = _LARGE, fresh
            fresh = _Mapped(self.root / name, needed, self._head)
        try:
            (self.root / name).rename(segment_path(self.root, self._number + 1))
        except OSError:
            fresh.close()
            raise
        return fresh

    def _begin_preparing(self) -> None:
        self._prepare_at = self._limit
        if self._prepared is None:
            self._preparing = threading.Thread(target=self._prepare, name="spool-segment", daemon=True)
            self._preparing.start()

    def _prepare(self) -> None:
        if self._retired is not None:
            self._retired.close()
            self._retired = None
        # Without room the append that needs the segment tries again, and that failure counts.
        with suppress(OSError):
            self._prepared = _Mapped(self.root / _PREPARED, self._segment_bytes, self._head)

    def _end_mark(self) -> None:
        if self._current is not None:
            _WORD.pack_into(self._current.map, self._at, KIND_END << 28)


def _salvaged(record: Record) -> bytes | None:
    try:
        return encode_record(encodable(record))
    except Exception:
        log.exception("row not encodable", extra={"request_id": record[_REQUEST_ID]})
        return None


def _lock(root: Path) -> int:
    fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise DataDirInUse(f"{root.parent} is in use by process {owner}; stop it or choose another data_dir") from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _resume(root: Path) -> tuple[int, str]:
    """Number of the last segment and the id of the spool; a new id when nothing is left of an earlier one.

    The count must never start again under an old id: the tables would take new rows for rows they have.
    """
    numbers = segment_numbers(root)
    for number in reversed(numbers):
        try:
            segment = Segment(root, number)
        except (OSError, ValueError, msgspec.MsgspecError):
            continue
        segment.close()
        return numbers[-1], segment.spool_id
    return numbers[-1] if numbers else 0, uuid.uuid4().hex


def _remove_empty(root: Path, newest: int) -> None:
    """Segments in which an earlier process stored nothing; left alone they would gather with every restart."""
    for number in segment_numbers(root):
        if number >= newest:
            continue
        try:
            segment = Segment(root, number)
        except (OSError, ValueError, msgspec.MsgspecError):
            continue
        if segment.is_empty():
            segment_path(root, number).unlink(missing_ok=True)
        segment.close()


def _reserve(fd: int, size: int) -> None:
    """Room on the disk for every byte: writing to a mapping without room behind it kills the process."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
    zeros = bytes(1 << 20)
    for offset in range(0, size, len(zeros)):
        os.pwrite(fd, zeros[: size - offset], offset)
