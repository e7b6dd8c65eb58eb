"""How much waits in the spool, by looking at the heads of records only. Must stay far cheaper than reading them."""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec

from sekisho.tables.segments import (
    KIND_END,
    KIND_ROW,
    LARGEST_PAYLOAD,
    RECORD_HEAD,
    Segment,
    aligned,
    segment_numbers,
)
from sekisho.tables.storage import Cadence

_WORD = struct.Struct("<I")
_WINDOW = 1 << 16


class Waiting:
    """Counts on from where it stopped the last time. An estimate: a damaged record is counted, or ends the count."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._number = self._offset = 0
        self._segment: Segment | None = None
        self.rows = self.bytes = 0

    def is_enough(self, after: int, cadence: Cadence) -> bool:
        """Whether the rows after this sequence number are as many, or as large, as the cadence waits for."""
        if after >= (self._number << 32 | self._offset) or self.rows >= cadence.rows or self.bytes >= cadence.bytes:
            self._begin(after)
        while self.rows < cadence.rows and self.bytes < cadence.bytes:
            if not (self._window(cadence) or self._next_segment()):
                return False
        return True

    def close(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _begin(self, after: int) -> None:
        self.rows = self.bytes = 0
        if self._number != after >> 32:
            self.close()
        self._number, self._offset = after >> 32, aligned(after & 0xFFFFFFFF)

    def _window(self, cadence: Cadence) -> bool:
        """Count the records of one window; False when there is none."""
        segment = self._opened()
        # Nothing new is the common case: four bytes instead of a window of zeros.
        if segment is None or segment.word(self._offset) >> 28 in (0, KIND_END):
            return False
        # Every row of the day goes through this loop: no calls, and no attributes.
        window, unpack, head = segment.read(self._offset, _WINDOW), _WORD.unpack_from, RECORD_HEAD.size
        at, rows, size, last = 0, self.rows, self.bytes, len(window) - head
        most_rows, most_bytes = cadence.rows, cadence.bytes
        while at <= last and rows < most_rows and size < most_bytes:
            (word,) = unpack(window, at)
            kind, length = word >> 28, word & LARGEST_PAYLOAD
            if kind == KIND_ROW:
                rows += 1
                size += length
            elif kind in (0, KIND_END):
                break
            at = (at + head + length + 7) & ~7
        self._offset, self.rows, self.bytes = self._offset + at, rows, size
        return True

    def _opened(self) -> Segment | None:
        if self._segment is None:
            try:
                self._segment = Segment(self._root, self._number)
            except (OSError, ValueError, msgspec.MsgspecError):
                return None
            self._offset = max(self._offset, self._segment.first)
        return self._segment

    def _next_segment(self) -> bool:
        """Go on to a later segment, if there is one."""
        later = [number for number in segment_numbers(self._root) if number > self._number]
        if not later:
            return False
        self.close()
        self._number, self._offset = later[0], 0
        return True
