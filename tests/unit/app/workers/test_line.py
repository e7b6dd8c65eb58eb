"""What a worker and its supervisor say to each other arrives whole, or not at all."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sekisho.app.workers.line import (
    Answer,
    Failed,
    FromWorker,
    Gauge,
    Line,
    Opened,
    Report,
    State,
    Tell,
    ToWorker,
    plain,
    shown,
)
from sekisho.ledger.tally import ByLabel, Tally
from sekisho.ledger.tally_sums import sums_of


@pytest.fixture
def ends() -> Iterator[tuple[Line, Line]]:
    """A worker's end and a supervisor's."""
    one, other = socket.socketpair()
    worker, supervisor = Line(one, ToWorker), Line(other, FromWorker)
    yield worker, supervisor
    worker.close()
    supervisor.close()


def state(text: str = "") -> State:
    return State(seq=7, tally=sums_of(Tally()), gauges={"a": Gauge(text, 1.5)}, ready={"status": "ok"})


def test_messages_arrive_in_order_both_ways(ends: tuple[Line, Line]) -> None:
    worker, supervisor = ends
    assert worker.send(Opened())
    assert worker.send(Report(state(), 3))
    assert supervisor.receive() == [Opened(), Report(state(), 3)]
    assert supervisor.receive() == []
    assert supervisor.send(Tell(4))
    assert supervisor.send(Answer(5, state()))
    assert worker.receive() == [Tell(4), Answer(5, state())]


def test_a_message_larger_than_the_kernel_takes_is_sent_on(ends: tuple[Line, Line]) -> None:
    worker, supervisor = ends
    large = Report(state("x" * 3_000_000))
    assert not worker.send(large)
    found = []
    while not found:
        found = supervisor.receive()
        worker.flush()
    assert found == [large]


def test_what_was_said_before_the_death_is_heard(ends: tuple[Line, Line]) -> None:
    worker, supervisor = ends
    worker.send(Failed("no database"))
    worker.close()
    assert supervisor.receive() == [Failed("no database")]
    assert supervisor.ended
    assert not supervisor.send(Tell(1)) or supervisor.ended
    assert supervisor.receive() == []


def test_a_death_with_something_unread_is_a_death_too(ends: tuple[Line, Line]) -> None:
    worker, supervisor = ends
    assert supervisor.send(Tell(1))
    worker.send(Opened())
    worker.close()  # the kernel says that the connection was reset
    assert supervisor.receive() == [Opened()]
    assert supervisor.ended


def test_the_last_words_of_a_process_are_sent_as_far_as_somebody_listens(ends: tuple[Line, Line]) -> None:
    worker, supervisor = ends
    large = Failed("x" * 3_000_000)
    assert not worker.send(large)
    worker.drain(0.05)  # nobody reads: it gives up
    with ThreadPoolExecutor(1) as pool:
        draining = pool.submit(worker.drain, 60.0)
        found = []
        while not found:
            select.select([supervisor], [], [], 1.0)
            found = supervisor.receive()
        draining.result()
    assert found == [large]


def test_half_a_message_is_none_and_a_broken_one_ends_the_line(ends: tuple[Line, Line]) -> None:
    worker, supervisor = ends
    worker._sock.sendall(b"\x05\x00\x00\x00ab")
    assert supervisor.receive() == []
    assert not supervisor.ended
    worker._sock.sendall(b"cde")
    assert supervisor.receive() == []
    assert supervisor.ended


def test_gauges_are_shown_as_they_were(ends: tuple[Line, Line]) -> None:
    gauges: dict[str, tuple[str, float | ByLabel]] = {
        "bytes": ("Bytes.", 3.0),
        "ratio": ("Of a budget.", ByLabel("budget", {"team=rd": 0.5})),
    }
    worker, supervisor = ends
    worker.send(Report(State(seq=0, tally=sums_of(Tally()), gauges=plain(gauges), ready={})))
    [report] = supervisor.receive()
    assert shown(report.state.gauges) == gauges
