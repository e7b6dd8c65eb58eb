"""Server-sent events out of bytes. Must not decode text: a character may lie across two packets.

Source: WHATWG HTML, server-sent events. Lines end with LF, CRLF or CR; an empty line ends an event; the space
after the colon is optional; data lines join with LF. Comments and other fields carry nothing for us.
"""

from __future__ import annotations

MAX_EVENT_BYTES = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
# Numbers, since CPython (3.11 to 3.14) looks for bytes in bytes by `in` only after it has made and thrown away a
# TypeError: half a microsecond each time.
_LF, _CR = b"\n\r"


class EventTooLarge(ValueError):
    """One event grew over the limit."""


class SseSplitter:
    """Feed bytes as they come, get the data of every event that is complete.

    The answer is a list of payloads (bytes of the joined data lines). Events without data (comments, pings) are
    counted in `silent` and otherwise left out. `rest()` gives what an unfinished last event holds.
    """

    __slots__ = ("_after_cr", "_buffer", "_first", "_limit", "_scan", "silent")

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        #: bytes of the event that is not complete yet, its line ends already LF
        self._buffer = bytearray()
        self._scan = 0
        self._limit = limit
        self._after_cr = False
        self._first = True
        self.silent = 0

    def feed(self, packet: bytes) -> list[bytes]:
        """Payloads of the events this packet completes, in order. Raises EventTooLarge."""
        # Nearly every packet of a provider is exactly one event on one line: no copy, no scan of lines.
        if (
            packet.startswith(b"data: ")
            and packet.endswith(b"\n\n")
            and packet.find(b"\n", 6, -2) < 0
            and _CR not in packet
            and not self._buffer
            and len(packet) > 8
        ):
            self._after_cr = self._first = False
            return [packet[6:-2]]
        return self._feed_slowly(packet)

    def _feed_slowly(self, packet: bytes) -> list[bytes]:
        buffer = self._buffer
        packet = self._with_lf(packet)
        payloads: list[bytes] = []
        if not buffer and packet.endswith(b"\n\n"):
            for event in packet[:-2].split(b"\n\n"):
                self._take(event, payloads)
            return payloads
        buffer += packet
        start, scan = 0, self._scan
        while (end := buffer.find(b"\n\n", max(start, scan))) >= 0:
            self._take(bytes(buffer[start:end]), payloads)
            start = end + 2
        if start:
            del buffer[:start]
        self._scan = max(0, len(buffer) - 1)
        if len(buffer) > self._limit:
            raise EventTooLarge
        return payloads

    def _with_lf(self, packet: bytes) -> bytes:
        """The packet with LF as its only line end. The LF of a CRLF that lies across two packets is dropped."""
        if self._after_cr and packet.startswith(b"\n"):
            packet = packet[1:]
            self._after_cr = False
        if packet:
            self._after_cr = packet.endswith(b"\r")
        if _CR in packet:
            packet = packet.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return packet

    def _take(self, event: bytes, payloads: list[bytes]) -> None:
        if self._first:
            self._first = False
            event = event.removeprefix(_BOM)
        payload = _data_of(event)
        if payload is not None:
            payloads.append(payload)
        elif event.strip():
            self.silent += 1

    def rest(self) -> bytes | None:
        """Data of a last event whose blank line never came; None if there is none. The body has ended."""
        event = bytes(self._buffer)
        self._buffer.clear()
        self._scan = 0
        payloads: list[bytes] = []
        self._take(event, payloads)
        return payloads[0] if payloads else None


def _data_of(event: bytes) -> bytes | None:
    """The data lines joined; None where there is nothing in them, for an event without data is not dispatched."""
    if event.startswith(b"data: ") and _LF not in event:
        return event[6:] or None
    lines: list[bytes] = []
    for line in event.split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line == b"data":
            lines.append(b"")
    payload = lines[0] if len(lines) == 1 else b"\n".join(lines)
    return payload or None


def frame(payload: bytes) -> bytes:
    """One event with one data line; JSON never holds a bare newline, so it fits."""
    return b"data: " + payload + b"\n\n"


DONE = b"[DONE]"
DONE_FRAME = b"data: [DONE]\n\n"
PING_FRAME = b": ping\n\n"
