"""What every store of kept answers promises: one owner at a time, answers for a day, nothing after."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.support.redis_server import RedisServer

from sekisho.stores.idempotency import Found, IdempotencyStore, Lease, wall_us
from sekisho.stores.postgres_idempotency import postgres_idempotency
from sekisho.stores.redis_idempotency import RedisIdempotency
from sekisho.stores.sqlite_idempotency import sqlite_idempotency

NOW = 1_795_000_000_000_000
SECOND = 1_000_000
ASKED, OTHER = b"a" * 32, b"b" * 32
ANSWER = bytes(range(256))


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as one:
        yield one


class House:
    """Two processes at one store, and the words to use them by."""

    def __init__(self, stores: list[IdempotencyStore]) -> None:
        self.stores = stores

    async def claim(self, key: bytes, *, at: int = NOW, asked: bytes = ASKED, by: int = 0) -> tuple[Lease, Found]:
        lease = Lease(key.ljust(32, b"\0"), os.urandom(16))
        return lease, await self.stores[by].claim(lease, asked, at, at + 60 * SECOND)

    async def claimed(self, key: bytes, *, at: int = NOW, asked: bytes = ASKED, by: int = 0) -> Lease:
        lease, found = await self.claim(key, at=at, asked=asked, by=by)
        assert found == Found("claimed")
        return lease

    async def state(self, key: bytes, *, at: int = NOW, asked: bytes = ASKED, by: int = 1) -> str:
        """What another call finds; a claim that it was given is given up again."""
        lease, found = await self.claim(key, at=at, asked=asked, by=by)
        if found.state == "claimed":
            await self.stores[by].release(lease)
        return found.state


@pytest.fixture(params=["sqlite", "postgres", "redis"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    make: Callable[[], IdempotencyStore]
    # The machine that runs the tests may be busy: what is promised in a second is tried elsewhere.
    if request.param == "sqlite":
        make = lambda: sqlite_idempotency(tmp_path / "data" / "idempotency.db", timeout_s=20)  # noqa: E731
    elif request.param == "postgres":
        url = request.getfixturevalue("postgres")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS idempotency_answers")
        make = lambda: postgres_idempotency(url, timeout_s=20)  # noqa: E731
    else:
        server: RedisServer = request.getfixturevalue("redis")
        server.empty()
        make = lambda: RedisIdempotency(server.url, NOW, timeout_s=20)  # noqa: E731
    stores = [make(), make()]
    for store in stores:
        if isinstance(store, RedisIdempotency):
            await store.open()
    yield House(stores)
    for store in stores:
        await store.close()


async def test_there_is_nothing_to_tend_before_the_first_key(house: House) -> None:
    await house.stores[0].tend([], NOW, NOW + SECOND)
    assert await house.state(b"k") == "claimed"


async def test_one_claim_holds_until_it_is_released(house: House) -> None:
    lease = await house.claimed(b"k")
    assert await house.state(b"k") == "running"
    assert await house.state(b"another") == "claimed"
    await house.stores[0].release(lease)
    assert await house.state(b"k") == "claimed"


async def test_of_many_who_claim_at_once_one_is_given_it(house: House) -> None:
    found = await asyncio.gather(*(house.claim(b"k", by=n % 2) for n in range(20)))
    assert sorted(one.state for _, one in found) == ["claimed"] + ["running"] * 19


async def test_an_answer_is_given_again_for_its_time(house: House) -> None:
    lease = await house.claimed(b"k")
    assert await house.stores[0].keep(lease, ANSWER, NOW + 100 * SECOND)
    for by in (0, 1):
        assert (await house.claim(b"k", by=by))[1] == Found("kept", ANSWER)
    assert (await house.claim(b"k", at=NOW + 100 * SECOND - 1))[1] == Found("kept", ANSWER)
    assert await house.state(b"k", at=NOW + 100 * SECOND) == "claimed"


async def test_another_body_is_told_apart_while_running_and_afterwards(house: House) -> None:
    lease = await house.claimed(b"k")
    assert await house.state(b"k", asked=OTHER) == "other_body"
    await house.stores[0].keep(lease, ANSWER, NOW + 100 * SECOND)
    assert await house.state(b"k", asked=OTHER) == "other_body"
    assert await house.state(b"k", asked=OTHER, at=NOW + 100 * SECOND) == "claimed"


async def test_the_claim_of_a_dead_process_ends_by_itself(house: House) -> None:
    await house.claimed(b"k")
    assert await house.state(b"k", at=NOW + 60 * SECOND - 1) == "running"
    assert await house.state(b"k", at=NOW + 60 * SECOND) == "claimed"


async def test_who_lost_a_claim_can_neither_keep_nor_release_nor_prolong_it(house: House) -> None:
    late = await house.claimed(b"k")
    after = NOW + 61 * SECOND
    owner = await house.claimed(b"k", at=after, by=1)
    assert not await house.stores[0].keep(late, b"late", after + 100 * SECOND)
    await house.stores[0].release(late)
    await house.stores[0].tend([late], after, after + 1000 * SECOND)
    assert await house.state(b"k", at=after + 60 * SECOND - 1) == "running"
    assert await house.stores[1].keep(owner, ANSWER, after + 100 * SECOND)
    assert not await house.stores[0].keep(late, b"late", after + 100 * SECOND)
    assert (await house.claim(b"k", at=after))[1] == Found("kept", ANSWER)


async def test_an_answer_cannot_be_released_nor_replaced_by_its_owner(house: House) -> None:
    lease = await house.claimed(b"k")
    assert await house.stores[0].keep(lease, ANSWER, NOW + 100 * SECOND)
    await house.stores[0].release(lease)
    assert not await house.stores[0].keep(lease, b"again", NOW + 200 * SECOND)
    await house.stores[0].tend([lease], NOW, NOW + 300 * SECOND)
    assert (await house.claim(b"k", at=NOW + 99 * SECOND))[1] == Found("kept", ANSWER)
    assert await house.state(b"k", at=NOW + 100 * SECOND) == "claimed"


@pytest.mark.parametrize("ahead_s", [3600, -3600])
async def test_a_machine_with_a_wrong_clock_takes_nothing_from_others(
    house: House, request: pytest.FixtureRequest, ahead_s: int
) -> None:
    wrong = ahead_s * SECOND
    other = await _elsewhere(house, request, lambda: wall_us() + wrong)
    right = wall_us()
    running, answered = await house.claimed(b"running", at=right), await house.claimed(b"answered", at=right)
    assert await house.stores[0].keep(answered, ANSWER, right + 100 * SECOND)
    try:
        elsewhere = House([other])
        await other.tend([], right + wrong, right + wrong + 60 * SECOND)
        assert await elsewhere.state(b"running", at=right + wrong, by=0) == "running"
        assert await elsewhere.state(b"answered", at=right + wrong, by=0) == "kept"
        theirs = await elsewhere.claimed(b"theirs", at=right + wrong)
        assert await house.state(b"theirs", at=right + 50 * SECOND) == "running"
        assert await house.state(b"theirs", at=right + 70 * SECOND) == "claimed"
        await other.release(theirs)
        await house.stores[0].release(running)
    finally:
        await other.close()


async def _elsewhere(house: House, request: pytest.FixtureRequest, own_us: Callable[[], int]) -> IdempotencyStore:
    """Another machine at the same store."""
    if isinstance(house.stores[0], RedisIdempotency):
        redis = RedisIdempotency(request.getfixturevalue("redis").url, own_us(), timeout_s=20, own_us=own_us)
        await redis.open()
        return redis
    if request.node.callspec.params["house"] == "sqlite":
        pytest.skip("a file has one machine")
    return postgres_idempotency(request.getfixturevalue("postgres"), timeout_s=20, own_us=own_us)


async def test_what_is_tended_lives_on_and_the_rest_is_swept(house: House) -> None:
    kept = await house.claimed(b"tended")
    await house.claimed(b"dead")
    await house.stores[0].tend([kept], NOW + 50 * SECOND, NOW + 110 * SECOND)
    await house.stores[0].tend([], NOW + 61 * SECOND, NOW + 121 * SECOND)
    assert await house.state(b"dead", at=NOW + 61 * SECOND) == "claimed"
    assert await house.state(b"tended", at=NOW + 100 * SECOND) == "running"
    await house.stores[1].tend([], NOW + 111 * SECOND, NOW + 171 * SECOND)
    assert await house.state(b"tended", at=NOW + 111 * SECOND) == "claimed"


async def test_what_is_swept_is_gone_from_the_database(postgres: str) -> None:
    store = postgres_idempotency(postgres, timeout_s=20)
    house = House([store])
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS idempotency_answers")
        now = wall_us()
        await store.keep(await house.claimed(b"old", at=now), ANSWER, now + 100 * SECOND)
        await store.keep(await house.claimed(b"new", at=now), ANSWER, now + 900 * SECOND)
        await store.tend([], now + 500 * SECOND, now + 560 * SECOND)
        left = connection.execute("SELECT id FROM idempotency_answers").fetchall()
    assert left == [(b"new".ljust(32, b"\0"),)]
    await store.close()


async def test_redis_forgets_an_answer_soon_after_its_time(redis: RedisServer) -> None:
    redis.empty()
    now = wall_us()
    store = RedisIdempotency(redis.url, now, timeout_s=20)
    await store.open()
    lease = await House([store]).claimed(b"k", at=now)

    def left_s() -> int:
        return int((redis.ask("TTL", "{sekisho}:once:" + lease.id.hex()) or b"").strip(b":\r\n"))

    assert 60 < left_s() <= 121
    await store.tend([lease], now, now + 90 * SECOND)
    assert 121 < left_s() <= 151
    assert await store.keep(lease, ANSWER, now + 900 * SECOND)
    assert 900 < left_s() <= 961
    await store.close()


async def test_large_answers_come_back_whole(house: House) -> None:
    lease = await house.claimed(b"k")
    large = os.urandom(2_200_000)
    assert await house.stores[0].keep(lease, large, NOW + 100 * SECOND)
    assert (await house.claim(b"k", by=1))[1].sealed == large


async def test_a_claim_whose_caller_left_is_given_up(house: House) -> None:
    for n in range(20):
        claiming = asyncio.ensure_future(house.claim(b"k%d" % n))
        for _ in range(n % 5):
            await asyncio.sleep(0)
        claiming.cancel()
        try:
            lease, found = await claiming
        except asyncio.CancelledError:
            pass
        else:
            assert found.state == "claimed"
            await house.stores[0].release(lease)
    async with asyncio.timeout(20):
        for n in range(20):
            while await house.state(b"k%d" % n) != "claimed":
                await asyncio.sleep(0.005)
