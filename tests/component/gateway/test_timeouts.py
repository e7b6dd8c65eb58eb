"""Each of the four times has its own end: what the caller is told, and what the row says."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import msgspec
import pytest
from tests.component.gateway.raw import Peer, raw_server
from tests.support.gateway import DOORS, KEY, Door, Gateway, running_gateway

from sekisho.domain.endpoint import Timeouts
from sekisho.gateway import transport as transport_module
from sekisho.mock.server import MockProvider

CONFIG = """
data_dir: ./data
language: en
providers:
  mock: {type: openai, base_url: "MOCK", allow_private: true}
endpoints:
  short: {targets: [{provider: mock, model: mock-small}],
    timeouts: {connect_s: 0.1, first_token_s: 0.15, idle_s: 0.15, total_s: 0.4}}
  first: {targets: [{provider: mock, model: "mock?hang_after=0"}],
    timeouts: {first_token_s: 0.1, idle_s: 60, total_s: 60}}
  silent: {targets: [{provider: mock, model: "mock?hang=1"}],
    timeouts: {first_token_s: 0.1, idle_s: 60, total_s: 60}}
  idle: {targets: [{provider: mock, model: "mock?hang_after=3"}],
    timeouts: {first_token_s: 60, idle_s: 0.1, total_s: 60}}
  total: {targets: [{provider: mock, model: "mock?hang=1"}],
    timeouts: {first_token_s: 60, idle_s: 60, total_s: 0.1}}
  late:
    targets: [{provider: mock, model: "mock?hang_after=1"}]
    timeouts: {first_token_s: 60, idle_s: 60, total_s: 0.2}
  endless: {targets: [{provider: mock, model: "mock?chunks=500&chunk_ms=10&answer=LONG"}],
    timeouts: {idle_s: 1, total_s: 0.2}}
  steady: {targets: [{provider: mock, model: "mock?chunks=12&chunk_ms=20"}],
    timeouts: {first_token_s: 0.15, idle_s: 0.15, total_s: 5}}
  slow-plain: {targets: [{provider: mock, model: "mock?delay_ms=150"}],
    timeouts: {first_token_s: 0.05, idle_s: 0.05, total_s: 5}}
  rescued: {targets: [{provider: mock, model: "mock?hang=1"}],
    fallbacks: [{provider: mock, model: mock-large}],
    timeouts: {first_token_s: 0.1, idle_s: 0.1, total_s: 0.15}}
keys:
  - {name: test, key: sk-test-0123456789abcdef, endpoints: ["*"]}
prices:
  mock/*: {input_per_mtok: 1.00, output_per_mtok: 2.00}
""".replace("LONG", "x" * 600)

#: far below each time that is not the one a test is about
WITHIN_S = 30


class Answer(msgspec.Struct):
    status: int
    frames: list[bytes]
    body: dict[str, Any]

    @property
    def error(self) -> dict[str, Any]:
        return self.body["error"]


async def ask(gateway: Gateway, model: str, *, stream: bool) -> Answer:
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    async with (
        asyncio.timeout(WITHIN_S),
        aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as session,
        session.post(f"{gateway.base_url}/chat/completions", json=body) as answer,
    ):
        text = await answer.read()
    if answer.status == 200 and stream:
        frames = [part.removeprefix(b"data: ") for part in text.split(b"\n\n") if part]
        last = {} if frames[-1] == b"[DONE]" else msgspec.json.decode(frames[-1])
        return Answer(answer.status, frames, last)
    return Answer(answer.status, [], msgspec.json.decode(text))


@pytest.fixture
async def house(mock: MockProvider, door: Door) -> Any:
    async with running_gateway(mock, door=door, config=CONFIG) as one:
        yield one
        one.check_books()
        assert one.pipeline._transport.active == 0


@pytest.mark.parametrize(
    ("model", "stream"), [("first", True), ("silent", True), ("total", False), ("total", True)], ids=str
)
async def test_nothing_in_time_is_504(house: Gateway, model: str, stream: bool) -> None:
    started = asyncio.get_running_loop().time()
    answer = await ask(house, model, stream=stream)
    assert asyncio.get_running_loop().time() - started > 0.08
    assert (answer.status, answer.error["code"], answer.error["type"]) == (504, "upstream_timeout", "server_error")
    row = await house.row()
    assert (row.status_code, row.error_code, row.terminal_state) == (504, "upstream_timeout", "timed_out")
    assert (row.streaming, row.attempts[0].error_code, row.time_to_first_byte_us) == (stream, "upstream_timeout", None)
    assert row.gateway_overhead_us < 60_000, "the wait was the provider's"


async def test_silence_inside_a_stream_ends_it_with_an_error_frame(house: Gateway) -> None:
    answer = await ask(house, "idle", stream=True)
    assert (answer.status, answer.error["code"]) == (200, "upstream_timeout")
    assert b"[DONE]" not in answer.frames
    row = await house.row()
    assert (row.status_code, row.error_code, row.terminal_state) == (200, "upstream_timeout", "timed_out")
    assert row.usage_source == "estimated"
    assert (row.output_tokens or 0) > 0, "what was seen is charged"
    assert row.gateway_overhead_us < 60_000


@pytest.mark.parametrize("model", ["endless", "late"])
async def test_no_stream_outlasts_the_total_time(house: Gateway, model: str) -> None:
    """Neither one that never pauses nor one whose idle time would be longer."""
    answer = await ask(house, model, stream=True)
    assert (answer.status, answer.error["code"]) == (200, "upstream_timeout")
    assert len(answer.frames) > (3 if model == "endless" else 1)
    row = await house.row()
    assert (row.status_code, row.terminal_state) == (200, "timed_out")
    assert 180_000 < row.latency_us < 1_000_000


async def test_a_stream_longer_than_its_first_and_idle_times_is_whole(house: Gateway) -> None:
    answer = await ask(house, "steady", stream=True)
    assert (answer.status, answer.frames[-1]) == (200, b"[DONE]")
    row = await house.row()
    assert (row.terminal_state, row.latency_us > 200_000) == ("completed", True)
    assert row.gateway_overhead_us < 100_000, "a stream's length is not the gateway's overhead"


async def test_plain_calls_know_the_total_time_only(house: Gateway) -> None:
    assert (await ask(house, "slow-plain", stream=False)).status == 200
    row = await house.row()
    assert row.time_to_first_byte_us is not None
    assert 150_000 <= row.time_to_first_byte_us <= row.latency_us


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_another_target_is_asked_after_a_timeout(house: Gateway, stream: bool) -> None:
    answer = await ask(house, "rescued", stream=stream)
    assert answer.status == 200
    row = await house.row()
    assert [(one.model, one.error_code) for one in row.attempts] == [
        ("mock?hang=1", "upstream_timeout"),
        ("mock-large", None),
    ]
    assert row.terminal_state == "completed"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("door", DOORS)
async def test_no_connection_in_time_is_504_and_costs_nothing(
    mock: MockProvider, monkeypatch: pytest.MonkeyPatch, door: Door, stream: bool
) -> None:
    async def resolve(*_: Any) -> list[str]:
        await asyncio.sleep(60)
        return []

    async with running_gateway(mock, door=door, config=CONFIG) as gateway:
        monkeypatch.setattr(transport_module, "resolve", resolve)
        answer = await ask(gateway, "short", stream=stream)
        assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
        row = await gateway.row()
        assert (row.terminal_state, row.cost_nanos, row.usage_source) == ("timed_out", 0, "none")
        assert "connect" in (row.error_message or "")
        gateway.check_books()


@pytest.mark.parametrize(("model", "stream"), [("total", False), ("total", True), ("first", True)], ids=str)
async def test_the_wait_for_a_connection_is_no_longer_than_the_attempt_may_take(
    mock: MockProvider, monkeypatch: pytest.MonkeyPatch, model: str, stream: bool
) -> None:
    """`connect_s` is 5 here, as by default, and the attempt is to end sooner."""

    async def resolve(*_: Any) -> list[str]:
        await asyncio.sleep(60)
        return []

    async with running_gateway(mock, config=CONFIG) as gateway:
        monkeypatch.setattr(transport_module, "resolve", resolve)
        async with asyncio.timeout(2):
            assert (await ask(gateway, model, stream=stream)).status == 504
        assert "connect" in ((await gateway.row()).error_message or "")
        gateway.check_books()


async def test_events_without_content_do_not_count_as_the_first_token() -> None:
    """Role events and comments for ever: a provider that says hello and nothing more."""
    role = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        while True:
            await peer.say(role, b": ping\n\n")
            await asyncio.sleep(0.02)

    async with raw_server(script) as server, running_gateway(server, config=CONFIG) as gateway:  # type: ignore[arg-type]
        answer = await ask(gateway, "short", stream=True)
        assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
        assert (await gateway.row()).time_to_first_byte_us is None
        gateway.check_books()


def test_the_times_that_hold_where_none_are_given() -> None:
    times = Timeouts()
    assert (times.connect_s, times.first_token_s, times.idle_s, times.total_s) == (5, 120, 60, 600)
