"""Records of the spool -> columns of Arrow, a batch at a time. Must not fail on one odd value: it becomes NULL.

Work is done per column and per distinct group of repeated values, never per cell in Python: that is what keeps a row
at a few microseconds. Chunks become Arrow while their values are still in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from sekisho.domain.row import LOG_FULL, RESPONSE_CHAT_EVENTS
from sekisho.tables import nested
from sekisho.tables.arrow import Array, Table, pa, pc
from sekisho.tables.bodies import assembled, input_hash, input_preview, output_preview, readable
from sekisho.tables.breakdown import broken_down
from sekisho.tables.layout import CALLER, OWN, SHAPE
from sekisho.tables.nested import Values, flat_of
from sekisho.tables.schema import INFERENCE_LOG, RENAMED, STEERING, TIME

Build = Callable[[Values], Array]

# The two groups and the tags come undecoded: equal bytes are equal values.
_TYPES = (msgspec.Raw, msgspec.Raw, *(msgspec.Raw if name == "tags" else Any for name in OWN))
_decode_record = msgspec.msgpack.Decoder(tuple[_TYPES]).decode
_decode_any = msgspec.msgpack.Decoder().decode

_COLUMN_OF = {field: column for column, field in RENAMED.items()}
_LOG_LEVEL, _RESPONSE_KIND, _RATES = (SHAPE.index(name) for name in ("log_level", "response_kind", "rates"))
_TAGS, _HASH, _REQUEST, _RESPONSE = (OWN.index(name) for name in ("tags", "input_hash", "request", "response"))
_UNFIT = (pa.ArrowException, ArithmeticError, TypeError, ValueError, LookupError, AttributeError)

_SPECIAL: dict[str, Build] = {
    "event_time": lambda values: nested.flat(values, pa.int64()).view(TIME),
    "latency_ms": nested.milliseconds,
    "time_to_first_byte_ms": nested.milliseconds,
    "gateway_overhead_ms": nested.fine_milliseconds,
    "cost_usd": nested.money,
    "cost_breakdown": nested.breakdown,
    "usd_jpy": nested.money,
    "tags": nested.tags,
    "attempts": nested.attempts,
    "guardrails": nested.guardrails,
    "finish_reasons": nested.strings,
    "logging_error_codes": nested.strings,
}


def _builders(fields: Sequence[str]) -> list[tuple[str, Build]]:
    """Column and builder of every field, in order."""
    found: list[tuple[str, Build]] = []
    for field in fields:
        column = _COLUMN_OF.get(field, field)
        kind = pa.int8() if field in STEERING else INFERENCE_LOG.field(column).type
        found.append((column, _SPECIAL.get(column) or flat_of(kind)))
    return found


#: columns that are not copied once more to be in one piece
_LARGE = ("request", "response")


class _Groups(dict[bytes, int]):
    """Encoded group -> its number, in the order of first appearance."""

    def __missing__(self, key: bytes) -> int:
        number = self[key] = len(self)
        return number


class Batch:
    """Collects chunks of records; `table` then gives all columns of `inference_log`, in its order."""

    def __init__(self) -> None:
        self.rows = 0
        #: records that could not be decoded, and values that became NULL because they did not fit their column
        self.undecodable = self.unfit = 0
        #: distinct shapes, callers and tags, and which of them each row has
        self._groups = (_Groups(), _Groups(), _Groups())
        self._indices: tuple[list[Array], ...] = ([], [], [])
        self._own: list[list[Array]] = [[] for _ in OWN]
        self._previews: tuple[list[Array], list[Array]] = ([], [])

    def add(self, payloads: Sequence[bytes]) -> None:
        records = self._decoded(payloads)
        if not records:
            return
        self.rows += len(records)
        columns: list[Values] = list(zip(*records, strict=True))
        own = columns[2:]
        numbers = [
            [*map(groups.__getitem__, map(bytes, raw))]
            for groups, raw in zip(self._groups, (columns[0], columns[1], own[_TAGS]), strict=True)
        ]
        for indices, found in zip(self._indices, numbers, strict=True):
            indices.append(pa.array(found, pa.int32()))
        self._prepare_bodies(own, numbers[0])
        for (column, build), values, chunks in zip(_OWN_BUILDERS, own, self._own, strict=True):
            if column != "tags":
                chunks.append(self._built(build, values))

    def table(self) -> Table:
        """All rows added so far, strings of the groups dictionary-encoded. At least one row must have been added."""
        columns: dict[str, Array] = {}
        for (column, _), chunks in zip(_OWN_BUILDERS, self._own, strict=True):
            if column in _LARGE:
                columns[column] = pa.chunked_array(chunks, pa.string())
            elif column != "tags":
                columns[column] = pa.concat_arrays(chunks)
        columns["input_preview"], columns["output_preview"] = map(pa.concat_arrays, self._previews)
        shape_of, caller_of, tags_of = map(pa.concat_arrays, self._indices)
        self._add_group(columns, _SHAPE_BUILDERS, self._shapes(), shape_of)
        self._add_group(columns, _CALLER_BUILDERS, _decoded_groups(self._groups[1], len(CALLER)), caller_of)
        columns["tags"] = self._built(nested.tags, [*map(_decode_any, self._groups[2])]).take(tags_of)
        columns["request_date"] = columns["event_time"].cast(pa.date32())
        columns["cost_breakdown"] = self._broken_down(columns, shape_of)
        columns["total_tokens"] = _total(columns["input_tokens"], columns["output_tokens"])
        return pa.table({name: columns[name] for name in INFERENCE_LOG.names})

    def _broken_down(self, columns: dict[str, Array], shape_of: Array) -> Array:
        """What the rows have themselves, else what their tokens and rates say."""
        own = columns["cost_breakdown"]
        found = broken_down(columns, shape_of, [shape[_RATES] for shape in self._shapes()])
        if own.null_count == len(own):
            return found
        places = pa.arange(0, len(own))
        chosen = pc.if_else(own.is_valid(), places, pc.add(places, pa.scalar(len(own), pa.int64())))
        return pa.concat_arrays([own, found]).take(chosen)

    def full(self) -> Array:
        """Of each row, whether it belongs into `inference_log`."""
        wanted = [shape[_LOG_LEVEL] == LOG_FULL for shape in self._shapes()]
        return pa.array(wanted, pa.bool_()).take(pa.concat_arrays(self._indices[0]))

    def _decoded(self, payloads: Sequence[bytes]) -> list[tuple[Any, ...]]:
        try:
            return [*map(_decode_record, payloads)]
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
        records: list[tuple[Any, ...]] = []
        for payload in payloads:
            try:
                records.append(_decode_record(payload))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self.undecodable += 1
        return records

    def _prepare_bodies(self, own: list[Values], shapes: Sequence[int]) -> None:
        """Assemble streams, and fill in the hash and the previews where there are bodies."""
        requests, responses = own[_REQUEST], own[_RESPONSE]
        previews: list[Values] = [(), ()]
        if any(responses):
            streams = {n for n, shape in enumerate(self._shapes()) if shape[_RESPONSE_KIND] == RESPONSE_CHAT_EVENTS}
            if not streams.isdisjoint(shapes):
                pairs = zip(shapes, responses, strict=True)
                responses = [assembled(body) if body and shape in streams else body for shape, body in pairs]
                own[_RESPONSE] = responses
            previews[1] = [output_preview(body) if body else None for body in responses]
        if any(requests):
            pairs = zip(own[_HASH], requests, strict=True)
            own[_HASH] = [input_hash(body) if body and known is None else known for known, body in pairs]
            previews[0] = [input_preview(body) if body else None for body in requests]
        for values, chunks in zip(previews, self._previews, strict=True):
            chunks.append(pa.array(values, pa.string()) if values else pa.nulls(len(shapes), pa.string()))

    def _shapes(self) -> list[list[Any]]:
        return _decoded_groups(self._groups[0], len(SHAPE))

    def _add_group(
        self,
        columns: dict[str, Array],
        builders: Sequence[tuple[str, Build]],
        groups: Sequence[Sequence[Any]],
        group_of: Array,
    ) -> None:
        for at, (column, build) in enumerate(builders):
            if column in STEERING:
                continue
            values = [group[at] for group in groups]
            if INFERENCE_LOG.field(column).type == pa.string():
                columns[column] = _labels(values, group_of)
            else:
                columns[column] = self._built(build, values).take(group_of)

    def _built(self, build: Build, values: Values) -> Array:
        try:
            return build(values)
        except _UNFIT:
            pass
        return build([value if self._fits(build, value) else None for value in values])

    def _fits(self, build: Build, value: Any) -> bool:
        try:
            build((value,))
        except _UNFIT:
            self.unfit += 1
            return False
        return True


def _decoded_groups(groups: _Groups, width: int) -> list[list[Any]]:
    decoded: list[list[Any]] = []
    for raw in groups:
        try:
            values: list[Any] = _decode_any(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            values = []
        decoded.append(values if len(values) == width else [None] * width)
    return decoded


def _labels(values: Sequence[Any], group_of: Array) -> Array:
    """A string column from its value in each group. Groups may share a value, a dictionary may not repeat one."""
    numbers: dict[str, int] = {}
    codes = [None if value is None else numbers.setdefault(str(value), len(numbers)) for value in values]
    if not numbers:
        return pa.nulls(len(group_of), pa.string())
    picked = pa.array(codes, pa.int32()).take(group_of)
    return pa.DictionaryArray.from_arrays(picked, pa.array(list(numbers), pa.string()))


def _text_of_body(values: Values) -> Array:
    try:
        return nested.flat(values, pa.string())
    except pa.ArrowInvalid:
        return nested.flat([readable(value) for value in values], pa.string())


def _total(read_in: Array, out: Array) -> Array:
    """Sum of both, of the one there is, or NULL."""
    return pc.coalesce(pc.add(read_in, out), read_in, out)


_SPECIAL["request"] = _SPECIAL["response"] = _text_of_body
_SHAPE_BUILDERS, _CALLER_BUILDERS, _OWN_BUILDERS = (_builders(SHAPE), _builders(CALLER), _builders(OWN))
