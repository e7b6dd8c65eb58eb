"""Whoever leaves stops the provider, in every phase of a call, and the row says so: 499, charged by estimate."""

from __future__ import annotations

import asyncio

import pytest
from tests.component.http.client import AUTH, chat, connected, http
from tests.support.gateway import Door, Gateway

from sekisho.domain.row import InferenceRow

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def left(gateway: Gateway, *, aborted: int = 1) -> InferenceRow:
    """The row of the only call, whose caller has left."""
    row = await gateway.row()
    assert (row.status_code, row.error_code, row.terminal_state) == (499, "client_left", "client_left")
    assert len(gateway.rows) == 1
    await gateway.until(lambda: gateway.mock.calls["aborted"] == aborted)
    return row


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("model", "stream"),
    [
        ("mock/mock?hang=1", False),
        ("mock/mock?delay_ms=60000", False),
        ("mock/mock?hang=1", True),
        ("mock/mock?hang_after=0", True),
        ("mock/mock?first_token_ms=60000", True),
    ],
    ids=["plain-silent", "plain-slow", "before-headers", "after-the-role", "before-content"],
)
async def test_leaving_before_anything_came(gateway: Gateway, model: str, stream: bool, reset: bool) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(http(chat(model, stream=stream)))
        await gateway.until(lambda: gateway.mock.calls["calls"] == 1)
        await asyncio.sleep(0.02)
        assert wire.raw == b""
        wire.leave(reset=reset)
    row = await left(gateway)
    assert (row.usage_source, row.output_tokens, row.streaming) == ("estimated", 0, stream)
    assert row.input_tokens
    assert row.cost_nanos
    assert [attempt.usage_source for attempt in row.attempts] == ["estimated"]


@pytest.mark.parametrize("reset", [False, True])
async def test_leaving_in_the_middle_of_a_stream(gateway: Gateway, reset: bool) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(http(chat("mock/mock?chunk_ms=20&answer=12345678901234567890&chunks=20", stream=True)))
        await wire.until(b'"content":"4"')
        wire.leave(reset=reset)
    row = await left(gateway)
    assert row.usage_source == "estimated"
    assert 1 <= (row.output_tokens or 0) <= 2
    assert row.time_to_first_byte_us
    assert b'"content":"4"' in (row.response or b"")


async def test_leaving_a_provider_that_waits_in_the_middle_of_a_plain_body(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(http(chat("mock/mock?hang_after=1")))
        await gateway.until(lambda: gateway.mock.calls["calls"] == 1)
        await asyncio.sleep(0.02)
        wire.leave()
    await left(gateway)


@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_at_the_second_target(gateway: Gateway, stream: bool) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(http(chat("second-hangs", stream=stream)))
        await gateway.until(lambda: gateway.mock.calls["calls"] == 2)
        wire.leave()
    row = await left(gateway)
    first, second = row.attempts
    assert (first.status_code, first.usage_source, first.cost_nanos) == (500, "none", 0)
    assert (second.status_code, second.usage_source, second.reason) == (None, "estimated", "fallback")
    assert row.cost_nanos == second.cost_nanos != 0


async def test_leaving_embeddings(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(http({"model": "mock/mock?hang=1", "input": "a"}, "/v1/embeddings"))
        await gateway.until(lambda: gateway.mock.calls["calls"] == 1)
        wire.leave()
    assert (await left(gateway)).operation == "embeddings"


async def test_leaving_a_web_page(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(http({"model": "mock/mock?chunk_ms=30", "message": "hello"}, "/chat/stream"))
        await wire.until(b"data: ")
        wire.leave()
    await left(gateway)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
async def test_leaving_before_the_body_is_whole(gateway: Gateway, path: str) -> None:
    data = http(chat(), path)
    for part in (data[:-1], data[:-50]):
        async with connected(gateway.port) as wire:
            await wire.send(part)
            await asyncio.sleep(0.02)
            wire.leave()
    await gateway.row(2)
    for row in gateway.rows:
        assert (row.status_code, row.terminal_state, row.usage_source) == (499, "client_left", "none")
        assert (row.cost_nanos, row.attempts, row.request) == (0, [], None)
    assert gateway.mock.calls["calls"] == 0


async def test_leaving_before_the_headers_are_whole_is_no_call(gateway: Gateway) -> None:
    for part in (b"", b"POST /v1/chat/comp", b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthor"):
        async with connected(gateway.port) as wire:
            await wire.send(part)
            await asyncio.sleep(0.01)
            wire.leave()
    await asyncio.sleep(0.02)
    assert not gateway.rows


async def test_leaving_after_the_answer_is_nothing(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(http(chat("mock/mock-small", stream=True)))
        await wire.answer()
        wire.leave(reset=True)
    await asyncio.sleep(0.02)
    assert [row.status_code for row in gateway.rows] == [200]
    assert gateway.mock.calls["aborted"] == 0


async def test_leaving_while_the_connection_to_the_provider_is_made(gateway: Gateway, door: Door) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(http(chat("dead/x")))
        wire.leave(reset=True)
    row = await gateway.row()
    assert row.status_code in (499, 502)
    assert gateway.mock.calls["calls"] == 0


async def test_a_crowd_leaves_at_once(gateway: Gateway) -> None:
    """All of them are found out, none twice, and the gateway serves on."""
    models = ["mock/mock?hang=1", "mock/mock?chunk_ms=20&chunks=500", "mock/mock?first_token_ms=60000"]
    wires = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(30)]
    for n, (_, writer) in enumerate(wires):
        writer.write(http(chat(models[n % 3], stream=n % 2 == 0), headers=AUTH))
    await gateway.until(lambda: gateway.mock.calls["calls"] == 30)
    for n, (_, writer) in enumerate(wires):
        (writer.transport.abort if n % 4 else writer.close)()
    await gateway.row(30)
    statuses = {row.status_code for row in gateway.rows}
    assert statuses <= {499, 200}
    assert sum(row.status_code == 499 for row in gateway.rows) >= 20
    async with connected(gateway.port) as wire:
        await wire.send(http(chat("mock/mock-small")))
        assert (await wire.answer()).status == 200
    assert gateway.pipeline.live_streams == 0
