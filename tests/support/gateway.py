"""A real gateway on loopback for tests: sockets, both doors, the mock provider; rows go into a list."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import uvicorn

from sekisho.app.build import build_keyring, build_pipeline, build_snapshot
from sekisho.app.serving import Server
from sekisho.app.settings import parse
from sekisho.app.settings.model import Settings
from sekisho.costs.prices import PriceBook
from sekisho.domain.row import OWN_FIELDS, AttemptRow, CallerGroup, InferenceRow, Record, ShapeGroup
from sekisho.entrypoints.http.asgi import Gateway as AsgiGateway
from sekisho.entrypoints.http.crowd import crowded
from sekisho.entrypoints.http.hot import hot_protocol
from sekisho.entrypoints.http.intake import Clock
from sekisho.entrypoints.http.metrics import exposition
from sekisho.gateway.pipeline import Pipeline
from sekisho.ledger.tally import Tally
from sekisho.mock.server import MockProvider
from tests.support.counting import WIDE, Counting

Door = Literal["hot", "asgi"]
DOORS: tuple[Door, ...] = ("hot", "asgi")
KEY = "sk-test-0123456789abcdef"
CHAT_ONLY_KEY = "sk-chat-0123456789abcdef"
EXPIRED_KEY = "sk-past-0123456789abcdef"
PEPPER = b"p" * 32

#: {mock} is the base URL of the mock provider, {dead} one where nobody listens
CONFIG = (
    """
data_dir: ./data
language: en
providers:
  mock: {type: openai, base_url: "MOCK", allow_private: true, api_key: sk-upstream-canary-key}
  dead: {type: openai, base_url: "DEAD", allow_private: true, api_key: sk-upstream-canary-key}
defaults: {log: full, timeouts: {connect_s: 1, first_token_s: 1, idle_s: 1, total_s: 5}}
endpoints:
  chat:
    targets: [{provider: mock, model: mock-small}]
  embed:
    targets: [{provider: mock, model: mock-embed}]
  safe:
    targets: [{provider: mock, model: "mock?status=500"}]
    fallbacks: [{provider: dead, model: gone}, {provider: mock, model: mock-large}]
  hopeless:
    targets: [{provider: mock, model: "mock?status=429&retry_after=7"}]
    fallbacks: [{provider: mock, model: "mock?status=500"}]
  unpriced:
    targets: [{provider: dead, model: nobody-knows-this-model}]
    fallbacks: [{provider: mock, model: mock-small}]
  metadata-only:
    targets: [{provider: mock, model: mock-small}]
    log: metadata
teams:
  research: {department: rd}
keys:
  - {name: test, key: sk-test-0123456789abcdef, team: research, user: taro, endpoints: ["*", "mock/*", "dead/*"]}
  - {name: chat-only, key: sk-chat-0123456789abcdef, endpoints: [chat]}
  - {name: behalf, key: sk-behalf-0123456789abcdef, on_behalf: true}
  - {name: past, key: sk-past-0123456789abcdef, expires: "2020-01-01T00:00:00+09:00"}
prices:
  mock/mock-small: {input_per_mtok: 1.00, cached_input_per_mtok: 0.10, output_per_mtok: 2.00}
  mock/*: {input_per_mtok: 1.00, cached_input_per_mtok: 0.10, output_per_mtok: 2.00}
  dead/gone: {input_per_mtok: 1.00, output_per_mtok: 2.00}
"""
    + WIDE
)


class ListSink:
    """A RowSink that keeps rows as InferenceRow. `fault` is raised instead, where it is set; `durable` is what the
    disk says."""

    def __init__(self) -> None:
        self.rows: list[InferenceRow] = []
        self.begun: list[InferenceRow] = []
        self.takes_calls = True
        self.durable = True
        self.fault: Exception | None = None

    def begin(self, record: Record) -> bool:
        self.begun.append(read_record(record))
        return True

    def when_durable(self, told: Callable[[bool], None]) -> None:
        asyncio.get_running_loop().call_soon(told, self.durable)

    def append(self, record: Record) -> None:
        if self.fault is not None:
            raise self.fault
        self.rows.append(read_record(record))

    def close(self) -> None:
        pass


def read_record(record: Record) -> InferenceRow:
    """The row a record of the spool stands for, by the same bytes that would lie there."""
    shape, caller, *own = msgspec.msgpack.decode(msgspec.msgpack.encode(record))
    named = {
        **dict(zip(ShapeGroup._fields, shape, strict=True)),
        **dict(zip(CallerGroup._fields, caller, strict=True)),
        **dict(zip(OWN_FIELDS, own, strict=True)),
    }
    named["attempts"] = [AttemptRow(*attempt) for attempt in named["attempts"]]
    return InferenceRow(**named)


class Gateway:
    """What a test holds of a running gateway."""

    def __init__(
        self,
        url: str,
        pipeline: Pipeline,
        sink: ListSink,
        mock: MockProvider,
        settings: Settings,
        counting: Counting,
    ) -> None:
        self.counting = counting
        self.url = url
        self.base_url = f"{url}/v1"
        self.key = KEY
        self.pipeline = pipeline
        self.sink = sink
        self.mock = mock
        self.settings = settings

    @property
    def rows(self) -> list[InferenceRow]:
        return self.sink.rows

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def row(self, n: int = 1) -> InferenceRow:
        """The last row, once there are at least `n`; fails after 5 s."""
        await self.until(lambda: len(self.rows) >= n)
        return self.rows[-1]

    async def until(self, condition: Any, within_s: float = 5.0) -> None:
        """Wait for a condition without a fixed sleep."""
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.005)

    def check_books(self) -> None:
        """What holds after every test: each call has one row and one count, and nothing is left open."""
        tally = self.pipeline.tally
        counted = sum(sum(one.statuses.values()) for one in tally.models.values())
        assert counted == sum(tally.rows.values()), "metric increments = rows"
        assert tally.rows["appended"] == len(self.rows)
        assert tally.in_flight == 0, "a call has no row"
        assert self.pipeline.live_streams == 0
        ids = [row.request_id for row in self.rows]
        assert len(ids) == len(set(ids)), "one row a call"
        self.counting.check(attempt for row in self.rows for attempt in row.attempts)


def settings_for(mock: MockProvider, config: str = CONFIG, *, dead: str = "http://127.0.0.1:9/v1") -> Settings:
    text = config.replace("MOCK", mock.base_url).replace("DEAD", dead)
    return parse(text, "test.yaml", environ={}, base_dir=Path(tempfile.gettempdir()), demo=True)


@contextlib.asynccontextmanager
async def running_gateway(
    mock: MockProvider,
    *,
    door: Door = "hot",
    config: str = CONFIG,
    office: Callable[[], Any] | None = None,
    most_connections: int = 10_000,
) -> AsyncIterator[Gateway]:
    """The gateway on a free port of loopback. At its end it must have no open exchange left."""
    settings = settings_for(mock, config)
    prices = PriceBook(Path(tempfile.mkdtemp()) / "prices.json", timeout_s=0.01)
    counting = Counting(settings)
    snapshot = build_snapshot(settings, build_keyring(settings, PEPPER, []), prices, counting.planner)
    sink = ListSink()
    pipeline = build_pipeline(snapshot, sink, Tally(), asyncio.get_running_loop(), counting.limiter)
    clock = Clock()
    asgi = AsgiGateway(
        pipeline,
        clock,
        metrics=exposition(pipeline.tally, dict),
        ready=lambda: {"status": "ok" if sink.takes_calls else "rows_unavailable"},
        office=office,
    ).application()
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # else asyncio sets no TCP_NODELAY
    sock.bind(("127.0.0.1", 0))
    http: Any = crowded(hot_protocol(pipeline, clock), most_connections) if door == "hot" else "httptools"
    server = Server(
        uvicorn.Config(asgi, http=http, ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    )
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    serving = asyncio.ensure_future(server.serve([sock]))
    while not server.started:
        await asyncio.sleep(0.001)
    gateway = Gateway(f"http://127.0.0.1:{sock.getsockname()[1]}", pipeline, sink, mock, settings, counting)
    try:
        yield gateway
    finally:
        server.should_exit = True
        await serving
        pipeline.close()
        sock.close()
