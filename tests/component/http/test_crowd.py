"""More connections than there are files for: calls that run go on, newcomers are served, and the rest makes room."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from typing import Any

import pytest
from tests.component.http.client import Wire, ask, chat, connected, http
from tests.support.gateway import running_gateway

from sekisho.app import process
from sekisho.entrypoints.http.crowd import Crowd
from sekisho.mock.server import MockProvider

MOST = 20
HALF_A_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nx-half:"
#: on a way that is not the hot one
HALF_A_BODY = b"PUT /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-length: 9\r\n\r\n{"


@pytest.mark.parametrize("half", [HALF_A_HEAD, HALF_A_BODY])
async def test_half_requests_take_no_files_from_calls(half: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        MockProvider() as mock,
        running_gateway(mock, most_connections=MOST) as gateway,
        contextlib.AsyncExitStack() as open_ones,
    ):
        running = await open_ones.enter_async_context(connected(gateway.port))
        await running.send(http(chat("mock/mock?delay_ms=1500&answer=still-here")))
        await gateway.until(lambda: gateway.pipeline.tally.in_flight == 1)
        halves: list[Wire] = []
        for _ in range(3 * MOST):
            wire = await open_ones.enter_async_context(connected(gateway.port))
            await wire.send(half)
            halves.append(wire)
            if len(halves) % 10 == 0:
                assert (await ask(gateway.port, http(chat("mock/mock?answer=new")))).status == 200
        await asyncio.wait_for(asyncio.gather(*(one.closed() for one in halves[: 2 * MOST])), 5)
        assert (await running.answer()).json["choices"][0]["message"]["content"] == "still-here"
    told = [one.getMessage() for one in caplog.records if one.name == "sekisho.http"]
    assert len(told) == 1, "once a minute"
    assert "more than 20 connections" in told[0]


async def test_where_all_are_served_the_newest_makes_room() -> None:
    async with (
        MockProvider() as mock,
        running_gateway(mock, most_connections=3) as gateway,
        contextlib.AsyncExitStack() as open_ones,
    ):
        served = [await open_ones.enter_async_context(connected(gateway.port)) for _ in range(3)]
        for wire in served:
            await wire.send(http(chat("mock/mock?delay_ms=500")))
        await gateway.until(lambda: gateway.pipeline.tally.in_flight == 3)
        newest = await open_ones.enter_async_context(connected(gateway.port))
        await newest.closed()
        assert [(await wire.answer()).status for wire in served] == [200, 200, 200]


class Waiting:
    """A connection that has waited since a time; 0: it is served. It is its own transport."""

    def __init__(self, since_s: float, *, closing: bool = False) -> None:
        self.waiting_since_s = since_s
        self.transport = self
        self.closing = self.aborted = closing

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = self.aborted = True


async def test_no_more_are_closed_than_make_room_and_those_that_waited_longest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    crowd = Crowd(100)
    served, closing = Waiting(0.0), Waiting(0.5, closing=True)
    waiting = [Waiting(float(at)) for at in range(98, 0, -1)]
    connections: set[Any] = {served, closing, *waiting}

    async def closed_after_joining(*more: Waiting) -> list[float]:
        before = {one for one in connections if one.aborted}
        connections.update(more)
        for _ in range(max(1, len(more))):
            crowd.joined(connections)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return sorted(one.waiting_since_s for one in connections - before if one.aborted)

    assert await closed_after_joining() == [], "there is room for so many"
    assert not caplog.messages
    # three in one turn of the loop: they are three too many, and one in fifty goes beyond that
    assert await closed_after_joining(*(Waiting(200.0) for _ in range(3))) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert not served.aborted
    assert crowd.closed == 5
    assert "closed 5 that" in caplog.messages[0]
    connections -= {one for one in connections if one.aborted}
    assert len(connections) == 97
    assert await closed_after_joining(*(Waiting(300.0) for _ in range(4))) == [6.0, 7.0, 8.0]
    assert (len(caplog.messages), crowd.closed) == (1, 8), "told once a minute"
    crowd._told_s -= 61
    connections -= {one for one in connections if one.aborted}
    assert await closed_after_joining(*(Waiting(400.0) for _ in range(3))) == [9.0, 10.0, 11.0]
    assert "closed 6 that" in caplog.messages[1], "with those of the minute that was not told of"


@pytest.mark.parametrize(("files", "most"), [(256, 78), (1024, 462), (65_536, 32_718), (64, 16), (-1, 32_718)])
def test_half_of_the_files_are_for_providers_and_some_for_us(
    files: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (files, files))
    assert process.most_connections() == most
