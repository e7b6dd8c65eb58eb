"""How a row lies in the spool: the msgpack array `[shape, caller, *own]` of `domain.row.Record`. Must stay readable by
later versions: every segment names the layout of its records.

The committer takes the two groups as undecoded bytes and looks them up, so a batch decodes each distinct group once,
and their columns are dictionary-encoded for nothing; measured, that is 2.3 instead of 6.4 us of CPU a row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import msgspec

from sekisho.domain.row import OWN_FIELDS, AttemptRow, CallerGroup, InferenceRow, Record, ShapeGroup

log = logging.getLogger("sekisho.tables")

SHAPE, CALLER, OWN = ShapeGroup._fields, CallerGroup._fields, OWN_FIELDS
_GROUPS = 2
_REQUEST_ID = _GROUPS + OWN.index("request_id")
_BODIES = tuple(_GROUPS + OWN.index(name) for name in ("request", "response"))

#: One record. Raises what msgspec raises for text with lone surrogates or integers over 64 bits.
encode_record = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Layout(msgspec.Struct, frozen=True):
    """Names in the order of the record; written at the head of every segment."""

    shape: tuple[str, ...]
    caller: tuple[str, ...]
    own: tuple[str, ...]
    attempt: tuple[str, ...]


CURRENT = Layout(shape=SHAPE, caller=CALLER, own=OWN, attempt=AttemptRow._fields)


def to_record(row: InferenceRow) -> Record:
    """The record of a row given whole."""
    shape, caller = ([getattr(row, name) for name in names] for names in (SHAPE, CALLER))
    return (shape, caller, *(getattr(row, name) for name in OWN))


def ended_us(payload: bytes) -> int:
    """When the call of an encoded record ended, microseconds since 1970, UTC: from then on its row waits."""
    record = _decode(payload)
    return record[_GROUPS + OWN.index("event_time_us")] + record[_GROUPS + OWN.index("latency_us")]


def has_bodies(record: Record) -> bool:
    return any(record[at] is not None for at in _BODIES)


def without_bodies(record: Record, code: str) -> Record:
    """The record with neither body, and the reason among its logging errors."""
    shape = dict(zip(SHAPE, _decode(encode_record(record[0])), strict=True))
    shape["logging_error_codes"] = [*(shape["logging_error_codes"] or ()), code]
    shape["response_kind"] = 0
    return ([*shape.values()], *(None if at in _BODIES else value for at, value in enumerate(record) if at))


def encodable(record: Record) -> Record:
    """The record with every value that msgpack refuses made harmless: no row is given up for one odd character."""
    return tuple(_harmless(value) for value in record)


def salvaged(record: Record) -> bytes | None:
    """The record as it is stored, or as much of it as can be; None, and a line in the log, where nothing can."""
    try:
        return encode_record(encodable(record))
    except Exception:
        log.exception("row not encodable", extra={"request_id": record[_REQUEST_ID]})
        return None


def converter(layout: Layout) -> Callable[[bytes], bytes] | None:
    """What turns records of another layout into records of the current one; None when there is nothing to do.

    Fields that the other version did not know become NULL, fields that we do not know are left out.
    """
    if layout == CURRENT:
        return None
    names = (*layout.shape, *layout.caller, *layout.own)
    places = {name: at for at, name in enumerate(layout.attempt)}
    order = [places.get(name) for name in AttemptRow._fields]

    def convert(payload: bytes) -> bytes:
        shape, caller, *own = _decode(payload)
        known = dict(zip(names, (*shape, *caller, *own), strict=False))
        attempts: list[list[Any]] = known.get("attempts") or []
        known["attempts"] = [[None if at is None else attempt[at] for at in order] for attempt in attempts]
        groups = ([known.get(name) for name in group] for group in (SHAPE, CALLER))
        return encode_record((*groups, *(known.get(name) for name in OWN)))

    return convert


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, bool | float | bytes | msgspec.Raw) or value is None:
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else None
    if isinstance(value, dict):
        pairs = cast("dict[Any, Any]", value)
        return {_harmless(key): _harmless(item) for key, item in pairs.items()}
    if isinstance(value, list | tuple):
        return [_harmless(item) for item in cast("list[Any]", value)]
    return str(value)
