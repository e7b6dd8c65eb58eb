"""What a provider may send before it is stopped: an answer, an event, an error, each has its bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.component.gateway.raw import Peer, Script, raw_server, until
from tests.property.house import Seen, ask, request, running_house
from tests.support.gateway import DOORS, Door, Gateway, running_gateway

from sekisho.domain.endpoint import Target, Timeouts
from sekisho.gateway import upstream
from sekisho.mock.server import MockProvider

CONFIG = """
data_dir: ./data
language: en
providers:
  mock: {type: openai, base_url: "MOCK", allow_private: true}
defaults: {timeouts: {connect_s: 1, first_token_s: 2, idle_s: 2, total_s: 4}}
endpoints:
  chat: {targets: [{provider: mock, model: m}]}
  rescued: {targets: [{provider: mock, model: m}], fallbacks: [{provider: mock, model: small}]}
keys:
  - {name: test, key: sk-test-0123456789abcdef, endpoints: ["*", "mock/*"]}
prices:
  mock/*: {input_per_mtok: 1.00, output_per_mtok: 2.00}
"""
SMALL = b'{"choices":[{"finish_reason":"stop","message":{"content":"hi"}}],"usage":{"prompt_tokens":1}}'


def _endless(head: bytes, sent: list[int]) -> Script:
    """An answer without end to everything but the model `small`."""

    async def script(peer: Peer) -> None:
        while (asked := await peer.request()) is not None:
            if b'"small"' in asked:
                await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(SMALL), SMALL))
                continue
            peer.writer.write(head)
            while True:
                peer.writer.write(b"x" * 50_000)
                await peer.writer.drain()
                sent.append(50_000)

    return script


async def _ask(gateway: Gateway, model: str, *, stream: bool = False) -> Seen:
    return await ask(gateway.port, request(model, stream=stream, request_id="one"))


@pytest.fixture
async def endless(monkeypatch: pytest.MonkeyPatch, door: Door) -> AsyncIterator[Gateway]:
    """A provider whose plain answers never end, and a bound of 200,000 bytes."""
    monkeypatch.setattr(upstream, "MAX_ANSWER_BYTES", 200_000)
    script = _endless(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n", [])
    async with raw_server(script) as server, running_gateway(server, door=door, config=CONFIG) as gateway:  # type: ignore[arg-type]
        yield gateway
        gateway.check_books()
        await until(lambda: server.open == gateway.pipeline._transport.idle)


async def test_an_answer_over_the_bound_is_given_up(endless: Gateway) -> None:
    seen = await _ask(endless, "chat")
    assert (seen.status, seen.error_code) == (502, "upstream_error")
    row = await endless.row()
    assert "larger than 200000 bytes" in (row.error_message or "")
    assert endless.pipeline._transport.active == 0


async def test_another_target_may_answer_instead(endless: Gateway) -> None:
    seen = await _ask(endless, "rescued")
    assert (seen.status, seen.headers["x-sekisho-attempts"]) == (200, "2")


def test_the_bound_of_an_answer() -> None:
    assert upstream.MAX_ANSWER_BYTES == 64 * 1024 * 1024


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 500 Error\r\n\r\n",
        b"HTTP/1.1 500 Error\r\ncontent-type: application/json\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n",
    ],
)
async def test_a_body_that_is_no_stream_is_kept_only_in_part(head: bytes) -> None:
    """A stream was asked for and a page without end came: it ends with the time for the first token."""
    sent: list[int] = []
    async with raw_server(_endless(head, sent)) as server, running_gateway(server, config=CONFIG) as gateway:  # type: ignore[arg-type]
        asking = asyncio.ensure_future(_ask(gateway, "chat", stream=True))
        await until(lambda: sum(sent) > 40_000_000)
        [connection] = gateway.pipeline._transport._sweeper.active
        kept = sum(map(len, connection.exchange._body))
        assert kept < 1024 * 1024
        connection.expire()
        seen = await asking
        assert seen.status in (502, 504)
        gateway.check_books()


async def test_a_page_instead_of_a_stream_is_an_upstream_error() -> None:
    page = b"<html>" + b"x" * 400_000

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n" % len(page), page)
        await peer.gone()

    async with raw_server(script) as server, running_gateway(server, config=CONFIG) as gateway:  # type: ignore[arg-type]
        seen = await _ask(gateway, "chat", stream=True)
        assert (seen.status, seen.error_code) == (502, "upstream_error")
        assert b"<html>" not in seen.body
        row = await gateway.row()
        assert "<html>" in (row.error_message or "")
        assert gateway.pipeline._transport.idle == 1, "its connection is as good as any"


@pytest.mark.parametrize("kind", ["text/event-stream", "Text/Event-Stream; charset=utf-8", None])
async def test_a_stream_is_known_by_its_type_in_any_case_or_by_none(kind: str | None) -> None:
    body = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    header = b"" if kind is None else b"content-type: %b\r\n" % kind.encode()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (header, len(body), body))
        await peer.gone()

    async with raw_server(script) as server, running_gateway(server, config=CONFIG) as gateway:  # type: ignore[arg-type]
        seen = await _ask(gateway, "chat", stream=True)
        assert (seen.status, seen.frames[-1]) == (200, b"[DONE]")


@pytest.mark.parametrize(("line_mb", "status"), [(10, 200), (17, 502)])
async def test_an_event_may_be_large_but_not_without_bound(mock: MockProvider, line_mb: int, status: int) -> None:
    async with running_gateway(mock, config=CONFIG) as gateway:
        seen = await _ask(gateway, f"mock/mock?line_mb={line_mb}", stream=True)
        assert (seen.status, seen.whole) == (status, True)
        row = await gateway.row()
        if status == 200:
            assert len(seen.body) > line_mb * 1_000_000
            assert row.terminal_state == "completed"
        else:
            assert "16 MiB" in (row.error_message or "")
        gateway.check_books()


# -- a provider that nobody listens to any more

PATIENT = Timeouts(connect_s=5, first_token_s=30, idle_s=30, total_s=30)
LONG = "mock?chunks=500&chunk_ms=20&answer=" + "x" * 600


@pytest.mark.parametrize("way", ["leaves", "stops"])
@pytest.mark.parametrize(
    ("model", "stream", "events"),
    [("mock?hang=1", False, None), ("mock?hang=1", True, None), ("mock?hang_after=0", True, None), (LONG, True, 3)],
    ids=["plain", "stream-without-a-word", "stream-without-content", "stream-in-the-middle"],
)
@pytest.mark.parametrize("door", DOORS)
async def test_the_provider_is_stopped_at_once(
    door: Door, model: str, stream: bool, events: int | None, way: str
) -> None:
    async with running_house(door) as house:
        tasks = asyncio.all_tasks()
        endpoint = house.endpoint([Target(provider="mock", model=model)], PATIENT)
        data = request(endpoint, stream=stream, request_id="one")
        if way == "leaves":
            wait_s = 0.05 if events is None else None
            await ask(house.port, data, leave_after_s=wait_s, leave_after_events=events)
        else:
            asking = asyncio.ensure_future(ask(house.port, data))
            await until(lambda: house.pipeline.live_streams if events else house.transport.active)
            await asyncio.sleep(0.02)
            house.stop_calls()
            await asyncio.wait_for(asking, 0.5)
        await house.calm(1, tasks, within_s=0.5)
        assert house.mock.calls["aborted"] == 1
        [row] = house.sink.rows
        assert row.terminal_state == ("client_left" if way == "leaves" else "interrupted")
        assert row.usage_source == "estimated"
