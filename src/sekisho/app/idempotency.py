"""Where answers are kept for callers who ask again: the store that `state` and `database` name. Must not ask it."""

from __future__ import annotations

import time

from sekisho.app.settings.model import Settings
from sekisho.gateway.policies.idempotency import Idempotency
from sekisho.ledger.tally import Tally
from sekisho.stores.idempotency import IdempotencyStore


async def open_idempotency(settings: Settings, pepper: bytes, tally: Tally) -> Idempotency:
    """Redis or Valkey where `state` names one, else PostgreSQL where `database` does, else a file in the data folder.
    To be closed. A store that does not answer is no error here."""
    return Idempotency(await _store(settings), pepper, tally.idempotency)


async def _store(settings: Settings) -> IdempotencyStore:
    if settings.state_url is not None:
        from sekisho.stores.redis_idempotency import RedisIdempotency

        shared = RedisIdempotency(settings.state_url.reveal(), time.time_ns() // 1000)
        await shared.open()
        return shared
    if settings.database_url is not None:
        from sekisho.stores.postgres_idempotency import postgres_idempotency

        return postgres_idempotency(settings.database_url.reveal())
    from sekisho.stores.sqlite_idempotency import FILE_NAME, sqlite_idempotency

    return sqlite_idempotency(settings.data_dir / FILE_NAME)
