"""The mock provider on both loops, in a thread of its own, so that raw and blocking clients can talk to it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager

import httptools
import openai
import pytest

from sekisho.mock.server import MockProvider

_WAIT_S = 5


@contextmanager
def running(provider: MockProvider, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[MockProvider]:
    ready, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        async with provider:
            loops.append(asyncio.get_running_loop())
            ready.set()
            await stop.wait()

    def body() -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(serve())

    thread = threading.Thread(target=body)
    thread.start()
    assert ready.wait(_WAIT_S)
    try:
        yield provider
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(_WAIT_S)
        assert not thread.is_alive()


@pytest.fixture(params=["asyncio", "uvloop"])
def mock(request: pytest.FixtureRequest) -> Iterator[MockProvider]:
    factory = asyncio.new_event_loop
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    with running(MockProvider(), factory) as provider:
        yield provider


@pytest.fixture
async def client(mock: MockProvider) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=mock.base_url, api_key="any", max_retries=0) as made:
        yield made


class Answer:
    """What came over a raw socket, parsed as far as it goes."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = False
        self.raw = b""
        self.reset = False
        self.packets: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self.raw += data
        self.packets.append(data)
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        self.complete = True

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """Data of all events."""
        lines = self.body.decode().split("\n\n")
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

    @property
    def text(self) -> str:
        """Content of all chunks of all events that are JSON chunks."""
        whole = ""
        for event in self.events:
            if event != "[DONE]":
                for choice in json.loads(event).get("choices", []):
                    whole += choice["delta"].get("content") or ""
        return whole


def http(body: object, path: str = "/v1/chat/completions", method: str = "POST", headers: str = "") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"{method} {path} HTTP/1.1\r\nhost: mock\r\n{headers}content-length: {len(data)}\r\n\r\n".encode() + data


def chat(model: str, stream: bool = False, **more: object) -> dict:
    body: dict = {"model": model, "messages": [{"role": "user", "content": "hello there"}], **more}
    return body | {"stream": True} if stream else body


@pytest.fixture
def ask(mock: MockProvider) -> Callable[..., Answer]:
    """One request on a raw socket, read until it is complete or the connection ends (or is silent for a while)."""

    def asking(model: str, stream: bool = False, silence_s: float = _WAIT_S, **more: object) -> Answer:
        answer = Answer()
        with closing(socket.create_connection(("127.0.0.1", mock.port), timeout=silence_s)) as sock:
            sock.sendall(http(chat(model, stream, **more)))
            while not answer.complete:
                try:
                    data = sock.recv(65536)
                except ConnectionResetError:
                    answer.reset = True
                    break
                except TimeoutError:
                    break
                if not data:
                    break
                answer.feed(data)
        return answer

    return asking


@pytest.fixture
def connect(mock: MockProvider) -> Callable[[], socket.socket]:
    return lambda: socket.create_connection(("127.0.0.1", mock.port), timeout=_WAIT_S)


@pytest.fixture
def read() -> Callable[[socket.socket], Answer]:
    """The next answer of a connection."""

    def reading(sock: socket.socket) -> Answer:
        answer = Answer()
        while not answer.complete:
            # One byte each, so that nothing of the next answer is taken.
            data = sock.recv(1)
            if not data:
                break
            answer.feed(data)
        return answer

    return reading


@pytest.fixture
def request_bytes() -> Callable[..., bytes]:
    return http


@pytest.fixture
def chat_body() -> Callable[..., dict]:
    return chat


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits for what the server notices a moment later."""

    def waiting(holds: Callable[[], bool]) -> None:
        end = time.monotonic() + _WAIT_S
        while not holds():
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.005)

    return waiting
