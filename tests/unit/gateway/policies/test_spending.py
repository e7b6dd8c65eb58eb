"""What is granted to a caller who is gone by then."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from sekisho.domain.call import Call, Entry, Route
from sekisho.gateway.policies.spending import Spending
from sekisho.stores.counters import Outcome, Reservation

ROUTE = Route(path="/v1/chat/completions", protocol="openai_chat", operation="chat", api_type="openai/v1/chat")


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
