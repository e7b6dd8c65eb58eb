"""Stores of kept answers that fall silent, die and come back: a clear no in time, and answers that are still there."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator

import pytest
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer

from sekisho.stores.idempotency import Found, IdempotencyStore, Lease
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.postgres_idempotency import postgres_idempotency
from sekisho.stores.redis_idempotency import RedisIdempotency

NOW, SECOND, ASKED = 1_795_000_000_000_000, 1_000_000, b"a" * 32
#: a second is promised; what a busy machine adds is not the store's
PATIENCE_S = 5.0


def lease(key: bytes) -> Lease:
    return Lease(key.ljust(32, b"\0"), os.urandom(16))


async def claim(store: IdempotencyStore, key: bytes, at: int = NOW) -> Found:
    return await store.claim(lease(key), ASKED, at, at + 60 * SECOND)


async def refused(store: IdempotencyStore, key: bytes) -> float:
    """How long it took to hear that there is no answer."""
    started_s = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await claim(store, key)
    return time.monotonic() - started_s


async def until_it_answers(store: IdempotencyStore, key: bytes) -> Found:
    async with asyncio.timeout(30):
        while True:
            try:
                return await claim(store, key)
            except StoreUnavailable:
                await asyncio.sleep(0.05)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_silent_postgresql_costs_a_caller_a_second(silent: int) -> None:
    store = postgres_idempotency(f"postgresql://sekisho@127.0.0.1:{silent}/x")
    waits_s = await asyncio.gather(*(refused(store, b"%d" % n) for n in range(10)))
    assert max(waits_s) < PATIENCE_S
    await store.close()


async def test_a_silent_redis_costs_a_caller_a_second(silent: int) -> None:
    store = RedisIdempotency(f"redis://127.0.0.1:{silent}/0", NOW)
    await store.open()
    waits_s = await asyncio.gather(*(refused(store, b"%d" % n) for n in range(10)))
    assert max(waits_s) < PATIENCE_S
    await store.close()


async def test_answers_outlive_a_killed_postgresql() -> None:
    with PostgresServer() as server:
        store = postgres_idempotency(server.new_url())
        mine = lease(b"kept")
        assert (await until_it_answers(store, b"warm")).state == "claimed"
        assert (await store.claim(mine, ASKED, NOW, NOW + 60 * SECOND)).state == "claimed"
        assert await store.keep(mine, b"answer", NOW + 1000 * SECOND)
        server.kill()
        assert await refused(store, b"kept") < PATIENCE_S
        server.start()
        assert await until_it_answers(store, b"kept") == Found("kept", b"answer")
        await store.close()


async def test_a_paused_redis_and_one_that_lost_its_memory() -> None:
    with RedisServer() as server:
        store = RedisIdempotency(server.url, NOW)
        await store.open()
        mine = lease(b"kept")
        assert (await store.claim(mine, ASKED, NOW, NOW + 60 * SECOND)).state == "claimed"
        assert await store.keep(mine, b"answer", NOW + 1000 * SECOND)
        server.pause()
        assert await refused(store, b"during the pause") < PATIENCE_S
        assert await refused(store, b"kept") < 0.5, "known to be away: refused at once"
        server.resume()
        assert await until_it_answers(store, b"kept") == Found("kept", b"answer")
        server.kill()
        assert await refused(store, b"kept") < PATIENCE_S
        server.start()
        assert (await until_it_answers(store, b"kept")).state == "claimed", "its memory is gone, and the answer with it"
        await store.close()


@pytest.mark.parametrize("way", ["keep", "release"])
async def test_what_redis_would_not_take_is_given_up_as_soon_as_it_does(way: str) -> None:
    """Long before the lease ends: until then nobody else could ask this again."""
    with RedisServer() as server:
        store = RedisIdempotency(server.url, NOW)
        await store.open()
        mine = lease(b"mine")
        assert (await store.claim(mine, ASKED, NOW, NOW + 60 * SECOND)).state == "claimed"
        server.ask("ACL", "SETUSER", "default", "-@write")
        with pytest.raises(StoreUnavailable):
            await (store.keep(mine, b"answer", NOW + 1000 * SECOND) if way == "keep" else store.release(mine))
        server.ask("ACL", "SETUSER", "default", "+@write")
        async with asyncio.timeout(30):
            while (await until_it_answers(store, b"mine")).state != "claimed":
                await asyncio.sleep(0.05)
        assert not store._doubtful
        await store.close()
