"""When the next worker begins, what is said of a place, and questions that wait for nobody who is gone."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator

import pytest

from sekisho.app.workers.line import Answer, State, Tell, ToWorker
from sekisho.app.workers.place import Place
from sekisho.app.workers.questions import Questions
from sekisho.ledger.tally import Tally
from sekisho.ledger.tally_sums import sums_of

STATE = State(seq=0, tally=sums_of(Tally()), gauges={}, ready={})


@pytest.fixture
def places() -> Iterator[list[Place]]:
    """Three, each with somebody at the other end."""
    selector = selectors.DefaultSelector()
    made, others = [], []
    for number in range(1, 4):
        with socket.socket() as sock:
            place = Place(sock)
        ours, theirs = socket.socketpair()
        place.number = number
        place.connect(100 + number, ours, selector)
        made.append(place)
        others.append(theirs)
    yield made
    for place in made:
        place.vacate()
    for theirs in others:
        theirs.close()
    selector.close()


def test_those_that_die_young_are_replaced_later_each_time(places: list[Place]) -> None:
    place, now_s, waits = places[0], 0.0, []
    for _ in range(8):
        place.begin(now_s)
        now_s += 1
        place.put_off(now_s)
        waits.append(place.retry_at_s - now_s)
        now_s = place.retry_at_s
    assert waits == [0.5, 1, 2, 4, 8, 10, 10, 10]
    place.begin(now_s)
    place.put_off(now_s + 60)
    assert place.retry_at_s == now_s + 60, "one that lived long is replaced at once"


def test_what_is_said_of_a_place(places: list[Place]) -> None:
    place = places[0]
    place.begin(10.0)
    assert place.described(11.0) == {"worker": 1, "pid": 101, "state": "starting", "restarts": 0}
    place.open = True
    assert place.described(11.0)["state"] == "ok"
    place.state = State(seq=0, tally=sums_of(Tally()), gauges={}, ready={"status": "rows_unavailable"})
    assert place.described(11.0)["state"] == "rows_unavailable"
    assert place.described(60.0)["state"] == "silent"
    place.vacate()
    assert place.described(60.0) == {"worker": 1, "pid": None, "state": "restarting", "restarts": 0}


def test_a_worker_that_says_nothing_is_asked_and_then_hangs(places: list[Place]) -> None:
    place = places[0]
    place.begin(0.0)
    assert [place.silence() for _ in range(600)] == [None] * 600, "a start may take its time"
    place.open = True
    assert [place.silence() for _ in range(60)] == [None] * 4 + ["ask"] * 55 + ["hangs"]
    assert place.silence() is None, "it is killed once"
    place.heard(1.0)
    assert [place.silence() for _ in range(5)] == [None] * 4 + ["ask"]
    place.heard(2.0)
    place.begin(3.0)
    assert place.silence() is None


def test_a_question_is_answered_when_all_have_told_or_are_gone(places: list[Place]) -> None:
    sent: list[tuple[int, ToWorker]] = []
    asker, second, third = places
    questions = Questions(lambda place, message: sent.append((place.number, message)), lambda _: STATE)
    questions.ask(asker, 7, [second, third])
    assert sent == [(2, Tell(1)), (3, Tell(1))]
    questions.told(second, 1)
    questions.look()
    assert len(sent) == 2
    third.vacate()
    questions.look()
    assert sent[2:] == [(1, Answer(7, STATE))]
    assert questions.due_s() == []
    questions.told(second, 1)
    questions.ask(asker, 8, [third])
    assert sent[3:] == [(1, Answer(8, STATE))], "nobody is left to ask"


def test_one_that_hangs_is_not_waited_for(places: list[Place], monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[ToWorker] = []
    questions = Questions(lambda _, message: sent.append(message), lambda _: STATE)
    questions.ask(places[0], 1, [places[1]])
    [until_s] = questions.due_s()
    monkeypatch.setattr("time.monotonic", lambda: until_s)
    questions.look()
    assert sent == [Tell(1), Answer(1, STATE)]
