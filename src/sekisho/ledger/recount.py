"""Counts calls from their rows: those that a process which died had not told anybody of. Must count a row as
`Ledger.close` counts the call that it is of.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from sekisho.domain.row import OWN_FIELDS, AttemptRow, ShapeGroup
from sekisho.domain.usage import Usage
from sekisho.ledger.tally import Tally

_decode = msgspec.msgpack.Decoder().decode
_UNKNOWN = "unknown"
_USAGE = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_output_tokens",
)


def count_rows(tally: Tally, payloads: Iterable[bytes]) -> None:
    """Count encoded records of the spool, in the current layout. One that cannot be read counts as nothing, as it
    will be no row."""
    for payload in payloads:
        try:
            shape, _, *own = _decode(payload)
            row = {**dict(zip(ShapeGroup._fields, shape, strict=True)), **dict(zip(OWN_FIELDS, own, strict=True))}
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, TypeError):
            continue
        tally.in_flight += 1
        _count(tally, row)
        tally.rows["appended"] += 1


def _count(tally: Tally, row: dict[str, Any]) -> None:
    model, endpoint = row["destination_model"], row["endpoint_name"]
    if model is None or endpoint is None or "/" in endpoint:
        counts = tally.closed(_UNKNOWN, _UNKNOWN, row["operation"])
    else:
        counts = tally.closed(model, row["provider"], row["operation"])
    status = row["status_code"]
    counts.statuses[status] = counts.statuses.get(status, 0) + 1
    # Nobody saw the end of a call that died with its process.
    if row["terminal_state"] != "interrupted":
        counts.latency.observe(row["latency_us"] / 1e6)
    if row["streaming"] and row["time_to_first_byte_us"] is not None:
        counts.first_token.observe(row["time_to_first_byte_us"] / 1e6)
    if model is None:
        return
    if row["cost_nanos"] is None:
        counts.unpriced += 1
    else:
        counts.cost_nanos += row["cost_nanos"]
    for usage in _usages(row):
        counts.observe_usage(usage)


def _usages(row: dict[str, Any]) -> Iterable[Usage]:
    """Of every attempt that has one; the last one served, and its is whole on the row."""
    attempts = [AttemptRow(*attempt) for attempt in row["attempts"]]
    for attempt in attempts[:-1]:
        if attempt.input_tokens is not None:
            yield Usage(input_tokens=attempt.input_tokens, output_tokens=attempt.output_tokens or 0)
    if attempts and row["input_tokens"] is not None:
        yield msgspec.convert({name: row[name] or 0 for name in _USAGE}, Usage)
