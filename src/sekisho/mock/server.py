"""The mock provider as a server: in-process for tests and the demo, blocking for the command."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Callable
from typing import Self

from sekisho.mock.calls import Calls
from sekisho.mock.connection import Connection

DEFAULT_PORT = 9101
_BACKLOG = 4096
#: where the hard limit is higher (or infinite, as on macOS, where asking for it fails)
_MOST_FILES = 65_536


class PortUnavailable(RuntimeError):
    """The port is taken or not allowed; the message says which and what to do."""


class MockProvider:
    """A model server on loopback. Times in milliseconds; they hold where a script says nothing.

    Use `async with MockProvider() as mock`, or `start` and `close`.
    """

    def __init__(self, *, delay_ms: int = 0, chunk_ms: int = 0) -> None:
        self._calls = Calls(delay_ms, chunk_ms)
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._host = ""
        self.port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listens; port 0 takes a free one. Raises PortUnavailable."""
        _allow_many_files()
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Connection(self._calls, self._connections), host, port, backlog=_BACKLOG
            )
        except (OSError, OverflowError) as error:
            raise PortUnavailable(_why(error, host, port)) from error
        self._host = host
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stops listening and drops all connections. May be called twice."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.abandon()
        # The loop tells each connection that it is gone; until then its socket is open.
        while self._connections:
            await asyncio.sleep(0)
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> Self:
        if self._server is None:
            await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/v1"

    @property
    def calls(self) -> dict[str, object]:
        """As GET /_mock/calls: `calls`, `aborted`, `by_model`."""
        return self._calls.counts()

    @property
    def last(self) -> dict[str, object] | None:
        """As GET /_mock/last: `method`, `path`, `headers`, `body` of the last call of a model."""
        return self._calls.last()

    def reset(self) -> None:
        """As POST /_mock/reset: counts start again, `fail_first` too."""
        self._calls.reset()


def run(
    port: int = DEFAULT_PORT, delay_ms: int = 0, chunk_ms: int = 0, announce: Callable[[str], None] | None = None
) -> None:
    """Serves until SIGINT or SIGTERM. `announce` gets the base URL once it answers. Raises PortUnavailable."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(port, delay_ms, chunk_ms, announce))


def greeting(base_url: str, how: str = "try") -> str:
    """One line for a person: where it is, and `how` to try it, in a word."""
    body = '{"model":"mock-small","messages":[{"role":"user","content":"hello"}]}'
    return f"{base_url}   {how}: curl {base_url}/chat/completions -d '{body}'"


async def _serve(port: int, delay_ms: int, chunk_ms: int, announce: Callable[[str], None] | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except (NotImplementedError, ValueError, RuntimeError):
            # Windows, or not the main thread: then Ctrl-C ends the runner by itself.
            break
    provider = MockProvider(delay_ms=delay_ms, chunk_ms=chunk_ms)
    await provider.start(port=port)
    async with provider:
        if announce is not None:
            announce(provider.base_url)
        await stop.wait()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _allow_many_files() -> None:
    """Raises the soft limit of open files: one connection is one file, and the usual limit is 1,024 or 256."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            # macOS allows less than it says; fewer connections then.
            return


def _why(error: OSError | OverflowError, host: str, port: int) -> str:
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken. Choose another one with --port, or 0 for any free one."
    if code in (errno.EACCES, errno.EPERM):
        return f"Port {port} on {host} is not allowed for you. Choose one above 1023 with --port."
    return f"Cannot listen on {host} port {port}: {error}"
