"""One serving process: everything is opened here, in order, and closed in the opposite one.

Must answer its first call within a second, so what is heavy runs in processes of its own: migrations, prices, Delta.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import gc
import logging
import resource
import signal
import socket
import time
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from sekisho.app.build import build_keyring, build_pipeline, build_snapshot, key_names, price_pairs
from sekisho.app.control import control_snapshot, migrated, pepper_of
from sekisho.app.idempotency import open_idempotency
from sekisho.app.limits_and_budgets import LimitsAndBudgets, open_limits_and_budgets
from sekisho.app.reload import Reloader
from sekisho.app.settings.model import Settings
from sekisho.app.upkeep import Upkeep
from sekisho.costs.prices import MISSING, PriceBook
from sekisho.entrypoints.http.hot import HotProtocol, hot_protocol
from sekisho.entrypoints.http.intake import Clock
from sekisho.gateway.pipeline import Pipeline
from sekisho.gateway.policies.authentication import Keyring
from sekisho.gateway.policies.stops import Stops
from sekisho.ledger.tally import ByLabel, Tally
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.private_files import private_directory
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.supervise import Committer

if TYPE_CHECKING:
    from sekisho.entrypoints.http.admin.wiring import Office

log = logging.getLogger("sekisho.app")

_TICK_S = 1.0
_BACKLOG = 4096
_DRAIN_S = 20.0
#: parameters of mallopt(3), from glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


class Installation:
    """The parts of a running gateway that commands and tests may look at."""

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        committer: Committer,
        sink: SpoolWriter,
        limits: LimitsAndBudgets,
        upkeep: Upkeep | None = None,
    ) -> None:
        self.settings = settings
        self.limits = limits
        self.pipeline = pipeline
        self.committer = committer
        self.sink = sink
        self.tally: Tally = pipeline.tally
        self.upkeep = upkeep
        #: since when the counters count; microseconds since 1970, UTC
        self.started_us = time.time_ns() // 1000
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
            "committed": ("", float(self.committer.committed_rows)),
            "sekisho_spool_oldest_seconds": ("Age of the oldest row that is not in Delta yet.", self.committer.lag_s()),
            "sekisho_spool_bytes": ("Bytes of rows in the spool.", float(self.sink.pending_bytes())),
            "sekisho_live_streams": ("Streams in progress.", float(self.pipeline.live_streams)),
            "sekisho_committer_up": ("1 while the committer process runs.", float(self.committer.running)),
        }

    def _count_lost(self) -> None:
        """A full disk loses a row inside the sink, after the ledger had counted it as appended: say so instead."""
        lost = self.sink.failed - self._lost
        self._lost += lost
        self.tally.rows["appended"] -= lost
        self.tally.rows["failed"] += lost

    def ready(self) -> dict[str, Any]:
        """503 only for what makes calls fail; a late committer is said, but does not take traffic away."""
        status = self.committer.status()
        return {
            "status": "ok",
            "committer": "running" if self.committer.running else "restarting",
            "committed_rows": status.committed_rows,
            "spool_failed": self.sink.failed,
            "last_commit_us": status.last_commit_us,
            "started_us": self.started_us,
            "spool": self.sink.spool_id,
        }


@contextlib.asynccontextmanager
async def installation(
    settings: Settings, reload_from: Callable[[], Settings] | None = None, config_path: Path | None = None
) -> AsyncGenerator[Installation]:
    """A gateway without its HTTP door: control database, spool, committer, prices, snapshot, and what keeps them."""
    private_directory(settings.data_dir)
    prices = PriceBook(settings.data_dir / "prices.json")
    # Each takes a process of its own for a second or two, the first time.
    await asyncio.gather(migrated(settings), _priced(prices, price_pairs(settings)))
    pepper = await asyncio.to_thread(pepper_of, settings)
    keys = await asyncio.to_thread(control_snapshot, settings)
    sink = _spool(settings)
    committer = _committer(settings, sink)
    try:
        version = keys.version()
        records, control = list(keys.all()), keys.control()
        keyring = build_keyring(settings, pepper, records, control)
        # after the spool, where calls that died in flight have become rows
        limits = await open_limits_and_budgets(settings, key_names(keyring, records), control)
        pipeline = _pipeline(settings, keyring, prices, limits, sink)
        pipeline.obey(Stops(control.stops))
        upkeep = Upkeep(settings.data_dir, settings.storage, settings.tables.cadence, sink, committer)
        pipeline.idempotency = kept = await open_idempotency(settings, pepper, pipeline.tally)
        running = Installation(settings, pipeline, committer, sink, limits, upkeep)
        running.office = functools.partial(_office, running, pepper)
        reloader = Reloader(running, keys, version, prices, pepper, reload_from, config_path)
        committer.start()
        watches = [asyncio.ensure_future(_keep(running, reloader)), asyncio.ensure_future(_obey(reloader))]
        try:
            yield running
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.wait(watches)
            upkeep.stop()
            pipeline.close()
            await asyncio.gather(kept.close(), limits.close())
    finally:
        sink.close()
        if not await asyncio.to_thread(committer.stop, _DRAIN_S):
            log.warning("the committer did not finish in time; its rows stay in the spool and go in at the next start")


def _pipeline(
    settings: Settings, keyring: Keyring, prices: PriceBook, limits: LimitsAndBudgets, sink: SpoolWriter
) -> Pipeline:
    snapshot = build_snapshot(settings, keyring, prices, limits.planner())
    return build_pipeline(snapshot, sink, Tally(), asyncio.get_running_loop(), limits.limiter)


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


def _spool(settings: Settings) -> SpoolWriter:
    return SpoolWriter(
        settings.data_dir / "spool",
        max_bytes=settings.spool.max_mb * 1024 * 1024,
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
            running.committer.poll()
            running.sink.look()
            await reloader.look()
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
            for number in signals:
                loop.remove_signal_handler(number)

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
) -> None:
    """Serve until SIGTERM or SIGINT: no new calls, the configured time for running ones, rows flushed."""
    _allow_many_files()
    _keep_memory()
    async with installation(settings, reload_from, config_path) as running:
        clock = Clock()
        server = Server(_http(settings, lazily(running, clock), hot_protocol(running.pipeline, clock)))
        server.opened = lambda: (_settle_memory(), opened(running))[0]
        beside = await _metrics_door(settings, running, clock)
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
            from sekisho.entrypoints.http.metrics import exposition

            metrics = exposition(running.tally, running.gauges)
            door = running.settings.server.metrics_port is None
            gateway = Gateway(running.pipeline, clock, metrics=metrics, ready=running.ready, office=running.office)
            made.append(gateway.application(metrics=door))
        await made[0](scope, receive, send)

    return application


async def _metrics_door(settings: Settings, running: Installation, clock: Clock) -> uvicorn.Server | None:
    port = settings.server.metrics_port
    if port is None:
        return None
    from sekisho.entrypoints.http.asgi import Gateway
    from sekisho.entrypoints.http.metrics import exposition

    metrics = exposition(running.tally, running.gauges)
    application = Gateway(running.pipeline, clock, metrics=metrics, ready=running.ready).watching()
    config = uvicorn.Config(application, host="127.0.0.1", port=port, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    running.background = asyncio.ensure_future(server.serve())
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


async def _priced(prices: PriceBook, pairs: list[tuple[str | None, str]]) -> None:
    """Look up prices that nobody has looked up yet; those of an earlier day will do for the start."""
    if any(prices.get(*pair) is MISSING for pair in pairs):
        await prices.resolve(pairs)


def _keep_memory() -> None:
    """Let the C library keep what a large body leaves behind, instead of giving it back and faulting it in again for
    the next one: measured, half the CPU of a 300 KB prompt. glibc only; elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 4 * 1024 * 1024)
        library.mallopt(_M_TRIM_THRESHOLD, 16 * 1024 * 1024)


def _settle_memory() -> None:
    """What exists at the start stays: the collector need not look at it again, nor so often at what calls make."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _allow_many_files() -> None:
    """1,000 streams are 2,000 sockets; the usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
