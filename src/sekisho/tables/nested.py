"""Builders of Arrow arrays from Python values: flat, and nested from flattened lists with offsets. Must stay pure.

Each raises what pyarrow raises (ArrowInvalid, ArrowTypeError, OverflowError, ...) when a value does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate, chain
from typing import Any, cast

from sekisho.tables.arrow import Array, DataType, pa, pc
from sekisho.tables.schema import ATTEMPT, ATTEMPTS, BREAKDOWN, GUARDRAIL, GUARDRAILS, STRINGS, TAGS, USD

Values = Sequence[Any]
# Scalars made once: pyarrow takes 50 us to turn a Python number into one, and 3 us to compute with it.
_US_PER_MS, _HALF, _US_PER_MS_FLOAT = (pa.scalar(1000, pa.int64()), pa.scalar(500, pa.int64()), pa.scalar(1000.0))


def flat(values: Values, kind: DataType) -> Array:
    """A column of plain values; a column without any is made without looking at it twice."""
    if _all_null(values):
        return pa.nulls(len(values), kind)
    return pa.array(values, kind)


def money(values: Values) -> Array:
    """Nano-dollars to DECIMAL(18,9), exactly: the 128 bits of an integer with another name."""
    if _all_null(values):
        return pa.nulls(len(values), USD)
    return dollars(pa.array(values, pa.int64()))


def dollars(nanos: Array) -> Array:
    """The same of whole numbers that are Arrow's already."""
    return _renamed(nanos.cast(pa.decimal128(19, 0)), USD)


def whole_nanos(money: Array) -> Array:
    """DECIMAL(18,9) to nano-dollars."""
    return _renamed(money, pa.decimal128(18, 0)).cast(pa.int64())


def _renamed(array: Array, kind: DataType) -> Array:
    return pa.Array.from_buffers(kind, len(array), array.buffers(), array.null_count, array.offset)


def milliseconds(values: Values) -> Array:
    """Microseconds to whole milliseconds, halves up."""
    return pc.divide(pc.add(flat(values, pa.int64()), _HALF), _US_PER_MS)


def fine_milliseconds(values: Values) -> Array:
    """Microseconds to milliseconds with three decimals."""
    return pc.divide(flat(values, pa.int64()).cast(pa.float64()), _US_PER_MS_FLOAT)


def strings(values: Values) -> Array:
    return pa.array(values, STRINGS)


def tags(values: Values) -> Array:
    """Maps of string to string."""
    return _map(values, TAGS, lambda items: pa.array(items, pa.string()))


def breakdown(values: Values) -> Array:
    """Maps of token type to nano-dollars -> maps to dollars."""
    return _map(values, BREAKDOWN, money)


def attempts(values: Values) -> Array:
    """Lists of attempts, each a list in the order of AttemptRow."""
    lists: list[Values] = [value or () for value in values]
    columns: list[Values] = list(zip(*chain.from_iterable(lists), strict=False)) or [()] * ATTEMPT.num_fields
    arrays = [build(column) for build, column in zip(_ATTEMPT_COLUMNS, columns, strict=True)]
    structs = pa.StructArray.from_arrays(arrays, fields=_ATTEMPT_FIELDS)
    return pa.ListArray.from_arrays(_offsets(lists, values), structs, ATTEMPTS)


def guardrails(values: Values) -> Array:
    """Lists of verdicts, each a mapping or a list of phase, policy, action, counts by entity."""
    if _all_null(values):
        return pa.nulls(len(values), GUARDRAILS)
    return pa.array([None if value is None else [_verdict(item) for item in value] for value in values], GUARDRAILS)


def flat_of(kind: DataType) -> Callable[[Values], Array]:
    """`flat` for one type."""
    return partial(flat, kind=kind)


def _all_null(values: Values) -> bool:
    """A look at the first decides nearly always; comparing every value with None costs more than converting it."""
    return not values or (values[0] is None and values.count(None) == len(values))


def _verdict(item: Any) -> dict[str, Any]:
    known = cast("Mapping[str, Any]", item) if isinstance(item, Mapping) else zip(_VERDICT, item, strict=False)
    parts: dict[str, Any] = dict(known)
    counts = parts.get("entity_counts")
    return {**parts, "entity_counts": None if counts is None else list(counts.items())}


def _map(values: Values, kind: DataType, build: Callable[[Values], Array]) -> Array:
    if _all_null(values):
        return pa.nulls(len(values), kind)
    maps: list[Mapping[str, Any]] = [value or {} for value in values]
    keys = pa.array(list(chain.from_iterable(maps)), pa.string())
    items = build(list(chain.from_iterable(one.values() for one in maps)))
    return pa.MapArray.from_arrays(_offsets(maps, values), keys, items, kind)


def _offsets(lists: Sequence[Any], values: Values) -> Array:
    """Where each list begins; NULL marks a list that is NULL."""
    starts: list[int | None] = list(accumulate(map(len, lists), initial=0))
    if not all(values):
        for at, value in enumerate(values):
            if value is None:
                starts[at] = None
    return pa.array(starts, pa.int32())


_VERDICT = tuple(field.name for field in GUARDRAIL)
_ATTEMPT_FIELDS = list(ATTEMPT)
_ATTEMPT_SPECIAL = {"latency_ms": milliseconds, "cost_usd": money}
_ATTEMPT_COLUMNS = [_ATTEMPT_SPECIAL.get(field.name) or flat_of(field.type) for field in _ATTEMPT_FIELDS]
