"""Providers made of bytes: a server that says exactly what a test wants, and an exchange that remembers what came."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from sekisho.domain.http import Headers, Origin
from sekisho.gateway.connection import Connection, TransportError
from sekisho.gateway.transport import Pool, Transport

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        #: of this connection, from 1
        self.number = number

    async def request(self) -> bytes | None:
        """The next request, whole; None when the client has gone."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            return head + await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def say(self, *parts: bytes) -> None:
        """Each part in a packet of its own."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0.001 if len(parts) < 20 else 0)

    async def gone(self) -> None:
        """Wait until the client closes."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass

    def reset(self) -> None:
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class RawServer:
    """Listens on loopback; `script` is run for each connection, which closes when it returns."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.requests: list[bytes] = []
        self.open = 0

    @property
    def origin(self) -> Origin:
        return Origin(scheme="http", host="127.0.0.1", port=self.port, allow_private=True)

    @property
    def base_url(self) -> str:
        """So that it can stand where a mock provider does."""
        return f"http://127.0.0.1:{self.port}/v1"


@contextlib.asynccontextmanager
async def raw_server(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    server = RawServer()
    running: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.current_task())  # type: ignore[arg-type]
        server.connections += 1
        server.open += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await script(Peer(reader, writer, server.connections))
        finally:
            server.open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await listening.wait_closed()


def answering(*parts: bytes, server: list[bytes] | None = None) -> Script:
    """Answers every request of a connection with these bytes."""

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            if server is not None:
                server.append(request)
            await peer.say(*parts)

    return script


class Heard:
    """An exchange that remembers what the connection told it."""

    reads_headers = True

    def __init__(self, timeout_s: float = 5.0) -> None:
        self.deadline_s = asyncio.get_running_loop().time() + timeout_s
        self.status = 0
        self.headers: Headers = {}
        self.heads = 0
        self.packets: list[bytes] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ends = 0

    def on_head(self, status: int, headers: Headers) -> None:
        self.heads += 1
        self.status, self.headers = status, headers

    def on_data(self, packet: bytes) -> None:
        assert not self.ends
        self.packets.append(packet)

    def on_end(self) -> None:
        self.ends += 1
        self.ended.set_result(None)

    def on_fail(self, error: TransportError) -> None:
        self.ends += 1
        self.ended.set_exception(error)

    @property
    def body(self) -> bytes:
        return b"".join(self.packets)

    async def failure(self) -> TransportError:
        """The failure that ended it."""
        try:
            await asyncio.wait_for(self.ended, 5)
        except TransportError as error:
            return error
        raise AssertionError("it ended well")


@contextlib.asynccontextmanager
async def transport(tls: ssl.SSLContext | None = None) -> AsyncIterator[Transport]:
    """At its end no exchange may be left, and its connections close."""
    one = Transport(asyncio.get_running_loop(), tls)
    try:
        yield one
        assert one.active == 0
    finally:
        one.close()
        await until(lambda: one.idle == 0)


async def connection(pool: Pool) -> Connection:
    """As a call gets one."""
    return pool.take() or await pool.dial(1.0)


async def exchanged(pool: Pool, *, timeout_s: float = 5.0, body: bytes = b"{}") -> Heard:
    """One request and its whole answer. Raises TransportError."""
    heard = Heard(timeout_s)
    head = b"POST / HTTP/1.1\r\nhost: provider\r\ncontent-length: %d\r\n\r\n" % len(body)
    (await connection(pool)).send(heard, head, [body])
    await heard.ended
    return heard


async def until(condition: Callable[[], object], within_s: float = 5.0) -> None:
    """Wait for a condition without a fixed sleep."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.002)
