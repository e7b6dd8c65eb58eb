"""A gateway whose server, tasks and sink a test can reach, and a client that sees every byte and leaves at will."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from tests.support.counting import Counting
from tests.support.gateway import CONFIG, KEY, PEPPER, Door, read_record, settings_for

from sekisho.app.build import build_keyring, build_pipeline, build_snapshot
from sekisho.app.serving import Server
from sekisho.costs.prices import PriceBook
from sekisho.domain.endpoint import Endpoint, Target, Timeouts
from sekisho.domain.money import Rates
from sekisho.domain.row import InferenceRow, Record
from sekisho.entrypoints.http.asgi import Gateway as AsgiGateway
from sekisho.entrypoints.http.hot import hot_protocol
from sekisho.entrypoints.http.intake import Clock
from sekisho.entrypoints.http.metrics import exposition
from sekisho.gateway.pipeline import Pipeline
from sekisho.gateway.snapshot import Choice
from sekisho.ledger.tally import Tally
from sekisho.mock.server import MockProvider

PRICED = Rates(input_nanos_per_mtok=1_000_000_000, output_nanos_per_mtok=2_000_000_000)
#: requests whose id begins so find no room in the sink
FAULTY = "faulty"


class Sink:
    """Rows in a list; raises for requests that ask for it by their client_request_id."""

    def __init__(self) -> None:
        self.rows: list[InferenceRow] = []
        self.refused = 0
        self.takes_calls = True

    def begin(self, record: Record) -> bool:
        return True

    def when_durable(self, told: Callable[[bool], None]) -> None:
        asyncio.get_running_loop().call_soon(told, True)

    def append(self, record: Record) -> None:
        row = read_record(record)
        if (row.client_request_id or "").startswith(FAULTY):
            self.refused += 1
            raise OSError("no space left on device")
        self.rows.append(row)

    def close(self) -> None:
        pass


class House:
    """One running gateway in front of the mock provider."""

    def __init__(
        self, pipeline: Pipeline, server: Server, sink: Sink, mock: MockProvider, port: int, counting: Counting
    ) -> None:
        self.counting = counting
        self.pipeline = pipeline
        self.server = server
        self.sink = sink
        self.mock = mock
        self.port = port
        self.metrics = exposition(pipeline.tally, dict)
        self.transport: Any = pipeline._transport
        self._names = 0

    def endpoint(self, targets: list[Target], timeouts: Timeouts) -> str:
        """A new endpoint for these targets: the first, then its fallbacks."""
        self._names += 1
        name = f"endpoint-{self._names}"
        endpoint = Endpoint(
            name=name, targets=(targets[0],), fallbacks=tuple(targets[1:]), timeouts=timeouts, log="full"
        )
        self.pipeline.snapshot.endpoints[name] = endpoint
        self.pipeline.snapshot.choices[name] = Choice(endpoint)
        return name

    def stop_calls(self) -> None:
        """What uvicorn does to calls that still run when its graceful time is over."""
        for task in self.server.server_state.tasks:
            task.cancel(msg="Task cancelled, timeout graceful shutdown exceeded")

    @property
    def recorded(self) -> int:
        """Calls that have come to their end, whatever became of their rows."""
        return sum(self.pipeline.tally.rows.values())

    async def calm(self, recorded: int, tasks: set[asyncio.Task[Any]], within_s: float = 5.0) -> None:
        """Wait until so many calls have ended and nothing is in flight: no call, no exchange, no task beside those
        given, no socket beside the idle ones."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.recorded < recorded or not self.is_calm() or not asyncio.all_tasks() <= tasks:
                    await asyncio.sleep(0.002)
        assert self.recorded == recorded, "one end a call"
        assert self.pipeline.tally.in_flight == 0, "a call without a row"
        assert self.pipeline.live_streams == 0
        assert self.transport.active == 0, "an exchange that nobody ended"
        assert not self.server.server_state.tasks, "a task that nobody ended"
        assert asyncio.all_tasks() <= tasks, "a task outlives its call"
        open_sockets = len(self.mock._connections)
        assert open_sockets == self.transport.idle, "a socket to a provider that is in no pool"
        assert self.transport.idle <= 256

    def is_calm(self) -> bool:
        return (
            self.pipeline.tally.in_flight == 0
            and self.transport.active == 0
            and not self.server.server_state.tasks
            and not self.server.server_state.connections
            and len(self.mock._connections) == self.transport.idle
        )

    def check_metrics(self) -> None:
        """What /metrics says is what became of the rows."""
        tally = self.pipeline.tally
        counted = 0.0
        for line in self.metrics().decode().splitlines():
            if line.startswith("llm_requests_total{"):
                counted += float(line.rpartition(" ")[2])
        assert counted == sum(tally.rows.values())
        assert tally.rows["appended"] == len(self.sink.rows)
        assert tally.rows["failed"] == self.sink.refused
        self.counting.check(
            None if self.sink.refused else (attempt for row in self.sink.rows for attempt in row.attempts)
        )


class Seen(msgspec.Struct, kw_only=True):
    """What a client saw of its answer."""

    status: int | None = None
    headers: dict[str, str] = {}
    body: bytes = b""
    #: the answer had the length it announced, or its last chunk
    whole: bool = False
    left: bool = False

    @property
    def frames(self) -> list[bytes]:
        parts = self.body.split(b"\n\n")
        return [part.removeprefix(b"data: ") for part in parts[:-1] if part.startswith(b"data: ")]

    @property
    def error_code(self) -> str | None:
        """The code of an error body, or of an error frame at the end of a stream."""
        text = self.frames[-1] if self.headers.get("content-type", "").startswith("text/event-stream") else self.body
        try:
            found = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return None
        return found["error"]["code"] if isinstance(found, dict) and "error" in found else None


def request(model: str, *, stream: bool, request_id: str, key: str = KEY, more: dict[str, Any] | None = None) -> bytes:
    """A chat request, byte for byte."""
    body = {"model": model, "messages": [{"role": "user", "content": "a question"}], "stream": stream} | (more or {})
    payload = msgspec.json.encode(body)
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {key}",
        f"x-client-request-id: {request_id}",
        f"content-length: {len(payload)}",
        "connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode() + payload


async def ask(
    port: int, data: bytes, *, leave_after_s: float | None = None, leave_after_events: int | None = None
) -> Seen:
    """Send and read. `leave_after_s` closes that long after sending, `leave_after_events` with a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    seen = Seen()
    try:
        writer.write(data)
        if leave_after_s is not None:
            await asyncio.sleep(leave_after_s)
            seen.left = True
            return seen
        await _read(reader, seen, leave_after_events)
        if seen.left:
            writer.transport.abort()
        return seen
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader, seen: Seen, events: int | None) -> None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        seen.status = int(head[0].split(" ")[1])
        seen.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        if events == 0:
            seen.left = True
            return
        if "content-length" in seen.headers:
            seen.body = await reader.readexactly(int(seen.headers["content-length"]))
            seen.whole = True
            return
        while size := int(await reader.readuntil(b"\r\n"), 16):
            seen.body += (await reader.readexactly(size + 2))[:-2]
            if events is not None and seen.body.count(b"data: ") >= events:
                seen.left = True
                return
        assert await reader.readexactly(2) == b"\r\n"
        seen.whole = True
    except (asyncio.IncompleteReadError, ConnectionError):
        seen.whole = False


@contextlib.asynccontextmanager
async def running_house(
    door: Door, *, graceful_s: int = 1, config: str = CONFIG, dead: str = "http://127.0.0.1:9/v1"
) -> AsyncIterator[House]:
    """A gateway on loopback and the mock provider behind it."""
    async with MockProvider() as mock:
        settings = settings_for(mock, config, dead=dead)
        prices = PriceBook(Path(tempfile.mkdtemp()) / "prices.json", timeout_s=0.01)
        counting = Counting(settings)
        snapshot = build_snapshot(settings, build_keyring(settings, PEPPER, []), prices, counting.planner)
        sink = Sink()
        pipeline = build_pipeline(snapshot, sink, Tally(), asyncio.get_running_loop(), counting.limiter)
        clock = Clock()
        asgi = AsgiGateway(pipeline, clock, metrics=lambda: b"", ready=lambda: {"status": "ok"}).application()
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        http: Any = hot_protocol(pipeline, clock) if door == "hot" else "httptools"
        server = Server(
            uvicorn.Config(
                asgi, http=http, ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=graceful_s
            )
        )
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
        serving = asyncio.ensure_future(server.serve([sock]))
        while not server.started:
            await asyncio.sleep(0.001)
        house = House(pipeline, server, sink, mock, sock.getsockname()[1], counting)
        try:
            yield house
        finally:
            server.should_exit = True
            await serving
            pipeline.close()
            sock.close()
