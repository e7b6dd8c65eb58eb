"""Budgets are adopted in a server that others rebuild whenever they like: no call is let in before they are known."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from sekisho.app import limits, limits_and_budgets
from sekisho.app.limits_and_budgets import LimitsAndBudgets
from sekisho.app.settings import Settings, parse
from sekisho.domain.spending import Budget, Spent
from sekisho.stores.control import NOTHING
from sekisho.stores.counters import BudgetSpec, SpentBefore
from sekisho.tables.spent import SpentUnknown

FILE = """
providers: {local: {type: vllm, base_url: "https://llm.example/v1"}}
endpoints: {chat: {targets: [{provider: local, model: m}]}}
"""
RESEARCH = "budgets: [{scope: {team: research}, usd: 1}]"
BOTH = "budgets: [{scope: {team: research}, usd: 1}, {scope: {team: sales}, usd: 1}]"


class Shared:
    """Stands for the counters in Redis."""

    def __init__(self) -> None:
        self.remote = self.up = True
        #: of events: none
        self.waiting = 0
        self.epoch = "one"
        self.adopted = False
        self.in_force: Sequence[Budget] = ()
        self.on_rebuilt: Callable[[], None] = lambda: None
        #: of what was adopted since the last rebuild, the keys
        self.known: set[str] = set()
        #: whether calls were let in at the moments that count, and what was known then
        self.moments: list[tuple[bool, set[str]]] = []
        #: who asked and told, in their order
        self.askers: list[asyncio.Task[Any] | None] = []
        #: what happens while something is adopted, one after the other
        self.meanwhile: list[Callable[[], None]] = []

    def rebuild(self, epoch: str) -> None:
        """By another worker, which knows none of the budgets here."""
        self.known = set()
        self.on_rebuilt()
        self.epoch = epoch

    async def clock_s(self) -> float:
        return time.time()

    async def held(self) -> list[tuple[Budget, float]]:
        self.moments.append((self.adopted, self.known))
        self.askers.append(asyncio.current_task())
        return []

    def met(self) -> list[BudgetSpec]:
        return []

    def bind(self, *_: object) -> None: ...

    admit = dispatched = end = tick = tell_marks = bind

    async def look(self, now_s: float, *, meters: bool = True) -> tuple[list[Any], list[Any]]:
        return [], []

    async def adopt(self, spent: SpentBefore, wall_s: float, idle_since_s: Mapping[str, float]) -> None:
        self.known |= spent.nanos.keys()
        self.askers.append(asyncio.current_task())
        if self.meanwhile:
            self.meanwhile.pop(0)()
        await asyncio.sleep(0)

    async def say_held(self, budgets: Sequence[Budget], *, again: bool = False) -> None:
        await asyncio.sleep(0)

    async def trusted(self) -> None:
        async with asyncio.timeout(30):
            while not self.adopted:
                await asyncio.sleep(0.01)


def settings(folder: Path, rules: str) -> Settings:
    return parse(FILE + rules, "sekisho.yaml", environ={}, base_dir=folder)


def counted(folder: Path, rules: str) -> tuple[LimitsAndBudgets, Shared]:
    configured, counters = settings(folder, rules), Shared()
    held = limits.rules_of(configured)
    books = limits_and_budgets._Books(configured, {}, held)  # pyright: ignore[reportPrivateUsage]
    anything: Any = counters
    return LimitsAndBudgets(held, anything, anything, books), counters


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What the teams have spent; or, while there is one, the reason why that cannot be read."""
    faults: list[Exception] = []

    def read(data_dir: Path, storage: Any, since_s: Sequence[float], until_s: float) -> list[list[Spent]]:
        if faults:
            raise faults[0]
        facts: dict[str, str | None] = dict.fromkeys(("department", "key", "user", "endpoint", "feature", "model"))
        return [[Spent(facts={**facts, "team": team}, cost_nanos=5) for team in ("research", "sales")] for _ in since_s]

    monkeypatch.setattr(limits_and_budgets, "spent_rows", read)
    return faults


async def test_what_was_adopted_before_a_rebuild_lets_no_call_in_after_it(tmp_path: Path) -> None:
    one, counters = counted(tmp_path, RESEARCH)
    counters.meanwhile = [lambda: counters.rebuild("two"), lambda: counters.rebuild("three")]
    await one.begin()
    await counters.trusted()
    assert len(counters.known) == 1
    assert all(known for adopted, known in counters.moments if adopted)


async def test_a_start_during_a_rebuild_does_not_read_the_rows_that_another_one_reads(tmp_path: Path) -> None:
    """Who calls meanwhile waits at its door; and what it would tell cannot be told before the rebuild is over."""
    one, counters = counted(tmp_path, RESEARCH)
    counters.epoch = ""
    await one.begin()
    one.tick()
    await asyncio.sleep(0)
    assert (counters.askers, counters.adopted) == ([], False)
    counters.epoch = "two"
    one.tick()
    await counters.trusted()
    assert len(counters.known) == 1


async def test_new_budgets_wait_until_those_in_force_are_adopted_again(tmp_path: Path) -> None:
    """Or the end of one would say that what the other is about to tell is known."""
    one, counters = counted(tmp_path, RESEARCH)
    await one.begin()
    counters.askers.clear()
    changes: list[asyncio.Task[None]] = []

    def change() -> None:
        changes.append(asyncio.ensure_future(one.change(settings(tmp_path, BOTH), {}, NOTHING)))
        counters.rebuild("three")

    counters.meanwhile = [change]
    counters.rebuild("two")
    await counters.trusted()
    await asyncio.wait(changes)
    assert len(counters.known) == 2
    assert len([asker for asker, _ in groupby(counters.askers)]) == len(set(counters.askers)) == 2


async def test_a_rebuild_goes_by_the_rules_that_are_about_to_hold(tmp_path: Path, rows: list[Exception]) -> None:
    one, counters = counted(tmp_path, RESEARCH)
    assert counters.in_force == one.rules.budgets
    await one.begin()
    found: list[int] = []
    counters.meanwhile = [lambda: found.append(len(counters.in_force))]
    await one.change(settings(tmp_path, BOTH), {}, NOTHING)
    assert found == [2]
    rows.append(SpentUnknown("no rows"))
    with pytest.raises(SpentUnknown):
        await one.change(settings(tmp_path, RESEARCH), {}, NOTHING)
    assert counters.in_force == one.rules.budgets
    assert len(counters.in_force) == 2
