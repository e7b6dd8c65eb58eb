"""One connection to Redis or Valkey on which many commands are under way. Must never let a caller wait for long.

Whatever is not answered in time closes the connection, and while there is none every command fails at once: a dead
server costs a few calls their time-out, and not each. Answers come in the order of commands (RESP2).
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, cast

import hiredis

from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.redis_address import Address

log = logging.getLogger("sekisho.stores")

Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: how long a connection or an answer may take
TIMEOUT_S = 0.25
_AT_ONCE = 200
_FIRST_RETRY_S, _MOST_RETRY_S = 0.1, 1.0
_SILENT = "the counters' server does not answer"
#: words of a server that takes no writes: it is full, cannot save, has become a replica or lacks its own, is the wrong
#: node of a cluster, is held by somebody's script, or does not let this user. In a script's error they stand where the
#: version pleases, and rights have words of their own there
_TAKES_NOTHING = re.compile(
    r"\b(?:OOM|MISCONF|READONLY|NOREPLICAS|MASTERDOWN|MOVED|CLUSTERDOWN|BUSY|LOADING|NOPERM|NOAUTH)\b"
    r"|ACL failure|can't run this command"
)
#: a write by a script, as every call makes one: who takes it takes the others
_PROBE = ("EVAL", "return redis.call('SET', KEYS[1], '1', 'PX', 1000)", 1, "{sekisho}:probe")


class _Connection(asyncio.Protocol):
    """Bytes to answers, as long as the link has not gone on to another connection."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._reader = hiredis.Reader(protocolError=StoreUnavailable, replyError=RedisError)
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is no asyncio.Transport by its class
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not False:
                self._link.answered(self, answer)
        except StoreUnavailable:
            self._link.lost(self, "what answers at its address is no Redis or Valkey")

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.lost(self)

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class RedisError(Exception):
    """The server's own word that a command failed."""


class RedisLink:
    """Keeps the connection; `came_up` is called whenever there is a new one, before any other command."""

    def __init__(self, address: Address, came_up: Callable[[], None], timeout_s: float = TIMEOUT_S) -> None:
        self._address = address
        self._came_up = came_up
        self._timeout_s = timeout_s
        self._connection: _Connection | None = None
        #: commands that were sent: their future, and when
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        #: commands of this round, as they go out
        self._unsent: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._down = asyncio.Event()
        self.up = False
        #: that it is away was said, and why
        self._said_away = False

    async def open(self) -> None:
        """Connect, or begin to try: does not raise."""
        await self._connect()
        self._keeper = asyncio.ensure_future(self._keep())

    async def close(self) -> None:
        """Let everything go; what is under way fails."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        self._drop()
        if self._watch is not None:
            self._watch.cancel()

    def call(self, *words: str | bytes | int) -> asyncio.Future[Any]:
        """Send a command; its answer, a RedisError, or StoreUnavailable comes within the time-out."""
        return self.send(words)

    def send(self, words: tuple[str | bytes | int, ...]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        connection = self._connection
        if connection is None or connection.transport is None:
            future.set_exception(StoreUnavailable(_SILENT))
            return future
        # first, for what cannot be written raises, and a future without a command would shift all answers by one
        packed = hiredis.pack_command(words)  # pyright: ignore[reportArgumentType]  # a stub for one word
        self._waiting.append((future, loop.time()))
        if not self._unsent:
            loop.call_soon(self._flush)
        self._unsent.append(packed)
        if self._watch is None:
            self._watch = loop.call_later(self._timeout_s, self._look)
        return future

    def _flush(self) -> None:
        """What one round of the event loop has to say goes out together: a write for each command costs more than the
        command does."""
        unsent, self._unsent = self._unsent, []
        connection = self._connection
        if unsent and connection is not None and connection.transport is not None:
            connection.transport.write(b"".join(unsent))

    def _look(self) -> None:
        """One timer for all commands: the oldest one decides."""
        self._watch = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        left_s = self._waiting[0][1] + self._timeout_s - loop.time()
        if left_s <= 0.001:
            log.warning("the counters' server did not answer within %g s", self._timeout_s)
            self._drop()
        else:
            self._watch = loop.call_later(left_s, self._look)

    def answered(self, connection: _Connection, answer: Any) -> None:
        """The next answer has come."""
        if connection is not self._connection:
            return
        future, _ = self._waiting.popleft()
        if future.done():
            return
        if isinstance(answer, RedisError):
            future.set_exception(answer)
            if self.up and _TAKES_NOTHING.search(str(answer)):
                # away, for all that is of use here; and where it has become a replica, the address may lead to another
                log.warning("the counters' server takes no writes any more; the connection is opened anew: %s", answer)
                self._drop()
        else:
            future.set_result(answer)

    def _drop(self, why: str = _SILENT) -> None:
        connection, self._connection = self._connection, None
        self._unsent = []
        self.up = False
        if connection is not None:
            connection.abort()
        waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            if not future.done():
                future.set_exception(StoreUnavailable(why))
                # whoever asked may have gone
                future.exception()
        self._down.set()

    async def _keep(self) -> None:
        retry_s, loop = _FIRST_RETRY_S, asyncio.get_running_loop()
        while True:
            if self.up:
                began_s = loop.time()
                self._down.clear()
                await self._down.wait()
                if loop.time() - began_s > _MOST_RETRY_S:
                    retry_s = _FIRST_RETRY_S
                    continue
            elif await self._connect():
                continue
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, _MOST_RETRY_S)

    async def _connect(self) -> bool:
        loop = asyncio.get_running_loop()
        at = self._address
        try:
            async with asyncio.timeout(self._timeout_s * 4):
                connection = _Connection(self)
                if at.path is not None:
                    await loop.create_unix_connection(lambda: connection, at.path)
                else:
                    context = ssl.create_default_context() if at.tls else None
                    await loop.create_connection(lambda: connection, at.host, at.port, ssl=context)
                self._connection = connection
                await self._greet()
        except (OSError, UnicodeError, StoreUnavailable, RedisError) as error:
            if not self._said_away:
                reason = error if str(error) else f"no answer within {self._timeout_s * 4:g} s"
                log.warning("the counters' server cannot be reached: %s", reason)
            self._said_away = True
            self._drop()
            return False
        if self._said_away:
            log.info("the counters' server answers again")
        self._said_away = False
        self.up = True
        self._came_up()
        return True

    async def _greet(self) -> None:
        at = self._address
        if at.user is not None or at.password is not None:
            # a user without a password is one all the same: else the server's own default user would be asked
            await self.send(("AUTH", *((at.user,) if at.user else ()), at.password or ""))
        if at.database:
            await self.send(("SELECT", at.database))
        # finds also who takes connections and does not answer, or still reads its disk
        await self.send(("PING",))
        # a replica is none to count with: where a failover has only just begun, the address still leads to it
        if b"role:slave" in await self.send(("INFO", "replication")):
            raise RedisError("it is a replica, and takes no writes")
        await self.send(_PROBE)

    def lost(self, connection: _Connection, why: str = _SILENT) -> None:
        """A connection has ended by itself, or is of no use."""
        if self._connection is connection:
            if self.up:
                log.warning("the connection to the counters' server has broken")
            self._drop(why)


async def in_turn(ask: Callable[[Item], Awaitable[Answer]], about: Mapping[str, Item]) -> list[Answer]:
    """The answers to all, a few at once: calls wait behind what was asked before them, and no longer than the
    time-out."""
    items, found = list(about.values()), list[Answer]()
    for at in range(0, len(items), _AT_ONCE):
        found += await asyncio.gather(*map(ask, items[at : at + _AT_ONCE]))
    return found
