"""What a worker and its supervisor say to each other, over a pair of connected sockets. Must never wait, except in
`drain`: a worker that hangs must not hold up the others.

A message is its length (u32, little endian) and msgpack. The end of the stream is the death of the other side.
"""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from typing import Any

import msgspec

from sekisho.ledger.tally import ByLabel
from sekisho.ledger.tally_sums import TallySums

_LENGTH = struct.Struct("<I")
_READ = 1 << 18

#: as `Installation.gauges` and the exposition have them: name -> (help, value)
Gauges = dict[str, tuple[str, float | ByLabel]]


class Gauge(msgspec.Struct, array_like=True):
    """One gauge: its help, and a number, or a label and a number for each of its values."""

    help: str
    value: float = 0.0
    label: str | None = None
    values: dict[str, float] = {}


class State(msgspec.Struct, kw_only=True):
    """All that a worker has to tell. `seq` is the position in its spool up to which `tally` counts, `last_seq` that of
    its last row, or 0."""

    seq: int
    last_seq: int = 0
    tally: TallySums
    gauges: dict[str, Gauge]
    ready: dict[str, Any]


class Report(msgspec.Struct, tag=True):
    """A worker's state, about once a second, and where `ask` is not 0 because the supervisor told it to."""

    state: State
    ask: int = 0


class Opened(msgspec.Struct, tag=True):
    """The worker takes calls."""


class Failed(msgspec.Struct, tag=True):
    """The worker cannot start, and why."""

    reason: str


class Ask(msgspec.Struct, tag=True):
    """Somebody wants to see the state of all: the worker's own, and its number for the question."""

    state: State
    number: int


class Tell(msgspec.Struct, tag=True):
    """To a worker: report now."""

    ask: int


class Answer(msgspec.Struct, tag=True):
    """To the worker that asked: the state of all. `seq` says nothing."""

    number: int
    state: State


FromWorker = Report | Opened | Failed | Ask
ToWorker = Tell | Answer


def plain(gauges: Gauges) -> dict[str, Gauge]:
    """Gauges as they are sent."""
    return {
        name: Gauge(text, label=value.label, values=value.values) if isinstance(value, ByLabel) else Gauge(text, value)
        for name, (text, value) in gauges.items()
    }


def shown(gauges: dict[str, Gauge]) -> Gauges:
    """Gauges as they are shown."""
    return {
        name: (one.help, one.value if one.label is None else ByLabel(one.label, one.values))
        for name, one in gauges.items()
    }


class Line:
    """One end. Give it what the other end sends as a type."""

    def __init__(self, sock: socket.socket, expected: Any) -> None:
        sock.setblocking(False)
        #: the other end is gone
        self.ended = False
        self._sock = sock
        self._decode = msgspec.msgpack.Decoder(expected).decode
        self._out = bytearray()
        self._in = bytearray()

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: FromWorker | ToWorker) -> bool:
        """Whether the kernel has all of it now; what it has reaches the other end whatever becomes of this process."""
        body = msgspec.msgpack.encode(message)
        self._out += _LENGTH.pack(len(body)) + body
        return self.flush()

    def flush(self) -> bool:
        """Send on; whether nothing is left."""
        try:
            while self._out:
                del self._out[: self._sock.send(self._out)]
        except BlockingIOError:
            return False
        except OSError:
            self.ended = True
        return not self._out

    def receive(self) -> list[Any]:
        """Messages that have come whole. A broken one ends the line."""
        try:
            while data := self._sock.recv(_READ):
                self._in += data
            self.ended = True
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True
        found: list[Any] = []
        while len(self._in) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._in)[0]
            if len(self._in) < end:
                break
            try:
                found.append(self._decode(bytes(self._in[_LENGTH.size : end])))
            except msgspec.MsgspecError:
                self.ended = True
            del self._in[:end]
        return found

    def drain(self, timeout_s: float) -> None:
        """Send what is left, at the end of this process."""
        with suppress(OSError):
            self._sock.settimeout(timeout_s)
            until_s = time.monotonic() + timeout_s
            while self._out and time.monotonic() < until_s:
                del self._out[: self._sock.send(self._out)]
            self._sock.setblocking(False)

    def close(self) -> None:
        self._sock.close()
