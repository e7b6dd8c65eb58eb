"""Calls that were in flight when a serving process died: begun, and never ended. Must only read.

A segment opens with the begin records of all calls that were open when it was begun, and then a mark; so the newest
segment with that mark, and those after it, know of every open call.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from sekisho.domain.row import OWN_FIELDS
from sekisho.tables.segments import BROKEN, KIND_BEGIN, KIND_CARRIED, KIND_ROW, Segment, segment_numbers

REQUEST_ID = OWN_FIELDS.index("request_id")
_AFTER_ID = len(OWN_FIELDS) - REQUEST_ID - 1
# Everything but the id stays as it is: a row may hold 20 MB of bodies.
_types: Any = (*([msgspec.Raw] * (2 + REQUEST_ID)), str, *([msgspec.Raw] * _AFTER_ID))
_decode = msgspec.msgpack.Decoder(tuple[_types]).decode


def begun_and_not_ended(root: Path) -> list[bytes]:
    """Payloads of begin records without an end, oldest first: each is the row that its call becomes."""
    begun: dict[str, bytes] = {}
    ended: set[str] = set()
    for number in reversed(segment_numbers(root)):
        try:
            segment = Segment(root, number)
        except (OSError, ValueError, msgspec.MsgspecError):
            continue
        try:
            carried, here = _read(segment, ended)
        finally:
            segment.close()
        begun = {**here, **begun}
        if carried:
            break
    return [payload for request_id, payload in begun.items() if request_id not in ended]


def _read(segment: Segment, ended: set[str]) -> tuple[bool, dict[str, bytes]]:
    """Whether the segment says of all calls that were open when it was begun, and those that are begun in it."""
    carried, whole = False, True
    begun: dict[str, bytes] = {}
    for kind, payload in segment.records():
        if kind == KIND_CARRIED:
            carried = whole  # else one that was carried over is broken here, and stands in the segment before
            continue
        whole = whole and kind != BROKEN
        if kind not in (KIND_BEGIN, KIND_ROW):
            continue
        try:
            payload = payload if segment.convert is None else segment.convert(payload)
            request_id = _decode(payload)[2 + REQUEST_ID]
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, TypeError, LookupError):
            continue
        if kind == KIND_BEGIN:
            begun[request_id] = payload
        else:
            ended.add(request_id)
    return carried, begun
