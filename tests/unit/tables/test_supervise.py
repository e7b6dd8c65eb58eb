"""The handle on the committer: restarts later each time, and counts over all children."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sekisho.tables.status import CommitterStatus, StatusFile
from sekisho.tables.supervise import HANGS_S, Committer


class Child:
    """Stands for a process."""

    pids = iter(range(1000, 10**9))

    def __init__(self, *_: Any, pass_fds: Sequence[int] = (), **__: Any) -> None:
        self.pid = next(self.pids)
        self.pulse = os.dup(pass_fds[0])
        self.killed = False
        self.returncode: int | None = None
        self.stdin = io.BytesIO()

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        self.returncode = 0

    def kill(self) -> None:
        self.killed = True

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            raise subprocess.TimeoutExpired("committer", timeout or 0.0)
        return self.returncode


class World:
    """A data_dir, a clock that is moved by hand, and the children started."""

    def __init__(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.children: list[Child] = []
        self.seq = 0
        monkeypatch.setattr(subprocess, "Popen", self._popen)
        self.file = StatusFile(data_dir / "spool")
        self.committer = Committer(data_dir, last_seq=lambda: self.seq, monotonic_s=lambda: self.now_s)

    def _popen(self, *arguments: Any, **options: Any) -> Child:
        self.children.append(Child(*arguments, **options))
        return self.children[-1]

    def write(self, **fields: Any) -> None:
        self.file.write(CommitterStatus(pid=self.children[-1].pid, **fields))

    def die(self) -> None:
        self.children[-1].returncode = -9

    def poll_for(self, seconds: int, *, alive: bool = False) -> None:
        """Once a second, as the gateway does."""
        for _ in range(seconds):
            self.now_s += 1
            if alive:
                os.write(self.children[-1].pulse, b".")
            self.committer.poll()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = World(tmp_path, monkeypatch)
    yield world
    for child in world.children:
        os.close(child.pulse)
    world.file.close()


def test_a_dead_child_is_started_again_later_each_time(world: World):
    world.committer.start()
    assert world.committer.poll()
    for pause_s in (0.5, 1.0, 2.0, 4.0):
        world.die()
        assert not world.committer.poll()
        world.now_s += pause_s - 0.1
        assert not world.committer.poll()
        world.now_s += 0.1
        assert world.committer.poll()
    assert world.committer.restarts == 4
    world.now_s += 61
    world.die()
    assert not world.committer.poll()
    world.now_s += 0.5
    assert world.committer.poll(), "one that lived long is started again soon"


def test_counts_go_on_over_children(world: World):
    world.committer.start()
    world.write(committed_rows=10, logged_rows=4, commits=2, errors=1, committed_seq=70)
    world.die()
    world.committer.poll()
    assert world.committer.committed_rows == 10, "not counted twice until the next child has said something"
    world.now_s += 1
    world.committer.poll()
    assert world.committer.committed_rows == 10
    assert world.committer.status().committed_seq == 70
    world.write(committed_rows=5, commits=1, committed_seq=90, state="running")
    status = world.committer.status()
    assert (status.committed_rows, status.logged_rows, status.commits, status.errors) == (15, 4, 3, 1)
    assert status.committed_seq == 90
    assert world.committer.stop(1.0)
    assert world.committer.committed_rows == 15
    assert not world.committer.running
    assert not world.committer.poll()


def test_lag_is_the_time_since_all_was_known_to_be_committed(world: World):
    world.committer.start()
    world.seq = 100
    world.write(committed_seq=100, caught_up_us=1)
    assert world.committer.lag_s() == 0.0
    world.seq = 101
    world.write(committed_seq=100, caught_up_us=time.time_ns() // 1000 - 5_000_000)
    assert 5.0 <= world.committer.lag_s() < 60.0


def test_of_several_workers_one_whose_rows_wait_is_enough(world: World, tmp_path: Path):
    ends = {"worker-1": 5, "worker-2": 9}
    world.committer = Committer(tmp_path, last_seqs=lambda: ends, monotonic_s=lambda: world.now_s)
    world.committer.start()
    hour_ago_us = time.time_ns() // 1000 - 3_600_000_000
    for known, waits in (({"worker-1": 5, "worker-2": 8}, True), ({"worker-1": 5}, True), (ends, False)):
        world.write(started_us=1, caught_up_us=hour_ago_us, seqs=known)
        assert (world.committer.lag_s() > 3500.0) is waits, known


@pytest.mark.parametrize("known", ["caught_up_us", "started_us"])
def test_children_that_die_again_and_again_do_not_make_rows_younger(world: World, known: str):
    world.seq = 7
    hour_ago_us = time.time_ns() // 1000 - 3_600_000_000
    world.committer.start()
    world.write(**{"started_us": hour_ago_us, known: hour_ago_us + 1})
    assert world.committer.lag_s() > 3500.0
    for _ in range(3):
        world.die()
        assert not world.committer.poll()
        assert world.committer.lag_s() > 3500.0
        world.now_s += 60.0
        assert world.committer.poll()
        world.write(started_us=time.time_ns() // 1000)
        assert world.committer.lag_s() > 3500.0
    world.write(started_us=time.time_ns() // 1000, caught_up_us=time.time_ns() // 1000)
    assert world.committer.lag_s() < 60.0


def test_rows_that_an_earlier_gateway_left_wait_though_this_one_has_stored_none(world: World):
    """Of those nobody here has a number: until all was in the tables once, they may be there."""
    hour_ago_us = time.time_ns() // 1000 - 3_600_000_000
    world.committer.start()
    world.write(state="failing", started_us=hour_ago_us, errors=9)
    assert world.seq == 0
    assert world.committer.lag_s() > 3500.0
    world.write(started_us=hour_ago_us, caught_up_us=hour_ago_us + 1)
    assert world.committer.lag_s() == 0.0, "all was in, and nothing came since"


def test_a_spool_that_is_new_makes_no_row_older(world: World):
    now_us = time.time_ns() // 1000
    world.committer.start()
    world.write(started_us=now_us - 3_600_000_000, caught_up_us=now_us)
    assert world.committer.lag_s() == 0.0
    world.seq = 7
    world.write(started_us=now_us - 3_600_000_000, caught_up_us=0)
    assert 0.0 < world.committer.lag_s() < 60.0


def test_a_status_that_is_being_written_leaves_the_last_whole_one(world: World, tmp_path: Path):
    world.committer.start()
    world.write(committed_rows=3)
    assert world.committer.committed_rows == 3
    (tmp_path / "spool" / "status.json").write_bytes(b'{"pid": 1')
    assert world.committer.committed_rows == 3


def test_an_interpreter_that_cannot_be_started_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch):
    world.committer.start()
    world.die()
    world.committer.poll()
    world.now_s += 1

    tries: list[float] = []

    def refuse(*_: Any, **__: Any) -> None:
        tries.append(world.now_s)
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        assert not world.committer.poll()
        world.poll_for(29)
    assert len(tries) == 1, "not again and again where memory is short"
    world.now_s += 2
    assert world.committer.poll()


def test_the_status_fits_its_page(tmp_path: Path):
    file = StatusFile(tmp_path)
    largest = 2**63 - 1
    fields = {field.name: largest for field in msgspec.structs.fields(CommitterStatus) if field.type is int}
    file.write(CommitterStatus(**{**fields, "state": "running", "last_error": "エ" * 1000}))
    file.write(CommitterStatus(pid=1))
    assert msgspec.json.decode((tmp_path / "status.json").read_bytes(), type=CommitterStatus).pid == 1
    file.close()


def test_a_child_that_hangs_is_killed_and_replaced_when_it_is_gone(world: World, caplog: pytest.LogCaptureFixture):
    world.committer.start()
    world.poll_for(10 * round(HANGS_S), alive=True)
    assert not world.children[0].killed
    world.poll_for(round(HANGS_S) - 1)
    assert not world.children[0].killed
    with caplog.at_level(logging.WARNING, "sekisho.tables"):
        world.poll_for(60)
        assert world.children[0].killed
        assert len(world.children) == 1, "none begins beside one that the kernel does not let go"
        assert not world.committer.running
        world.die()
        world.poll_for(2)
    assert len(world.children) == 2
    assert world.committer.running
    assert world.committer.lost == {"died": 0, "hung": 1}
    (said,) = caplog.records
    assert "hangs and is killed" in said.message


def test_a_gateway_that_was_stopped_itself_kills_nobody(world: World):
    world.committer.start()
    for _ in range(5):
        world.now_s += 3600
        assert world.committer.poll()
        os.write(world.children[0].pulse, b".")
    assert not world.children[0].killed


def test_stopping_does_not_wait_for_a_child_that_cannot_be_killed(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Child, "terminate", Child.poll)
    world.committer.start()
    world.write()
    world.committer.stop(0.1)
    assert world.children[0].killed
