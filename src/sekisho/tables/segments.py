"""The file format of the spool, and its reader. Must not need the writer to be alive, nor trust what it left behind.

A segment is `SEKISPL1`, u32 length of a JSON header, the header, then records at multiples of 8 bytes:
u32 kind and length, u32 crc32 of the payload, payload. The first word is written last; zero means "not yet".
Files are preallocated, so zeros follow the last record. Little endian throughout.

A record's sequence number is `segment number << 32 | end offset`: it ascends over the whole spool, fits the int64 of
a Delta `txn`, and says where the next record begins.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from sekisho.tables.layout import CURRENT, Layout, converter
from sekisho.tables.sync import fdatasync

MAGIC = b"SEKISPL1"
#: kinds of records, in the top four bits of the first word. Readers skip kinds they do not know.
KIND_ROW, KIND_BEGIN, KIND_CARRIED, KIND_END = 1, 2, 3, 15
#: in their place where a record is not as it was written
BROKEN = -1
LARGEST_PAYLOAD = (1 << 28) - 1
RECORD_HEAD = struct.Struct("<II")
_LENGTH = struct.Struct("<I")
_SUFFIX = ".seg"
_FIRST_WINDOW, _WINDOW = 1 << 16, 1 << 20
#: records handed over at a time: few enough that their values are still in the processor's cache when used, and that
#: the largest bodies fit into memory
CHUNK_ROWS = 512
CHUNK_BYTES = 4 * 1024 * 1024


class Header(msgspec.Struct, frozen=True):
    """Head of a segment. `spool` is the id under which Delta tables remember how far they have come: that of the
    writer, for a folder may be copied or set back, and of two writers with one id the tables would take the rows of one
    for those of the other."""

    spool: str
    layout: Layout


class Chunk(NamedTuple):
    """Consecutive records; `last_seq` is the sequence number of the last one."""

    payloads: list[bytes]
    last_seq: int


def head_bytes(spool_id: str) -> bytes:
    """What a new segment begins with, padded to the place of its first record."""
    body = msgspec.json.encode(Header(spool_id, CURRENT))
    head = MAGIC + _LENGTH.pack(len(body)) + body
    return head + bytes(-len(head) % 8)


def aligned(offset: int) -> int:
    """The next multiple of 8."""
    return (offset + 7) & ~7


def sequence(number: int, end: int) -> int:
    return number << 32 | end


def segment_path(root: Path, number: int) -> Path:
    return root / f"{number:012d}{_SUFFIX}"


def segment_numbers(root: Path) -> list[int]:
    """Numbers of the segments in ascending order; empty when there is no spool yet."""
    return sorted(int(path.stem) for path in root.glob(f"*{_SUFFIX}") if path.stem.isdecimal())


def segment_bytes(root: Path, *, but: int | None = None) -> int:
    """Of all segments in a folder, or of all but one."""
    total = 0
    for number in segment_numbers(root):
        with suppress(OSError):
            total += 0 if number == but else segment_path(root, number).stat().st_size
    return total


class Segment:
    """One open segment. Reads by offset, so a file that is unlinked or cut short meanwhile does no harm."""

    def __init__(self, root: Path, number: int) -> None:
        """Raises OSError when the file is gone, ValueError when it is no segment."""
        self.number = number
        self._fd = os.open(segment_path(root, number), os.O_RDONLY | os.O_CLOEXEC)
        try:
            prefix = os.pread(self._fd, len(MAGIC) + _LENGTH.size, 0)
            if len(prefix) < len(MAGIC) + _LENGTH.size or not prefix.startswith(MAGIC):
                raise ValueError("not a spool segment")
            (length,) = _LENGTH.unpack_from(prefix, len(MAGIC))
            body = os.pread(self._fd, min(length, _WINDOW), len(prefix))
            header = msgspec.json.decode(body, type=Header)
        except BaseException:
            self.close()
            raise
        self.spool_id = header.spool
        self.convert: Callable[[bytes], bytes] | None = converter(header.layout)
        self.first = aligned(len(prefix) + length)

    def word(self, offset: int) -> int:
        """First word of the record at this offset; 0 when there is none yet."""
        raw = os.pread(self._fd, _LENGTH.size, offset)
        return _LENGTH.unpack(raw)[0] if len(raw) == _LENGTH.size else 0

    def read(self, offset: int, size: int = _WINDOW) -> bytes:
        return os.pread(self._fd, size, offset)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def sync(self) -> None:
        """Have what was written so far on the disk. Raises OSError."""
        fdatasync(self._fd)

    def records(self) -> Iterator[tuple[int, bytes]]:
        """Kind and payload of every record of a segment that nobody writes any more; one that is not as it was written
        is BROKEN and has none. What the committer finds behind such a one has to be found here as well."""
        at, window, base = self.first, b"", self.first
        while True:
            if at + RECORD_HEAD.size > base + len(window):
                window, base = self.read(at), at
                if len(window) < RECORD_HEAD.size:
                    return
            word, crc = RECORD_HEAD.unpack_from(window, at - base)
            end = at + RECORD_HEAD.size + (word & LARGEST_PAYLOAD)
            if end > base + len(window):
                window, base = self.read(at, end - at), at
            payload = window[at - base + RECORD_HEAD.size : end - base]
            kind = word >> 28
            if not word or kind == KIND_END or len(payload) < word & LARGEST_PAYLOAD:
                return
            yield (kind, payload) if zlib.crc32(payload) == crc else (BROKEN, b"")
            at = aligned(end)

    def is_empty(self) -> bool:
        """Whether it says nothing of any call."""
        return all(kind == KIND_CARRIED for kind, _ in islice(self.records(), 2))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class SpoolReader:
    """Records after a position, in order, of one writer or of all that have written here. One owner; `corrupt` counts
    records that a finished segment could not give.

    A snapshot for queries opens every segment at once (`hold`), so that trimming cannot pull one away.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.corrupt = 0
        #: unreadable segments: left where they are, and told
        self.strange: set[int] = set()
        self._open: dict[int, Segment] = {}

    def spool_id(self) -> str | None:
        """That of the newest writer; None while there is no readable segment."""
        return next(reversed(self.writers()), None)

    def writers(self) -> dict[str, int]:
        """The ids of all that have written here, in their order, each with the number of its first segment."""
        found: dict[str, int] = {}
        for number in self._numbers():
            if (segment := self._segment(number)) is not None:
                found.setdefault(segment.spool_id, number)
        return found

    def unread(self, done: Mapping[str, int]) -> Iterator[Chunk]:
        """Records that lie after the position of their writer; of a writer without one all."""
        for spool_id in self.writers():
            yield from self.chunks(done.get(spool_id, 0), of=spool_id)

    def hold(self) -> None:
        """Open everything there is now; what is appended to it later is still seen."""
        for number in segment_numbers(self.root):
            self._segment(number)

    def chunks(self, after: int, upto: int | None = None, *, of: str | None = None) -> Iterator[Chunk]:
        """Complete records with `after < seq <= upto`, at most CHUNK_ROWS at a time, until the first incomplete one; of
        all writers, or of one."""
        number, offset = after >> 32, after & 0xFFFFFFFF
        for candidate in self._numbers():
            if candidate < number:
                continue
            segment = self._segment(candidate)
            if segment is None or (of is not None and segment.spool_id != of):
                continue
            start = aligned(offset) if candidate == number and offset else segment.first
            scan = _Scan(segment, start, None if upto is None else upto - (candidate << 32))
            yield from scan.chunks()
            self.corrupt += scan.corrupt
            if scan.reached_limit:
                return
            if not scan.finished:
                if candidate >= self._newest():
                    return
                # A newer segment exists, so this one gets no more records: look once more, then pass over the rest.
                again = _Scan(segment, scan.offset, scan.limit, closed=True)
                yield from again.chunks()
                self.corrupt += again.corrupt

    def sync(self, after: int, upto: int) -> None:
        """Have the segments of these positions on the disk, as far as they are read here. Raises OSError."""
        for number, segment in self._open.items():
            if after >> 32 <= number <= upto >> 32:
                segment.sync()

    def trim(self, done: int) -> int:
        """Unlink segments that lie wholly before `done`; returns how many. The newest always stays: it keeps the
        count."""
        gone = 0
        for number in segment_numbers(self.root):
            if number >= done >> 32 or number in self.strange:
                continue
            if (segment := self._open.pop(number, None)) is not None:
                segment.close()
            with suppress(FileNotFoundError):
                segment_path(self.root, number).unlink()
                gone += 1
        return gone

    def close(self) -> None:
        for segment in self._open.values():
            segment.close()
        self._open.clear()

    def _numbers(self) -> list[int]:
        return sorted({*segment_numbers(self.root), *self._open})

    def _newest(self) -> int:
        return max(segment_numbers(self.root), default=0)

    def _segment(self, number: int) -> Segment | None:
        known = self._open.get(number)
        if known is None:
            try:
                known = Segment(self.root, number)
            except FileNotFoundError:
                return None
            except (ValueError, msgspec.MsgspecError):
                self.strange.add(number)
                return None
            self._open[number] = known
        return known


class _Scan:
    """One pass over one segment."""

    def __init__(self, segment: Segment, offset: int, limit: int | None, *, closed: bool = False) -> None:
        self.segment = segment
        self.offset = offset
        #: end offset of the last record wanted
        self.limit = limit
        #: nobody writes here any more: a record that fails its check is passed over instead of waited for
        self.closed = closed
        #: the writer's end mark was met
        self.finished = False
        self.reached_limit = False
        self.ended = False
        self.corrupt = 0
        self._end = offset
        self._buffer, self._base, self._window = b"", offset, _FIRST_WINDOW

    def chunks(self) -> Iterator[Chunk]:
        # Nothing new is the common case of a poll: four bytes instead of a window of zeros.
        while not self.ended and self.segment.word(self.offset):
            if payloads := self._chunk():
                yield Chunk(payloads, sequence(self.segment.number, self._end))

    def _chunk(self) -> list[bytes]:
        """Up to CHUNK_ROWS records; sets `ended` at the first that is not there, not whole or not wanted."""
        payloads: list[bytes] = []
        buffer, base, at = self._buffer, self._base, self.offset - self._base
        head, size = RECORD_HEAD.size, 0
        while len(payloads) < CHUNK_ROWS and size < CHUNK_BYTES:
            if at + head > len(buffer):
                buffer, base, at = self._read(0), self.offset, 0
                if len(buffer) < head:
                    self.ended = True
                    break
            word, crc = RECORD_HEAD.unpack_from(buffer, at)
            end = at + head + (word & LARGEST_PAYLOAD)
            if end > len(buffer):
                buffer, base, at, end = self._read(end - at), self.offset, 0, end - at
            payload = buffer[at + head : end]
            if not word or word >> 28 == KIND_END or zlib.crc32(payload) != crc:
                if self._ends(word, end <= len(buffer)):
                    break
            elif self.limit is not None and base + end > self.limit:
                self.ended = self.reached_limit = True
                break
            else:
                self._end = base + end
                if word >> 28 == KIND_ROW:
                    payloads.append(payload)
                    size += len(payload)
            at = (end + 7) & ~7
            self.offset = base + at
        self._buffer, self._base = buffer, base
        return payloads if self.segment.convert is None else self._converted(payloads)

    def _read(self, size: int) -> bytes:
        window = self._window
        self._window = min(window * 2, _WINDOW)
        return self.segment.read(self.offset, max(window, size))

    def _ends(self, word: int, whole: bool) -> bool:
        """Whether the scan ends at a record that cannot be taken; else it is passed over."""
        self.finished = bool(word) and word >> 28 == KIND_END
        if word and not self.finished and self.closed:
            self.corrupt += 1
            if whole:
                return False
        self.ended = True
        return True

    def _converted(self, payloads: list[bytes]) -> list[bytes]:
        convert = self.segment.convert
        assert convert is not None
        converted: list[bytes] = []
        for payload in payloads:
            try:
                converted.append(convert(payload))
            except (msgspec.MsgspecError, ValueError, TypeError, LookupError):
                self.corrupt += 1
        return converted
