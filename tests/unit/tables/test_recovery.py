"""Calls in flight when the process dies: rows after the restart, each once, whatever else was written meanwhile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tables.rows import a_row, record_of

from sekisho.tables.recovery import begun_and_not_ended
from sekisho.tables.segments import SpoolReader, segment_numbers, segment_path
from sekisho.tables.spool import SpoolWriter

SMALL = 64 * 1024


def record(n: int, **more: Any) -> Any:
    return record_of(a_row(n, request_id=f"req_{n:032x}", **more))


def ids(root: Path) -> list[str]:
    """Request ids of all rows, as the committer would read them."""
    import msgspec

    reader = SpoolReader(root)
    try:
        return [msgspec.msgpack.decode(payload)[3] for chunk in reader.chunks(0) for payload in chunk.payloads]
    finally:
        reader.close()


def killed(writer: SpoolWriter) -> None:
    """What kill -9 leaves: no end mark, no truncation, no lock."""
    import os

    os.close(writer._lock_fd)
    writer._lock_fd = -1


def test_a_call_that_was_begun_is_a_row_after_the_restart(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SMALL)
    assert writer.begin(record(1))
    writer.begin(record(2))
    writer.append(record(2))
    killed(writer)
    assert ids(tmp_path) == [f"req_{2:032x}"]
    again = SpoolWriter(tmp_path, SMALL)
    assert again.recovered == 1
    assert ids(tmp_path) == [f"req_{2:032x}", f"req_{1:032x}"]
    killed(again)
    third = SpoolWriter(tmp_path, SMALL)
    assert third.recovered == 0
    assert len(ids(tmp_path)) == 2
    third.close()


@pytest.mark.parametrize("waits", [False, True], ids=["without its bodies", "in memory"])
def test_a_call_whose_row_found_little_room_is_no_row_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """It has ended, though not as it was to be written."""
    room, now = [True], [100.0]

    def reserve(fd: int, size: int) -> None:
        if not room[0]:
            raise OSError(28, "No space left on device")
        os.truncate(fd, size)

    monkeypatch.setattr("sekisho.tables.mapped.reserve", reserve)
    writer = SpoolWriter(tmp_path, SMALL, monotonic_s=lambda: now[0])
    writer.begin(record(1))
    room[0] = False
    n = 2
    while waits and not writer.failing:
        writer.append(record(n))
        n += 1
    writer.append(record(1, request=b'"' + b"x" * 70_000 + b'"'))
    room[0], now[0] = True, 200.0
    while writer.last_seq >> 32 < 3:  # a new segment says which calls are open
        writer.append(record(n))
        n += 1
    killed(writer)
    again = SpoolWriter(tmp_path, SMALL)
    assert again.recovered == 0
    assert ids(tmp_path).count(f"req_{1:032x}") == 1
    again.close()


def test_an_open_call_is_carried_from_segment_to_segment(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SMALL)
    writer.begin(record(0))
    n = 1
    while len(segment_numbers(tmp_path)) < 4:
        writer.append(record(n))
        n += 1
    newest = segment_numbers(tmp_path)[-1]
    for number in segment_numbers(tmp_path)[:-1]:
        segment_path(tmp_path, number).unlink()  # as the committer does when their rows are in the tables
    assert newest > 1
    killed(writer)
    again = SpoolWriter(tmp_path, SMALL)
    assert again.recovered == 1
    assert ids(tmp_path)[-1] == f"req_{0:032x}"
    again.close()


def test_a_call_that_ended_is_carried_nowhere(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SMALL)
    writer.begin(record(0))
    writer.append(record(0))
    n = 1
    while len(segment_numbers(tmp_path)) < 3:
        writer.append(record(n))
        n += 1
    for number in segment_numbers(tmp_path)[:-1]:
        segment_path(tmp_path, number).unlink()
    killed(writer)
    again = SpoolWriter(tmp_path, SMALL)
    assert again.recovered == 0
    assert f"req_{0:032x}" not in ids(tmp_path)
    again.close()


@given(st.lists(st.sampled_from(["begin", "end", "refused", "kill"]), max_size=60))
def test_every_call_is_a_row_once(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    root = tmp_path_factory.mktemp("spool")
    writer = SpoolWriter(root, SMALL)
    n, open_calls, want = 0, list[int](), set[str]()
    for step in steps:
        if step == "begin":
            n += 1
            writer.begin(record(n))
            open_calls.append(n)
            want.add(f"req_{n:032x}")
        elif step == "end" and open_calls:
            writer.append(record(open_calls.pop(0)))
        elif step == "refused":
            n += 1
            writer.append(record(n))
            want.add(f"req_{n:032x}")
        elif step == "kill":
            killed(writer)
            writer = SpoolWriter(root, SMALL)
            open_calls = []
    killed(writer)
    SpoolWriter(root, SMALL).close()
    found = ids(root)
    assert len(found) == len(set(found))
    assert set(found) == want


# five are carried, then the mark, then they are rows
@pytest.mark.parametrize(("dies_at", "left"), [(1, 5), (3, 5), (6, 5), (7, 5), (9, 3)])
def test_a_kill_in_the_middle_of_recovery_doubles_nothing_and_loses_nothing(
    dies_at: int, left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(tmp_path, SMALL)
    for n in range(5):
        writer.begin(record(n))
    killed(writer)
    put, count = SpoolWriter._put, [0]

    class Killed(BaseException):
        pass

    def dying(self: SpoolWriter, payload: bytes, kind: int) -> bool:
        count[0] += 1
        if count[0] == dies_at:
            killed(self)
            raise Killed
        return put(self, payload, kind)

    monkeypatch.setattr(SpoolWriter, "_put", dying)
    with pytest.raises(Killed):
        SpoolWriter(tmp_path, SMALL)
    monkeypatch.undo()
    assert len(begun_and_not_ended(tmp_path)) == left
    SpoolWriter(tmp_path, SMALL).close()
    assert sorted(ids(tmp_path)) == [f"req_{n:032x}" for n in range(5)]
