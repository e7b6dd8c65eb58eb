"""How a limit or a budget stands now, as the server of the counters tells it. Must only read."""

from __future__ import annotations

import asyncio
from typing import Any

from sekisho.stores.counters import BudgetSpec, BudgetState, MeterSpec, MeterState, left_of
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.redis_link import RedisError, RedisLink
from sekisho.stores.redis_words import Windows, budget_key, meter_keys


async def look_at_meter(link: RedisLink, spec: MeterSpec, server_us: float) -> MeterState:
    """At the server's time, microseconds since 1970. Raises StoreUnavailable."""
    buckets, running = meter_keys(spec)
    found, count = await _read(link.call("GET", buckets), link.call("SCARD", running))
    q_us, t_us = map(float, found.split()) if found else (0.0, 0.0)
    return MeterState(
        spec=spec,
        remaining_requests=None if spec.qpm is None else left_of(spec.qpm, spec.q_room_s, (q_us - server_us) / 1e6),
        remaining_tokens=None if spec.tpm is None else left_of(spec.tpm, spec.t_burst_s, (t_us - server_us) / 1e6),
        running=count,
    )


async def look_at_budget(link: RedisLink, spec: BudgetSpec, windows: Windows) -> BudgetState:
    """In the period of now. Raises StoreUnavailable."""
    begins_s, ends_s = windows[spec.period]
    (found,) = await _read(link.call("HMGET", budget_key(spec.key, begins_s), "spent", "reserved", "beyond"))
    spent, reserved, beyond = (int(value or 0) for value in found)
    return BudgetState(spec=spec, spent_nanos=spent, reserved_nanos=reserved, bound_nanos=beyond, resets_at_s=ends_s)


async def _read(*asked: asyncio.Future[Any]) -> list[Any]:
    """For who looks a server that refuses (rights that were changed, another one's script that runs on) is none."""
    try:
        return await asyncio.gather(*asked)
    except RedisError as error:
        raise StoreUnavailable(f"the counters' server refuses: {error}") from None
