"""A client on a bare socket: sends exactly the bytes it is given, and reads answers one after another."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httptools
from tests.support.gateway import KEY

WAIT_S = 5.0
AUTH = f"authorization: Bearer {KEY}\r\n"
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello there"}]


class Answer:
    """One answer as it came."""

    def __init__(self) -> None:
        self.status = 0
        #: names as they were sent, repeated ones too
        self.fields: list[tuple[str, str]] = []
        self.body = b""
        self.complete = False

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.fields)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object, which must be all there is."""
        assert list(self.json) == ["error"]
        assert self.headers["content-type"] == "application/json"
        return self.json["error"]

    @property
    def events(self) -> list[str]:
        """Data of the events of a stream, in order; comments are left out."""
        frames = self.body.decode().split("\n\n")
        return [frame.removeprefix("data: ") for frame in frames if frame.startswith("data: ")]

    @property
    def text(self) -> str:
        """The content of all chunks."""
        chunks = [json.loads(event) for event in self.events if event != "[DONE]"]
        deltas = [choice["delta"] for chunk in chunks for choice in chunk.get("choices", [])]
        return "".join(delta.get("content") or "" for delta in deltas)


class Wire:
    """One connection. Answers come in the order in which the server sends them, those of status 100 too."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = httptools.HttpResponseParser(self)
        self._now = Answer()
        self._ready: list[Answer] = []
        self.raw = b""
        #: the server has closed or reset the connection
        self.ended = False

    # -- httptools

    def on_message_begin(self) -> None:
        self._now = Answer()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._now.fields.append((name.decode("ascii"), value.decode("ascii")))

    def on_headers_complete(self) -> None:
        self._now.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._now.body += body

    def on_message_complete(self) -> None:
        self._now.complete = True
        self._ready.append(self._now)

    # -- for tests

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def dribble(self, data: bytes) -> None:
        """Every byte in a packet of its own."""
        for position in range(len(data)):
            self._writer.write(data[position : position + 1])
            await asyncio.sleep(0)

    async def answer(self) -> Answer:
        """The next whole answer; a cut one with `complete` False where the connection ends inside it."""
        async with asyncio.timeout(WAIT_S):
            while not self._ready and not self.ended:
                await self._read()
        return self._ready.pop(0) if self._ready else self._now

    async def until(self, text: bytes) -> Answer:
        """Read on until the bytes came; gives the answer in progress."""
        async with asyncio.timeout(WAIT_S):
            while text not in self.raw:
                assert not self.ended, f"the connection ended before {text!r}: {self.raw[-500:]!r}"
                await self._read()
        return self._now

    async def closed(self) -> bool:
        """Whether the server ends the connection without another byte."""
        before = len(self.raw)
        async with asyncio.timeout(WAIT_S):
            while not self.ended:
                await self._read()
        return len(self.raw) == before

    def leave(self, *, reset: bool = False) -> None:
        """Close; with a reset, as a killed process does."""
        (self._writer.transport.abort if reset else self._writer.close)()

    async def _read(self) -> None:
        try:
            data = await self._reader.read(65536)
        except ConnectionError:
            data = b""
        self.raw += data
        if data:
            self._parser.feed_data(data)
        else:
            self.ended = True


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**26)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def http(
    body: object = b"",
    path: str = "/v1/chat/completions",
    method: str = "POST",
    headers: str = AUTH,
    version: str = "1.1",
) -> bytes:
    """A request with a content length; `headers` are whole lines."""
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    head = f"{method} {path} HTTP/{version}\r\nhost: gateway\r\n{headers}content-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def chunked(
    body: bytes, path: str = "/v1/chat/completions", headers: str = AUTH, size: int = 7, end: bytes = b"0\r\n\r\n"
) -> bytes:
    """A request whose body comes in pieces of unknown total."""
    head = f"POST {path} HTTP/1.1\r\nhost: gateway\r\n{headers}transfer-encoding: chunked\r\n\r\n".encode()
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


def chat(model: str = "chat", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": HELLO, **more}


async def ask(port: int, data: bytes) -> Answer:
    """One answer on a connection of its own."""
    async with connected(port) as wire:
        await wire.send(data)
        return await wire.answer()
