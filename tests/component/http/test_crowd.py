"""More connections than there are files for: calls that run go on, newcomers are served, and the rest makes room."""

from __future__ import annotations

import asyncio
import contextlib
import resource

import pytest
from tests.component.http.client import Wire, ask, chat, connected, http
from tests.support.gateway import running_gateway

from sekisho.app import process
from sekisho.mock.server import MockProvider

MOST = 20
HALF_A_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nx-half:"


async def test_half_requests_take_no_files_from_calls(caplog: pytest.LogCaptureFixture) -> None:
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
            await wire.send(HALF_A_HEAD)
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


@pytest.mark.parametrize(("files", "most"), [(256, 78), (1024, 462), (65_536, 32_718), (64, 16), (-1, 32_718)])
def test_half_of_the_files_are_for_providers_and_some_for_us(
    files: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (files, files))
    assert process.most_connections() == most
