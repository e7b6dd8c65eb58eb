"""The gateway stops: calls that end in the graceful time end well, the rest are told, and all are on the books."""

from __future__ import annotations

import asyncio

import pytest
from tests.property.house import Seen, ask, request, running_house
from tests.support.gateway import DOORS, Door

from sekisho.domain.endpoint import Target, Timeouts

TIMES = Timeouts(connect_s=5, first_token_s=30, idle_s=30, total_s=30)
#: one event a 20 ms, for ten seconds
LONG = "mock?chunks=500&chunk_ms=20&answer=" + "x" * 600


@pytest.mark.parametrize("door", DOORS)
async def test_what_runs_when_the_graceful_time_is_over_is_interrupted(door: Door) -> None:
    async with running_house(door, graceful_s=1) as house:

        def start(model: str, *, stream: bool, name: str) -> asyncio.Task[Seen]:
            endpoint = house.endpoint([Target(provider="mock", model=model)], TIMES)
            return asyncio.ensure_future(ask(house.port, request(endpoint, stream=stream, request_id=name)))

        streams = [start(LONG, stream=True, name=f"stream-{n}") for n in range(5)]
        silent = [start("mock?hang=1", stream=True, name=f"silent-{n}") for n in range(5)]
        plain = [start("mock?hang=1", stream=False, name=f"plain-{n}") for n in range(5)]
        quick = [start("mock?delay_ms=300", stream=False, name=f"quick-{n}") for n in range(5)]
        async with asyncio.timeout(5):
            while house.pipeline.live_streams < 5 or house.transport.active < 20:
                await asyncio.sleep(0.005)
        began = asyncio.get_running_loop().time()
        house.server.should_exit = True
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*streams, *silent, *plain, *quick)
        took_s = asyncio.get_running_loop().time() - began
        with pytest.raises(OSError, match=r"refused|reset|Connect call failed"):
            await ask(house.port, request("chat", stream=False, request_id="too-late"))
        assert house.pipeline.tally.in_flight == 0
        assert house.transport.active == 0
        assert house.pipeline.live_streams == 0
        rows = {row.client_request_id: row for row in house.sink.rows}
    assert 0.9 < took_s < 4.5
    assert len(rows) == 20
    for seen in answers[:5]:
        assert (seen.status, seen.whole, seen.error_code) == (200, True, "stream_interrupted")
        assert len(seen.frames) > 10
        assert b"[DONE]" not in seen.frames
    for seen in answers[5:15]:
        assert (seen.status, seen.whole, seen.error_code) == (503, True, "shutting_down")
        assert seen.headers["retry-after"] == "1"
    assert [seen.status for seen in answers[15:]] == [200] * 5
    for name, row in rows.items():
        kind = (name or "").partition("-")[0]
        ends = {
            "stream": (200, "interrupted", "stream_interrupted"),
            "silent": (503, "interrupted", "shutting_down"),
            "plain": (503, "interrupted", "shutting_down"),
            "quick": (200, "completed", None),
        }
        assert (row.status_code, row.terminal_state, row.error_code) == ends[kind]
        # what was sent to a provider is charged, if need be by estimate
        assert row.usage_source == ("provider" if kind == "quick" else "estimated")


@pytest.mark.parametrize("door", DOORS)
async def test_a_gateway_without_calls_stops_at_once(door: Door) -> None:
    async with running_house(door, graceful_s=5) as house:
        await ask(house.port, request("chat", stream=False, request_id="before"))
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 4.5
