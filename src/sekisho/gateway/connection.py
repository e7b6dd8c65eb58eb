"""One socket to a provider, and the exchange it carries. Must not know what the bytes mean.

An exchange is told of the head, of each packet of the body and of its end by plain calls: no task, queue or timer per
packet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import httptools

from sekisho.domain.http import Headers
from sekisho.gateway.answer_head import ends_with_connection, headers_of, plain_answer, with_limits

if TYPE_CHECKING:
    from sekisho.gateway.transport import Pool

#: of an answer's head, interim answers (1xx) included; one packet more may come before it is noticed
MAX_HEADER_BYTES = 64 * 1024
#: a connection that closes so soon after a request, and without a word, had been closed before it came
_STALE_WITHIN_S = 2.0
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
