"""The HTTP door of one serving process: uvicorn with our protocol class, the application behind it, and its end.

Must answer its first call within a second of the start.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from sekisho.app import process
from sekisho.app.installation import Installation
from sekisho.app.opening import installation
from sekisho.app.running import metrics_door
from sekisho.app.settings.model import Settings
from sekisho.entrypoints.http.crowd import crowded
from sekisho.entrypoints.http.hot import HotProtocol, hot_protocol
from sekisho.entrypoints.http.intake import Clock
from sekisho.ledger.tally_sums import sums_of

if TYPE_CHECKING:
    from sekisho.app.workers.worker import Worker

_BACKLOG = 4096
#: a supervisor's word to its workers that running calls are to be cut short
CUT_SHORT = signal.SIGUSR1


class Server(uvicorn.Server):
    """uvicorn with our one-second sweep over idle connections and a word when the door is open."""

    opened: Callable[[], None] | None = None
    #: by a supervisor. Ctrl-C in a terminal reaches its workers too, before or after its own word: only it can tell the
    #: first from a second one, so they do not heed it
    led = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.opened is not None:
            self.opened()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """SIGTERM and SIGINT end the server; uvicorn would then raise them again, and the rows would not be flushed."""
        loop = asyncio.get_running_loop()
        # for uvicorn a SIGINT that is not the first signal cuts running calls short
        signals = {signal.SIGTERM: signal.SIGTERM, CUT_SHORT if self.led else signal.SIGINT: signal.SIGINT}
        for number, meaning in signals.items():
            loop.add_signal_handler(number, self.handle_exit, meaning, None)
        try:
            yield
        finally:
            # What is left is to flush the rows, and a second signal must not cut that short.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
            for number in signals:
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, HotProtocol):
                    connection.close_idle(now)
        return await super().on_tick(counter)


async def serve(
    settings: Settings,
    sock: socket.socket,
    *,
    opened: Callable[[Installation], None],
    reload_from: Callable[[], Settings] | None = None,
    config_path: Path | None = None,
    worker: Worker | None = None,
    metrics_sock: socket.socket | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT: no new calls, the configured time for running ones, rows flushed."""
    process.allow_many_files()
    process.keep_memory()
    # before anything is opened: a port that is taken is no reason to announce a gateway and end it again
    metrics_sock = metrics_sock or metrics_door(settings.server.metrics_port)
    async with installation(settings, reload_from, config_path, worker) as running:
        clock = Clock()
        protocol = crowded(hot_protocol(running.pipeline, clock), process.most_connections())
        server = Server(_http(settings, lazily(running, clock, worker), protocol))
        server.led = worker is not None
        server.opened = lambda: (process.settle_memory(), opened(running))[0]
        beside = None if metrics_sock is None else _beside(running, clock, worker, metrics_sock)
        try:
            await server.serve([sock])
        finally:
            # What the last frames of interrupted streams need to leave this process.
            await asyncio.sleep(0.05)
            if beside is not None and running.background is not None:
                beside.should_exit = True
                await asyncio.wait({running.background}, timeout=2)


def lazily(running: Installation, clock: Clock, worker: Worker | None) -> Any:
    """The ASGI application, made with its first request: importing it costs a tenth of a second of the start."""
    made: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if not made:
            from sekisho.entrypoints.http.asgi import Gateway

            metrics, ready = _watched(running, worker)
            door = running.settings.server.metrics_port is None
            gateway = Gateway(running.pipeline, clock, metrics=metrics, ready=ready, office=running.office)
            made.append(gateway.application(metrics=door))
        await made[0](scope, receive, send)

    return application


def _watched(running: Installation, worker: Worker | None) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """What /metrics and /health/ready show: of all workers, where there are several."""
    if worker is not None:
        return worker.metrics, worker.ready
    from sekisho.entrypoints.http.metrics import rendered

    async def metrics() -> bytes:
        # first, because they may find that a row which counts as appended was lost
        gauges = running.gauges()
        return await asyncio.to_thread(rendered, sums_of(running.tally), gauges)

    return metrics, running.ready


def _beside(running: Installation, clock: Clock, worker: Worker | None, sock: socket.socket) -> uvicorn.Server:
    """Serves /metrics and /health on a socket of their own."""
    from sekisho.entrypoints.http.asgi import Gateway

    metrics, ready = _watched(running, worker)
    application = Gateway(running.pipeline, clock, metrics=metrics, ready=ready).watching()
    config = uvicorn.Config(application, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    running.background = asyncio.ensure_future(server.serve([sock]))
    return server


def _http(settings: Settings, application: Any, protocol: type[HotProtocol]) -> uvicorn.Config:
    door = settings.server
    return uvicorn.Config(
        application,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=max(1, round(door.shutdown_s)),
        ssl_certfile=door.tls_certificate,
        ssl_keyfile=door.tls_key,
    )
