"""Opens what a gateway is made of, in order, keeps it, and closes it in the opposite one.

Must be done within a second, so what is heavy runs in processes of its own: migrations, prices, Delta.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sekisho.app.build import (
    build_keyring,
    build_pipeline,
    build_snapshot,
    key_names,
    price_pairs,
    rate_of_exchange,
)
from sekisho.app.control import control_snapshot, migrated, pepper_of, unmarked
from sekisho.app.idempotency import open_idempotency
from sekisho.app.installation import Installation
from sekisho.app.limits_and_budgets import LimitsAndBudgets, open_limits_and_budgets
from sekisho.app.process import Housekeeping
from sekisho.app.reload import Reloader
from sekisho.app.settings.model import Settings
from sekisho.app.upkeep import Upkeep
from sekisho.costs.prices import MISSING, PriceBook
from sekisho.gateway.pipeline import Pipeline
from sekisho.gateway.policies.authentication import Keyring
from sekisho.gateway.policies.stops import Stops
from sekisho.ledger.tally import Tally
from sekisho.stores.ports import ControlSnapshot, StoreUnavailable
from sekisho.stores.private_files import private_directory
from sekisho.tables.spent import SpentUnknown
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.spools import settle_left, spool_of
from sekisho.tables.supervise import Committer

if TYPE_CHECKING:
    from sekisho.app.workers.worker import Worker
    from sekisho.entrypoints.http.admin.wiring import Office

log = logging.getLogger("sekisho.app")

_TICK_S = 1.0
#: between two lines in the log about a database that stays away
_REMIND_S = 60.0
DRAIN_S = 20.0


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
    async with _control(settings) as keys:
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
            running = Installation(settings, pipeline, committer, sink, limits)
            running.settled, running.unmarked = settled, await asyncio.to_thread(unmarked, settings, pepper)
            running.office = functools.partial(_office, running, pepper)
            reloader = Reloader(running, keys, version, prices, pepper, reload_from, config_path)
            async with _kept(running, reloader, worker):
                yield running
        finally:
            sink.close()
            if committer is not None and not await asyncio.to_thread(committer.stop, DRAIN_S):
                log.warning(
                    "the committer did not finish in time; its rows stay in the spool and go in at the next start"
                )


@contextlib.asynccontextmanager
async def _control(settings: Settings) -> AsyncGenerator[ControlSnapshot]:
    """What the control database holds, read in a thread for as long as the gateway runs."""
    keys = await asyncio.to_thread(control_snapshot, settings)
    try:
        yield keys
    finally:
        await asyncio.to_thread(keys.close)


def _pipeline(
    settings: Settings, keyring: Keyring, prices: PriceBook, limits: LimitsAndBudgets, sink: SpoolWriter
) -> Pipeline:
    snapshot = build_snapshot(settings, keyring, prices, limits.planner())
    pipeline = build_pipeline(snapshot, sink, Tally(), asyncio.get_running_loop(), limits.limiter)
    pipeline.convert(rate_of_exchange(settings))
    return pipeline


@contextlib.asynccontextmanager
async def _kept(running: Installation, reloader: Reloader, worker: Worker | None) -> AsyncGenerator[None]:
    """What keeps the tables, or the line to the supervisor that has it, and what happens about once a second."""
    if running.committer is not None:
        settings = running.settings
        cadence = settings.tables.cadence
        running.upkeep = Upkeep(settings.data_dir, settings.storage, cadence, running.sink, running.committer)
        running.committer.start()
    if worker is not None:
        worker.join(running)
    watches = [asyncio.ensure_future(_keep(running, reloader, worker)), asyncio.ensure_future(_obey(running, reloader))]
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
        if worker is not None:
            worker.leave()


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


async def _keep(running: Installation, reloader: Reloader, worker: Worker | None) -> None:
    """What happens about once a second, for as long as the process lives."""
    loop = asyncio.get_running_loop()
    housekeeping = Housekeeping()
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
            if worker is not None:
                worker.report()
            await _look(running, reloader)
            running.settled = running.settled or await _settled(running.settings)
            await _mark(running)
            if running.upkeep is not None:
                running.upkeep.look(running.settings.maintenance)
        except Exception as error:
            housekeeping.failed(error, loop.time())


async def _mark(running: Installation) -> None:
    """When a key of the control database has been opened, it is known by which pepper its keys are hashed."""
    database = running.unmarked
    if database is None:
        return
    opened = running.pipeline.snapshot.keyring.opened()
    if opened and await asyncio.to_thread(database.opened, opened):
        running.unmarked = None


async def _look(running: Installation, reloader: Reloader) -> None:
    """At the configuration and the control database. Rules may have to wait for that, for the counters' server or for
    rows; all else goes on."""
    try:
        await reloader.look()
    except (SpentUnknown, StoreUnavailable) as error:
        if running.database_up:  # or `_obey` says so
            log.warning("new limits and budgets wait, and the old ones go on: %s", error)


async def _obey(running: Installation, reloader: Reloader) -> None:
    """Stops and keys, about once a second, whatever the rest of housekeeping waits for. It asks the control database
    and nothing else, so it knows whether that answers."""
    clock = asyncio.get_running_loop().time
    said_s = 0.0
    while True:
        await asyncio.sleep(_TICK_S)
        try:
            reloader.obey()
            if not running.database_up:
                log.info("the control database answers again")
            running.database_up = True
        except StoreUnavailable as error:
            # not each second of an outage of hours; the reason may change, so it is said again
            if running.database_up or clock() - said_s >= _REMIND_S:
                log.warning("the control database does not answer; the keys known last stay in force: %s", error)
                said_s = clock()
            running.database_up = False
        except Exception:
            log.exception("stops and keys could not be taken over; it is tried again")


async def priced(prices: PriceBook, pairs: list[tuple[str | None, str]]) -> None:
    """Look up prices that nobody has looked up yet; those of an earlier day will do for the start."""
    if any(prices.get(*pair) is MISSING for pair in pairs):
        await prices.resolve(pairs)
