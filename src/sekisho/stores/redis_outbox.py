"""What Redis has to be told even if it is away now. Must lose nothing silently, and may tell everything twice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from sekisho.stores.redis_link import RedisError, RedisLink
from sekisho.stores.redis_words import Words

log = logging.getLogger("sekisho.stores")

#: beyond that nothing is kept, and the budgets have to be rebuilt from rows
MOST_UNTOLD = 100_000
#: the script's answer where it cannot decide before there is an epoch again
NOT_YET = [-1]
#: tries, about one a second, after which a command that the server refuses is given up
_MOST_REFUSED = 60


class _Told(msgspec.Struct):
    words: Words
    after: Callable[[Any], None] | None
    refused: int = 0


class Outbox:
    """Commands in their order, each until its answer has come."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._untold: dict[int, _Told] = {}
        self._refused: list[int] = []
        self._count = 0
        #: something was given up: only rows know it now
        self.lost = False

    def __len__(self) -> int:
        return len(self._untold)

    def tell(self, words: Words, after: Callable[[Any], None] | None = None) -> None:
        """Send now if there is a server, and again until it has answered. `after` takes the answer."""
        if len(self._untold) >= MOST_UNTOLD:
            self.lost = True
            return
        self._count += 1
        self._untold[self._count] = _Told(words, after)
        if self._link.up:
            self._send(self._count)

    def again(self) -> None:
        """On a new connection: everything, in its order."""
        self._refused.clear()
        for number in list(self._untold):
            self._send(number)

    def again_refused(self) -> None:
        """What the server would not take the last time, because it was loading or had no epoch."""
        numbers, self._refused = self._refused, []
        for number in numbers:
            self._send(number)

    def _send(self, number: int) -> None:
        told = self._untold.get(number)
        if told is None:
            return

        def arrived(future: asyncio.Future[Any]) -> None:
            error = future.exception()
            if error is None and future.result() == NOT_YET:
                self._refused.append(number)
            elif error is None:
                if self._untold.pop(number, None) is not None and told.after is not None:
                    told.after(future.result())
            elif isinstance(error, RedisError):
                self._not_taken(number, told, error)

        self._link.send(told.words).add_done_callback(arrived)

    def _not_taken(self, number: int, told: _Told, error: RedisError) -> None:
        told.refused += 1
        if told.refused < _MOST_REFUSED:
            self._refused.append(number)
            return
        self._untold.pop(number, None)
        self.lost = True
        log.error("the counters' server does not take a settlement: %s", error)
