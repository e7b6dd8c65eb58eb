"""Which budgets hold, as gateways tell one another through Redis. Must not make a call wait, however many there are.

What has held is known by the budget as JSON, without its amount, and when that was said last.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from sekisho.domain.spending import Budget
from sekisho.stores.redis_words import RULES, SAID, Words

#: said at once: of ten thousand the server would stand still, and the event loop too
_AT_ONCE = 200
#: a little less than the time between two looks, at which it is said again
_SAID_MS = 4_000
#: how long it is remembered that a budget held: longer than any period
_REMEMBERED_MS = 40 * 86_400_000
_json = msgspec.json.Encoder().encode
_budget = msgspec.json.Decoder(Budget).decode


class HeldBudgets:
    """One worker's words about them. `sure` sends a command and raises StoreUnavailable where nothing comes of it."""

    def __init__(self, sure: Callable[[Words], Awaitable[Any]], worker: str) -> None:
        self._sure = sure
        self._worker = worker
        #: what was said last: the budgets, their names, and where it stands that somebody has just said the same
        self._last: tuple[Sequence[Budget], list[bytes], str] | None = None

    async def say(self, budgets: Sequence[Budget], wall_s: float, *, again: bool) -> None:
        """That these hold; `again`: unless another worker has just said it of the same."""
        last = self._last
        if last is None or last[0] is not budgets:
            last = self._last = budgets, *await asyncio.to_thread(_named, budgets)
        _, names, said = last
        if not names or (again and not await self._sure(("SET", said, self._worker, "NX", "PX", _SAID_MS))):
            return
        now_ms = int(wall_s * 1000)
        for at in range(0, len(names), _AT_ONCE):
            some = names[at : at + _AT_ONCE]
            await self._sure(("ZADD", RULES, *(word for name in some for word in (now_ms, name))))
        await self._sure(("ZREMRANGEBYSCORE", RULES, "-inf", now_ms - _REMEMBERED_MS))

    async def said(self) -> list[tuple[Budget, float]]:
        """The budgets that held anywhere, and when that was said last (seconds since 1970). Those of another version
        that this one cannot read are left out, and so begin with the rows."""
        reply: list[bytes] = await self._sure(("ZRANGE", RULES, 0, -1, "WITHSCORES"))
        found: list[tuple[Budget, float]] = []
        for name, ms in zip(reply[::2], reply[1::2], strict=True):
            with suppress(msgspec.DecodeError):
                found.append((_budget(name), float(ms) / 1000))
        return found


def _named(budgets: Sequence[Budget]) -> tuple[list[bytes], str]:
    """Amounts do not matter."""
    names = [_json(msgspec.structs.replace(one, amount_nanos=0, strict=False)) for one in budgets]
    return names, SAID + hashlib.sha256(b"".join(names)).hexdigest()[:32]
