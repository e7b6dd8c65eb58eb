"""An operator stops a user, a team, a model, everything: what runs is ended and told, the provider is let go, and all
is on the books; what is not meant goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.property.house import House, Seen, ask, request, running_house
from tests.support.counting import WIDE
from tests.support.gateway import CONFIG, DOORS, Door

from sekisho.domain.endpoint import Target, Timeouts
from sekisho.domain.stops import Stop
from sekisho.gateway.policies.stops import Stops

TIMES = Timeouts(connect_s=30, first_token_s=30, idle_s=30, total_s=30)
#: one event a 20 ms, for ten seconds
LONG = "mock?chunks=500&chunk_ms=20&answer=" + "x" * 600
HANGS = "mock?hang=1"
#: the key of the house is of team research and user taro
TARO, RESEARCH = Stop(kind="user", value="taro"), Stop(kind="team", value="research")


def start(house: House, model: str, *, stream: bool, name: str = "") -> asyncio.Task[Seen]:
    endpoint = house.endpoint([Target(provider="mock", model=model)], TIMES)
    return asyncio.ensure_future(ask(house.port, request(endpoint, stream=stream, request_id=name or endpoint)))


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "stop", [TARO, Stop(kind="team", value="research"), Stop(kind="all")], ids=lambda one: one.kind
)
async def test_everything_that_runs_is_ended_and_told(door: Door, stop: Stop) -> None:
    async with running_house(door) as house:
        streams = [start(house, LONG, stream=True, name=f"stream-{n}") for n in range(3)]
        silent = [start(house, HANGS, stream=True, name=f"silent-{n}") for n in range(3)]
        plain = [start(house, HANGS, stream=False, name=f"plain-{n}") for n in range(3)]
        await until(lambda: house.pipeline.live_streams == 3 and house.transport.active == 9)
        house.pipeline.obey(Stops([stop]))
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*streams, *silent, *plain)
        late = await ask(house.port, request("chat", stream=False, request_id="late-1"))
        # the providers' connections are gone: nothing is charged any longer
        await until(lambda: len(house.mock._connections) == house.transport.idle)
        house.pipeline.obey(Stops())
        after = await ask(house.port, request("chat", stream=False, request_id="after-1"))
        await until(lambda: house.pipeline.tally.in_flight == 0)
        assert house.transport.active == house.pipeline.live_streams == 0
        rows = {row.client_request_id: row for row in house.sink.rows}
    for seen in answers[:3]:
        assert (seen.status, seen.whole, seen.error_code) == (200, True, "stopped")
        assert b"[DONE]" not in seen.frames
        assert b"permission_error" in seen.frames[-1]
    for seen in (*answers[3:], late):
        assert (seen.status, seen.whole, seen.error_code) == (403, True, "stopped")
        assert seen.headers["x-should-retry"] == "false"
    assert after.status == 200
    ends = {
        "stream": (200, "interrupted", "stopped", "estimated"),
        "silent": (403, "interrupted", "stopped", "estimated"),
        "plain": (403, "interrupted", "stopped", "estimated"),
        "late": (403, "refused", "stopped", "none"),
        "after": (200, "completed", None, "provider"),
    }
    assert len(rows) == 11
    for name, row in rows.items():
        found = (row.status_code, row.terminal_state, row.error_code, row.usage_source)
        assert found == ends[(name or "").partition("-")[0]]


@pytest.mark.parametrize("door", DOORS)
async def test_what_is_not_meant_goes_on(door: Door) -> None:
    async with running_house(door) as house:
        running = start(house, "mock?chunks=20&chunk_ms=10", stream=True)
        await until(lambda: house.pipeline.live_streams == 1)
        for stop in (Stop(kind="user", value="jiro"), Stop(kind="team", value="sales"), Stop(kind="model", value="x")):
            house.pipeline.obey(Stops([stop]))
            house.pipeline.tick(asyncio.get_running_loop().time())
            plain = await ask(house.port, request("chat", stream=False, request_id=stop.kind))
            assert plain.status == 200
        seen = await running
    assert seen.status == 200
    assert seen.frames[-1] == b"[DONE]"


@pytest.mark.parametrize("value", ["mock/mock?hang=1", "mock?hang=1", "mock/*"])
async def test_a_stopped_model_ends_its_calls_and_is_left_out(value: str) -> None:
    """Another target of the endpoint takes over where there is one."""
    async with running_house("hot") as house:
        hanging = [start(house, HANGS, stream=stream) for stream in (False, True)]
        await until(lambda: house.transport.active == 2)
        house.pipeline.obey(Stops([Stop(kind="model", value=value)]))
        async with asyncio.timeout(5):
            for seen in await asyncio.gather(*hanging):
                assert (seen.status, seen.error_code) == (403, "stopped")
        both = house.endpoint([Target(provider="mock", model="mock?hang=1"), Target(provider="mock", model="m")], TIMES)
        answer = await ask(house.port, request(both, stream=False, request_id="both"))
        alone = house.endpoint([Target(provider="mock", model="mock?hang=1")], TIMES)
        refused = await ask(house.port, request(alone, stream=False, request_id="alone"))
        (row,) = [row for row in house.sink.rows if row.client_request_id == "both"]
    assert (refused.status, refused.error_code) == (403, "stopped")
    if value == "mock/*":
        assert (answer.status, answer.error_code) == (403, "stopped")
    else:
        assert answer.status == 200
        assert [attempt.model for attempt in row.attempts] == ["m"]


async def test_an_endpoint_is_stopped_by_its_name() -> None:
    async with running_house("hot") as house:
        hanging = start(house, HANGS, stream=False)
        await until(lambda: house.transport.active == 1)
        house.pipeline.obey(Stops([Stop(kind="model", value="endpoint-1"), Stop(kind="model", value="chat")]))
        assert (await hanging).error_code == "stopped"
        assert (await ask(house.port, request("chat", stream=False, request_id="x"))).error_code == "stopped"
        other = house.endpoint([Target(provider="mock", model="mock-small")], TIMES)
        assert (await ask(house.port, request(other, stream=False, request_id="y"))).status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_waits_for_a_connection_does_not_wait_on(stream: bool) -> None:
    """A provider whose connections are not taken: nothing of the call is in the transport yet."""
    async with running_house("hot") as house:
        gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        pool = house.transport.pool(house.pipeline.snapshot.providers["mock"].origin)
        pool.dial = lambda _timeout_s: gone
        waiting = start(house, "mock-small", stream=stream)
        await until(lambda: len(house.pipeline._upstream.waiting) == 1)
        house.pipeline.obey(Stops([TARO]))
        async with asyncio.timeout(5):
            seen = await waiting
        assert (seen.status, seen.error_code) == (403, "stopped")
        assert gone.cancelled()
        (row,) = house.sink.rows
        # it was never sent, so nothing is charged
        assert (row.terminal_state, row.usage_source, row.cost_nanos or 0) == ("interrupted", "none", 0)
        del pool.dial


@pytest.mark.parametrize("door", DOORS)
async def test_a_call_that_waits_for_room_at_a_limit_does_not_wait_on(door: Door) -> None:
    """Its place in the queue is free for those behind it."""
    one_at_once = 'limits: [{scope: {key: "*"}, concurrency: 1, wait_s: 60}]'
    async with running_house(door, config=CONFIG.replace(WIDE, one_at_once)) as house:
        first = start(house, HANGS, stream=False)
        await until(lambda: house.transport.active == 1)
        second = start(house, HANGS, stream=False, name="second")
        await until(lambda: len(house.pipeline._upstream.waiting) == 1)
        third = start(house, "mock-small", stream=False)
        await until(lambda: len(house.pipeline._upstream.waiting) == 2)
        house.pipeline.obey(Stops([Stop(kind="model", value="endpoint-2")]))
        assert ((await second).status, (await second).error_code) == (403, "stopped")
        assert not first.done()
        house.pipeline.obey(Stops([Stop(kind="model", value="endpoint-1")]))
        assert (await first).error_code == "stopped"
        assert (await third).status == 200
        rows = {row.client_request_id: row for row in house.sink.rows}
        assert (rows["second"].terminal_state, rows["second"].usage_source) == ("interrupted", "none")
        assert len(house.pipeline._upstream.waiting) == 0


@pytest.mark.parametrize("door", DOORS)
async def test_a_call_that_slips_through_is_ended_with_the_next_tick(door: Door) -> None:
    async with running_house(door) as house:
        house.pipeline.obey(Stops([TARO]))
        stops, house.pipeline.stops = house.pipeline.stops, Stops()
        slipped = start(house, HANGS, stream=False)
        await until(lambda: house.transport.active == 1)
        house.pipeline.stops = stops
        house.pipeline.tick(asyncio.get_running_loop().time())
        assert (await slipped).error_code == "stopped"
