"""A client that reads slowly, or not at all: its provider waits too, and nothing piles up in between."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.component.gateway.raw import Peer, raw_server, until
from tests.support.gateway import DOORS, KEY, Door, Gateway, running_gateway

from sekisho.entrypoints.http.asgi import QueueSink
from sekisho.entrypoints.http.hot import HotProtocol
from sekisho.entrypoints.http.hot_call import HotSink
from sekisho.gateway.stream import StreamExchange

CONFIG = """
data_dir: ./data
language: en
providers:
  mock: {type: openai, base_url: "MOCK", allow_private: true}
endpoints:
  chat:
    targets: [{provider: mock, model: m}]
    timeouts: {connect_s: 1, first_token_s: 1, idle_s: 0.2, total_s: 20}
keys:
  - {name: test, key: sk-test-0123456789abcdef, endpoints: ["*"]}
prices:
  mock/*: {input_per_mtok: 1.00, output_per_mtok: 2.00}
"""
TEXT = "x" * 8_000
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % TEXT.encode()
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
#: kernel buffers of two sockets on loopback, ours (64 KiB and a packet on either side), and room
BOUND_BYTES = 24 * 1024 * 1024


class Provider:
    """Sends as fast as it is read: so many events, or without end."""

    def __init__(self, events: int | None = None) -> None:
        self.events = events
        self.sent = 0
        self.gone = 0

    async def script(self, peer: Peer) -> None:
        try:
            while await peer.request() is not None:
                peer.writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                count = 0
                while self.events is None or count < self.events:
                    peer.writer.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
                    await peer.writer.drain()
                    self.sent += len(EVENT)
                    count += 1
                peer.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(LAST), LAST))
        finally:
            self.gone += 1

    async def stopped(self) -> int:
        """Bytes sent, once that no longer grows."""
        before = -1
        async with asyncio.timeout(10):
            while before != self.sent:
                before = self.sent
                await asyncio.sleep(0.1)
        return before


class Client:
    """A socket with a small window that reads only when told."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)

    async def ask(self, *, stream: bool = True) -> None:
        body = msgspec.json.encode({"model": "chat", "stream": stream, "messages": [{"role": "user", "content": "hi"}]})
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        await asyncio.get_running_loop().sock_sendall(self.socket, head.encode() + body)

    async def read(self, end: bytes) -> bytes:
        """Everything up to `end`."""
        loop = asyncio.get_running_loop()
        found = bytearray()
        async with asyncio.timeout(15):
            while not found.endswith(end):
                packet = await loop.sock_recv(self.socket, 1 << 20)
                assert packet
                found += packet
        return bytes(found)


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel would take megabytes of an answer off our hands."""
    made = HotProtocol.__mro__[1].connection_made

    def connection_made(protocol: Any, transport: asyncio.Transport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        made(protocol, transport)

    monkeypatch.setattr(HotProtocol.__mro__[1], "connection_made", connection_made)


@contextlib.asynccontextmanager
async def _house(provider: Provider, door: Door) -> AsyncIterator[tuple[Gateway, Client]]:
    async with raw_server(provider.script) as server, running_gateway(server, door=door, config=CONFIG) as gateway:  # type: ignore[arg-type]
        client = Client(gateway.port)
        try:
            yield gateway, client
        finally:
            client.socket.close()
            await gateway.until(lambda: gateway.pipeline.tally.in_flight == 0)
            gateway.check_books()


def _stream(gateway: Gateway) -> StreamExchange:
    [stream] = gateway.pipeline._live.values()
    return stream


def _waiting_bytes(stream: StreamExchange) -> int:
    """What the gateway itself holds for the client."""
    sink: Any = stream.sink
    if isinstance(sink, HotSink):
        transport: asyncio.Transport = sink._protocol.transport  # type: ignore[attr-defined]
        return transport.get_write_buffer_size()
    assert isinstance(sink, QueueSink)
    return sink._size


@pytest.mark.parametrize("door", DOORS)
async def test_a_client_that_reads_nothing_stops_its_provider(door: Door) -> None:
    provider = Provider()
    async with _house(provider, door) as (gateway, client):
        await client.ask()
        await until(lambda: provider.sent)
        sent = await provider.stopped()
        assert sent < BOUND_BYTES
        stream = _stream(gateway)
        assert _waiting_bytes(stream) < 512 * 1024
        # longer than idle_s: the silence is the client's, and no fault of the provider's
        await asyncio.sleep(0.3)
        assert (_stream(gateway), provider.sent) == (stream, sent)
        client.socket.close()
        row = await gateway.row()
        assert (row.status_code, row.terminal_state) == (499, "client_left")
        await until(lambda: provider.gone)
        assert gateway.pipeline._transport.active == 0


@pytest.mark.parametrize("door", DOORS)
async def test_a_stream_behind_an_answer_that_nobody_has_read_waits_from_its_beginning(door: Door) -> None:
    class Both(Provider):
        async def script(self, peer: Peer) -> None:
            asked = await peer.request()
            if asked is None or b'"stream":true' in asked:
                peer.reader.feed_data(asked or b"")  # to be read again
                await super().script(peer)
                return
            message = {"role": "assistant", "content": "y" * 2_000_000}
            answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
            body = msgspec.json.encode(answer)
            await peer.say(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    provider = Both()
    async with _house(provider, door) as (gateway, client):
        await client.ask(stream=False)
        await gateway.row()
        await client.ask()
        await until(lambda: provider.sent)
        assert await provider.stopped() < BOUND_BYTES
        client.socket.close()
        await until(lambda: provider.gone)


@pytest.mark.parametrize("door", DOORS)
async def test_a_client_that_reads_again_gets_the_rest_in_order(door: Door) -> None:
    provider = Provider(events=800)
    async with _house(provider, door) as (gateway, client):
        await client.ask()
        await until(lambda: provider.sent)
        assert await provider.stopped() < BOUND_BYTES
        text = await client.read(b"0\r\n\r\n")
        assert text.count(TEXT.encode()) == 800
        assert b"data: [DONE]\n\n" in text[-200:]
        row = await gateway.row()
        assert (row.status_code, row.terminal_state) == (200, "completed")


@pytest.mark.parametrize("door", DOORS)
async def test_the_connection_of_a_slow_clients_provider_can_be_used_again(door: Door) -> None:
    """The last packet of an answer may be the one that fills the client's buffer."""
    provider = Provider(events=14)
    async with _house(provider, door) as (gateway, client):
        for n in range(1, 7):
            provider.events = 12 + n
            await client.ask()
            await gateway.until(lambda: gateway.pipeline._transport.active == 0 or provider.sent)
            await asyncio.sleep(0.02)
            text = await client.read(b"0\r\n\r\n")
            assert text.count(TEXT.encode()) == 12 + n
            row = await gateway.row(n)
            assert row.terminal_state == "completed", row.error_message


async def test_a_provider_that_falls_silent_after_a_pause_is_noticed() -> None:
    """Once the client reads again, the idle time counts again."""
    stop = asyncio.Event()

    class Silent(Provider):
        async def script(self, peer: Peer) -> None:
            await peer.request()
            peer.writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
            for _ in range(200):
                peer.writer.write(EVENT)
                await peer.writer.drain()
                self.sent += len(EVENT)
            await stop.wait()

    provider = Silent()
    async with _house(provider, "hot") as (gateway, client):
        await client.ask()
        await until(lambda: _stream(gateway)._paused if gateway.pipeline._live else False)
        await asyncio.sleep(0.3)
        assert gateway.pipeline.live_streams == 1
        text = await client.read(b"0\r\n\r\n")
        assert b'"code":"upstream_timeout"' in text
        assert (await gateway.row()).terminal_state == "timed_out"
        stop.set()
