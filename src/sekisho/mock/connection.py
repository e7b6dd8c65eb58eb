"""One connection of a client: reads requests with httptools, answers them one after another.

Must not know what an answer says; that is `routes`. When it goes out is `player`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

import httptools

from sekisho.mock.calls import Calls
from sekisho.mock.openai_errors import envelope
from sekisho.mock.player import Player
from sekisho.mock.replies import SLICE, Ending, Reply, Request, head, json_reply
from sekisho.mock.routes import answer

#: requests a client may send ahead of its answers
_MOST_WAITING = 64
#: of requests that wait or are being read on one connection
_MOST_UNANSWERED_BYTES = 100_000_000


class Connection(asyncio.Protocol):
    """HTTP/1.1 on one socket. `open_connections` is the server's set of all of them."""

    def __init__(self, calls: Calls, open_connections: set[Connection]) -> None:
        self._calls = calls
        self._all = open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool, int]] = deque()
        self._player: Player | None = None
        self._held_bytes = 0
        self._unanswered_bytes = 0
        self._clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=SLICE, low=0)
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.discard(self)
        if self._player is not None and not self._player.over:
            self._player.stop()
            self._calls.abort()
        self._let_go()
        self._waiting.clear()

    def abandon(self) -> None:
        """The server stops: the connection goes, and whoever waits on it is not counted as having left."""
        if self._player is not None:
            self._player.stop()
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            # A bug of ours, not of the client: the loop prints it and drops the connection.
            raise
        except httptools.HttpParserUpgrade:
            self._refuse(400, "This server does not switch protocols.")
        except httptools.HttpParserError as error:
            self._refuse(400, f"This is not HTTP: {error}")

    def pause_writing(self) -> None:
        if self._player is not None:
            self._player.pause()

    def resume_writing(self) -> None:
        if self._player is not None:
            self._player.resume()

    # The parser calls these by name.

    def on_message_begin(self) -> None:
        self._clear()

    def on_url(self, url: bytes) -> None:
        self._take(url)
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._take(name + value)
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue" and self._player is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._take(body)
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade():
            # The parser skips the body and raises HttpParserUpgrade next.
            return
        request = Request(
            method=self._parser.get_method().decode("latin-1"),
            path=self._url.partition(b"?")[0].decode("latin-1"),
            headers=self._headers,
            body=b"".join(self._body),
        )
        if self._parser.get_http_version() == "1.0":
            # A stream has no length, and HTTP/1.0 knows no chunked bodies.
            self._refuse(505, "HTTP/1.1 is needed.")
        elif len(self._waiting) >= _MOST_WAITING:
            self._refuse(429, f"More than {_MOST_WAITING} requests wait on this connection.")
        else:
            self._waiting.append((request, self._parser.should_keep_alive(), self._request_bytes))
            self._request_bytes = 0
            self._next()

    def _clear(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._request_bytes = 0

    def _take(self, part: bytes) -> None:
        self._request_bytes += len(part)
        self._unanswered_bytes += len(part)
        if self._unanswered_bytes > _MOST_UNANSWERED_BYTES and not self._transport.is_closing():
            self._refuse(413, f"More than {_MOST_UNANSWERED_BYTES:,} bytes wait for an answer on this connection.")

    def _next(self) -> None:
        """Answers the next request, if one waits and none is being answered."""
        if self._player is not None or not self._waiting or self._transport.is_closing():
            return
        request, keep_alive, size = self._waiting.popleft()
        self._unanswered_bytes -= size
        reply = answer(request, self._calls)
        if self._calls.hold(reply.size):
            self._held_bytes = reply.size
        else:
            reply = json_reply(envelope(503, "Too many bytes of answers wait for clients that do not read them."), 503)
        self._player = Player(self._transport, reply, self._after if keep_alive else self._transport.close)
        self._player.start()

    def _let_go(self) -> None:
        self._player = None
        self._calls.let_go(self._held_bytes)
        self._held_bytes = 0

    def _after(self) -> None:
        self._let_go()
        if self._waiting:
            # Not at once: a row of a thousand requests must not become a stack of a thousand calls.
            asyncio.get_running_loop().call_soon(self._next)

    def _refuse(self, status: int, message: str) -> None:
        body = envelope(status, message)
        headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        self._waiting.clear()
        if self._player is not None:
            # Half an answer is under way: another one would be read as its rest.
            self._transport.abort()
            return
        reply = Reply(head=head(status, headers), tail=body, ending=Ending.CLOSE)
        self._player = Player(self._transport, reply, self._after)
        self._player.start()
