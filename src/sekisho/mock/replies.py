"""An answer as bytes and times, with the faults of its script built in. Must not know any wire format, nor the time but
where an answer names one."""

from __future__ import annotations

import enum
from email.utils import formatdate
from http import HTTPStatus
from itertools import groupby

import msgspec

from sekisho.mock.script import Script

#: bytes handed to the socket in one piece
SLICE = 65_536
_LAST_CHUNK = b"0\r\n\r\n"


class Ending(enum.Enum):
    """What becomes of the connection when everything is sent."""

    KEEP = "keep"
    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came. Header names in lower case, repeated ones joined; `path` without the query."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What goes onto the socket, ready framed: head, then frames one by one, then the tail with the last frame."""

    head: bytes = b""
    frames: list[bytes] = []
    tail: bytes = b""
    ending: Ending = Ending.KEEP
    delay_s: float = 0.0
    first_frame_s: float = 0.0
    every_frame_s: float = 0.0
    #: every byte in a packet of its own
    split: bool = False

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return len(self.head) + sum(map(len, self.frames)) + len(self.tail)


class Events(msgspec.Struct, frozen=True, kw_only=True):
    """A stream in some wire format: whole server-sent events, blank line included."""

    opening: list[bytes]
    chunks: list[bytes]
    closing: list[bytes]
    #: goes out under error_after and ok_error
    error: bytes


def head(status: int, headers: dict[str, str]) -> bytes:
    """Status line and headers."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def json_reply(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """A plain answer without script."""
    return Reply(head=head(status, _plain_headers(body, headers)), tail=body)


def error_reply(script: Script, status: int, body: bytes, headers: dict[str, str]) -> Reply:
    """An error answer; of the script only `delay_ms`, `retry_after` and `split` matter."""
    extra = dict(headers)
    if script.retry_after is not None:
        extra["retry-after"] = script.retry_after
        if not script.retry_after.isdecimal():
            extra["date"] = formatdate(usegmt=True)  # how long it is until then goes by this (RFC 9110, 6.6.1)
    if 300 <= status < 400:
        # A gateway that follows it would carry its credentials to a stranger.
        extra["location"] = "https://provider.internal/v1"
    first = head(status, _plain_headers(body, extra))
    return Reply(head=first, tail=body, delay_s=script.delay_ms / 1000, split=script.split)


def plain_reply(script: Script, body: bytes, headers: dict[str, str]) -> Reply:
    """A plain answer under its script; what befalls a stream after n chunks befalls the body at its half."""
    if script.bad_json:
        body = body[: len(body) // 2]
    after, ending = _fault(script)
    if _is_silent(after, ending):
        return Reply(ending=ending, delay_s=script.delay_ms / 1000)
    first = head(200, _plain_headers(body, headers))
    if ending is not Ending.KEEP:
        body = body[: len(body) // 2] if after else b""
    return Reply(head=first, tail=body, ending=ending, delay_s=script.delay_ms / 1000, split=script.split)


def stream_reply(script: Script, events: Events, headers: dict[str, str]) -> Reply:
    """A stream under its script. Each event is one chunk of the HTTP body."""
    opening, chunks, closing = events.opening, events.chunks, events.closing
    after, ending = _fault(script)
    if _is_silent(after, ending):
        return Reply(ending=ending, delay_s=script.delay_ms / 1000)
    if script.bad_json and chunks:
        chunks = [chunks[0][: len(chunks[0]) // 2] + b"\n\n", *chunks[1:]]
    tail = [*(_http_chunk(event) for event in closing), _LAST_CHUNK]
    if ending is not Ending.KEEP:
        chunks, tail = chunks[:after], []
    elif script.ok_error or script.error_after is not None:
        opening = [] if script.ok_error else opening
        chunks = [] if script.ok_error else chunks[: script.error_after]
        tail, ending = [_http_chunk(events.error), _LAST_CHUNK], Ending.CLOSE
    fields = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    first = head(200, fields | {"transfer-encoding": "chunked"} | headers)
    return Reply(
        head=first + b"".join(_http_chunk(event) for event in opening),
        frames=[_http_chunk(event) for event in chunks],
        tail=b"".join(tail),
        ending=ending,
        delay_s=script.delay_ms / 1000,
        first_frame_s=script.first_token_ms / 1000,
        every_frame_s=script.chunk_ms / 1000,
        split=script.split,
    )


def schedule(reply: Reply) -> list[tuple[float, memoryview]]:
    """When to send what, in seconds from the request on: what is due together is joined, then sliced."""
    at = reply.delay_s
    due = [(at, reply.head)]
    at += reply.first_frame_s
    for number, frame in enumerate(reply.frames):
        at += reply.every_frame_s if number else 0
        due.append((at, frame))
    due.append((at, reply.tail))
    steps: list[tuple[float, memoryview]] = []
    for time, group in groupby(due, key=lambda step: step[0]):
        parts = [data for _, data in group]
        whole = memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
        # An empty first step keeps the delay of an answer that never sends a byte.
        steps += [(time, whole[start : start + SLICE]) for start in range(0, max(1, len(whole)), SLICE)]
    return steps


def _plain_headers(body: bytes, headers: dict[str, str] | None) -> dict[str, str]:
    return {"content-type": "application/json", "content-length": str(len(body))} | (headers or {})


def _http_chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


def _fault(script: Script) -> tuple[int, Ending]:
    """After how many chunks the connection suffers what; KEEP if nothing happens to it."""
    if script.hang:
        return -1, Ending.HANG
    if script.reset_after is not None:
        return script.reset_after, Ending.RESET
    if script.cut_after is not None:
        return script.cut_after, Ending.CLOSE
    if script.hang_after is not None:
        return script.hang_after, Ending.HANG
    return 0, Ending.KEEP


def _is_silent(after: int, ending: Ending) -> bool:
    """True if not one byte is sent: hang=1, cut_after=0, reset_after=0."""
    return after < 0 or (after == 0 and ending in (Ending.CLOSE, Ending.RESET))
