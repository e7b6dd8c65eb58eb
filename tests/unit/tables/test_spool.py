"""The spool: what went in comes out, whatever happened to the process or the file."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tables.rows import a_row, record_of, records

from sekisho.tables import segments
from sekisho.tables.layout import OWN, SHAPE, encode_record
from sekisho.tables.segments import KIND_ROW, RECORD_HEAD, SpoolReader, segment_numbers, segment_path
from sekisho.tables.spool import DataDirInUse, SpoolWriter

SMALL = 64 * 1024


def stored(root: Path, after: int = 0, upto: int | None = None) -> list[bytes]:
    reader = SpoolReader(root)
    try:
        return [payload for chunk in reader.chunks(after, upto) for payload in chunk.payloads]
    finally:
        reader.close()


def decoded(payload: bytes) -> dict[str, Any]:
    shape, _, *own = msgspec.msgpack.decode(payload)
    return dict(zip((*SHAPE, *OWN), (*shape, *own), strict=True))


def test_rows_come_back_in_order_over_many_segments(tmp_path: Path):
    rows = records(1500)
    writer = SpoolWriter(tmp_path, SMALL)
    for row in rows:
        writer.append(row)
    assert writer.appended == 1500
    assert writer.failed == 0
    assert len(segment_numbers(tmp_path)) > 5
    assert stored(tmp_path) == [encode_record(row) for row in rows]
    writer.close()
    assert stored(tmp_path) == [encode_record(row) for row in rows]


def test_sequence_numbers_ascend_and_name_the_next_record(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL)
    seen: list[int] = []
    for row in records(400):
        writer.append(row)
        seen.append(writer.last_seq)
    assert seen == sorted(set(seen))
    for at in (0, 7, 199, 398):
        assert stored(tmp_path, seen[at]) == [encode_record(row) for row in records(399 - at, at + 1)]
    assert stored(tmp_path, seen[3], seen[10]) == [encode_record(row) for row in records(7, 4)]
    assert stored(tmp_path, seen[-1]) == []
    writer.close()


def test_a_reader_sees_what_is_appended_later(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL)
    reader = SpoolReader(tmp_path)
    position = 0
    for n in range(300):
        writer.append(record_of(a_row(n)))
        chunks = list(reader.chunks(position))
        assert [len(chunk.payloads) for chunk in chunks] == [1]
        position = chunks[-1].last_seq
        assert position == writer.last_seq
    reader.close()
    writer.close()


def test_an_oversized_row_gets_a_segment_of_its_own(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL)
    big = record_of(a_row(1, request=b'"' + b"x" * 500_000 + b'"'))
    rows = [*records(1), big, *records(200, 2)]
    for row in rows:
        writer.append(row)
    assert stored(tmp_path) == [encode_record(row) for row in rows]
    writer.close()


def test_large_rows_are_handed_over_a_few_at_a_time(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL)
    for row in records(10, request=b"x" * 3_000_000):
        writer.append(row)
    assert [len(chunk.payloads) for chunk in SpoolReader(tmp_path).chunks(0)] == [1] * 10
    writer.close()
    roomy = SpoolWriter(tmp_path / "roomy", 64 * 1024 * 1024)
    for row in records(10, request=b"x" * 3_000_000):
        roomy.append(row)
    assert [len(chunk.payloads) for chunk in SpoolReader(tmp_path / "roomy").chunks(0)] == [2] * 5
    roomy.close()


def test_segments_wholly_before_a_position_are_trimmed_and_the_newest_stays(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL)
    for row in records(1500):
        writer.append(row)
    reader = SpoolReader(tmp_path)
    before = segment_numbers(tmp_path)
    assert reader.trim(writer.last_seq) == len(before) - 1
    assert segment_numbers(tmp_path) == before[-1:]
    assert 0 < writer.pending_bytes() <= SMALL
    reader.close()
    writer.close()


def test_what_is_held_is_read_although_it_is_trimmed_and_then_let_go(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL)
    n = 0
    while len(segment_numbers(tmp_path)) < 3:
        writer.append(record_of(a_row(n)))
        n += 1
    holder, trimmer = SpoolReader(tmp_path), SpoolReader(tmp_path)
    holder.hold()
    assert len(trimmer.writers()) == 1
    opened = [*trimmer._open.values()]
    assert trimmer.trim(writer.last_seq) == 2
    assert [one._fd >= 0 for one in opened] == [False, False, True]
    assert sum(len(chunk.payloads) for chunk in holder.chunks(0)) == n
    opened += holder._open.values()
    for one in (holder, trimmer, writer):
        one.close()
    assert {one._fd for one in opened} == {-1}


def test_what_is_to_be_on_the_disk_is_synced_and_no_other_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    writer = SpoolWriter(tmp_path, SMALL)
    while len(segment_numbers(tmp_path)) < 4:
        writer.append(record_of(a_row()))
    reader = SpoolReader(tmp_path)
    ends = [chunk.last_seq for chunk in reader.chunks(0)]
    synced: list[int] = []

    def sync(segment: segments.Segment) -> None:
        synced.append(segment.number)

    monkeypatch.setattr(segments.Segment, "sync", sync)
    numbers = segment_numbers(tmp_path)
    reader.sync(0, ends[-1])
    assert sorted(synced) == numbers
    synced.clear()
    after, upto = (next(end for end in ends if end >> 32 == number) for number in numbers[1:3])
    reader.sync(after, upto)
    assert sorted(synced) == numbers[1:3]
    reader.close()
    writer.close()


def test_the_count_goes_on_after_a_restart_under_another_id(tmp_path: Path):
    first = SpoolWriter(tmp_path, SMALL)
    first.append(record_of(a_row(1)))
    first.close()
    second = SpoolWriter(tmp_path, SMALL)
    second.append(record_of(a_row(2)))
    assert second.last_seq > first.last_seq
    assert SpoolReader(tmp_path).writers() == {first.spool_id: 1, second.spool_id: 2}
    assert stored(tmp_path) == [encode_record(row) for row in records(2, 1)]
    second.close()


def test_a_spool_that_was_deleted_begins_under_a_new_id(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL)
    before = SpoolReader(tmp_path).spool_id()
    writer.close()
    for number in segment_numbers(tmp_path):
        segment_path(tmp_path, number).unlink()
    SpoolWriter(tmp_path, SMALL).close()
    assert SpoolReader(tmp_path).spool_id() not in (None, before)


def test_restarts_without_rows_leave_one_segment(tmp_path: Path):
    for _ in range(5):
        SpoolWriter(tmp_path, SMALL).close()
    assert len(segment_numbers(tmp_path)) == 1


def test_one_owner_at_a_time(tmp_path: Path):
    writer = SpoolWriter(tmp_path / "spool", SMALL)
    with pytest.raises(DataDirInUse, match=str(os.getpid())):
        SpoolWriter(tmp_path / "spool", SMALL)
    writer.close()
    SpoolWriter(tmp_path / "spool", SMALL).close()


def _cut(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(8))


def test_a_torn_last_record_is_not_read_and_is_passed_over_later(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL)
    ends: list[int] = []
    for row in records(3):
        writer.append(row)
        ends.append(writer.last_seq & 0xFFFFFFFF)
    path = segment_path(tmp_path, segment_numbers(tmp_path)[-1])
    writer.close()
    _cut(path, ends[-1] - 20)
    assert stored(tmp_path) == [encode_record(row) for row in records(2)]
    later = SpoolWriter(tmp_path, SMALL)
    later.append(record_of(a_row(9)))
    reader = SpoolReader(tmp_path)
    assert [p for c in reader.chunks(0) for p in c.payloads] == [
        encode_record(row) for row in [*records(2), *records(1, 9)]
    ]
    assert reader.corrupt == 1
    reader.close()
    later.close()


def test_a_damaged_record_costs_only_itself_once_its_segment_is_done(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL)
    ends: list[int] = []
    for row in records(5):
        writer.append(row)
        ends.append(writer.last_seq & 0xFFFFFFFF)
    path = segment_path(tmp_path, segment_numbers(tmp_path)[-1])
    writer.close()
    SpoolWriter(tmp_path, SMALL).close()
    _cut(path, ends[1] - 20)
    assert stored(tmp_path) == [encode_record(row) for row in [*records(1), *records(3, 2)]]


def test_a_length_beyond_the_file_ends_a_finished_segment(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL)
    writer.append(record_of(a_row(1)))
    at = (writer.last_seq & 0xFFFFFFFF) + 7 & ~7
    path = segment_path(tmp_path, segment_numbers(tmp_path)[-1])
    writer.close()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(RECORD_HEAD.pack(KIND_ROW << 28 | 0xFFFFFF, 1))
    newer = SpoolWriter(tmp_path, SMALL)
    newer.append(record_of(a_row(2)))
    assert stored(tmp_path) == [encode_record(row) for row in records(2, 1)]
    newer.close()


def test_a_file_that_is_no_segment_is_left_alone(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL)
    segment_path(tmp_path, 0).write_bytes(b"something else")
    writer.append(record_of(a_row(1)))
    reader = SpoolReader(tmp_path)
    assert len(list(reader.chunks(0))) == 1
    assert reader.strange == {0}
    opened = len(os.listdir("/dev/fd"))
    for _ in range(3):  # as often as the committer looks
        assert len(list(reader.chunks(0))) == 1
    assert len(os.listdir("/dev/fd")) == opened
    reader.trim(writer.last_seq)
    assert 0 in segment_numbers(tmp_path)
    reader.close()
    writer.close()


def test_records_of_an_older_layout_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    older = segments.CURRENT
    gone = older.own.index("end_user")
    layout = msgspec.structs.replace(
        older,
        own=(*older.own[:gone], *older.own[gone + 1 :], "forgotten"),
        attempt=tuple(name for name in older.attempt if name != "usage_source"),
    )
    monkeypatch.setattr(segments, "CURRENT", layout)
    writer = SpoolWriter(tmp_path, SMALL)
    row = a_row(1, end_user="was not there", attempts=[list(a_row().attempts[0][:-1])])
    shape, caller, *own = record_of(row)
    writer.append((shape, caller, *own[:gone], *own[gone + 1 :], "whatever"))
    writer.close()
    monkeypatch.undo()
    (payload,) = stored(tmp_path)
    read = decoded(payload)
    assert read["request_id"] == row.request_id
    assert read["end_user"] is None
    assert read["attempts"] == [[*a_row().attempts[0][:-1], None]]
    assert read["request"] == row.request


def test_odd_values_cost_themselves_and_not_the_row(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL)
    writer.append(record_of(a_row(1, end_user="a\ud800b", input_tokens=2**70, tags={"k\udfff": object()})))
    (payload,) = stored(tmp_path)
    read = decoded(payload)
    assert read["end_user"] == "a?b"
    assert read["input_tokens"] is None
    assert read["request_id"] == a_row(1).request_id
    assert writer.failed == 0
    writer.close()


class FullDisk:
    """Stands for posix_fallocate on a disk that has room or not."""

    def __init__(self) -> None:
        self.full = False
        self.calls = 0

    def __call__(self, fd: int, size: int) -> None:
        self.calls += 1
        if self.full:
            raise OSError(28, "No space left on device")
        os.truncate(fd, size)


def test_a_full_disk_drops_bodies_first_then_rows_wait_and_then_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    disk, now = FullDisk(), [100.0]
    monkeypatch.setattr("sekisho.tables.spool._MOST_WAITING_BYTES", 5_000)
    monkeypatch.setattr("sekisho.tables.mapped.reserve", disk)
    writer = SpoolWriter(tmp_path, SMALL, monotonic_s=lambda: now[0])
    disk.full = True
    big = a_row(1, request=b'"' + b"x" * 70_000 + b'"')
    writer.append(record_of(big))
    assert (writer.appended, writer.bodies_dropped, writer.failed) == (1, 1, 0)
    read = decoded(stored(tmp_path)[0])
    assert (read["request"], read["response"], read["log_level"]) == (None, None, big.log_level)
    assert read["logging_error_codes"] == ["SPOOL_FULL"]
    count = 0
    while not writer.failed:
        writer.append(record_of(a_row(count)))
        count += 1
    assert writer.failing
    asked, before = disk.calls, writer.appended
    writer.append(record_of(a_row()))
    assert writer.failed == 2
    assert disk.calls == asked, "the disk is not asked again at once"
    disk.full, now[0] = False, 102.0
    writer.append(record_of(a_row(5)))
    assert writer.failed == 2
    assert not writer.failing
    assert stored(tmp_path)[-1] == encode_record(record_of(a_row(5)))
    waited = writer.appended - before - 1
    assert waited > 3, "rows that waited in memory are in now"
    assert len(stored(tmp_path)) == writer.appended
    writer.close()


def test_a_full_disk_at_the_start_does_not_keep_the_gateway_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    disk, now = FullDisk(), [100.0]
    disk.full = True
    monkeypatch.setattr("sekisho.tables.mapped.reserve", disk)
    writer = SpoolWriter(tmp_path, SMALL, monotonic_s=lambda: now[0])
    writer.append(record_of(a_row()))
    assert (writer.appended, writer.failed) == (0, 0)
    disk.full, now[0] = False, 105.0
    writer.append(record_of(a_row(1)))
    first, second = stored(tmp_path)
    assert decoded(first)["logging_error_codes"] == ["SPOOL_FULL"], "it waited in memory, without its bodies"
    assert second == encode_record(record_of(a_row(1)))
    writer.close()
    writer.append(record_of(a_row(2)))
    assert writer.failed == 1, "a closed spool counts what it cannot keep"


def test_rows_that_wait_are_stored_at_the_end_where_there_is_room_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    disk = FullDisk()
    disk.full = True
    monkeypatch.setattr("sekisho.tables.mapped.reserve", disk)
    writer = SpoolWriter(tmp_path, SMALL, monotonic_s=lambda: 100.0)
    writer.append(record_of(a_row()))
    assert stored(tmp_path) == []
    disk.full = False
    writer.close()
    assert (len(stored(tmp_path)), writer.appended, writer.failed) == (1, 1, 0)


async def test_rows_that_wait_in_memory_are_not_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    disk, now = FullDisk(), [100.0]
    monkeypatch.setattr("sekisho.tables.mapped.reserve", disk)
    writer = SpoolWriter(tmp_path, SMALL, monotonic_s=lambda: now[0])
    disk.full = True
    while not writer.failing:
        writer.append(record_of(a_row()))
    assert not await durable(writer)
    disk.full, now[0] = False, 102.0
    writer.look()
    assert await durable(writer)
    writer.close()


async def durable(writer: SpoolWriter) -> bool:
    told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    writer.when_durable(told.set_result)
    return await asyncio.wait_for(told, 20)


def test_a_gateway_that_takes_no_calls_without_room_takes_them_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    disk, now = FullDisk(), [100.0]
    monkeypatch.setattr("sekisho.tables.mapped.reserve", disk)
    writer = SpoolWriter(tmp_path, SMALL, fails_open=False, monotonic_s=lambda: now[0])
    disk.full = True
    while writer.begin(record_of(a_row(1))):
        pass
    assert not writer.takes_calls
    disk.full, now[0] = False, 102.0
    writer.look()
    assert writer.takes_calls, "nobody has to be refused for it"
    writer.close()


def test_a_begin_record_that_cannot_be_written_as_such_says_nothing_of_the_disk(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL, fails_open=False)
    odd = record_of(a_row(1))
    assert not writer.begin((*odd[:-1], _Unencodable()))
    assert writer.takes_calls
    assert not writer.failing
    writer.close()


class _Unencodable:
    def __str__(self) -> str:
        raise TypeError("not to be written")


async def test_a_row_that_was_lost_is_not_durable(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL)
    writer.append((*record_of(a_row(1))[:-1], _Unencodable()))
    assert writer.failed == 1
    assert not await durable(writer)
    writer.close()


def test_the_next_segment_is_made_ahead(tmp_path: Path):
    writer = SpoolWriter(tmp_path, SMALL)
    while (writer.last_seq & 0xFFFFFFFF) < SMALL * 3 // 4:
        writer.append(record_of(a_row()))
    for thread in threading.enumerate():
        if thread.name == "spool-segment":
            thread.join()
    assert (tmp_path / "next.tmp").exists()
    writer.close()
    assert not (tmp_path / "next.tmp").exists()


APPENDER = """
    import sys
    from pathlib import Path
    from sekisho.tables.spool import SpoolWriter
    from tests.unit.tables.rows import a_row, record_of

    writer = SpoolWriter(Path(sys.argv[1]), 256 * 1024)
    for n in range(10**9):
        writer.append(record_of(a_row(n)))
        if n % 100 == 99:
            sys.stdout.write(f"{n + 1}\\n")
            sys.stdout.flush()
"""


@pytest.mark.parametrize("rows", [100, 1300, 2900])
def test_kill_9_loses_nothing_that_was_appended(tmp_path: Path, rows: int):
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(APPENDER), str(tmp_path)], stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    assert child.stdout is not None
    told = 0
    while told < rows:
        told = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    child.wait()
    told = max([told, *(int(line) for line in child.stdout.read().split() if line)])
    child.stdout.close()
    writer = SpoolWriter(tmp_path, SMALL)
    payloads = stored(tmp_path)
    assert len(payloads) >= told
    assert payloads == [encode_record(row) for row in records(len(payloads))]
    writer.close()


@given(sizes=st.lists(st.integers(0, 3000), max_size=60), start=st.integers(0, 59))
def test_any_sizes_round_trip_from_any_place(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], start: int):
    root = tmp_path_factory.mktemp("spool")
    writer = SpoolWriter(root, SMALL)
    rows = [record_of(a_row(n, request=b"x" * size)) for n, size in enumerate(sizes)]
    positions = [0]
    for row in rows:
        writer.append(row)
        positions.append(writer.last_seq)
    after = min(start, len(rows))
    assert stored(root, positions[after]) == [encode_record(row) for row in rows[after:]]
    writer.close()
