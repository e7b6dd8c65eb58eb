"""Calls that died with their gateway: each is counted by its reservation or by its row, and must never be by both.

A row says that such a call had ended when it came, for nobody saw its end. Where its reservation was put back after a
rebuild, or granted after it, that one is charged when its time is over, and the row comes to the tables as one of the
time before the rebuild. The server knows what became of the reservations, and who was first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from sekisho.stores.counters import SpentBefore
from sekisho.stores.redis_words import Words, dying

#: of more nobody asks: they are counted by their rows. The server remembers so many ids for a day at most
MOST_DIED = 50_000
#: a millisecond or two, for calls wait behind it
_AT_ONCE = 20

Send = Callable[[Words], Awaitable[Any]]


async def end_reservations(send: Send, calls: Iterable[str]) -> set[str]:
    """End what calls hold that died, by their request ids; which of them are counted by reservations. `send` raises
    StoreUnavailable or RedisError."""
    newest = sorted(calls)[-MOST_DIED:]
    found: set[str] = set()
    for at in range(0, len(newest), _AT_ONCE):
        reply: list[bytes] = await send(dying(newest[at : at + _AT_ONCE]))
        found |= {name.decode() for name in reply}
    return found


async def counted_by_rows(send: Send, spent: SpentBefore) -> dict[str, int]:
    """By budget key what rows alone count. Raises StoreUnavailable or RedisError."""
    sums = dict(spent.nanos)
    for call in await end_reservations(send, spent.died):
        for key, nanos in spent.died[call].items():
            sums[key] -= nanos
    return {key: nanos for key, nanos in sums.items() if nanos}
