"""The headers of a provider's answer, read again from its bytes where somebody asks. Must not judge: a parser has taken
the head already.

Most answers are of status 200 and nobody asks: a callback for each of twenty headers would be a tenth of a call.
"""

from __future__ import annotations

from typing import Any

import httptools

from sekisho.domain.http import Headers

_LIMITS = b"x-ratelimit"
_NOT_READ: Headers = {}


def plain_answer(packet: bytes) -> tuple[bytes, Headers] | None:
    """HOT. The body of a packet that is one whole answer of status 200 with a length, after which the connection goes
    on; None for everything else, which is the parser's. Half the cost of parsing it. Headers are read where there are
    limits among them.

    By `find`, not `in`: bytes in bytes cost CPython an exception first (see `formats.sse`)."""
    end = packet.find(b"\r\n\r\n")
    if end < 0 or not packet.startswith(b"HTTP/1.1 200 "):
        return None
    head = packet[: end + 2].lower()
    at = head.find(b"\r\ncontent-length: ")
    if at < 0 or head.count(b"content-length") != 1 or head.find(b"transfer-encoding") >= 0:
        return None
    if (said := head.count(b"connection:")) and (said > 1 or head.find(b"\r\nconnection: keep-alive\r\n") < 0):
        return None
    if head[at + 18 :].partition(b"\r")[0] != b"%d" % (len(packet) - end - 4):
        return None
    return packet[end + 4 :], headers_of(packet[: end + 4]) if head.find(_LIMITS) >= 0 else _NOT_READ


def with_limits(raw: bytes) -> Headers:
    """The headers of a head that nobody asked for, where there are limits among them; else none."""
    return headers_of(raw) if _LIMITS in raw.partition(b"\r\n\r\n")[0].lower() else _NOT_READ


class _HeadReader:
    """Collects the headers of a head that the parser has accepted already, and neither trailers nor those of what a
    provider may send behind its answer."""

    def __init__(self) -> None:
        self.headers: Headers = {}
        self.parser: Any = None
        self._final = False

    def on_message_begin(self) -> None:
        if not self._final:
            self.headers = {}  # an interim answer (1xx) came before

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._final:
            self.headers[name.lower().decode("latin-1")] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._final = self._final or self.parser.get_status_code() >= 200


def headers_of(raw: bytes) -> Headers:
    """The headers of the final head in these bytes; what follows it does not matter."""
    reader = _HeadReader()
    reader.parser = httptools.HttpResponseParser(reader)
    try:
        reader.parser.feed_data(raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        pass  # in what follows the head
    reader.parser = None  # which knows the reader: nothing is to wait for the collector
    return reader.headers


def ends_with_connection(headers: Headers) -> bool:
    """Neither a length nor chunks: the body ends where the connection does (RFC 9112, 6.3)."""
    return "content-length" not in headers and "transfer-encoding" not in headers
