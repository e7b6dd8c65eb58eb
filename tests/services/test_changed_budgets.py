"""Budgets that come, go and come again while a real Redis counts: what was spent meanwhile is in their sums."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.redis_server import RedisServer

from sekisho.app import limits_and_budgets
from sekisho.app.limits_and_budgets import LimitsAndBudgets, open_limits_and_budgets
from sekisho.app.settings import Settings, parse
from sekisho.domain.call import Caller
from sekisho.domain.endpoint import Target
from sekisho.domain.money import Rates
from sekisho.domain.spending import BudgetEvent, Spent
from sekisho.stores.control import NOTHING
from sekisho.stores.counters import BudgetState, Denial, Outcome, Reservation
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.redis_counters import RedisCounters
from sekisho.stores.redis_words import RULES

FILE = """
providers: {local: {type: vllm, base_url: "https://llm.example/v1"}}
endpoints: {chat: {targets: [{provider: local, model: m}]}}
"""
RESEARCH = "budgets: [{scope: {team: research}, usd: 0.001}]"
EVERY = 'budgets: [{scope: {team: "*"}, usd: 0.001}]'
CALLER = Caller(key_id="key_1", key_name="app", user="太郎", team="research", department="rd")
TARGET = Target(provider="local", model="m", rates=Rates(input_nanos_per_mtok=10**9, output_nanos_per_mtok=2 * 10**9))
PATIENCE_S = 30.0


class Rows:
    """What the rows say was spent by the team, in nano-dollars, as of when they are asked."""

    def __init__(self) -> None:
        self.nanos = 0
        self.asked = 0

    def __call__(self, data_dir: Path, storage: Any, since_s: Sequence[float], until_s: float) -> list[list[Spent]]:
        self.asked += 1
        facts: dict[str, str | None] = dict.fromkeys(("department", "key", "user", "endpoint", "feature", "model"))
        found = [Spent(facts={**facts, "team": "research"}, cost_nanos=self.nanos)] if self.nanos else []
        return [msgspec.convert(msgspec.to_builtins(found), list[Spent]) for _ in since_s]


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    found = Rows()
    monkeypatch.setattr(limits_and_budgets, "spent_rows", found)
    return found


class House:
    """One gateway's limits and budgets."""

    def __init__(self, folder: Path, server: RedisServer, limits: LimitsAndBudgets) -> None:
        self.folder = folder
        self.server = server
        self.limits = limits
        #: percent and amount of the events
        self.noted: list[tuple[int, int]] = []
        note = limits.events.note

        def listen(event: BudgetEvent) -> None:
            self.noted.append((event.percent, event.amount_nanos))
            note(event)

        self.counters._on_event = listen  # pyright: ignore[reportPrivateUsage]

    @property
    def counters(self) -> RedisCounters:
        found = self.limits.counters
        assert isinstance(found, RedisCounters)
        return found

    async def change(self, rules: str) -> None:
        await self.limits.change(settings(self.folder, self.server, rules), {}, NOTHING)

    async def ask(self) -> Outcome:
        planner = self.limits.planner()
        assert planner is not None
        plan = planner.plan_for(CALLER, None, "chat", TARGET)
        outcome = self.limits.limiter.reserve(plan, time.perf_counter(), 50, 0)
        return outcome if isinstance(outcome, Reservation | Denial) else await outcome

    async def budgeted_again(self) -> None:
        """Until a call is let in; before that the budget is not to be had, and nothing else."""
        async with asyncio.timeout(PATIENCE_S):
            while not isinstance(outcome := await self.ask(), Reservation):
                assert outcome.cause == "unavailable"
                self.limits.tick()
                await asyncio.sleep(0.05)

    async def spend(self, nanos: int) -> None:
        held = await self.ask()
        assert isinstance(held, Reservation), held
        self.counters.end(held, "settled", time.perf_counter(), 50, nanos)
        async with asyncio.timeout(PATIENCE_S):
            while self.counters.untold:
                await asyncio.sleep(0.005)

    async def state(self) -> BudgetState:
        await self.ask()  # so that this worker has met it
        _, found = await self.counters.look(time.perf_counter())
        (one,) = (one for one in found if dict(one.spec.scope) == {"team": "research"})
        return one

    async def look(self) -> None:
        """What the gateway does every few seconds."""
        await self.limits._look(time.perf_counter())  # pyright: ignore[reportPrivateUsage]

    async def told(self, count: int) -> list[tuple[int, int]]:
        """So many events, or those that there are after a while."""
        for _ in range(20):
            await self.look()
            if len(self.noted) >= count:
                break
            await asyncio.sleep(0.01)
        return self.noted

    async def spent(self) -> int:
        return (await self.state()).spent_nanos


def settings(folder: Path, server: RedisServer, rules: str) -> Settings:
    text = f'{FILE}state: {{url: "{server.url}"}}\n{rules}'
    return parse(text, "sekisho.yaml", environ={}, base_dir=folder)


@asynccontextmanager
async def house(folder: Path, server: RedisServer, rules: str = "") -> AsyncIterator[House]:
    limits = await open_limits_and_budgets(settings(folder, server, rules), {})
    try:
        yield House(folder, server, limits)
    finally:
        await limits.counters.close()  # type: ignore[union-attr]


def long_ago(server: RedisServer) -> None:
    """Nobody has said for a while that any budget holds."""
    listed = server.ask("ZRANGE", RULES, "0", "-1")
    assert listed is not None
    now_ms = int(time.time() * 1000)
    for name in listed.split(b"\r\n")[2::2]:
        server.ask("ZADD", RULES, str(now_ms - 80_000), name.decode())


def counted_long_ago(server: RedisServer) -> None:
    """And what is counted was begun before that."""
    keys = server.ask("KEYS", "{sekisho}:b:*")
    assert keys is not None
    for key in keys.split(b"\r\n")[2::2]:
        server.ask("HSET", key.decode(), "since", "1")


async def test_a_budget_that_is_new_at_a_start_begins_with_the_rows(
    tmp_path: Path, server: RedisServer, rows: Rows
) -> None:
    rows.nanos = 700_000
    async with house(tmp_path, server, "budgets: [{scope: {team: sales}, usd: 1}]"):
        pass
    async with house(tmp_path, server, RESEARCH) as one:
        assert await one.spent() == 700_000


async def test_a_restart_goes_on_with_what_was_counted_and_reads_no_rows(
    tmp_path: Path, server: RedisServer, rows: Rows
) -> None:
    rows.nanos = 100_000
    async with house(tmp_path, server, RESEARCH) as one:
        await one.spend(50_000)
    asked, rows.nanos = rows.asked, 1
    async with house(tmp_path, server, RESEARCH) as one:
        assert await one.spent() == 150_000
    assert rows.asked == asked


@pytest.mark.parametrize("again", [RESEARCH, EVERY], ids=["the same", "one for every team"])
async def test_what_was_spent_while_a_budget_was_away_counts_when_it_is_back(
    tmp_path: Path, server: RedisServer, rows: Rows, again: str
) -> None:
    rows.nanos = 100_000
    async with house(tmp_path, server, RESEARCH) as one, house(tmp_path, server, RESEARCH) as other:
        await one.spend(50_000)
        for worker in (one, other):
            await worker.change("")
        long_ago(server)
        counted_long_ago(server)
        rows.nanos = 400_000
        await one.change(again)
        assert await one.spent() == 400_000
        await one.spend(7)
        # the second worker hears of it later, and changes nothing
        rows.nanos = 1
        await other.change(again)
        assert await other.spent() == 400_007


async def test_a_budget_that_only_changes_its_form_goes_on(tmp_path: Path, server: RedisServer, rows: Rows) -> None:
    async with house(tmp_path, server, EVERY) as one:
        await one.spend(50_000)
        counted_long_ago(server)
        rows.nanos = 1
        await one.change(RESEARCH)
        assert await one.spent() == 50_000
        await one.change("budgets: [{scope: {team: research}, usd: 0.002}]")
        assert (await one.state()).spec.amount_nanos == 2_000_000
        assert await one.spent() == 50_000


async def test_a_new_budget_leaves_what_others_have_counted_since_their_period_began(
    tmp_path: Path, server: RedisServer, rows: Rows
) -> None:
    # with no row when the gateway started, or when the month began
    async with house(tmp_path, server, RESEARCH) as one, house(tmp_path, server, RESEARCH) as other:
        await one.spend(50_000)
        await other.spend(20_000)
        rows.nanos = 70_000
        both = "budgets: [{scope: {team: research}, usd: 0.001}, {scope: {organisation: '*'}, usd: 1}]"
        for worker in (one, other):
            await worker.change(both)
        assert await one.spent() == 70_000
        # and a gateway that starts with one more
        third = "budgets: [{scope: {team: research}, usd: 0.001}, {scope: {department: '*'}, usd: 1}]"
        async with house(tmp_path, server, third) as late:
            assert await late.spent() == 70_000


async def test_a_budget_that_began_without_rows_is_not_counted_twice_when_it_comes_back(
    tmp_path: Path, server: RedisServer, rows: Rows
) -> None:
    async with house(tmp_path, server, RESEARCH) as one:
        await one.spend(50_000)
        await one.change("")
        long_ago(server)
        rows.nanos = 70_000
        await one.change(RESEARCH)
        assert await one.spent() == 70_000


async def test_calls_that_ran_when_a_budget_came_back_are_settled_on_it(
    tmp_path: Path, server: RedisServer, rows: Rows
) -> None:
    async with house(tmp_path, server, RESEARCH) as one:
        running = await one.ask()
        assert isinstance(running, Reservation)
        await one.change("")
        long_ago(server)
        counted_long_ago(server)
        rows.nanos = 400_000
        await one.change(RESEARCH)
        one.counters.end(running, "settled", time.perf_counter(), 50, 30_000)
        state = await one.state()
        assert state.spent_nanos == 430_000


async def test_a_budget_that_came_later_is_rebuilt_too(tmp_path: Path, server: RedisServer, rows: Rows) -> None:
    async with house(tmp_path, server) as one:
        rows.nanos = 700_000
        await one.change(RESEARCH)
        server.kill()
        async with asyncio.timeout(PATIENCE_S):
            while one.counters.up:
                await asyncio.sleep(0.01)
        server.start()
        await one.budgeted_again()
        assert await one.spent() == 700_000


async def test_a_start_without_the_server_waits_with_budgets_until_it_is_there(
    tmp_path: Path, server: RedisServer, rows: Rows
) -> None:
    async with house(tmp_path, server, "budgets: [{scope: {team: sales}, usd: 1}]"):
        server.pause()
        async with house(tmp_path, server, RESEARCH) as one:
            denied = await one.ask()
            assert isinstance(denied, Denial)
            assert denied.cause == "unavailable"
            rows.nanos = 900_000
            server.resume()
            await one.budgeted_again()
            assert await one.spent() == 900_000


async def test_who_waits_for_the_server_does_not_say_that_the_budgets_hold_already(
    tmp_path: Path, server: RedisServer, rows: Rows
) -> None:
    async with house(tmp_path, server, "budgets: [{scope: {team: sales}, usd: 1}]"):
        server.pause()
        async with house(tmp_path, server, RESEARCH) as one:
            rows.nanos = 900_000
            server.resume()
            async with asyncio.timeout(PATIENCE_S):
                while not one.counters.up:
                    await asyncio.sleep(0.01)
            await one.look()
            await one.budgeted_again()
            assert await one.spent() == 900_000


async def test_a_server_that_refuses_to_say_which_budgets_hold_is_no_end_of_the_start(
    tmp_path: Path, server: RedisServer, rows: Rows
) -> None:
    async with house(tmp_path, server, "budgets: [{scope: {team: sales}, usd: 1}]") as other:
        server.ask("SET", RULES, "of another type")
        async with house(tmp_path, server, RESEARCH) as one:
            denied = await one.ask()
            assert isinstance(denied, Denial)
            assert denied.cause == "unavailable"
            with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
                await other.change(EVERY)
            rows.nanos = 900_000
            server.ask("DEL", RULES)
            # what a later version says is not ours to read
            server.ask("ZADD", RULES, "1", '{"scope": [["team", "*"]], "amount_nanos": 0, "period": "decade"}')
            await one.budgeted_again()
            assert await one.spent() == 900_000


async def test_a_new_budget_tells_the_marks_that_its_rows_have_passed(
    tmp_path: Path, server: RedisServer, rows: Rows
) -> None:
    rows.nanos = 1_200_000
    async with house(tmp_path, server) as one:
        await one.change("budgets: [{scope: {team: research}, usd: 0.001}, {scope: {team: sales}, usd: 0.001}]")
        assert isinstance(await one.ask(), Denial)
        assert await one.told(3) == [(50, 1_000_000), (80, 1_000_000), (100, 1_000_000)]


async def test_a_budget_that_only_warns_tells_them_within_seconds(
    tmp_path: Path, server: RedisServer, rows: Rows
) -> None:
    rows.nanos = 900_000
    async with house(tmp_path, server) as one:
        await one.change("budgets: [{scope: {team: research}, usd: 0.001, on_exceed: warn}]")
        assert isinstance(await one.ask(), Reservation)
        assert await one.told(2) == [(50, 1_000_000), (80, 1_000_000)]


async def test_another_amount_tells_the_marks_that_are_passed_already_before_anybody_calls(
    tmp_path: Path, server: RedisServer, rows: Rows
) -> None:
    async with house(tmp_path, server, "budgets: [{scope: {team: research}, usd: 0.005}]") as one:
        await one.spend(1_200_000)
        await one.change(RESEARCH)
        assert await one.told(3) == [(50, 1_000_000), (80, 1_000_000), (100, 1_000_000)]


async def test_an_amount_that_does_not_hold_any_more_tells_nothing(
    tmp_path: Path, server: RedisServer, rows: Rows
) -> None:
    async with house(tmp_path, server, RESEARCH) as one, house(tmp_path, server, RESEARCH) as other:
        await one.spend(100_000)
        await other.ask()
        for worker in (one, other):
            await worker.change("budgets: [{scope: {team: research}, usd: 0.005}]")
        await one.spend(1_000_000)
        await other.change("budgets: [{scope: {team: sales}, usd: 1}]")
        await other.look()
        assert other.noted == []


@pytest.mark.parametrize("ahead_s", [600, -600], ids=["ahead", "behind"])
async def test_a_machine_whose_clock_is_wrong_leaves_what_others_have_counted(
    tmp_path: Path, server: RedisServer, rows: Rows, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    rows.nanos = 10_000
    async with house(tmp_path, server, RESEARCH) as one:
        # of which the tables have nothing yet
        await one.spend(50_000)
        counted_long_ago(server)
        await one.look()
        with monkeypatch.context() as wrong:
            wrong.setattr(time, "time", lambda: time.time_ns() / 1e9 + ahead_s)
            async with house(tmp_path, server, RESEARCH) as other:
                assert await other.spent() == 60_000
                await other.look()
        async with house(tmp_path, server, RESEARCH) as third:
            assert await third.spent() == 60_000


@pytest.mark.parametrize("memory", ["lost", "old"])
async def test_a_budget_of_one_machine_alone_is_rebuilt_although_another_rebuilds_the_others(
    tmp_path: Path, server: RedisServer, rows: Rows, memory: str
) -> None:
    rows.nanos = 10_000
    sales = "budgets: [{scope: {team: sales}, usd: 1}]"
    async with house(tmp_path, server, RESEARCH) as one, house(tmp_path, server, sales) as other:
        await one.spend(10_000)
        await one.look()
        if memory == "old":
            server.save()
        await one.spend(40_000)
        rows.nanos = 60_000
        server.kill()
        async with asyncio.timeout(PATIENCE_S):
            while one.counters.up or other.counters.up:
                await asyncio.sleep(0.01)
        keeper = one.counters._keeper  # pyright: ignore[reportPrivateUsage]
        keeper._building = True  # pyright: ignore[reportPrivateUsage]  # the other one is faster
        server.start()
        async with asyncio.timeout(PATIENCE_S):
            while not other.counters.epoch:
                other.limits.tick()
                await asyncio.sleep(0.05)
        keeper._building = False  # pyright: ignore[reportPrivateUsage]
        await one.budgeted_again()
        assert await one.spent() == 60_000
