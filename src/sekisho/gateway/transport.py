"""The only sockets to providers: a keep-alive pool per origin over HTTP/1.1. Must not know what the bytes mean.

One connection carries one exchange at a time. Deadlines are looked at by one sweep for all connections, because a timer
per request costs more than the request's own bookkeeping.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from functools import partial

from sekisho.domain.http import Origin
from sekisho.gateway.addresses import AddressRefused, resolve
from sekisho.gateway.connection import Connection, Exchange, TransportError
from sekisho.gateway.outbox import Outbox

MAX_IDLE_PER_ORIGIN = 256
#: shorter than the 60-75 s after which common servers close an idle connection
IDLE_S = 50.0
_SWEEP_S = 0.025
#: so long an address has for itself before the next one of the same name is tried beside it (RFC 8305, 5)
_NEXT_ADDRESS_S = 0.5
#: an address that was refused or overtaken is not the first one to be tried for so long
_AVOIDED_S = 60.0


class Sweeper:
    """Looks at the deadlines of all exchanges every 25 ms while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.time = loop.time
        #: the loop's time as last asked for: a sweep ago at most while there are exchanges, a second ago else
        self.now_s = loop.time()
        self.armed = False
        self.active: set[Connection] = set()

    def wake(self) -> None:
        if not self.armed:
            self.armed = True
            self.now_s = self.time()
            self._loop.call_later(_SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        self.armed = False
        self.now_s = now = self.time()
        try:
            for connection in [one for one in self.active if one.deadline_s <= now]:
                connection.expire()
        finally:
            # A mistake in what one exchange does about it must not leave the others without deadlines.
            if self.active:
                self.wake()


class Pool:
    """Connections to one origin, the one used last taken first."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None, sweeper: Sweeper, outbox: Outbox) -> None:
        self.origin = origin
        self.outbox = outbox
        self._tls = tls
        self.sweeper = sweeper
        self.active = sweeper.active
        self._idle: deque[Connection] = deque()
        #: what all that dial now wait for
        self._look_up: asyncio.Future[list[str]] | None = None
        #: address -> until when, by the loop's time
        self._avoided: dict[str, float] = {}

    def take(self) -> Connection | None:
        """An open connection that has not been idle for long, or None."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.open:
                if self.sweeper.now_s - connection.idle_since_s < IDLE_S:
                    return connection
                connection.close()
        return None

    async def dial(self, timeout_s: float) -> Connection:
        """A new connection. Raises TransportError: nothing was sent."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._dial(loop, timeout_s)
        except TimeoutError:
            raise TransportError("connect_timeout", f"no connection within {timeout_s:g} s", sent=False) from None
        except AddressRefused as error:
            raise TransportError("address_refused", str(error), sent=False) from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that IDNA cannot encode
            raise TransportError("connect_failed", str(error), sent=False) from error

    async def _dial(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> Connection:
        """A connection to the first address that gives one. Each has a head start before the next, and all go on: one
        that is dead without a word must not use up the time of those that live."""
        addresses = await self._addresses(loop)
        waiting = sorted(addresses, key=lambda address: self._avoided.get(address, 0.0) > loop.time())
        head_start_s = min(_NEXT_ADDRESS_S, timeout_s / (len(waiting) + 1))
        racing: dict[asyncio.Task[Connection], str] = {}
        won: asyncio.Task[Connection] | None = None
        failure: BaseException | None = None
        try:
            while waiting or any(not task.done() for task in racing):
                if waiting:
                    address = waiting.pop(0)
                    racing[loop.create_task(self.connect(loop, address))] = address
                running = [task for task in racing if not task.done()]
                limit_s = head_start_s if waiting else None
                done, _ = await asyncio.wait(running, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
                won = next((task for task in done if task.exception() is None), None)
                if won is not None:
                    self._avoid(addresses, [racing[task] for task in racing if task is not won], loop.time())
                    return won.result()
                failure = next((task.exception() for task in done), failure)
        finally:
            for task in racing:
                if task is not won:
                    task.cancel()
                    task.add_done_callback(_let_go)
        raise failure or OSError(f"{self.origin.host} has no usable address")

    async def connect(self, loop: asyncio.AbstractEventLoop, address: str) -> Connection:
        """A connection to one address. Raises OSError."""
        origin = self.origin
        name = origin.host if self._tls else None
        make = partial(Connection, self)
        return (await loop.create_connection(make, address, origin.port, ssl=self._tls, server_hostname=name))[1]

    async def _addresses(self, loop: asyncio.AbstractEventLoop) -> list[str]:
        """Looked up once for all that ask meanwhile: a resolver may take long, and each look-up holds a thread."""
        if (shared := self._look_up) is None:
            shared = self._look_up = asyncio.ensure_future(resolve(loop, self.origin))
            shared.add_done_callback(self._looked_up)
        return await asyncio.shield(shared)

    def _looked_up(self, done: asyncio.Future[list[str]]) -> None:
        self._look_up = None
        if not done.cancelled():
            done.exception()  # asked for, since all that waited may have given up

    def _avoid(self, known: list[str], beaten: list[str], now_s: float) -> None:
        avoided = {address: until for address, until in self._avoided.items() if address in known and until > now_s}
        self._avoided = avoided | dict.fromkeys(beaten, now_s + _AVOIDED_S)

    def release(self, connection: Connection) -> None:
        connection.reused = True
        connection.idle_since_s = self.sweeper.now_s
        if len(self._idle) < MAX_IDLE_PER_ORIGIN:
            self._idle.append(connection)
        else:
            connection.close()

    def forget(self, connection: Connection) -> None:
        self.active.discard(connection)
        try:
            self._idle.remove(connection)
        except ValueError:
            pass

    @property
    def idle(self) -> int:
        return len(self._idle)

    def close(self) -> None:
        self.close_idle()
        if self._look_up is not None:
            self._look_up.cancel()

    def close_idle(self, older_than_s: float = 0.0) -> None:
        now = self.sweeper.now_s
        for connection in [one for one in self._idle if now - one.idle_since_s >= older_than_s]:
            connection.close()


def _let_go(task: asyncio.Task[Connection]) -> None:
    """Of a connection that came too late, or not at all."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


class Transport:
    """All pools of a process. Pools outlive a reload of the configuration."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._sweeper = Sweeper(loop)
        self.outbox = Outbox(loop)
        self._pools: dict[Origin, Pool] = {}

    def pool(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            tls = self._context() if origin.scheme == "https" else None
            pool = self._pools[origin] = Pool(origin, tls, self._sweeper, self.outbox)
        return pool

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            # A distribution's own settings may allow less.
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    @property
    def active(self) -> int:
        """Exchanges in flight."""
        return len(self._sweeper.active)

    def exchanges(self) -> list[Exchange]:
        return [one for connection in self._sweeper.active if (one := connection.exchange) is not None]

    @property
    def idle(self) -> int:
        return sum(pool.idle for pool in self._pools.values())

    def trim(self) -> None:
        """Close connections that have been idle too long; called about once a second."""
        self._sweeper.now_s = self._sweeper.time()
        for pool in self._pools.values():
            pool.close_idle(IDLE_S)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
