"""Somebody asks one worker for the state of all: the others are told to tell. Must not wait for one that hangs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec

from sekisho.app.workers.line import Answer, State, Tell, ToWorker
from sekisho.app.workers.place import Place

#: for the others to tell; then they count as they told last
_PATIENCE_S = 0.5


class Question(msgspec.Struct):
    """Asked by the worker of a place, under its own number; `left` are those that have not told yet."""

    place: Place
    number: int
    left: list[Place]
    until_s: float


class Questions:
    """Those that are open. `send` sends to a place, `answer` gives the state of all."""

    def __init__(self, send: Callable[[Place, ToWorker], None], answer: Callable[[Place], State]) -> None:
        self._send = send
        self._answer = answer
        self._open: dict[int, Question] = {}
        self._count = 0

    def ask(self, asker: Place, number: int, others: Iterable[Place]) -> None:
        self._count += 1
        ask, left = self._count, [place for place in others if place.listening]
        self._open[ask] = Question(asker, number, left, time.monotonic() + _PATIENCE_S)
        for place in left:
            self._send(place, Tell(ask))
        self._close(ask, self._open[ask])

    def told(self, place: Place, ask: int) -> None:
        """A place has told its state, because of that question."""
        question = self._open.get(ask)
        if question is not None:
            question.left = [other for other in question.left if other is not place]
            self._close(ask, question)

    def look(self) -> None:
        """Answer what has waited long enough, or waits only for the dead."""
        now_s = time.monotonic()
        for ask, question in list(self._open.items()):
            question.left = [place for place in question.left if place.listening and now_s < question.until_s]
            self._close(ask, question)

    def due_s(self) -> list[float]:
        """When to look."""
        return [question.until_s for question in self._open.values()]

    def _close(self, ask: int, question: Question) -> None:
        if not question.left:
            del self._open[ask]
            self._send(question.place, Answer(question.number, self._answer(question.place)))
