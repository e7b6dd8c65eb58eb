"""What costs are made of, a batch at a time. Must agree with `domain.money.cost_breakdown` to the nano-dollar.

A row of the spool has tokens and a cost, its group the rates: worked out here, the parts cost a call nothing, and a row
a tenth of a microsecond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from sekisho.domain.money import TOKEN_TYPES, RateLine
from sekisho.tables.arrow import Array, pa, pc
from sekisho.tables.nested import dollars, whole_nanos
from sekisho.tables.schema import BREAKDOWN

#: those of text; the rest a row has itself
_TYPES = TOKEN_TYPES[:4]
_INT = pa.int64()
_NOTHING, _TOKENS_PER_RATE, _TWO = (pa.scalar(number, _INT) for number in (0, 1_000_000, 2))
_FAR = 2**62
_TOKENS = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_1h_input_tokens",
    "output_tokens",
)
_READ = (*_TOKENS, "cost_usd")

#: as msgpack gives RateLine back, in the order of size
Lines = Sequence[Sequence[int]]


def broken_down(columns: Mapping[str, Array], group_of: Array, lines: Sequence[Lines | None]) -> Array:
    """A map for each row, by the lines of its group. NULL where there are none, where what they say is not the cost,
    and where it takes more than 64 bits to say it."""
    rows = len(group_of)
    if not any(lines):
        return pa.nulls(rows, BREAKDOWN)
    try:
        return _worked_out(columns, group_of, lines)
    except pa.ArrowInvalid:
        if rows == 1:
            return pa.nulls(rows, BREAKDOWN)
    half = rows // 2
    parts = [
        broken_down({name: columns[name][start:stop] for name in _READ}, group_of[start:stop], lines)
        for start, stop in ((0, half), (half, rows))
    ]
    return pa.concat_arrays(parts)


def _worked_out(columns: Mapping[str, Array], group_of: Array, lines: Sequence[Lines | None]) -> Array:
    """Raises pyarrow.ArrowInvalid for numbers beyond 64 bits."""
    exact, cached, written = _exact(columns, group_of, lines)
    total = exact[0]
    for part in exact[1:]:
        total = pc.add_checked(total, part)
    cost = whole_nanos(columns["cost_usd"])
    error = pc.subtract_checked(pc.multiply_checked(cost, _TOKENS_PER_RATE), total)
    known = pc.less_equal(pc.multiply_checked(pc.abs(error), _TWO), _TOKENS_PER_RATE).fill_null(False)
    shown = [known, pc.and_(known, cached), pc.and_(known, written), known]
    return _maps(_whole(exact, cost), shown, known)


def _exact(
    columns: Mapping[str, Array], group_of: Array, lines: Sequence[Lines | None]
) -> tuple[list[Array], Array, Array]:
    """Tokens times rate of each type, in millionths of a nano-dollar, and where there are tokens of the cache."""
    inputs, read, write, hour, output = (_not_negative(columns[name]) for name in _TOKENS)
    rates = _rates(inputs, group_of, lines)
    cached, written = (pc.greater(tokens, _NOTHING).fill_null(False) for tokens in (read, write))
    read = pc.min_element_wise(inputs, read.fill_null(0), skip_nulls=False)
    write = pc.min_element_wise(pc.subtract(inputs, read), write.fill_null(0), skip_nulls=False)
    hour = pc.min_element_wise(write, hour.fill_null(0), skip_nulls=False)
    fresh = pc.subtract(pc.subtract(inputs, read), write)
    costs = [
        pc.multiply_checked(tokens, rate)
        for tokens, rate in zip((fresh, read, pc.subtract(write, hour), hour, output), rates, strict=True)
    ]
    return [costs[0], costs[1], pc.add_checked(costs[2], costs[3]), costs[4]], cached, written


def _rates(inputs: Array, group_of: Array, lines: Sequence[Lines | None]) -> list[Array]:
    """The five rates of each row: those of the last line that its request is over."""
    fields = len(RateLine._fields)
    depth = max(len(one) for one in lines if one)
    unknown = (None,) * fields
    padded = [[*(one or (unknown,)), *((_FAR, *unknown[1:]),) * depth][:depth] for one in lines]

    def column(line: int, field: int) -> Array:
        return pa.array([one[line][field] for one in padded], _INT).take(group_of)

    found = [column(0, field) for field in range(1, fields)]
    for line in range(1, depth):
        over = pc.greater(inputs, column(line, 0)).fill_null(False)
        found = [pc.if_else(over, column(line, at + 1), rate) for at, rate in enumerate(found)]
    return found


def _whole(exact: Sequence[Array], cost: Array) -> list[Array]:
    """Each part rounded down, and what is then missing one each to the largest remainders; on a tie the first."""
    parts = [pc.divide(part, _TOKENS_PER_RATE) for part in exact]
    rests = [pc.subtract(part, pc.multiply(whole, _TOKENS_PER_RATE)) for part, whole in zip(exact, parts, strict=True)]
    missing = cost
    for whole in parts:
        missing = pc.subtract(missing, whole)
    #: how many remainders come before each
    before: list[Any] = [pa.scalar(0, _INT)] * len(parts)
    for one, other in combinations(range(len(parts)), 2):
        later = pc.less(rests[one], rests[other]).cast(_INT)
        before[one] = pc.add(before[one], later)
        before[other] = pc.add(before[other], pc.subtract(pa.scalar(1, _INT), later))
    return [pc.add(whole, pc.less(place, missing).cast(_INT)) for whole, place in zip(parts, before, strict=True)]


def _maps(parts: Sequence[Array], shown: Sequence[Array], known: Array) -> Array:
    """Row by row what is shown of each type."""
    rows, types = len(known), len(_TYPES)
    places = pa.arange(0, rows * types)
    row = pc.divide(places, pa.scalar(types, _INT))
    kind = pc.subtract(places, pc.multiply(row, pa.scalar(types, _INT)))
    by_row = pc.add(pc.multiply(kind, pa.scalar(rows, _INT)), row)
    wanted = pa.concat_arrays(shown).take(by_row)
    items = dollars(pa.concat_arrays(parts).take(by_row).filter(wanted))
    keys = pa.array(_TYPES, pa.string()).take(kind.filter(wanted))
    counts = shown[0].cast(pa.int32())
    for one in shown[1:]:
        counts = pc.add(counts, one.cast(pa.int32()))
    ends = pc.cumulative_sum(counts)
    starts = pc.if_else(known, pc.subtract(ends, counts), pa.scalar(None, pa.int32()))
    offsets = pa.concat_arrays([starts, ends[-1:]]).cast(pa.int32())
    return pa.MapArray.from_arrays(offsets, keys, items, BREAKDOWN)


def _not_negative(counts: Array) -> Array:
    return pc.max_element_wise(counts, _NOTHING, skip_nulls=False)
