"""Four workers on one Redis let in as many as one exact bucket would: ten minutes of a clock that the test moves."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.support.redis_server import RedisServer

from sekisho.domain.spending import scope_of
from sekisho.ledger.scopes import scope_key
from sekisho.stores import redis_memory, redis_words
from sekisho.stores.counters import Denial, MeterSpec, Reservation, SpentBefore
from sekisho.stores.redis_counters import RedisCounters

MINUTES = 10
WORKERS = 4
SCOPE = scope_of({"team": "research"})


class Exact:
    """The bucket as its definition says, in exact numbers."""

    def __init__(self, limit: int) -> None:
        self.rate = Fraction(limit, 60)
        self.size = self.level = Fraction(limit)
        self.at = Fraction(0)

    def take(self, at_s: Fraction, amount: int) -> bool:
        self.level = min(self.size, self.level + (at_s - self.at) * self.rate)
        self.at = at_s
        if self.level < amount:
            return False
        self.level -= amount
        return True


@pytest.fixture
async def workers(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[RedisCounters]]:
    """On a server whose script asks a key for the time."""
    script = redis_words.SCRIPT.replace("redis.call('TIME')", "redis.call('HMGET', '{sekisho}:clock', 's', 'us')")
    assert script != redis_words.SCRIPT
    monkeypatch.setattr(redis_memory, "LOADING", ("SCRIPT", "LOAD", script))
    monkeypatch.setattr(redis_words, "SCRIPT_SHA", hashlib.sha1(script.encode()).hexdigest())

    async def nothing(_as_of_s: float) -> SpentBefore:
        return SpentBefore(nanos={})

    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer())
        server.ask("HSET", "{sekisho}:clock", "s", "1795000000", "us", "0")
        found: list[RedisCounters] = []
        for _ in range(WORKERS):
            counters = RedisCounters(
                *(server.url, ZoneInfo("UTC"), lambda event: None, nothing, time.perf_counter(), time.time()),
                grace_s=0.01,
                timeout_s=20,
            )
            await counters.open()
            stack.push_async_callback(counters.close)
            found.append(counters)
        yield found


async def let_in(workers: list[RedisCounters], spec: MeterSpec, arrivals: list[tuple[int, int]]) -> int:
    """How much is let in of arrivals (microseconds, tokens), each at one of the workers."""
    accounts = [worker.bind([spec], [], []) for worker in workers]
    link = workers[0]._link
    total = 0
    for number, (at_us, tokens) in enumerate(arrivals):
        seconds, micros = divmod(at_us, 1_000_000)
        worker = workers[number % WORKERS]
        setting = link.call("HSET", "{sekisho}:clock", "s", 1_795_000_000 + seconds, "us", micros)
        if worker is not workers[0]:
            await setting
        outcome: Any = worker.admit(accounts[number % WORKERS], time.perf_counter(), tokens, 0, 0, "")
        outcome = await outcome
        if isinstance(outcome, Reservation):
            total += 1 if spec.tpm is None else tokens
            worker.end(outcome, "settled", time.perf_counter(), tokens)
        else:
            assert isinstance(outcome, Denial)
    async with asyncio.timeout(60):
        while any(worker.untold for worker in workers):
            await asyncio.sleep(0.001)
    return total


def arrivals(seed: int, a_minute: float, most_tokens: int) -> list[tuple[int, int]]:
    """Calls at random times, now more and now fewer of them."""
    draw = random.Random(seed)
    found: list[tuple[int, int]] = []
    at_s = 0.0
    while True:
        busy = 2.5 if int(at_s / 45) % 3 else 0.5
        at_s += draw.expovariate(a_minute * busy / 60)
        if at_s >= MINUTES * 60:
            return found
        found.append((int(at_s * 1e6), draw.randint(1, most_tokens)))


async def test_600_calls_a_minute(workers: list[RedisCounters]) -> None:
    spec = MeterSpec(key=scope_key(SCOPE), scope=SCOPE, qpm=600)
    calls = arrivals(1, 600, 1)
    exact = Exact(600)
    wanted = sum(exact.take(Fraction(at_us, 1_000_000), 1) for at_us, _ in calls)
    assert wanted < 0.9 * len(calls)
    assert await let_in(workers, spec, calls) == pytest.approx(wanted, rel=0.01)


async def test_50_000_tokens_a_minute(workers: list[RedisCounters]) -> None:
    spec = MeterSpec(key=scope_key(SCOPE), scope=SCOPE, tpm=50_000)
    calls = arrivals(2, 50, 2_000)
    exact = Exact(50_000)
    wanted = sum(tokens for at_us, tokens in calls if exact.take(Fraction(at_us, 1_000_000), tokens))
    assert wanted < 0.9 * sum(tokens for _, tokens in calls)
    assert await let_in(workers, spec, calls) == pytest.approx(wanted, rel=0.01)
