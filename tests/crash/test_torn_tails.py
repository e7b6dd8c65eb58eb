"""The end of the newest segment after a power cut: cut short, zeroed, half written, garbage. Whole rows before it are
read, nothing that was never written is, and what a new process appends is read too."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.tables.layout import encode_record
from sekisho.tables.recovery import REQUEST_ID
from sekisho.tables.segments import Segment, SpoolReader, segment_numbers, segment_path
from sekisho.tables.spool import SpoolWriter
from tests.unit.tables.rows import a_row, record_of

SEGMENT = 64 * 1024
PAGE = 4096
HURTS = ("cut", "zeros", "page of zeros", "garbage", "bit")


def stored(root: Path) -> list[bytes]:
    reader = SpoolReader(root)
    try:
        return [payload for chunk in reader.chunks(0) for payload in chunk.payloads]
    finally:
        reader.close()


def hurt(file: Path, how: str, at: int, noise: bytes) -> int:
    """Damage it from this offset on; returns the first byte that may be wrong."""
    body = bytearray(file.read_bytes())
    at = min(at, len(body) - 1)
    match how:
        case "cut":
            del body[at:]
        case "zeros":
            body[at:] = bytes(len(body) - at)
        case "page of zeros":
            at -= at % PAGE
            body[at : at + PAGE] = bytes(len(body[at : at + PAGE]))
        case "garbage":
            body[at : at + len(noise)] = noise
            del body[max(at + len(noise), SEGMENT) :]
        case _:
            body[at] ^= 1 << at % 8
    file.write_bytes(body)
    return at


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.lists(st.integers(0, 6000), min_size=1, max_size=8),
    how=st.sampled_from(HURTS),
    row=st.integers(0, 7),
    # the classes of offsets: the two words of a record's head, its payload, its padding, the zeros behind it
    shift=st.one_of(st.integers(0, 16), st.integers(-12, 0), st.integers(16, 3000)),
    noise=st.binary(min_size=1, max_size=64),
    closed=st.booleans(),
)
def test_a_hurt_tail_costs_nothing_before_it_and_invents_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    how: str,
    row: int,
    shift: int,
    noise: bytes,
    closed: bool,
) -> None:
    root = tmp_path_factory.mktemp("spool")
    writer = SpoolWriter(root, SEGMENT)
    rows = [record_of(a_row(n, request=b"x" * size)) for n, size in enumerate(sizes)]
    ends: list[int] = []
    for one in rows:
        writer.append(one)
        ends.append(writer.last_seq & 0xFFFFFFFF)
    starts = [ends[0] - len(encode_record(rows[0])) - 8, *((end + 7) & ~7 for end in ends)]
    body = segment_path(root, segment_numbers(root)[-1])
    image = body.read_bytes()
    writer.close()
    if not closed:
        body.write_bytes(image)
    wrong_from = hurt(body, how, max(starts[0], starts[min(row, len(rows))] + shift), noise)
    fresh = [record_of(a_row(100 + n)) for n in range(2)]
    second = SpoolWriter(root, SEGMENT)
    for one in fresh:
        second.append(one)
    found = stored(root)
    second.close()
    whole = [encode_record(one) for one, end in zip(rows, ends, strict=True) if end <= wrong_from]
    assert found[: len(whole)] == whole
    assert found[-2:] == [encode_record(one) for one in fresh]
    written = [encode_record(one) for one in rows]
    assert [one for one in found[:-2] if one not in written] == []
    assert len(set(found)) == len(found)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9000)), min_size=2, max_size=12),
    how=st.sampled_from(HURTS),
    at=st.integers(0, SEGMENT - 1),
    noise=st.binary(min_size=1, max_size=64),
)
def test_no_call_has_two_rows_whatever_is_hurt_between_its_beginning_and_its_end(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]], how: str, at: int, noise: bytes
) -> None:
    """What the committer still finds behind a record that is broken, the next gateway has to find as well."""
    root = tmp_path_factory.mktemp("spool")
    writer = SpoolWriter(root, SEGMENT)
    begun: set[int] = set()
    ended: set[int] = set()
    for call, size in steps:
        one = record_of(a_row(call, request=b"x" * size))
        if call not in begun:
            begun.add(call)
            writer.begin(one)
        elif call not in ended:
            ended.add(call)
            writer.append(one)
    number = segment_numbers(root)[-1]
    image = segment_path(root, number).read_bytes()
    writer.close()
    body = segment_path(root, number)
    body.write_bytes(image)
    hurt(body, how, max(at, Segment(root, number).first), noise)
    second = SpoolWriter(root, SEGMENT)
    found = [msgspec.msgpack.decode(payload)[2 + REQUEST_ID] for payload in stored(root)]
    second.close()
    assert len(set(found)) == len(found)


def test_a_segment_whose_first_row_is_broken_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SEGMENT)
    writer.append(record_of(a_row(0)))
    middle = (writer.last_seq & 0xFFFFFFFF) - 20
    others = [record_of(a_row(n)) for n in (1, 2)]
    for one in others:
        writer.append(one)
    writer.close()
    hurt(segment_path(tmp_path, segment_numbers(tmp_path)[-1]), "bit", middle, b"")
    second = SpoolWriter(tmp_path, SEGMENT)
    assert stored(tmp_path) == [encode_record(one) for one in others]
    second.close()


def test_a_call_whose_beginning_is_broken_where_it_was_carried_to_is_found_where_it_was_first(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SEGMENT)
    flying = record_of(a_row(0))
    writer.begin(flying)
    first = segment_numbers(tmp_path)[-1]
    rows = 1
    while segment_numbers(tmp_path)[-1] == first:
        writer.append(record_of(a_row(rows, request=b"x" * 4000)))
        rows += 1
    last = segment_numbers(tmp_path)[-1]
    start = Segment(tmp_path, last).first
    writer.close()
    hurt(segment_path(tmp_path, last), "bit", start + 20, b"")
    second = SpoolWriter(tmp_path, SEGMENT)
    assert second.recovered == 1
    assert stored(tmp_path).count(encode_record(flying)) == 1
    second.close()
