"""The only sockets to providers: a keep-alive pool per origin over HTTP/1.1. Must not know what the bytes mean.

One connection carries one exchange at a time. An exchange is told of the head, of each packet of the body and of
its end by plain calls: no task, queue or timer per packet. Deadlines are looked at by one sweep for all connections,
because a timer per request costs more than the request's own bookkeeping.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, cast

import httptools

from sekisho.domain.http import Headers, Origin
from sekisho.gateway.addresses import AddressRefused, resolve
from sekisho.gateway.answer_head import ends_with_connection, headers_of, plain_answer, with_limits
from sekisho.gateway.outbox import Outbox

MAX_IDLE_PER_ORIGIN = 256
#: shorter than the 60-75 s after which common servers close an idle connection
IDLE_S = 50.0
#: of an answer's head, interim answers (1xx) included; one packet more may come before it is noticed
MAX_HEADER_BYTES = 64 * 1024
#: a connection that closes so soon after a request, and without a word, had been closed before it came
_STALE_WITHIN_S = 2.0
_SWEEP_S = 0.025
#: larger requests are not copied to be gathered
_GATHERED_BYTES = 64 * 1024


class TransportError(Exception):
    """No complete answer came. `sent` says whether the request may have reached the provider."""

    def __init__(self, kind: str, detail: str = "", *, sent: bool = True) -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        #: connect_failed | connect_timeout | address_refused | reset | cut | timeout | bad_http | stale
        self.kind = kind
        self.detail = detail
        self.sent = sent


class Exchange(Protocol):
    """What a connection tells. Exactly one of on_end and on_fail comes last."""

    deadline_s: float
    #: whether `on_head` wants the headers of an answer of status 200 too; of others they are always given
    reads_headers: ClassVar[bool]

    def on_head(self, status: int, headers: Headers) -> None: ...
    def on_data(self, packet: bytes) -> None: ...
    def on_end(self) -> None: ...
    def on_fail(self, error: TransportError) -> None: ...


class Connection(asyncio.Protocol):
    """One socket to a provider."""

    __slots__ = (
        "_complete",
        "_head_seen",
        "_header_bytes",
        "_keep_alive",
        "_parser",
        "_parts",
        "_paused",
        "_pool",
        "_raw_head",
        "_sent_s",
        "_transport",
        "_write",
        "exchange",
        "idle_since_s",
        "open",
        "reused",
    )

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser: Any = httptools.HttpResponseParser(self)
        self.exchange: Exchange | None = None
        self._parts: list[bytes] = []
        #: what came of an answer up to the end of its head, read again only where somebody asks for its headers
        self._raw_head = b""
        self._header_bytes = 0
        self._head_seen = False
        self._complete = False
        self._keep_alive = False
        self._paused = False
        self._sent_s = 0.0
        self.open = False
        self.reused = False
        self.idle_since_s = 0.0

    # -- used by exchanges

    def send(self, exchange: Exchange, head: bytes, body: Sequence[bytes | memoryview]) -> None:
        """Write one request; the exchange hears what becomes of it."""
        self.exchange = exchange
        self._head_seen = self._complete = False
        self._header_bytes = 0
        pool = self._pool
        pool.active.add(self)
        sweeper = pool.sweeper
        if not sweeper.armed:
            sweeper.wake()
        self._sent_s = sweeper.now_s
        if len(body) == 1 and len(body[0]) < _GATHERED_BYTES:
            pool.outbox.write(self._write, head + body[0])  # pyright: ignore[reportOperatorIssue]
        else:
            self._transport.writelines([head, *body])

    # An exchange keeps its connection's name after its end, when the connection may carry another's answer already:
    # what it still asks for then is not heard.

    def abandon(self, exchange: Exchange) -> None:
        """The exchange no longer wants its answer: the provider sees the connection go, which stops it."""
        if self.exchange is exchange:
            self.exchange = None
            self._pool.active.discard(self)
            self._transport.abort()

    def pause(self, exchange: Exchange) -> None:
        if self.exchange is exchange and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self, exchange: Exchange) -> None:
        if self.exchange is exchange and self._paused:
            self._resume()

    def expire(self) -> None:
        """The exchange's deadline has passed."""
        self._fail(TransportError("timeout"))

    @property
    def deadline_s(self) -> float:
        return self.exchange.deadline_s if self.exchange is not None else 0.0

    def close(self) -> None:
        self._transport.close()

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._write = self._transport.write
        self.open = True

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            # Nobody asked: an idle connection that speaks is not to be trusted with the next request.
            self._transport.abort()
            return
        if not self._head_seen:
            if not self._header_bytes and not exchange.reads_headers and (whole := plain_answer(data)) is not None:
                self._keep_alive = True
                exchange.on_head(200, whole[1])
                exchange.on_data(whole[0])
                self._finish(exchange)
                return
            self._raw_head = data if not self._header_bytes else self._raw_head + data
            self._header_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # What follows a whole answer is no part of it, but the connection is not used again.
            self._keep_alive = False
            if not self._complete:
                self._fail(TransportError("bad_http", f"{type(error).__name__} {error}"[:200]))
                return
        if self.exchange is not exchange:
            return
        if not self._head_seen and self._header_bytes > MAX_HEADER_BYTES:
            self._fail(TransportError("bad_http", f"a head larger than {MAX_HEADER_BYTES} bytes"))
            return
        if self._parts:
            packet = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts = []
            exchange.on_data(packet)
        if self._complete and self.exchange is exchange:
            self._finish(exchange)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._pool.forget(self)
        exchange = self.exchange
        if exchange is None:
            return
        if exc is None and self._head_seen and ends_with_connection(headers_of(self._raw_head)):
            self.exchange = None
            exchange.on_end()
        elif not self._head_seen:
            at_once = self.reused and self._pool.sweeper.time() - self._sent_s < _STALE_WITHIN_S
            kind = "stale" if at_once and self._header_bytes == 0 else "reset"
            self._fail(TransportError(kind, str(exc or "closed before an answer")))
        else:
            self._fail(TransportError("cut", str(exc or "closed inside the body")))

    # -- httptools

    def on_message_begin(self) -> None:
        if self._complete:
            raise ValueError("an answer that nobody asked for")

    def on_headers_complete(self) -> None:
        if (status := self._parser.get_status_code()) < 200:
            return
        self._head_seen = True
        exchange = self.exchange
        if exchange is not None:
            read = headers_of if exchange.reads_headers or status != 200 else with_limits
            exchange.on_head(status, read(self._raw_head))

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._head_seen:
            self._complete = True
            # To be asked here: afterwards the parser speaks of the next message.
            self._keep_alive = self._parser.should_keep_alive()

    # -- ends

    def _finish(self, exchange: Exchange) -> None:
        self.exchange = None
        self._pool.active.discard(self)
        if self._paused:
            self._resume()
        # An answer may come before its request has left us; whether the rest is still read nobody knows.
        if self._keep_alive and not self._transport.get_write_buffer_size():
            self._pool.release(self)
        else:
            self._transport.close()
        exchange.on_end()

    def _resume(self) -> None:
        self._paused = False
        self._transport.resume_reading()

    def _fail(self, error: TransportError) -> None:
        exchange, self.exchange = self.exchange, None
        self._pool.active.discard(self)
        self._transport.abort()
        if exchange is not None:
            exchange.on_fail(error)


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
                return await self._dial(loop)
        except TimeoutError:
            raise TransportError("connect_timeout", f"no connection within {timeout_s:g} s", sent=False) from None
        except AddressRefused as error:
            raise TransportError("address_refused", str(error), sent=False) from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that IDNA cannot encode
            raise TransportError("connect_failed", str(error), sent=False) from error

    async def _dial(self, loop: asyncio.AbstractEventLoop) -> Connection:
        origin = self.origin
        failure: OSError | None = None
        for address in await resolve(loop, origin):
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(self),
                    address,
                    origin.port,
                    ssl=self._tls,
                    server_hostname=origin.host if self._tls else None,
                )
                return connection
            except OSError as error:
                failure = error
        raise failure or OSError(f"{origin.host} has no usable address")

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

    def close_idle(self, older_than_s: float = 0.0) -> None:
        now = self.sweeper.now_s
        for connection in [one for one in self._idle if now - one.idle_since_s >= older_than_s]:
            connection.close()


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
            pool.close_idle()
