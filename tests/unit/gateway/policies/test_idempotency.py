"""The policy at its port: what is locked, kept, prolonged, given back; and what a store must not learn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sekisho.domain.call import Attempt, Call, Caller, Entry, Route
from sekisho.domain.endpoint import Target
from sekisho.domain.errors import Refusal
from sekisho.formats.openai import ChunkFacts
from sekisho.gateway.policies.idempotency import (
    KEPT_S,
    LEASE_S,
    MOST_ANSWER_BYTES,
    Claim,
    Idempotency,
    KeptAnswer,
)
from sekisho.stores.idempotency import Found, Lease
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.sqlite_idempotency import FILE_NAME, sqlite_idempotency

PEPPER = b"p" * 32
ROUTE = Route(path="/v1/chat/completions", protocol="openai_chat", operation="chat", api_type="openai/v1/chat")
TARGET = Target(provider="mock", model="mock-small")
SECRETS = (
    b"the-secret-key",
    b"a question nobody may read",
    b"an answer nobody may read",
    b"key_of_taro",
    b"mock-small",
)


class Clock:
    def __init__(self) -> None:
        self.now_us = 1_795_000_000_000_000

    def __call__(self) -> int:
        return self.now_us

    def move(self, seconds: float) -> None:
        self.now_us += int(seconds * 1_000_000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def policy(tmp_path: Path, clock: Clock) -> AsyncIterator[Idempotency]:
    one = Idempotency(sqlite_idempotency(tmp_path / FILE_NAME, timeout_s=20), PEPPER, {}, clock)
    yield one
    await one.close()


def entry(
    key: bytes = SECRETS[0], body: bytes = SECRETS[1], caller: str = "key_of_taro", route: Route = ROUTE
) -> Entry:
    one = Entry(Call(route, {b"idempotency-key": key}, body, "req_1", 0, None))
    one.caller = Caller(key_id=caller, key_name="one")
    one.attempts = [Attempt(TARGET, "primary", 0.0)]
    one.finish_reasons = ["stop"]
    return one


async def refused(policy: Idempotency, one: Entry) -> int:
    with pytest.raises(Refusal) as raised:
        await policy.claim(one)
    assert one.claim is None
    return raised.value.status


async def test_an_answer_lasts_for_a_day(policy: Idempotency, clock: Clock) -> None:
    first = entry()
    assert await policy.claim(first) is None
    await policy.keep(first, SECRETS[2])
    assert first.claim is None
    clock.move(KEPT_S - 1)
    again = entry()
    kept = await policy.claim(again)
    assert kept == KeptAnswer("req_1", "mock", "mock-small", ["stop"], SECRETS[2])
    assert (again.claim, again.cache_status, again.finish_reasons) == (None, "replay", ["stop"])
    clock.move(1)
    assert await policy.claim(entry()) is None


async def test_a_replay_names_the_target_that_answered(policy: Idempotency) -> None:
    first = entry()
    first.attempts.append(Attempt(Target(provider="other", model="fallback"), "fallback", 1.0))
    await policy.claim(first)
    await policy.keep(first, SECRETS[2])
    kept = await policy.claim(entry())
    assert kept is not None
    assert (kept.provider, kept.model) == ("other", "fallback")


class Edge:
    """Whose frames are the payloads."""

    def frames(self, payload: bytes, facts: ChunkFacts) -> bytes:
        return payload

    def end(self) -> bytes:
        return b"end"

    def error(self, code: str) -> bytes:
        return b"error"

    def ping(self) -> bytes:
        return b"ping"


async def test_of_a_stream_the_attempt_that_answered_is_kept_and_nothing_of_those_before(policy: Idempotency) -> None:
    first = entry()
    await policy.claim(first)
    edge_of: Any = policy.recording(first, lambda _: Edge())
    edge_of(None).frames(b"what a failed attempt began", ChunkFacts())
    edge = edge_of(None)
    sent = edge.frames(b"one ", ChunkFacts()) + edge.ping() + edge.frames(b"two ", ChunkFacts()) + edge.end()
    assert sent == b"one pingtwo end"
    assert policy.ended(first, "completed", None) is not None
    await settled(policy)
    kept = await policy.claim(entry())
    assert kept is not None
    assert kept.body == b"one two end"


async def test_what_is_too_large_to_keep_does_not_pile_up(policy: Idempotency) -> None:
    first = entry()
    await policy.claim(first)
    edge_of: Any = policy.recording(first, lambda _: Edge())
    edge = edge_of(None)
    for _ in range(3):
        assert len(edge.frames(b"x" * MOST_ANSWER_BYTES, ChunkFacts())) == MOST_ANSWER_BYTES, "the caller gets it all"
    assert isinstance(first.claim, Claim)
    assert first.claim.frames is None
    assert policy.ended(first, "completed", None) is None
    await settled(policy)
    assert policy.counts["not_kept"] == 1
    assert await policy.claim(entry()) is None


async def test_the_store_learns_nothing(policy: Idempotency, tmp_path: Path) -> None:
    first = entry()
    await policy.claim(first)
    await policy.keep(first, SECRETS[2])
    await policy.close()
    files = b"".join(one.read_bytes() for one in tmp_path.iterdir())
    assert len(files) > 4096
    for secret in (*SECRETS, b"req_1", b"chat/completions"):
        assert secret not in files


async def test_nothing_of_it_is_printed(policy: Idempotency) -> None:
    first = entry()
    await policy.claim(first)
    await policy.keep(first, SECRETS[2])
    kept = await policy.claim(entry())
    assert "nobody" not in f"{kept!r}"
    assert "nobody" not in repr(Found("kept", SECRETS[2]))


async def test_a_running_call_keeps_its_key_for_as_long_as_it_runs(policy: Idempotency, clock: Clock) -> None:
    first = entry()
    await policy.claim(first)
    for second in range(10 * LEASE_S):
        clock.move(1)
        policy.tick(float(second))
        if second % 10 == 0:
            await settled(policy)
            assert await refused(policy, entry()) == 409
    await policy.keep(first, SECRETS[2])
    assert await policy.claim(entry()) is not None


async def test_the_key_of_a_killed_process_is_free_after_its_lease(
    policy: Idempotency, clock: Clock, tmp_path: Path
) -> None:
    killed = Idempotency(sqlite_idempotency(tmp_path / FILE_NAME, timeout_s=20), PEPPER, {}, clock)
    dead = entry()
    await killed.claim(dead)
    clock.move(LEASE_S - 1)
    policy.tick(0.0)
    await settled(policy)
    assert await refused(policy, entry()) == 409
    clock.move(1)
    assert await policy.claim(entry()) is None
    await killed.keep(dead, b"too late")
    assert await refused(policy, entry()) == 409
    assert killed.counts["not_kept"] == 1
    await killed.close()


async def test_released_means_that_the_next_one_works(policy: Idempotency) -> None:
    first = entry()
    await policy.claim(first)
    policy.release(first)
    policy.release(first)
    await settled(policy)
    assert await policy.claim(entry()) is None


@pytest.mark.parametrize(
    "other",
    [
        entry(caller="key_of_jiro"),
        entry(key=b"another-key"),
        entry(route=Route(path="/v1/embeddings", protocol="openai_embeddings", operation="embeddings", api_type="e")),
    ],
    ids=["caller", "key", "route"],
)
async def test_what_is_not_the_same_question_is_another(policy: Idempotency, other: Entry) -> None:
    first = entry()
    await policy.claim(first)
    await policy.keep(first, SECRETS[2])
    assert await policy.claim(other) is None


async def test_a_damaged_answer_is_no_answer_and_no_second_bill(
    policy: Idempotency, caplog: pytest.LogCaptureFixture
) -> None:
    store = policy._store
    original = store.keep

    async def damage(lease: Lease, sealed: bytes, until_us: int) -> bool:
        return await original(lease, sealed[:-1] + bytes([sealed[-1] ^ 1]), until_us)

    store.keep = damage  # type: ignore[method-assign]
    first = entry()
    await policy.claim(first)
    await policy.keep(first, SECRETS[2])
    assert await refused(policy, entry()) == 503
    assert "cannot be read" in caplog.text


async def test_an_answer_that_another_version_kept_is_none(
    policy: Idempotency, caplog: pytest.LogCaptureFixture
) -> None:
    store = policy._store
    original = store.keep

    async def other(lease: Lease, sealed: bytes, until_us: int) -> bool:
        return await original(lease, policy._sealer.seal(lease.id, msgspec.msgpack.encode({"body": "?"})), until_us)

    store.keep = other  # type: ignore[method-assign]
    first = entry()
    await policy.claim(first)
    await policy.keep(first, SECRETS[2])
    assert await refused(policy, entry()) == 503
    assert "cannot be read" in caplog.text


class SlowStore:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.done: list[str] = []

    async def claim(self, lease: Lease, asked: bytes, now_us: int, until_us: int) -> Found:
        return Found("claimed")

    async def keep(self, lease: Lease, sealed: bytes, until_us: int) -> bool:
        await self.may_answer.wait()
        self.done.append("keep")
        return True

    async def release(self, lease: Lease) -> None:
        self.done.append("release")

    async def tend(self, leases: Sequence[Lease], now_us: int, until_us: int) -> None:
        self.done.append(f"tend {len(leases)}")

    async def close(self) -> None:
        self.done.append("close")


async def test_a_caller_who_leaves_while_the_answer_is_put_away_changes_nothing() -> None:
    store = SlowStore()
    policy = Idempotency(store, PEPPER, {})
    first = entry()
    await policy.claim(first)
    keeping = asyncio.ensure_future(policy.keep(first, b"answer"))
    await asyncio.sleep(0)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    store.may_answer.set()
    await policy.close()
    assert store.done == ["keep", "close"]


async def test_the_end_of_a_stream_waits_for_the_answer_and_for_the_disk() -> None:
    for synced in (False, True):
        store = SlowStore()
        policy = Idempotency(store, PEPPER, {})
        first = entry()
        await policy.claim(first)
        policy.recording(first, lambda _: None)(None)  # type: ignore[arg-type,return-value]
        told: list[bool] = []
        waits = policy.ended(first, "completed", (lambda tell: tell(False)) if synced else None)
        assert waits is not None
        waits(told.append)
        await asyncio.sleep(0)
        assert told == []
        store.may_answer.set()
        await settled(policy)
        assert told == [not synced]
        await policy.close()


@pytest.mark.parametrize("state", ["truncated", "client_left", "timed_out", "interrupted", "upstream_error"])
async def test_a_stream_that_was_not_completed_is_given_back(state) -> None:
    store = SlowStore()
    policy = Idempotency(store, PEPPER, {})
    first = entry()
    await policy.claim(first)
    policy.recording(first, lambda _: None)(None)  # type: ignore[arg-type,return-value]
    assert policy.ended(first, state, None) is None
    await policy.close()
    assert store.done == ["release", "close"]
    assert policy.counts["not_kept"] == 0


async def test_only_what_runs_is_prolonged() -> None:
    store = SlowStore()
    store.may_answer.set()
    policy = Idempotency(store, PEPPER, {})
    running, answered, left = entry(b"1"), entry(b"2"), entry(b"3")
    for one in (running, answered, left):
        await policy.claim(one)
    await policy.keep(answered, b"answer")
    policy.release(left)
    await settled(policy)
    policy.tick(0.0)
    policy.tick(1.0)
    policy.tick(14.9)
    await settled(policy)
    assert [one for one in store.done if one.startswith("tend")] == ["tend 1"]
    policy.tick(15.0)
    await settled(policy)
    assert store.done[-1] == "tend 1"
    await policy.close()


async def test_a_claim_that_comes_when_its_caller_has_left_is_given_back() -> None:
    class Counting(SlowStore):
        async def claim(self, lease: Lease, asked: bytes, now_us: int, until_us: int) -> Found:
            self.done.append("claim")
            return Found("claimed")

    in_time = 0
    for moments in range(6):
        store = Counting()
        policy = Idempotency(store, PEPPER, {})
        await asyncio.to_thread(policy._sealer.load)
        policy._loaded = True
        claiming = asyncio.ensure_future(policy.claim(entry()))
        for _ in range(moments):
            await asyncio.sleep(0)
        claiming.cancel()
        await asyncio.wait({claiming})
        await asyncio.sleep(0)  # what was under way is told of its end
        await policy.close()
        in_time += not claiming.cancelled()
        expected = store.done.count("claim") if claiming.cancelled() else 0
        assert store.done.count("release") == expected, moments
    assert 0 < in_time < 6


async def test_a_store_that_goes_away_is_no_fault_of_those_who_were_let_in(caplog: pytest.LogCaptureFixture) -> None:
    class Gone(SlowStore):
        async def keep(self, lease: Lease, sealed: bytes, until_us: int) -> bool:
            raise StoreUnavailable("gone")

        async def release(self, lease: Lease) -> None:
            raise StoreUnavailable("gone")

        async def tend(self, leases: Sequence[Lease], now_us: int, until_us: int) -> None:
            raise StoreUnavailable("gone")

    policy = Idempotency(Gone(), PEPPER, {})
    answered, left = entry(b"1"), entry(b"2")
    for one in (answered, left):
        assert await policy.claim(one) is None
    await policy.keep(answered, b"answer")
    policy.release(left)
    policy.tick(0.0)
    tasks = set(policy._tasks)
    await settled(policy)
    assert [task.exception() for task in tasks] == [None] * len(tasks)
    assert caplog.text.count("Idempotency-Key") == 1
    await policy.close()


async def test_trouble_is_said_once_until_the_store_answers_again(caplog: pytest.LogCaptureFixture) -> None:
    class Gone(SlowStore):
        gone = True

        async def claim(self, lease: Lease, asked: bytes, now_us: int, until_us: int) -> Found:
            if self.gone:
                raise StoreUnavailable("gone")
            return Found("running")

    store = Gone()
    policy = Idempotency(store, PEPPER, {})
    for _ in range(3):
        assert await refused(policy, entry()) == 503
    assert caplog.text.count("Idempotency-Key") == 1
    policy.tick(0.0)
    await settled(policy)
    assert await refused(policy, entry()) == 503
    assert caplog.text.count("Idempotency-Key") == 2
    await policy.close()


async def settled(policy: Idempotency) -> None:
    """Once nothing is under way any more."""
    async with asyncio.timeout(20):
        while policy._tasks:
            await asyncio.sleep(0.001)
