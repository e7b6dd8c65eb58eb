"""Keys and configuration that change while the gateway runs. A bad file must leave the old configuration in force."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sekisho.app.build import build_keyring, build_snapshot, key_names, price_pairs, rate_of_exchange
from sekisho.app.settings.loading import digest_of_file
from sekisho.app.settings.model import Settings
from sekisho.app.settings.problem import ConfigError
from sekisho.costs.prices import PriceBook
from sekisho.domain.http import Secret
from sekisho.gateway.policies.authentication import Keyring
from sekisho.gateway.policies.stops import Stops
from sekisho.stores.control import ControlRecords
from sekisho.stores.ports import ControlSnapshot, KeyRecord, StoreUnavailable
from sekisho.tables.spent import SpentUnknown

if TYPE_CHECKING:
    from sekisho.app.installation import Installation

log = logging.getLogger("sekisho.app")

_PRICES_EVERY_S = 3600.0
#: what a running process cannot change; a reload says so instead of half doing it. Workers that count in different time
#: zones would each have budgets of their own.
FIXED = ("data_dir", "timezone", "database_path", "database_url", "state_url", "server", "spool", "tables")
#: as the file calls them
_WRITTEN = {"database_path": "database.url", "database_url": "database.url", "state_url": "state.url"}


class Reloader:
    """Looks for changes: the version of the control database, the file's time and size, SIGHUP, the age of prices."""

    def __init__(
        self,
        running: Installation,
        keys: ControlSnapshot,
        version: int,
        prices: PriceBook,
        pepper: bytes,
        load: Callable[[], Settings] | None,
        path: Path | None,
    ) -> None:
        self._running = running
        self._keys = keys
        #: whose rules are in force, and whose keys and stops
        self._version = self._obeyed = version
        self._prices = prices
        self._pepper = pepper
        self._load = load
        self._path = path
        self._stamp = stamp_in_force(path, running.settings)
        self._prices_at_s = time.monotonic()
        #: a keyring and the names of its keys, behind what they were made of
        self._made: tuple[Settings, Sequence[KeyRecord], ControlRecords, Keyring, dict[str, str]] | None = None
        #: prices were looked up that are not in force yet
        self._repriced = False
        #: set by SIGHUP
        self.wanted = asyncio.Event()

    async def look(self) -> None:
        """Raises StoreUnavailable; what could not be read is looked at again the next time."""
        forced = self.wanted.is_set()
        self.wanted.clear()
        stamp = stamp_of(self._path)
        if forced or stamp != self._stamp:
            self._stamp = stamp
            await self._reload()
        await self._renew_prices()
        version = self._keys.version()
        if version != self._version:
            self.obey()
            await self._change_rules()
            self._version = version

    async def _renew_prices(self) -> None:
        """Others hold from a day or an hour on: they are looked up when that has come. Now and then models too that had
        none, as when they could not be looked up."""
        settings, snapshot = self._running.settings, self._running.pipeline.snapshot
        every = time.monotonic() - self._prices_at_s > _PRICES_EVERY_S
        pairs = price_pairs(settings, [one for one in snapshot.direct_targets() if every or one.rates is not None])
        if every:
            self._prices_at_s = time.monotonic()
        if every or self._prices.outdated(pairs):
            self._repriced |= await self._prices.resolve(pairs)
        if self._repriced:
            await self._swap(settings)

    def obey(self) -> None:
        """Stops and keys as they are now. Quick, and to be called by itself: they must not wait while `look` waits for
        prices, or for what was spent on a new budget. Raises StoreUnavailable."""
        version = self._keys.version()
        if version == self._obeyed:
            return
        stops = self._keys.control().stops
        self._running.pipeline.obey(Stops(stops))
        self._renew()
        self._obeyed = version
        log.info("%d keys and %d stops in force", len(self._running.pipeline.snapshot.keyring), len(stops))

    async def _change_rules(self) -> None:
        """Raises SpentUnknown or StoreUnavailable, and then the old budgets and limits go on until it is tried
        again."""
        running, control = self._running, self._keys.control()
        _, names = self._keyring(running.settings)
        await running.limits.change(running.settings, names, control)
        self._renew()

    def _renew(self) -> None:
        """Keys and plans of this very moment: while somebody waited they may have changed again."""
        pipeline = self._running.pipeline
        keyring, _ = self._keyring(self._running.settings)
        pipeline.snapshot = pipeline.snapshot.with_keyring(keyring, self._running.limits.planner())

    async def _reload(self) -> None:
        if self._load is None:
            return
        old = self._running.settings
        try:
            # a file with thousands of keys and budgets takes seconds to read, and calls go on meanwhile
            settings = await asyncio.to_thread(self._load)
        except ConfigError as error:
            log.error("the configuration has mistakes; the old one stays in force:\n%s", error)
            return
        except OSError as error:
            log.error("the configuration cannot be read; the old one stays in force: %s", error)
            return
        changed = (name for name in FIXED if not _same(getattr(settings, name), getattr(old, name)))
        for name in dict.fromkeys(_WRITTEN.get(name, name) for name in changed):
            log.warning("`%s` has changed, which takes a restart; the rest of the file is in force now", name)
        self._repriced |= await self._prices.resolve(price_pairs(settings))
        try:
            await self._swap(settings)
        except (SpentUnknown, StoreUnavailable) as error:
            log.error(
                "new budgets cannot be kept; the old configuration stays in force, save it again or send SIGHUP to try "
                "again: %s",
                error,
            )
            return
        for problem in settings.warnings:
            log.warning("%s: %s", problem.path, problem.message)
        log.info("configuration %s is in force", settings.digest)

    async def _swap(self, settings: Settings) -> None:
        """Raises SpentUnknown or StoreUnavailable, and then nothing has changed."""
        _, names = self._keyring(settings)
        limits = self._running.limits
        await limits.change(settings, names, self._keys.control())
        # again: a key may have been revoked meanwhile
        keyring, _ = self._keyring(settings)
        snapshot = build_snapshot(settings, keyring, self._prices, limits.planner())
        self._running.settings = settings
        self._running.pipeline.snapshot = snapshot
        self._running.pipeline.convert(rate_of_exchange(settings))
        self._repriced = False

    def _keyring(self, settings: Settings) -> tuple[Keyring, dict[str, str]]:
        """Made once of the same: a change asks for it several times, and ten thousand keys hold up every call."""
        records, control = self._keys.all(), self._keys.control()
        made = self._made
        if made is None or made[0] is not settings or made[1] is not records or made[2] is not control:
            keyring = build_keyring(settings, self._pepper, records, control)
            made = self._made = settings, records, control, keyring, key_names(keyring, records)
        return made[3], made[4]


def _same(one: object, other: object) -> bool:
    """Equal all the way down; secrets do not compare by themselves."""
    if isinstance(one, Secret) and isinstance(other, Secret):
        return one.reveal() == other.reveal()
    if isinstance(one, msgspec.Struct) and type(one) is type(other):
        return all(_same(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__)
    return one == other


def stamp_in_force(path: Path | None, settings: Settings) -> tuple[int, int, int] | None:
    """The stamp of the file as these settings have it; None where it has changed since it was read, so that it is read
    again: a start takes a second, and with many rows more."""
    stamp = stamp_of(path)
    return stamp if path is None or digest_of_file(path) == settings.digest else None


def stamp_of(path: Path | None) -> tuple[int, int, int] | None:
    """Time, size and inode: an editor may replace the file or write it in place."""
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
