"""What a limiter is asked for, and what is granted to a caller who is gone by then."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, NamedTuple

from sekisho.domain.call import Attempt, Call, Caller, Entry, Route
from sekisho.domain.endpoint import Endpoint, Target
from sekisho.gateway.policies.spending import Spending
from sekisho.stores.counters import Denial, Outcome, Reservation
from sekisho.wire import openai_chat, openai_embeddings

ROUTE = Route(path="/v1/chat/completions", protocol="openai_chat", operation="chat", api_type="openai/v1/chat")
TARGET = Target(provider="mock", model="mock-small")


class Asked(NamedTuple):
    """What was asked of the limiter."""

    input_tokens: int
    most: int | None
    choices: int
    name: str
    since_s: float


class House:
    """A limiter that keeps what it is asked for and gives the answers it is told to; estimates of 90 tokens at first
    sight and 60 at a closer look."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.asked: list[Asked] = []
        self._outcomes = iter(outcomes)
        self.plan: Any = SimpleNamespace(
            refuses_unpriced=False, sizes=object(), counts=True, headers=True, target=TARGET
        )
        estimates: Any = SimpleNamespace(input_tokens=lambda *_: 90, measured_input_tokens=lambda *_: 60)
        limiter: Any = SimpleNamespace(reserve=self._reserve, remote=True, dispatched=None)
        self.spending = Spending(limiter, estimates)
        self.snapshot: Any = SimpleNamespace(planner=SimpleNamespace(plan_for=lambda *_, **__: self.plan))

    def _reserve(self, plan: Any, now_s: float, *asked: Any) -> Outcome:
        self.asked.append(Asked(*asked, *([0.0] if len(asked) == 4 else [])))
        return next(self._outcomes)


def granted() -> Reservation:
    return Reservation(None, 0.0, 0, 100, 100, "id", 0)  # type: ignore[arg-type]


def call() -> Entry:
    entry = Entry(Call(ROUTE, {}, b"", "req_1", 0, None))
    entry.caller = Caller(key_id="key_1", key_name="app")
    entry.endpoint = Endpoint(name="chat", targets=(TARGET,))
    entry.targets = (TARGET,)
    return entry


async def test_each_attempt_reserves_under_a_name_of_its_own() -> None:
    """A store that is asked twice under one name counts once: a fallback would run on what was given back."""
    house, entry = House(granted(), granted()), call()
    request = openai_chat.parse(b'{"model":"chat","messages":[{}],"max_tokens":7,"n":2}')
    assert house.spending.first(entry, request, house.snapshot) is None
    entry.attempts.append(Attempt(TARGET, "primary", 0.0))
    assert await house.spending.later(entry, request, house.snapshot, TARGET)
    assert house.asked == [Asked(90, 7, 2, "req_1#1", 0.0), Asked(90, 7, 2, "req_1#2", 0.0)]


async def test_embeddings_reserve_no_output() -> None:
    house = House(granted())
    request = openai_embeddings.parse(b'{"model":"chat","input":"text"}')
    assert house.spending.first(call(), request, house.snapshot) is None
    assert house.asked == [Asked(90, 0, 1, "req_1#1", 0.0)]


async def test_a_closer_look_has_the_time_that_is_left_and_no_more() -> None:
    """Else a call that may wait for a second would wait for two."""
    denial = Denial(cause="tokens", wait_s=1.0)
    house, entry = House(denial, granted()), call()
    began_s = entry.call.now_s()
    request = openai_chat.parse(b'{"model":"chat","messages":[{}]}')
    decision = house.spending.first(entry, request, house.snapshot)
    assert decision is not None
    assert await decision is None
    assert [one.input_tokens for one in house.asked] == [90, 60]
    assert house.asked[1].since_s >= began_s > 0


async def test_a_reservation_that_comes_when_its_caller_has_left_is_given_back() -> None:
    given, voided, kept = [0], [0], [0]

    def void(reservation: Reservation, now_s: float) -> None:
        voided[0] += 1

    async def grant() -> Outcome:
        given[0] += 1
        return Reservation(None, 0.0, 0, 100, 100, "id", 0)

    limiter: Any = SimpleNamespace(void=void, dispatched=None)
    spending = Spending(limiter, None)  # type: ignore[arg-type]
    for moments in range(1, 7):
        entry = Entry(Call(ROUTE, {}, b"", "req_1", 0, None))
        waiting = asyncio.ensure_future(spending._awaited(entry, grant()))
        for _ in range(moments):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        await asyncio.sleep(0)  # what was under way is told of its end
        kept[0] += not waiting.cancelled()
        assert given[0] == voided[0] + kept[0], moments
    assert voided[0]
    assert kept[0]
    assert not len(spending.waiting)
