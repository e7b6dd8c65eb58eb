"""What a worker does about once a second for the counters in Redis: its leases, and a server that lost its memory.

A server with budgets that can be trusted has an `epoch`, which names its run. Where there is none, one worker writes
`building:…`, reads from the rows what was spent, and waits until every other worker has had the time to notice and to
put its running reservations back; then it names a new epoch. Until then no budgeted call is let in anywhere, and none
has to wait.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from sekisho.stores.counters import Reservation, SpentBefore
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.redis_died import counted_by_rows
from sekisho.stores.redis_link import RedisError, RedisLink
from sekisho.stores.redis_outbox import Outbox
from sekisho.stores.redis_words import (
    EPOCH,
    LATE_DONE,
    LEASES,
    LOADING,
    SENT,
    WORKERS,
    Seen,
    Windows,
    Words,
    adding_late,
    as_of,
    asking,
    building,
    expiring,
    late_step,
    leaving,
    prolonging,
    restoring,
)
from sekisho.stores.redis_zones import Zones

log = logging.getLogger("sekisho.stores")

#: what was spent before a time (seconds since 1970). Raises StoreUnavailable where the rows cannot be read
SpentReader = Callable[[float], Awaitable[SpentBefore]]

#: after which a reservation expires whose worker is not heard of
LEASE_S = 60.0
#: how long a worker may take to notice that the server has lost its memory
GRACE_S = 2.5
#: after a rebuild, how long after one another the rows are read again: those of another machine reach the tables with
#: its next commit, which comes after five seconds, or when its store is back
LATE_S = (10.0, 30.0, 300.0)
#: after which another worker reads them instead of one that has begun to
_LATE_AGAIN_S = 30.0
#: a worker that starts so long after the last time looks after nothing
_LATE_PAST_S = 600.0
#: so long it is remembered that they have been read
_LATE_KEPT_MS = 86_400_000
_BUILDING = "building:"
#: after which another worker builds instead of one that is not heard of
_BUILD_MS = 30_000
#: a start waits so long for budgets that are rebuilt
_READY_S = 10.0
#: a worker that was heard of within this time has its share of the limits
_WORKER_MS = 10_000
_EXPIRED_AT_ONCE = 200
#: a clock that is off by more is told of: it is compared with one that was read up to a second before
_CLOCK_OFF_S = 3.0


class Keeper:
    """One worker's part in keeping the server's counters true. `live` are the reservations that it holds there."""

    def __init__(
        self,
        link: RedisLink,
        outbox: Outbox,
        name: str,
        spent: SpentReader,
        lease_s: float,
        grace_s: float,
        windows_at: Callable[[float], Windows],
        late_s: Sequence[float] = LATE_S,
        *,
        zones: Zones,
        rebuilt: Callable[[], None],
        saying: Callable[[str], Sequence[Words]],
    ) -> None:
        """`rebuilt` is called when another worker has rebuilt the budgets, before they are trusted here; `saying` are
        the words, for an epoch, of which budgets hold here."""
        self._link = link
        self._outbox = outbox
        self._name = name
        self._spent = spent
        self._grace_s = grace_s
        self._windows_at = windows_at
        self._late_s = late_s
        self._zones, self._rebuilt, self._saying = zones, rebuilt, saying
        self.lease_ms = int(lease_s * 1000)
        #: the epoch in which this worker's reservations are known
        self.epoch = ""
        self.live: dict[str, Reservation] = {}
        #: workers that share the server
        self.workers = 1
        self._held_in = self._run = ""
        #: the epoch while this worker builds: to read the rows may take longer than it lives by itself
        self._claim = ""
        self._renewed_s, self._server_ms = 0.0, 0
        #: this machine's clock, and whether it was told of
        self._wall_s, self._clock_off = 0.0, False
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: asyncio.Task[None] | None = None
        self._beating = self._building = False

    def tick(self, now_s: float, wall_s: float) -> None:
        """Leases are renewed three times in their life."""
        self._wall_s = wall_s
        if not self._link.up or self._beating:
            return
        renew = (now_s - self._renewed_s) * 3000 >= self.lease_ms
        if renew:
            self._renewed_s = now_s
        self._start(self._beat(renew))

    def came_up(self) -> None:
        """A new connection: until it is known whose memory is behind it, no budget is trusted."""
        self._load()
        self.epoch = self._run = ""
        self._start(self._beat(True))

    def heed(self, error: RedisError) -> None:
        """A server that has forgotten the script gets it again: somebody flushed scripts, or another server took over
        behind a proxy that kept the connection, with a memory that may be an old one."""
        if str(error).startswith("NOSCRIPT"):
            self._load()
            self.epoch = self._run = ""

    async def ready(self) -> None:
        """Until there is an epoch, or no server. Not for as long as rows may take to be read: who calls meanwhile waits
        at the door of this worker, and would be refused by another one."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + _READY_S
        while self._link.up and not self.epoch and loop.time() < until_s:
            await self._beat(False)
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._link.up:
            done, _ = await asyncio.wait({self._link.call("ZREM", WORKERS, self._zones.member)})
            for one in done:
                one.exception()

    def server_s(self) -> float:
        """The server's clock as it was at the last beat."""
        return self._server_ms / 1000

    def notice(self, epoch: str) -> None:
        """The server's epoch is this one; empty: it has lost its memory."""
        if not self._run or (epoch and epoch == self.epoch):
            return
        if epoch.startswith(_BUILDING):
            self._hold_all(epoch)
        elif epoch and self._run in epoch:
            if self._held_in not in ("", epoch):
                self._rebuilt()
            self._hold_all(epoch)
            self.epoch = epoch
            self._look_after_late_rows(epoch)
        elif not self._building:
            # it has been started anew, with nothing or with what it had saved some time ago
            self._building = True
            self._start(self._build(epoch))

    async def _beat(self, renew: bool) -> None:
        self._beating = True
        try:
            if not self._run:
                server, memory = await asyncio.gather(*(self._link.call("INFO", part) for part in ("server", "memory")))
                if not self._run:  # or another beat was faster
                    _warn_of_eviction(memory)
                self._run = _said(server, "run_id") or "unnamed"
            now_ms = self._server_ms = await self._now_ms()
            self._warn_of_clock()
            renewed: list[Words] = [prolonging(self._claim, _BUILD_MS)] if self._claim else []
            if renew and self.live:
                until_ms = now_ms + self.lease_ms
                renewed.append(("ZADD", LEASES, "XX", *(word for name in self.live for word in (until_ms, name))))
            epoch, _, _, workers, *_ = await asyncio.gather(
                self._link.call("GET", EPOCH),
                self._link.call("ZADD", WORKERS, now_ms, self._zones.member),
                self._link.call("ZREMRANGEBYSCORE", WORKERS, "-inf", now_ms - _WORKER_MS),
                self._link.call("ZRANGE", WORKERS, 0, -1),
                *map(self._link.send, renewed),
                self._link.send(expiring(_EXPIRED_AT_ONCE)),
            )
            self.workers = max(1, len(workers))
            self._zones.heard(workers, self.server_s())
            self._outbox.again_refused()
            if self._outbox.lost and not self._building:
                log.error("settlements were lost while the counters' server was away; budgets are rebuilt from rows")
                await self._link.call("DEL", EPOCH)
                self._outbox.lost = False  # only now: where this does not arrive, the next beat says it
                epoch = None
            self.notice((epoch or b"").decode())
        except (StoreUnavailable, RedisError) as error:
            log.warning("the counters' server: %s", error)
            if isinstance(error, RedisError):
                self.heed(error)
        finally:
            self._beating = False

    async def _now_ms(self) -> int:
        seconds, micros = await self._link.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def _warn_of_clock(self) -> None:
        """Rows have the time of their machine; what is rebuilt from them goes by the server's."""
        ahead_s = self._wall_s - self.server_s()
        off = self._wall_s > 0 and abs(ahead_s) > _CLOCK_OFF_S
        if off and not self._clock_off:
            log.warning(
                "this machine's clock is %.0f s %s that of the counters' server: budgets that are rebuilt from rows "
                "may miss that much or count it twice; set it right",
                abs(ahead_s),
                "ahead of" if ahead_s > 0 else "behind",
            )
        self._clock_off = off

    def _hold_all(self, epoch: str) -> None:
        """Put the running reservations back, once an epoch."""
        if self._held_in == epoch:
            return
        self._held_in = epoch
        for reservation in self.live.values():
            seen = reservation.seen
            if isinstance(seen, Seen) and seen.epoch != epoch:
                self._outbox.tell(asking("hold", reservation, seen.place, epoch, self.lease_ms))
                if reservation.dispatched:
                    self._outbox.tell(("SADD", SENT, reservation.id))

    async def _build(self, old_epoch: str) -> None:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        try:
            as_of_ms = await self._now_ms()
            claim = f"{_BUILDING}{self._name}{os.urandom(3).hex()}@{as_of_ms}"
            if await self._link.send(building(old_epoch, claim, _BUILD_MS)) != 1:
                return
            self._claim = claim
            self._hold_all(claim)
            log.warning("the counters' server does not know what was spent; it is rebuilt from rows")
            # of this moment, in which it is settled what is read: others may hold by the end
            saying = self._saying(claim)
            spent = await self._read(as_of_ms / 1000)
            if spent is None:
                await asyncio.sleep(self._grace_s)
                await self._link.send(leaving(claim))
                return
            sums = await counted_by_rows(self._link.send, spent)
            await asyncio.sleep(started_s + self._grace_s - loop.time())
            epoch = f"{self._name}{os.urandom(3).hex()}:{self._run}@{as_of_ms}"
            words = restoring(claim, epoch, sums, self._windows_at(as_of_ms / 1000))
            # said before: who learns of the epoch asks at once which budgets are rebuilt
            *_, restored = await asyncio.gather(*map(self._link.send, (*saying, words)))
            if restored == 1:
                # what was put back while it was building needs not be put back again
                self._held_in = self.epoch = epoch
                log.info("budgets are counted again, from %d sums", len(sums))
                self._look_after_late_rows(epoch)
        except (StoreUnavailable, RedisError) as error:
            log.warning("budgets could not be rebuilt; it is tried again: %s", error)
        finally:
            self._building, self._claim = False, ""

    async def _read(self, as_of_s: float) -> SpentBefore | None:
        """What was spent; None where it cannot be read."""
        try:
            return await self._spent(as_of_s)
        except StoreUnavailable as error:
            log.warning("%s; it is tried again, and calls with a blocking budget are refused meanwhile", error)
        except Exception:
            log.exception("what was spent could not be read from rows; it is tried again")
        return None

    def _look_after_late_rows(self, epoch: str) -> None:
        """Every worker does, for the one that has rebuilt may be gone by then."""
        as_of_s = as_of(epoch)
        if self._late is not None:
            self._late.cancel()
        if self.server_s() < as_of_s + sum(self._late_s) + _LATE_PAST_S:
            self._late = self._start(self._add_late(epoch, as_of_s))

    async def _add_late(self, epoch: str, as_of_s: float) -> None:
        """What rows hold of the time before the rebuild that were not in the tables yet, now and then: one worker does
        it, and another one if that one does not come to an end."""
        due_s = as_of_s
        for step, wait_s in enumerate(self._late_s):
            due_s += wait_s
            pause_s = max(0.0, due_s - self.server_s())
            while True:
                await asyncio.sleep(pause_s)
                if self.epoch != epoch:
                    return
                if await self._late_added(late_step(epoch, step), epoch, as_of_s):
                    break
                pause_s = _LATE_AGAIN_S

    async def _late_added(self, step: str, epoch: str, as_of_s: float) -> bool:
        """Whether it is done, by this worker or another one."""
        try:
            if await self._link.call("SET", step, self._name, "NX", "PX", int(_LATE_AGAIN_S * 1000)) is None:
                return await self._link.call("GET", step) == LATE_DONE
            sums = await counted_by_rows(self._link.send, await self._spent(as_of_s))
            await self._link.send(adding_late(epoch, sums, self._windows_at(as_of_s)))
            await self._link.call("SET", step, LATE_DONE, "PX", _LATE_KEPT_MS)
        except (StoreUnavailable, RedisError) as error:
            log.warning("rows that came late are not counted on budgets yet: %s", error)
            return False
        except Exception:
            log.exception("rows that came late could not be read; it is tried again")
            return False
        return True

    def _load(self) -> None:
        # what keeps it from being loaded is noticed when it is called
        self._link.send(LOADING).add_done_callback(lambda done: done.exception())

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _said(info: bytes, name: str) -> str:
    """A value of INFO. `run_id` is the name of the server's present run; another one has another memory."""
    for line in info.decode("utf-8", "replace").splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    return ""


def _warn_of_eviction(info: bytes) -> None:
    """A server that throws single keys away when it is full forgets what was spent, and nobody can notice it."""
    policy = _said(info, "maxmemory_policy")
    if policy not in ("", "noeviction") and _said(info, "maxmemory") not in ("", "0"):
        log.warning(
            "the counters' server drops keys when its memory is full, and with them what was spent of budgets: set its "
            "maxmemory-policy to noeviction; it is %s",
            policy,
        )
