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
from sekisho.stores.redis_words import RULES, SAID, Words, saying

#: said at once: of ten thousand the server would stand still, and the event loop too
_AT_ONCE = 200
#: a little less than the time between two looks, at which it is said again
_SAID_MS = 4_000
_json = msgspec.json.Encoder().encode
_budget = msgspec.json.Decoder(Budget).decode


class HeldBudgets:
    """One worker's words about them. `sure` sends a command and raises StoreUnavailable where nothing comes of it."""

    def __init__(self, sure: Callable[[Words], Awaitable[Any]], worker: str) -> None:
        self._sure = sure
        self._worker = worker
        #: what was said last: the budgets, their names, and the digest of these
        self._last: tuple[Sequence[Budget], list[bytes], str] = (), *_named(())

    async def say(self, budgets: Sequence[Budget], epoch: str, *, again: bool) -> None:
        """That these hold; `again`: unless another worker has just said it of the same. In another epoch it is not
        noted: nobody knows yet whether what is counted on them was rebuilt."""
        if self._last[0] is not budgets:
            self._last = budgets, *await asyncio.to_thread(_named, budgets)
        said = f"{SAID}{self._last[2]}:{epoch}"
        if not budgets or (again and not await self._sure(("SET", said, self._worker, "NX", "PX", _SAID_MS))):
            return
        for words in self.words(budgets, epoch):
            await self._sure(words)

    def words(self, budgets: Sequence[Budget], epoch: str) -> list[Words]:
        """What says so."""
        if self._last[0] is not budgets:
            self._last = budgets, *_named(budgets)
        names = self._last[1]
        return [saying(epoch, names[at : at + _AT_ONCE]) for at in range(0, len(names), _AT_ONCE)]

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
    return names, hashlib.sha256(b"".join(names)).hexdigest()[:32]
