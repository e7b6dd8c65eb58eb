"""Kept answers in Redis or Valkey, for any number of workers. Must not leave a claim that nobody knows of.

One hash a record, which the server itself forgets when its time is over. A server that lost its memory has lost the
answers too: the next call does the work again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from sekisho.stores.idempotency import SMALL_DIFFERENCE_US, TIMEOUT_S, Found, Lease, wall_us
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.redis_address import address_of
from sekisho.stores.redis_link import RedisError, RedisLink

_PREFIX = b"{sekisho}:once:"
#: the server forgets a record so long after its time by our clocks, which may differ from its own
_LATER_MS = 60_000
#: claims in doubt that are remembered while the server is away; others end with their lease
_MOST_DOUBTFUL = 10_000
_MINE = "if redis.call('HGET', key, 'owner') ~= ARGV[1] or redis.call('HEXISTS', key, 'sealed') == 1 then return 0 end"
#: the last of ARGV is what the caller's clock says at this moment
_MOVED = f"""
local clock = redis.call('TIME')
local ahead = tonumber(clock[1]) * 1000000 + tonumber(clock[2]) - tonumber(ARGV[#ARGV])
if math.abs(ahead) < {SMALL_DIFFERENCE_US} then ahead = 0 end
local function moved(time) return string.format('%.0f', tonumber(time) + ahead) end
"""
#: ARGV: owner, asked, now, until, milliseconds to live, the caller's clock
_CLAIM = f"""
local key = KEYS[1]
{_MOVED}
local found = redis.call('HMGET', key, 'asked', 'until', 'sealed')
if found[1] and tonumber(found[2]) > tonumber(moved(ARGV[3])) then
  if found[1] ~= ARGV[2] then return {{'other_body'}} end
  if found[3] then return {{'kept', found[3]}} end
  return {{'running'}}
end
redis.call('DEL', key)
redis.call('HSET', key, 'owner', ARGV[1], 'asked', ARGV[2], 'until', moved(ARGV[4]))
redis.call('PEXPIRE', key, ARGV[5])
return {{'claimed'}}
"""
#: ARGV: owner, answer, until, milliseconds to live, the caller's clock
_KEEP = f"""
local key = KEYS[1]
{_MINE}
{_MOVED}
redis.call('HSET', key, 'sealed', ARGV[2], 'until', moved(ARGV[3]))
redis.call('PEXPIRE', key, ARGV[4])
return 1
"""
_RELEASE = f"""
local key = KEYS[1]
{_MINE}
return redis.call('DEL', key)
"""
#: ARGV: owner, until, milliseconds to live, the caller's clock
_PROLONG = f"""
local key = KEYS[1]
{_MINE}
{_MOVED}
redis.call('HSET', key, 'until', moved(ARGV[2]))
return redis.call('PEXPIRE', key, ARGV[3])
"""


class RedisIdempotency:
    """An IdempotencyStore on a connection of its own: a large answer must not hold up the counters. `open` first."""

    def __init__(
        self, url: str, now_us: int, timeout_s: float = TIMEOUT_S / 2, own_us: Callable[[], int] = wall_us
    ) -> None:
        self._link = RedisLink(address_of(url), self._came_up, timeout_s)
        self._now_us = now_us
        self._own_us = own_us
        #: owner -> a claim that was given up, and the server may not have heard of it
        self._doubtful: dict[bytes, Lease] = {}

    async def open(self) -> None:
        """Connect, or begin to try: does not raise."""
        await self._link.open()

    async def claim(self, lease: Lease, asked: bytes, now_us: int, until_us: int) -> Found:
        self._now_us = now_us
        words = (lease.owner, asked, now_us, until_us, self._to_live_ms(until_us), self._own_us())
        try:
            state, *sealed = await self._ask(_CLAIM, lease, *words)
        except BaseException:
            self._give_up(lease)  # it may have been granted all the same
            raise
        return Found(state.decode(), *sealed)

    async def keep(self, lease: Lease, sealed: bytes, until_us: int) -> bool:
        try:
            words = (lease.owner, sealed, until_us, self._to_live_ms(until_us), self._own_us())
            return await self._ask(_KEEP, lease, *words) == 1
        except BaseException:
            self._give_up(lease)
            raise

    async def release(self, lease: Lease) -> None:
        try:
            await self._ask(_RELEASE, lease, lease.owner)
        except BaseException:
            self._give_up(lease)
            raise

    async def tend(self, leases: Sequence[Lease], now_us: int, until_us: int) -> None:
        self._now_us = now_us
        to_live_ms = self._to_live_ms(until_us)
        told = (self._ask(_PROLONG, lease, lease.owner, until_us, to_live_ms, self._own_us()) for lease in leases)
        await asyncio.gather(*told)

    async def close(self) -> None:
        await self._link.close()

    async def _ask(self, script: str, lease: Lease, *values: str | bytes | int) -> Any:
        # The text of the script and not its digest: it is short, and a server that was changed knows no digests.
        try:
            return await self._link.call("EVAL", script, 1, _PREFIX + lease.id.hex().encode(), *values)
        except RedisError as error:
            raise StoreUnavailable(f"the store of kept answers refuses: {error}") from error

    def _to_live_ms(self, until_us: int) -> int:
        return max(0, until_us - self._now_us) // 1000 + _LATER_MS

    def _give_up(self, lease: Lease) -> None:
        """Release, without waiting: now on the connection that there is, behind what was sent, or on the next."""
        if len(self._doubtful) < _MOST_DOUBTFUL:
            self._doubtful[lease.owner] = lease
            if self._link.up:
                self._release_soon(lease)

    def _release_soon(self, lease: Lease) -> None:
        def heard(future: asyncio.Future[Any]) -> None:
            if future.exception() is None:
                self._doubtful.pop(lease.owner, None)

        key = _PREFIX + lease.id.hex().encode()
        self._link.call("EVAL", _RELEASE, 1, key, lease.owner).add_done_callback(heard)

    def _came_up(self) -> None:
        for lease in list(self._doubtful.values()):
            self._release_soon(lease)
