"""One hot request on a connection, and its caller's socket as the sink of a stream.

Must not read HTTP: that is the protocol's part; here is what uvicorn and a stream see of a request in progress.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sekisho.domain.call import Call, Known, Route
from sekisho.gateway.drive import Drive
from sekisho.gateway.pipeline import Reply

if TYPE_CHECKING:
    from sekisho.entrypoints.http.hot import HotProtocol

log = logging.getLogger("sekisho.http")


class HotCall:
    """One hot request on a connection. It stands where uvicorn keeps its own cycle, so that uvicorn's pipelining,
    graceful stop and disconnect handling see a request in progress."""

    __slots__ = (
        "body", "call", "chunked", "disconnected", "drive", "headers", "keep_alive", "known", "limit", "message_event",
        "protocol", "refused", "response_complete", "route", "size", "stream",
    )  # fmt: skip

    #: as of uvicorn's cycle; the protocol keeps track of bodies itself
    more_body = False

    def __init__(
        self,
        route: Route,
        headers: dict[bytes, bytes],
        limit: int,
        keep_alive: bool,
        known: Known | None = None,
        chunked: bool = True,
    ) -> None:
        self.route = route
        self.headers = headers
        self.limit = limit
        self.keep_alive = keep_alive
        #: of a request whose header lines came before
        self.known = known
        #: a stream goes out in chunks, which HTTP/1.0 does not know
        self.chunked = chunked
        self.body: list[bytes] = []
        self.size = 0
        self.refused = False
        self.call: Call | None = None
        self.drive: Drive[Any] | None = None
        self.stream: Reply | None = None
        self.protocol: HotProtocol | None = None
        self.response_complete = False
        self.disconnected = False
        self.message_event = _NO_EVENT

    def ended(self, value: Reply | None) -> None:
        protocol = self.protocol
        if protocol is None:
            return
        try:
            if value is not None and value.stream is None:
                protocol.answer(self, value)
            else:
                protocol.replied(self, value)
        except Exception:
            # Whoever resolved this has nothing to do with it, and the caller must not wait for ever.
            log.exception("our own mistake")
            protocol.transport.abort()

    def cancel(self, msg: str | None = None) -> None:
        """uvicorn says this to all it calls tasks when the graceful time is over, while it walks over their set: the
        end, which leaves that set, comes a moment later."""
        if self.protocol is not None:
            self.protocol.loop.call_soon(self.stop)

    def stop(self) -> None:
        """The caller has left, or the gateway stops: whichever the call says."""
        if self.stream is not None and self.protocol is not None:
            self.protocol.gateway.left(self.stream)
        elif self.drive is not None:
            self.drive.cancel()


class _NoEvent:
    """uvicorn sets a cycle's event when the client disconnects; the protocol below acts on it itself."""

    def set(self) -> None: ...


_NO_EVENT = _NoEvent()


class HotSink:
    """The caller's socket as a stream's sink: each write is one chunk of the chunked encoding."""

    __slots__ = ("_hot", "_protocol", "_send")

    def __init__(self, protocol: HotProtocol, hot: HotCall) -> None:
        self._protocol = protocol
        self._hot = hot
        self._send = protocol.send

    def write(self, frames: bytes) -> None:
        if not self._hot.disconnected:
            self._send(b"%x\r\n%b\r\n" % (len(frames), frames))

    def finish(self) -> None:
        if self._hot.response_complete or self._hot.disconnected:
            return
        self._send(b"0\r\n\r\n")
        self._protocol.complete(self._hot)


class PlainSink(HotSink):
    """For a caller who speaks HTTP/1.0: the stream as it is, and it ends with the connection."""

    __slots__ = ()

    def write(self, frames: bytes) -> None:
        if not self._hot.disconnected:
            self._send(frames)

    def finish(self) -> None:
        if not (self._hot.response_complete or self._hot.disconnected):
            self._protocol.complete(self._hot)
