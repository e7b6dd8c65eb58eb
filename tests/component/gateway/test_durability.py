"""Endpoints whose rows are on the disk before the last byte of the answer, and what happens when they cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.component.http.client import ask, chat, http
from tests.support.gateway import CONFIG, Door, Gateway, running_gateway

from sekisho.mock.server import MockProvider

SYNC = CONFIG.replace("log: metadata\n", "log: metadata\n    durability: sync\n", 1)
assert SYNC != CONFIG


@pytest.fixture
async def house(mock: MockProvider, door: Door):
    async with running_gateway(mock, door=door, config=SYNC) as one:
        yield one
        one.check_books()


def sync_model(house: Gateway) -> str:
    return next(name for name, one in house.pipeline.snapshot.endpoints.items() if one.durability == "sync")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_last_byte_waits_for_the_disk(house: Gateway, stream: bool) -> None:
    waiting: list[Callable[[bool], None]] = []
    house.sink.when_durable = waiting.append  # type: ignore[method-assign]
    asked = asyncio.ensure_future(ask(house.port, http(chat(sync_model(house), stream=stream))))
    await house.until(lambda: bool(waiting))
    assert len(house.rows) == 1, "the row is stored before anybody waits"
    await asyncio.sleep(0.05)
    assert not asked.done()
    waiting[0](True)
    answer = await asked
    assert answer.status == 200
    assert answer.complete
    if stream:
        assert answer.events[-1] == "[DONE]"


@pytest.mark.parametrize("stream", [False, True])
async def test_fail_closed_never_looks_complete(house: Gateway, stream: bool) -> None:
    house.sink.durable = False
    calls = [0]

    def when_durable(told: Callable[[bool], None]) -> None:
        calls[0] += 1
        house.sink.takes_calls = False
        asyncio.get_running_loop().call_soon(told, False)

    house.sink.when_durable = when_durable  # type: ignore[method-assign]
    answer = await ask(house.port, http(chat(sync_model(house), stream=stream)))
    assert calls == [1]
    if stream:
        assert "[DONE]" not in answer.events
        assert "rows_unavailable" in answer.events[-1]
    else:
        assert (answer.status, answer.error["code"]) == (503, "rows_unavailable")
    refused = await ask(house.port, http(chat(stream=stream)))
    assert (refused.status, refused.error["code"]) == (503, "rows_unavailable")
    assert refused.headers["retry-after"] == "5"
    assert [row.terminal_state for row in house.rows] == ["completed", "refused"]
    assert house.mock.calls["calls"] == 1, "a call whose row cannot be kept is not dispatched"


async def test_fail_open_answers_all_the_same(house: Gateway) -> None:
    house.sink.durable = False
    answer = await ask(house.port, http(chat(sync_model(house))))
    assert answer.status == 200


async def test_a_call_is_begun_once_before_it_is_dispatched(house: Gateway) -> None:
    await ask(house.port, http(chat("mock/mock?status=500")))
    await ask(house.port, http(chat()))
    await ask(house.port, http(chat("nothing")))
    begun = house.sink.begun
    assert [row.request_id for row in begun] == [row.request_id for row in house.rows[:2]]
    for row in begun:
        assert (row.terminal_state, row.error_code, row.usage_source) == ("interrupted", "interrupted", "estimated")
        assert row.cost_nanos == row.attempts[0].cost_nanos
        assert (row.input_tokens or 0) > 0
        assert row.requester == "taro"
