"""Keeps connections of clients from taking the last files of the process. Must not touch a call that runs, and must
cost nothing for each call."""

from __future__ import annotations

import asyncio
import heapq
import logging
from typing import Any

from sekisho.entrypoints.http.hot import HotProtocol

log = logging.getLogger("sekisho.http")

#: one in so many is closed beyond what is needed, so that not every newcomer is a look at all others
_BEYOND = 50
_TOLD_EVERY_S = 60.0


class Crowd:
    """All connections of one server. Beyond `most`, those are closed that have waited the longest for a request or for
    the rest of one; where all others are served, the newest."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.closed = 0
        self._untold = 0
        self._told_s = float("-inf")
        self._due = False

    def joined(self, connections: set[Any]) -> None:
        """A connection was made. Many are made in one turn of the loop: they are looked at together, after it."""
        if len(connections) > self.most and not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._make_room, connections)

    def _make_room(self, connections: set[Any]) -> None:
        self._due = False
        waiting = [one for one in connections if one.waiting_since_s and not one.transport.is_closing()]
        beyond = len(connections) - self.most
        for one in heapq.nsmallest(beyond + self.most // _BEYOND, waiting, key=lambda one: one.waiting_since_s):
            one.transport.abort()  # closing in peace may take a silent client's half minute, under TLS
            self.closed += 1
            self._untold += 1
        now_s = asyncio.get_running_loop().time()
        if self._untold and now_s - self._told_s > _TOLD_EVERY_S:
            log.warning(
                "more than %d connections, as many as the limit of open files leaves room for: closed %d that asked "
                "nothing, or only half of something, for the longest; raise `ulimit -n`",
                self.most,
                self._untold,
            )
            self._untold, self._told_s = 0, now_s


def crowded(protocol: type[HotProtocol], most: int) -> type[HotProtocol]:
    """The protocol with at most so many connections."""
    crowd = Crowd(most)

    class Crowded(protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            crowd.joined(self.connections)

    return Crowded
