"""The hot routes on uvicorn's httptools protocol: no ASGI scope, no receive and send, no task.

Must hand everything else to ASGI, also a hot request that is pipelined behind another. uvicorn's protocol class is
not a stable interface: its version is pinned, and the suite runs against this class and against plain ASGI alike.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sekisho.domain.call import Call, Known, Route
from sekisho.domain.errors import Refusal
from sekisho.entrypoints.http import answers
from sekisho.entrypoints.http.hot_call import HotCall, HotSink, PlainSink
from sekisho.entrypoints.http.intake import (
    KEPT_NAMES,
    KEYLESS_BODY_BYTES,
    MAX_HEADER_BYTES,
    ROUTES,
    Clock,
    early_refusal,
    keep_repeated,
    unpack,
)
from sekisho.entrypoints.http.known_heads import KnownHead, known_head, without_offer
from sekisho.gateway.drive import Drive
from sekisho.gateway.pipeline import Pipeline, Reply
from sekisho.gateway.stream import StreamExchange

log = logging.getLogger("sekisho.http")

#: seconds a request may take to arrive
_RECEIVE_S = 300.0
#: after so many heads that were unlike the one before, a connection's heads are not remembered any more
_MOST_MISSES = 8
#: requests that wait behind another on one connection: in a packet there is room for thousands
_MOST_PIPELINED = 100


class HotProtocol(HttpToolsProtocol):
    """Bound to one gateway by `hot_protocol`; uvicorn makes one per connection."""

    gateway: Pipeline
    clock: Clock
    parser: Any
    cycle: Any

    #: the hot request whose body is coming in
    hot: HotCall | None = None
    #: the one whose answer is not complete; `cycle` may be a request that is pipelined behind it
    running: HotCall | None = None
    _write: Callable[[bytes], None]
    _client_ip: str | None = None
    _route: Route | None = None
    _kept: dict[bytes, bytes] = {}  # noqa: RUF012 - replaced, never changed
    #: bytes received since a request ended, or since the last of its body: of a head, or of trailers
    _head_bytes = 0
    _in_head = True
    #: loop time since when the connection waits for a request, or for the rest of one; 0 while it is served
    waiting_since_s = 0.0
    _closing = False
    #: the request offers another protocol
    _offered = False
    #: what came last on this connection, and how often something else came instead
    _known: KnownHead | None = None
    _packet, _misses = b"", 0
    #: uvicorn's set of what is in progress
    tasks: set[Any]

    # -- httptools

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self._kept = {}
        self.expect_100_continue = False
        self._route = self.hot = None

    def on_url(self, url: bytes) -> None:
        self.url += url
        self._route = ROUTES.get(self.url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer, which is no part of the head: it must not say who calls (RFC 9110, 6.5.1)
        kept = KEPT_NAMES[name]
        if not kept or self._route is None:
            self.headers.append((name.lower(), value))
        elif kept in self._kept:
            keep_repeated(self._kept, kept, value)
        else:
            self._kept[kept] = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._closing:
            return
        route, cycle, parser = self._route, self.cycle, self.parser
        if (route is None or b"upgrade" in self._kept) and parser.should_upgrade() and self._has_offer():
            self._offered = True
            return
        if (
            route is None
            or (cycle is not None and not cycle.response_complete)
            or parser.get_method() != b"POST"
            or (self._head_bytes > MAX_HEADER_BYTES and self._head_too_large())
        ):
            self.headers.extend(self._kept.items())
            self._hand_over()
            return
        kept = self._kept
        limit = min(self.gateway.snapshot.max_body_bytes, KEYLESS_BODY_BYTES)
        newer = parser.get_http_version() == "1.1"
        hot = self.hot = self.cycle = HotCall(route, kept, limit, newer and parser.should_keep_alive(), Known(), newer)
        length = kept.get(b"content-length")
        if length is not None and len(length) > 5 and not self._awaits(hot, int(length)):
            return
        if newer and b"expect" in kept and kept[b"expect"].lower() == b"100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        hot = self.hot
        if hot is None:
            if not self._closing:
                super().on_body(body)
            return
        if hot.refused:
            return
        hot.size += len(body)
        if hot.size <= hot.limit or self._awaits(hot, hot.size):
            hot.body.append(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        hot = self.hot
        if hot is None:
            if not self._closing and not self._offered:
                super().on_message_complete()
                if not self.cycle.response_complete:
                    self.waiting_since_s = 0.0
            return
        self.hot = None
        if hot.refused:
            self.transport.close()
            return
        if self._misses < _MOST_MISSES and hot.keep_alive:
            self._misses += 1
            self._known = known_head(self._packet, hot)
        self._packet = b""
        parts, hot.body = hot.body, []
        self._start(hot, parts[0] if len(parts) == 1 else b"".join(parts))

    # -- a hot call

    def _again(self, known: KnownHead, body: bytes) -> None:
        """A request whose head is known."""
        self._misses = 0
        self.cycle = hot = HotCall(known.route, known.headers, 0, True, known=known.known)
        self._start(hot, body)

    def _call(self, hot: HotCall, body: bytes) -> Call:
        clock = self.clock
        wall_us = clock.wall_us()
        call = hot.call = Call(
            hot.route, hot.headers, body, clock.request_id(wall_us), wall_us, self._client_ip, known=hot.known
        )
        return call

    def _awaits(self, hot: HotCall, size: int) -> bool:
        """Whether a body of this size is waited for. Else it is answered at once, and the rest is read and thrown away:
        closing on a client that still sends would reset the connection, and the answer could be lost with it.
        `close_idle` ends this where it takes too long."""
        if size <= hot.limit:
            return True
        call = self._call(hot, b"")
        if (refusal := early_refusal(self.gateway.snapshot, call, size)) is None:
            hot.limit = self.gateway.snapshot.max_body_bytes
            return True
        hot.refused, hot.keep_alive, hot.body = True, False, []
        self.answer(hot, self.gateway.refuse(call, refusal))
        return False

    def _start(self, hot: HotCall, body: bytes) -> None:
        call = self._call(hot, body)
        if b"content-encoding" in call.headers:
            try:
                unpack(self.gateway.snapshot, call)
            except Refusal as refusal:
                self.answer(hot, self.gateway.refuse(call, refusal))
                return
        drive = hot.drive = Drive(self.gateway.run(call), hot.ended)
        hot.protocol = self
        self.running = hot
        self.waiting_since_s = 0.0
        self.tasks.add(hot)
        drive.go_on()

    def replied(self, hot: HotCall, reply: Reply | None) -> None:
        """The call has a stream for its reply, which goes on. None where the caller has left."""
        if reply is None:
            self.tasks.discard(hot)
            self.transport.close()
            return
        self._open_stream(hot, reply)

    def answer(self, hot: HotCall, reply: Reply) -> None:
        """The call has its reply, which is whole."""
        lines = answers.server_lines(self.server_state.default_headers, hot.keep_alive)
        self.gateway.outbox.write(self._write, answers.whole(reply, lines))
        self.complete(hot)

    def _open_stream(self, hot: HotCall, reply: Reply) -> None:
        stream = cast("StreamExchange", reply.stream)
        lines = answers.server_lines(self.server_state.default_headers, hot.keep_alive)
        self.send(answers.stream_head(reply, lines, chunked=hot.chunked))
        hot.stream = reply
        stream.start((HotSink if hot.chunked else PlainSink)(self, hot))
        if self.flow.write_paused:
            stream.pause()

    def send(self, data: bytes) -> None:
        """To the caller, at the end of this round of the loop."""
        self.gateway.outbox.write(self._write, data)

    def complete(self, hot: HotCall) -> None:
        """The last byte of the answer has been written."""
        hot.response_complete = True
        self.running = None
        self.tasks.discard(hot)
        hot.stream = hot.drive = hot.protocol = hot.call = None  # what points back at this call is let go at once
        if not hot.keep_alive:
            self._closing = True
            self.gateway.outbox.flush()
            if not hot.refused:
                self.transport.close()
        self.on_response_complete()

    # -- the connection

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            known = self._known
            if (
                known is not None
                and data.startswith(known.prefix)
                and self.waiting_since_s
                and not self._head_bytes
                and (body := known.body_in(data)) is not None
                and len(body) <= self.gateway.snapshot.max_body_bytes
            ):
                self._again(known, body)
                return
            if not self._head_bytes:
                self._packet = data
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self._offered:  # else it was CONNECT, which is answered like any other wrong method
                self._decline(data[offer.args[0] :])
        except httptools.HttpParserCallbackError:
            log.exception("our own mistake")
            self._refuse_raw(Refusal(500, "internal_error", type="server_error"))
        except httptools.HttpParserError:
            self._refuse_raw(Refusal(400, "bad_http"))
        else:
            if self._head_bytes > MAX_HEADER_BYTES:
                self._refuse_raw(Refusal(431, "header_too_large", limit_kb=MAX_HEADER_BYTES // 1024))

    def on_response_complete(self) -> None:
        """As uvicorn does it, but with the time of day instead of a timer per request."""
        self.server_state.total_requests += 1
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline and not self.transport.is_closing():
            cycle, app = self.pipeline.pop()
            self.waiting_since_s = self.loop.time() if cycle.more_body else 0.0
            self._start_asgi_task(cycle, app)
        else:
            self.waiting_since_s = self.loop.time()

    def close_idle(self, now_s: float) -> None:
        """Called about once a second for every connection: nothing asked for a while, or a request that dribbles."""
        idle = self._in_head and not self._head_bytes
        most_s = self.timeout_keep_alive if idle else _RECEIVE_S
        if self.waiting_since_s and now_s - self.waiting_since_s > most_s and not self.transport.is_closing():
            self.transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._client_ip = self.client[0] if self.client else None
        # On the instance, where the interpreter finds them at once; on the class it looks anew each time.
        self.gateway, self.clock = type(self).gateway, type(self).clock
        self._write = transport.write
        self.waiting_since_s = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        hot, self.running = self.running, None
        if hot is not None:
            hot.disconnected = True
            if hot.call is not None:
                hot.call.left = True
            self.tasks.discard(hot)
            hot.stop()
        elif self.hot is not None and not self.hot.refused:
            # Gone before the body was whole: a row all the same, as on every other way out.
            self.gateway.gone(self._call(self.hot, b""))
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._pace(paused=True)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._pace(paused=False)

    def _pace(self, *, paused: bool) -> None:
        """A slow reader slows its provider down, so that no stream piles up in memory."""
        hot = self.running
        if hot is not None and hot.stream is not None and (stream := hot.stream.stream) is not None:
            (stream.pause if paused else stream.resume)()

    # -- everything else

    def _hand_over(self) -> None:
        """To ASGI, as uvicorn does it. The connection waits until the body is whole, as for a hot call's."""
        if self._head_bytes > MAX_HEADER_BYTES and self._head_too_large():
            self._refuse_raw(Refusal(431, "header_too_large", limit_kb=MAX_HEADER_BYTES // 1024))
            return
        if len(self.pipeline) >= _MOST_PIPELINED:
            self._refuse_raw(Refusal(400, "bad_http"))  # the last of those that wait closes the connection
            return
        url, headers = self.url, self.headers
        expect = any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers = self.scope["headers"] = headers
        try:
            super().on_headers_complete()
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            self._refuse_raw(Refusal(400, "invalid_value", param="path", reason="not a valid URL"))

    def _has_offer(self) -> bool:
        return b"upgrade" in self._kept or any(name == b"upgrade" for name, _ in self.headers)

    def _decline(self, rest: bytes) -> None:
        """Serve a request in this protocol that offers another one, as curl --http2 and Java's HttpClient do with every
        first request: the parser takes what follows for the other protocol, so a new one reads it all without the
        offer."""
        self._offered = False
        head = without_offer(self.parser.get_method(), self.url, [*self.headers, *self._kept.items()])
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(head + rest)

    def _head_too_large(self) -> bool:
        """The packet with the end of the head may hold a body too, so the exact size is looked at when in doubt."""
        fields = [*self.headers, *self._kept.items()]
        return len(self.url) + sum(len(name) + len(value) for name, value in fields) > MAX_HEADER_BYTES

    def _refuse_raw(self, refusal: Refusal) -> None:
        """An answer to something that is no request we can read, in the envelope SDKs can read."""
        if self._closing or self.transport.is_closing():
            return
        hot, cycle = self.hot or self.running, self.cycle
        busy: Any = None if cycle is None or cycle.response_complete else cycle
        if hot is None and busy is None and self._route is not None and self.parser.get_method() == b"POST":
            hot = HotCall(self._route, self._kept, 0, keep_alive=False)
        if hot is not None and hot is not self.running:
            self.hot = None
            hot.keep_alive = False
            self.answer(hot, self.gateway.refuse(self._call(hot, b""), refusal))
            return
        self._closing = True
        request_id = self.clock.request_id(self.clock.wall_us())
        told = refusal, request_id, [*self.headers, *self._kept.items()], self.gateway.snapshot.language
        if busy is not None and (self.pipeline or not busy.more_body):
            # Another answer is on its way: it comes to its end, and then the connection does.
            busy.keep_alive = False
            if busy.more_body:  # the newest that waits is what cannot be read
                self.pipeline[0] = busy, answers.farewell_in_turn(*told, self.gateway, self.clock)
            return
        if busy is not None:
            busy.scope[answers.REFUSED] = refusal, request_id
        self.send(answers.farewell(*told))
        self.gateway.outbox.flush()
        self.transport.close()


def hot_protocol(pipeline: Pipeline, clock: Clock) -> type[HotProtocol]:
    """A protocol class bound to one gateway; uvicorn makes an instance per connection."""
    return type("BoundHotProtocol", (HotProtocol,), {"gateway": pipeline, "clock": clock})
