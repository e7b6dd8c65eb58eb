"""From HTTP to a Call: routes, limits of size, encodings. Must be the same for the hot protocol and for ASGI."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterable

from starlette.types import Scope

from sekisho.domain.call import Call, Route
from sekisho.domain.errors import Refusal
from sekisho.gateway.policies.authentication import REPEATED
from sekisho.gateway.snapshot import Snapshot

ROUTES: dict[bytes, Route] = {
    route.path.encode(): route
    for route in (
        Route(
            path="/v1/chat/completions", protocol="openai_chat", operation="chat", api_type="openai/v1/chat/completions"
        ),
        Route(
            path="/v1/embeddings",
            protocol="openai_embeddings",
            operation="embeddings",
            api_type="openai/v1/embeddings",
        ),
        Route(path="/chat/stream", protocol="chat_stream", operation="chat", api_type="sekisho/chat/stream"),
    )
}

#: headers a call keeps; the rest is not looked at again
KEPT = frozenset({
    b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key", b"accept-language", b"content-encoding",
    b"x-client-request-id", b"x-request-id", b"x-sekisho-tags", b"x-sekisho-conversation", b"traceparent",
    b"user-agent", b"content-length", b"expect", b"upgrade", b"databricks-ai-gateway-request-tags", b"idempotency-key",
})  # fmt: skip
MAX_HEADER_BYTES = 64 * 1024
#: of a body, until it is known who sends it: what anybody may make the gateway hold
KEYLESS_BODY_BYTES = 256 * 1024
CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"})
#: lists by RFC 9110: repeated, they are one list; a repeated Idempotency-Key becomes one that is none
_LISTS = frozenset({b"accept-language", b"content-encoding", b"idempotency-key"})
#: spellings of names that are remembered: any caller can send names of 60 KB, which nobody else does
_MOST_SPELLINGS, _LONGEST_SPELLING = 1000, 64
#: of an id, after the milliseconds and the version
_ID_DIGITS = 19


class Clock:
    """The time and ids of this process, handed to whoever needs them."""

    __slots__ = ("_digits", "_millisecond", "_position", "_prefix")

    def __init__(self) -> None:
        self._digits = ""
        self._position = 0
        self._millisecond = 0
        self._prefix = ""

    def wall_us(self) -> int:
        return time.time_ns() // 1000

    def request_id(self, wall_us: int) -> str:
        """`req_` and a UUIDv7 (RFC 9562) as hex: ids sort by time, so tables find one quickly.

        Random digits come from a pool of the system's randomness, and the digits of a millisecond are rendered once.
        """
        millisecond = wall_us // 1000
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            self._prefix = f"req_{millisecond:012x}7"
        at = self._position
        if at >= len(self._digits):
            self._digits = _random_digits()
            at = 0
        self._position = at + _ID_DIGITS
        return f"{self._prefix}{self._digits[at : at + _ID_DIGITS]}"


def _random_digits() -> str:
    """Ends of 512 ids: random hex digits, the variant of RFC 9562 among them."""
    digits = bytearray(os.urandom(_ID_DIGITS * 256).hex().encode())
    digits[3::_ID_DIGITS] = b"a" * 512
    return digits.decode()


class _KeptNames(dict[bytes, bytes]):
    """A header's name as it was spelt -> its name in lower case if it is kept, else nothing."""

    def __missing__(self, spelt: bytes) -> bytes:
        name = spelt.lower()
        kept = name if name in KEPT else b""
        if len(self) < _MOST_SPELLINGS and len(spelt) <= _LONGEST_SPELLING:
            self[spelt] = kept
        return kept


KEPT_NAMES = _KeptNames()


def keep_repeated(kept: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    """A header that came before: the first counts, but two different credentials spoil each other."""
    if name in CREDENTIALS and kept[name] != value:
        kept[b"authorization"] = REPEATED
    elif name in _LISTS:
        kept[name] += b", " + value


def make_call(
    route: Route, headers: Iterable[tuple[bytes, bytes]], body: bytes, *, clock: Clock, client_ip: str | None
) -> Call:
    """Header names must be in lower case."""
    kept: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in KEPT:
            if name in kept:
                keep_repeated(kept, name, value)
            else:
                kept[name] = value
    wall_us = clock.wall_us()
    return Call(route, kept, body, clock.request_id(wall_us), wall_us, client_ip)


def unread_call(scope: Scope, clock: Clock, request_id: str) -> Call | None:
    """The call, without its body, of an ASGI request whose body cannot be read; None where it would be no call."""
    route = ROUTES.get(scope["path"].encode()) if scope["method"] == "POST" else None
    if route is None:
        return None
    call = make_call(route, scope["headers"], b"", clock=clock, client_ip=peer(scope))
    call.request_id = request_id
    return call


def peer(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


def early_refusal(snapshot: Snapshot, call: Call, size: int) -> Refusal | None:
    """Why a body that has come or is announced in this size is not to be waited for: it is too large, or comes without
    a key that is valid."""
    if size > snapshot.max_body_bytes:
        return too_large(snapshot.max_body_bytes)
    try:
        snapshot.identify(call)
    except Refusal as refusal:
        return refusal
    return None


def unpack(snapshot: Snapshot, call: Call) -> None:
    """Decode the body of a call that has a content encoding; it is empty after a Refusal: 401, 400, 415, 413.

    The key first: a few kilobytes become the largest body there may be, which takes a tenth of a second.
    """
    body, call.body = call.body, b""
    snapshot.identify(call)
    encoding = call.headers[b"content-encoding"].lower().strip()
    call.body = decoded(body, encoding, snapshot.max_body_bytes)


def decoded(body: bytes, encoding: bytes, limit: int) -> bytes:
    """A gzip body unpacked, never past the limit. Raises Refusal 415, 413, 400."""
    if encoding in (b"", b"identity"):
        return body
    if encoding not in (b"gzip", b"x-gzip"):
        raise Refusal(415, "unsupported_encoding", encoding=encoding[:32].decode("latin-1"))
    unpacker = zlib.decompressobj(wbits=31)
    try:
        out = unpacker.decompress(body, limit + 1)
    except zlib.error:
        raise Refusal(400, "invalid_json", reason="the gzip body is damaged") from None
    if len(out) > limit:
        raise too_large(limit)
    if not unpacker.eof:
        raise Refusal(400, "invalid_json", reason="the gzip body is cut short")
    if unpacker.unused_data:
        # A second member would be left out in silence.
        raise Refusal(400, "invalid_json", reason="the gzip body is damaged")
    return out


def too_large(limit: int) -> Refusal:
    return Refusal(413, "request_too_large", limit_mb=limit // (1024 * 1024))
