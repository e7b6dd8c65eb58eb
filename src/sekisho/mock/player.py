"""Plays one Reply on one socket: at its times, no faster than the client reads, to its ending.

One timer is alive at most. Must not know what it sends.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

from sekisho.mock.replies import Ending, Reply, schedule

#: a client must have had time to read what came before a reset, since a reset throws away what is under way
_BEFORE_RESET_S = 0.02
#: timers may fire early by the resolution of the loop's clock
_EARLY_S = 0.0005


class Player:
    """One answer under way. `ended` is called when it is complete and the connection may be used again."""

    __slots__ = (
        "_ended",
        "_loop",
        "_offset",
        "_paused",
        "_reply",
        "_start_s",
        "_steps",
        "_timer",
        "_transport",
        "over",
    )

    def __init__(self, transport: asyncio.Transport, reply: Reply, ended: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._reply = reply
        self._ended = ended
        self._steps = schedule(reply)
        self._steps.reverse()
        self._offset = 0
        self._paused = False
        self._timer: asyncio.Handle | None = None
        #: True when nothing more is to be sent, so that a client who leaves now has missed nothing
        self.over = False
        if reply.split and (sock := transport.get_extra_info("socket")):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        """Times count from here."""
        self._start_s = self._loop.time()
        self._play()

    def pause(self) -> None:
        """The client does not read; what is due waits."""
        self._paused = True

    def resume(self) -> None:
        """The client reads again."""
        self._paused = False
        if self._timer is None and not self.over:
            self._play()

    def stop(self) -> None:
        """The client left; nothing is sent any more."""
        self.over = True
        if self._timer is not None:
            self._timer.cancel()

    def _play(self) -> None:
        self._timer = None
        now_s = self._loop.time() - self._start_s
        # A closing transport swallows all writes; that the client left is told a moment later.
        while not self._paused and not self._transport.is_closing():
            if not self._steps:
                self._end()
                return
            due_s, data = self._steps[-1]
            if due_s > now_s + _EARLY_S:
                self._timer = self._loop.call_at(self._start_s + due_s, self._play)
                return
            if self._reply.split and data:
                self._play_byte(data)
                return
            self._steps.pop()
            if data:
                self._transport.write(data)

    def _play_byte(self, data: memoryview) -> None:
        """One byte for each turn of the loop: two writes in one turn may leave in one packet."""
        self._transport.write(data[self._offset : self._offset + 1])
        self._offset += 1
        if self._offset == len(data):
            self._offset = 0
            self._steps.pop()
        self._timer = self._loop.call_soon(self._play)

    def _end(self) -> None:
        ending = self._reply.ending
        if ending is Ending.HANG:
            return
        if ending is Ending.RESET:
            if self._reply.head:
                self._timer = self._loop.call_later(_BEFORE_RESET_S, self._reset)
            else:
                self._reset()
            return
        self.over = True
        if ending is Ending.CLOSE:
            self._transport.close()
        else:
            self._ended()

    def _reset(self) -> None:
        self.over = True
        if sock := self._transport.get_extra_info("socket"):
            # Linger for zero seconds: closing sends RST instead of FIN.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
