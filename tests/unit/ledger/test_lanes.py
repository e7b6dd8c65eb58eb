"""Calls that wait at several limits, and with others at one: whom they hold up, how long, and what they are told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.virtual_time import run_virtually
from tests.unit.ledger.test_limiter import TARGET, House, limit

from sekisho.domain.call import Caller
from sekisho.ledger import limiter as module
from sekisho.ledger.plans import Planner, SizeBook
from sekisho.ledger.scopes import Rules
from sekisho.stores import memory_counters
from sekisho.stores.counters import Denial, Outcome, Reservation

CHAT = {"endpoint": "chat"}


async def ask(house: House, key: str, tokens: int = 10) -> tuple[Outcome, float]:
    """What became of a call, and when."""
    caller = Caller(key_id=f"key_{key}", key_name=key, team="research", department="rd")
    outcome: Any = house.reserve(house.planner.plan_for(caller, "taro", "chat", TARGET), tokens)
    if not isinstance(outcome, Reservation | Denial):
        outcome = await outcome
    return outcome, round(house.now_s(), 1)


def test_a_key_that_is_held_up_by_its_own_limit_holds_up_nobody_at_the_endpoint() -> None:
    async def work() -> None:
        house = House(limit(CHAT, qpm=60, burst_s=1, wait_s=10), limit({"key": "a"}, concurrency=1, wait_s=10))
        running, _ = await ask(house, "a")
        calls: list[asyncio.Task[tuple[Outcome, float]]] = []
        for key in ("b", "a", "b", "b"):
            calls.append(asyncio.ensure_future(ask(house, key)))
            await asyncio.sleep(0.01)
        await asyncio.sleep(5)
        assert isinstance(running, Reservation)
        house.settle(running)
        ends = await asyncio.gather(*calls)
        assert all(isinstance(outcome, Reservation) for outcome, _ in ends)
        assert [at_s for _, at_s in ends] == pytest.approx([1, 5, 2, 3], abs=0.1)
        assert house.limiter.waiting == 0

    run_virtually(work())


def test_a_limit_that_lets_nobody_wait_refuses_a_call_that_waits_at_another_one() -> None:
    async def work() -> None:
        house = House(limit(CHAT, qpm=60, burst_s=1, wait_s=10), limit({"key": "a"}, concurrency=1))
        await ask(house, "a")
        first = asyncio.ensure_future(ask(house, "b"))
        await asyncio.sleep(0.01)
        outcome, at_s = await ask(house, "a")
        assert isinstance(outcome, Denial)
        assert at_s == 1.0
        assert isinstance((await first)[0], Reservation)

    run_virtually(work())


def test_who_waits_in_vain_is_told_of_the_own_limits() -> None:
    async def work() -> None:
        house = House(limit(CHAT, concurrency=1, wait_s=3), limit({"key": "a"}, qpm=7), limit({"key": "b"}, qpm=9))
        await ask(house, "a")
        ends = await asyncio.gather(*(ask(house, key) for key in "aab"))
        told = [outcome.headroom for outcome, _ in ends if isinstance(outcome, Denial)]
        assert [headroom and headroom.limit_requests for headroom in told] == [7, 7, 9]

    run_virtually(work())


def test_where_too_many_wait_nothing_is_told_of_their_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)

    async def work() -> None:
        house = House(limit(CHAT, concurrency=1, wait_s=3), limit({"key": "a"}, qpm=7))
        await ask(house, "a")
        waits = asyncio.ensure_future(ask(house, "a"))
        await asyncio.sleep(0.01)
        outcome, _ = await ask(house, "b")
        assert isinstance(outcome, Denial)
        assert (outcome.cause, outcome.headroom) == ("concurrency", None)
        await waits

    run_virtually(work())


def test_who_waits_at_a_limit_that_was_raised_holds_up_nobody() -> None:
    async def work() -> None:
        house = House(limit(CHAT, qpm=2, burst_s=30, wait_s=60), limit({"key": "a"}, concurrency=1, wait_s=60))
        running, _ = await ask(house, "a")
        first = asyncio.ensure_future(ask(house, "b"))
        second = asyncio.ensure_future(ask(house, "a"))
        await asyncio.sleep(5)
        house.planner = Planner(Rules([limit(CHAT, qpm=600, wait_s=60)], ()), house.counters, SizeBook())
        house.limiter.limits_changed()
        assert isinstance((await ask(house, "c"))[0], Reservation)
        assert house.now_s() == 5
        assert isinstance(running, Reservation)
        house.settle(running)
        assert isinstance((await first)[0], Reservation)
        assert isinstance((await second)[0], Reservation)
        assert house.limiter.waiting == 0

    run_virtually(work())


def test_those_who_share_one_scope_beyond_the_bound_wait_at_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_counters, "MOST_SCOPES", 1)

    async def work() -> None:
        house = House(limit({"user": "*"}, qpm=60, burst_s=1, wait_s=10))
        house.granted(house.plan(user="first"))
        house.granted(house.plan(user="second"))
        calls: list[Any] = [house.reserve(house.plan(user=user)) for user in ("third", "fourth")]
        assert all(isinstance(outcome, Reservation) for outcome in await asyncio.gather(*calls))
        assert house.now_s() == pytest.approx(2, abs=0.1)
        assert house.limiter.waiting == 0

    run_virtually(work())


def test_who_asks_again_with_another_size_has_waited_already() -> None:
    async def work() -> None:
        house = House(limit(CHAT, qpm=60, burst_s=1, wait_s=3))
        plan = house.plan()
        await asyncio.sleep(10)
        house.granted(plan)
        outcome = house.limiter.reserve(plan, house.now_s(), 10, since_s=house.now_s() - 2.5)
        assert isinstance(outcome, Denial)
        waits: Any = house.limiter.reserve(plan, house.now_s(), 10, since_s=house.now_s() - 1.5)
        assert isinstance(await waits, Reservation)

    run_virtually(work())


def test_who_has_waited_already_waits_no_longer_for_those_before() -> None:
    async def work() -> None:
        house = House(limit(CHAT, concurrency=1, wait_s=3))
        house.granted(house.plan())
        await asyncio.sleep(100)
        first = asyncio.ensure_future(house.reserve(house.plan()))
        await asyncio.sleep(0.01)
        assert isinstance(await house.reserve(house.plan(), since_s=97.5), Denial)
        assert house.now_s() == pytest.approx(100.5, abs=0.01)
        assert isinstance(await first, Denial)
        assert house.now_s() == pytest.approx(103, abs=0.01)

    run_virtually(work())


@pytest.mark.parametrize("changed", [False, True])
def test_who_gets_in_at_one_limit_leaves_those_at_another_their_turn(changed: bool) -> None:
    async def work() -> None:
        house = House(limit({"user": "*"}, concurrency=1, wait_s=100))
        running = {user: house.granted(house.plan(user=user)) for user in ("taro", "jiro")}
        calls = {user: asyncio.ensure_future(house.reserve(house.plan(user=user))) for user in running}
        await asyncio.sleep(1)
        if changed:
            house.limiter.limits_changed()
        for user, one in running.items():
            await asyncio.sleep(1)
            house.settle(one)
            assert isinstance(await calls[user], Reservation)
        assert house.now_s() == pytest.approx(3, abs=0.01)

    run_virtually(work())


def test_what_a_call_that_waited_has_answered_teaches_too() -> None:
    async def work() -> None:
        house = House(limit(qpm=60, burst_s=1, wait_s=10, tpm=10**9))
        house.settle(house.granted(house.plan()), output=50)
        for _ in range(20):
            outcome: Any = house.reserve(house.plan())
            house.settle(await outcome, output=50)
        assert (await house.reserve(house.plan())).tokens == 10 + 50

    run_virtually(work())
