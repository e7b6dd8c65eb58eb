"""Heads of requests that came before on their connection. Must say of a request exactly what the parser would."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from sekisho.domain.call import Known, Route
from sekisho.entrypoints.http.hot_call import HotCall


class KnownHead(msgspec.Struct, frozen=True, eq=False):
    """The head of a request as it came, but for the digits of its length; the parser has read it once.

    A client sends the same head again and again on its connection. Where the bytes are the same, so is what they say,
    and reading them anew would be a sixth of our own part of a call.
    """

    prefix: bytes
    suffix: bytes
    route: Route
    headers: dict[bytes, bytes]
    known: Known

    def __repr__(self) -> str:
        return "KnownHead(***)"  # a head holds the key

    def body_in(self, packet: bytes) -> bytes | None:
        """HOT. The body of a packet that is this head and one whole body; None where it is anything else."""
        at = len(self.prefix)
        end = packet.find(b"\r", at, at + 8)
        if end <= at or not packet.startswith(self.suffix, end):
            return None
        digits = packet[at:end]
        start = end + len(self.suffix)
        return packet[start:] if digits.isdigit() and len(packet) == start + int(digits) else None


_OFFER = frozenset({b"connection", b"upgrade", b"http2-settings"})
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,7})\r\n", re.IGNORECASE)
#: what makes more of a request than its bytes say, or another head of every request
_UNUSUAL = frozenset({b"expect", b"upgrade", b"content-encoding", b"idempotency-key"})


def known_head(packet: bytes, hot: HotCall) -> KnownHead | None:
    """The head of a request that came whole in this packet and alone; None where it is not to be remembered."""
    end = packet.find(b"\r\n\r\n") + 4
    if end < 4 or len(packet) != end + hot.size or not _UNUSUAL.isdisjoint(hot.headers):
        return None
    head = packet[:end]
    names = head.lower()
    lengths = _LENGTH.search(head)
    if lengths is None or names.count(b"content-length") != 1 or b"transfer-encoding" in names:
        return None
    first, last = lengths.span(1)
    return KnownHead(head[:first], head[last:], hot.route, hot.headers, hot.known or Known())


def without_offer(method: bytes, url: bytes, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of a request without its offer of another protocol."""
    lines = [b"%b: %b" % field for field in fields if field[0] not in _OFFER]
    return b"\r\n".join((b"%b %b HTTP/1.1" % (method, url), *lines, b"", b""))
