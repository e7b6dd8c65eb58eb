"""One serving process: everything is opened here, in order, and closed in the opposite one.

Must answer its first call within a second, so what is heavy runs in processes of its own: migrations, prices, Delta.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import socket
import time
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from sekisho.app import process
from sekisho.app.build import build_keyring, build_pipeline, build_snapshot, key_names, price_pairs
from sekisho.app.control import control_snapshot, migrated, pepper_of
from sekisho.app.idempotency import open_idempotency
from sekisho.app.limits_and_budgets import LimitsAndBudgets, open_limits_and_budgets
from sekisho.app.reload import Reloader
from sekisho.app.running import metrics_door
from sekisho.app.settings.model import Settings
from sekisho.app.upkeep import Upkeep, committer_gauges, committer_state
from sekisho.costs.prices import MISSING, PriceBook
from sekisho.entrypoints.http.hot import HotProtocol, hot_protocol
from sekisho.entrypoints.http.intake import Clock
from sekisho.gateway.pipeline import Pipeline
from sekisho.gateway.policies.authentication import Keyring
from sekisho.gateway.policies.stops import Stops
from sekisho.ledger.refusals import ROWS_UNAVAILABLE
from sekisho.ledger.tally import ByLabel, Tally
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.private_files import private_directory
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.spools import settle_left, spool_of
from sekisho.tables.supervise import Committer

if TYPE_CHECKING:
    from sekisho.app.workers.worker import Worker
    from sekisho.entrypoints.http.admin.wiring import Office

log = logging.getLogger("sekisho.app")

_TICK_S = 1.0
_BACKLOG = 4096
DRAIN_S = 20.0


class Installation:
    """The parts of a running gateway that commands and tests may look at."""

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        committer: Committer | None,
        sink: SpoolWriter,
        limits: LimitsAndBudgets,
        worker: Worker | None = None,
    ) -> None:
        self.settings = settings
        self.limits = limits
        self.pipeline = pipeline
        #: None in one of several workers: their supervisor has it
        self.committer = committer
        self.worker = worker
        self.sink = sink
        self.tally: Tally = pipeline.tally
        self.upkeep: Upkeep | None = None
        #: since when the counters count; microseconds since 1970, UTC
        self.started_us = time.time_ns() // 1000
        #: nothing is left to settle in the spools of workers, where there were several before
        self.settled = True
        self._lost = 0
        #: opens what `/admin` works with
        self.office: Callable[[], Office] | None = None
        #: the server of a separate metrics port
        self.background: asyncio.Task[None] | None = None

    def gauges(self) -> dict[str, tuple[str, float | ByLabel]]:
        self._count_lost()
        return {
            **(self.upkeep.gauges() if self.upkeep is not None else {}),
            **self.limits.gauges(),
            **(committer_gauges(self.committer) if self.committer is not None else {}),
            "sekisho_spool_bytes": ("Bytes of rows in the spool.", float(self.sink.pending_bytes())),
            "sekisho_live_streams": ("Streams in progress.", float(self.pipeline.live_streams)),
        }

    def _count_lost(self) -> None:
        """A full disk loses a row inside the sink, after the ledger had counted it as appended: say so instead."""
        lost = self.sink.failed - self._lost
        self._lost += lost
        self.tally.rows["appended"] -= lost
        self.tally.rows["failed"] += lost

    def ready(self) -> dict[str, Any]:
        """Not "ok" only where new calls are refused; a late committer is said, but does not take traffic away."""
        return {
            "status": "ok" if self.sink.takes_calls else ROWS_UNAVAILABLE,
            **(committer_state(self.committer) if self.committer is not None else {}),
            "spool_failed": self.sink.failed,
            "started_us": self.started_us,
            "spool": self.sink.spool_id,
        }


@contextlib.asynccontextmanager
async def installation(
    settings: Settings,
    reload_from: Callable[[], Settings] | None = None,
    config_path: Path | None = None,
    worker: Worker | None = None,
) -> AsyncGenerator[Installation]:
    """A gateway without its HTTP door: control database, spool, committer, prices, snapshot, and what keeps them.

    One of several workers leaves to its supervisor what is done once: committer, maintenance, spools of the dead.
    """
    private_directory(settings.data_dir)
    prices = PriceBook(settings.data_dir / "prices.json")
    # Each takes a process of its own for a second or two, the first time.
    await asyncio.gather(migrated(settings), priced(prices, price_pairs(settings)))
    pepper = await asyncio.to_thread(pepper_of, settings)
    keys = await asyncio.to_thread(control_snapshot, settings)
    sink = _spool(settings, worker)
    committer = None if worker is not None else _committer(settings, sink)
    try:
        settled = worker is not None or await _settled(settings)
        version = keys.version()
        records, control = list(keys.all()), keys.control()
        keyring = build_keyring(settings, pepper, records, control)
        # after the spool, where calls that died in flight have become rows
        limits = await open_limits_and_budgets(settings, key_names(keyring, records), control)
        pipeline = _pipeline(settings, keyring, prices, limits, sink)
        pipeline.obey(Stops(control.stops))
        pipeline.idempotency = await open_idempotency(settings, pepper, pipeline.tally)
        running = Installation(settings, pipeline, committer, sink, limits, worker)
        running.settled = settled
        running.office = functools.partial(_office, running, pepper)
        reloader = Reloader(running, keys, version, prices, pepper, reload_from, config_path)
        async with _kept(running, reloader):
            yield running
    finally:
        sink.close()
        if committer is not None and not await asyncio.to_thread(committer.stop, DRAIN_S):
            log.warning("the committer did not finish in time; its rows stay in the spool and go in at the next start")


def _pipeline(
    settings: Settings, keyring: Keyring, prices: PriceBook, limits: LimitsAndBudgets, sink: SpoolWriter
) -> Pipeline:
    snapshot = build_snapshot(settings, keyring, prices, limits.planner())
    return build_pipeline(snapshot, sink, Tally(), asyncio.get_running_loop(), limits.limiter)


@contextlib.asynccontextmanager
async def _kept(running: Installation, reloader: Reloader) -> AsyncGenerator[None]:
    """What keeps the tables, or the line to the supervisor that has it, and what happens about once a second."""
    if running.committer is not None:
        settings = running.settings
        cadence = settings.tables.cadence
        running.upkeep = Upkeep(settings.data_dir, settings.storage, cadence, running.sink, running.committer)
        running.committer.start()
    if running.worker is not None:
        running.worker.join(running)
    watches = [asyncio.ensure_future(_keep(running, reloader)), asyncio.ensure_future(_obey(reloader))]
    try:
        yield
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.wait(watches)
        if running.upkeep is not None:
            running.upkeep.stop()
        running.pipeline.close()
        kept = running.pipeline.idempotency
        await asyncio.gather(running.limits.close(), *([] if kept is None else [kept.close()]))
        if running.worker is not None:
            running.worker.leave()


async def _settled(settings: Settings) -> bool:
    """Make rows of what workers had in flight, where there were several before; False while one of them outlives its
    supervisor, for it ends its calls itself. Raises OSError."""
    owned = frozenset({spool_of(settings.data_dir)})
    return await asyncio.to_thread(settle_left, settings.data_dir, owned)


def _committer(settings: Settings, sink: SpoolWriter) -> Committer:
    return Committer(
        settings.data_dir,
        last_seq=lambda: sink.last_seq,
        storage=settings.storage,
        cadence=settings.tables.cadence,
    )


def _office(running: Installation, pepper: bytes) -> Office:
    from sekisho.app.admin import open_office

    return open_office(running, pepper)


def _spool(settings: Settings, worker: Worker | None) -> SpoolWriter:
    max_mb = settings.spool.max_mb
    return SpoolWriter(
        spool_of(settings.data_dir) if worker is None else worker.spool(settings.data_dir),
        max_bytes=(max_mb if worker is None else worker.share(max_mb)) * 1024 * 1024,
        sheds_bodies=settings.spool.when_full == "shed_bodies",
        fails_open=settings.spool.on_error == "open",
    )


async def _keep(running: Installation, reloader: Reloader) -> None:
    """What happens about once a second, for as long as the process lives."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError, RuntimeError):
        loop.add_signal_handler(signal.SIGHUP, reloader.wanted.set)
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TICK_S):
                await reloader.wanted.wait()
        try:
            running.pipeline.tick(loop.time())
            running.limits.tick()
            if running.committer is not None:
                running.committer.poll()
            running.sink.look()
            if running.worker is not None:
                running.worker.report()
            await reloader.look()
            running.settled = running.settled or await _settled(running.settings)
            if running.upkeep is not None:
                running.upkeep.look(running.settings.maintenance)
        except StoreUnavailable as error:
            log.warning("the control database does not answer; the keys known last stay in force: %s", error)
        except Exception:
            log.exception("housekeeping failed; it is tried again")


async def _obey(reloader: Reloader) -> None:
    """Stops and keys, about once a second, whatever the rest of housekeeping waits for."""
    while True:
        await asyncio.sleep(_TICK_S)
        try:
            reloader.obey()
        except StoreUnavailable:
            continue  # `_keep` says so
        except Exception:
            log.exception("stops and keys could not be taken over; it is tried again")


class Server(uvicorn.Server):
    """uvicorn with our one-second sweep over idle connections and a word when the door is open."""

    opened: Callable[[], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.opened is not None:
            self.opened()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """SIGTERM and SIGINT end the server; uvicorn would then raise them again, and the rows would not be flushed."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
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
        server = Server(_http(settings, lazily(running, clock), hot_protocol(running.pipeline, clock)))
        server.opened = lambda: (process.settle_memory(), opened(running))[0]
        beside = None if metrics_sock is None else _beside(running, clock, metrics_sock)
        try:
            await server.serve([sock])
        finally:
            # What the last frames of interrupted streams need to leave this process.
            await asyncio.sleep(0.05)
            if beside is not None and running.background is not None:
                beside.should_exit = True
                await asyncio.wait({running.background}, timeout=2)


def lazily(running: Installation, clock: Clock) -> Any:
    """The ASGI application, made with its first request: importing it costs a tenth of a second of the start."""
    made: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if not made:
            from sekisho.entrypoints.http.asgi import Gateway

            metrics, ready = _watched(running)
            door = running.settings.server.metrics_port is None
            gateway = Gateway(running.pipeline, clock, metrics=metrics, ready=ready, office=running.office)
            made.append(gateway.application(metrics=door))
        await made[0](scope, receive, send)

    return application


def _watched(running: Installation) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """What /metrics and /health/ready show: of all workers, where there are several."""
    if running.worker is not None:
        return running.worker.metrics, running.worker.ready
    from sekisho.entrypoints.http.metrics import exposition

    return exposition(running.tally, running.gauges), running.ready


def _beside(running: Installation, clock: Clock, sock: socket.socket) -> uvicorn.Server:
    """Serves /metrics and /health on a socket of their own."""
    from sekisho.entrypoints.http.asgi import Gateway

    metrics, ready = _watched(running)
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


async def priced(prices: PriceBook, pairs: list[tuple[str | None, str]]) -> None:
    """Look up prices that nobody has looked up yet; those of an earlier day will do for the start."""
    if any(prices.get(*pair) is MISSING for pair in pairs):
        await prices.resolve(pairs)
