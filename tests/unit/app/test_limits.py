"""From settings to counters: rules, what was spent before, and who may count."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from sekisho.app import limits as module
from sekisho.app.limits import cannot_count, open_counters, rules_of, spent_before
from sekisho.app.settings import Settings, parse
from sekisho.domain.spending import Budget, Limit, Spent
from sekisho.stores.control import ControlRecords, StoredBudget, StoredLimit
from sekisho.stores.counters import SpentBefore
from sekisho.stores.memory_counters import MemoryCounters

TEXT = """
timezone: Asia/Tokyo
providers: {local: {type: openai, base_url: "https://llm.example.com/v1"}}
defaults: {limits: {qpm: 100}}
endpoints:
  chat: {targets: [{provider: local, model: m}], limits: {qpm: 50}}
  small: {targets: [{provider: local, model: s}]}
limits: [{scope: {user: "*"}, tpm: 1000}]
budgets:
  - {scope: {user: "*"}, usd: 5, period: day}
  - {scope: {team: research}, usd: 1}
"""


def settings(tmp_path: Path, more: str = "") -> Settings:
    return parse(TEXT + more, base_dir=tmp_path, environ={})


def test_an_endpoints_own_limit_comes_before_that_of_the_defaults(tmp_path: Path) -> None:
    rules = rules_of(settings(tmp_path))
    found = {
        endpoint: [spec.qpm for spec in rules.meters({"endpoint": endpoint})]
        for endpoint in ("chat", "small", "local/anything")
    }
    assert found == {"chat": [50], "small": [100], "local/anything": [100]}


def test_rules_of_the_database_stand_beside_those_of_the_file(tmp_path: Path) -> None:
    given = settings(tmp_path)
    declared, own = given.budgets[1], Budget(scope=(("team", "web"),), amount_nanos=7)
    same = msgspec.structs.replace(declared, amount_nanos=10**12)
    limit = Limit(scope=(("key", "app"),), qpm=3)
    looser = msgspec.structs.replace(given.limits[0], tpm=10**9)
    control = ControlRecords(
        budgets=(StoredBudget(rule=same), StoredBudget(rule=own)),
        limits=(StoredLimit(rule=looser), StoredLimit(rule=limit)),
    )
    rules = rules_of(given, control)
    # the file has the last word about what it declares
    assert rules.budgets == (*given.budgets, own)
    assert limit in rules.limits
    assert len(rules.limits) == len(rules_of(given).limits) + 1


def test_a_budget_whose_other_endpoint_is_gone_blocks(tmp_path: Path) -> None:
    budget = Budget(scope=(("team", "web"),), amount_nanos=7, on_exceed="degrade", degrade_to="small")
    gone = msgspec.structs.replace(budget, degrade_to="was-here")
    control = ControlRecords(budgets=(StoredBudget(rule=budget), StoredBudget(rule=gone)))
    kept, changed = rules_of(settings(tmp_path), control).budgets[-2:]
    assert (kept.on_exceed, kept.degrade_to) == ("degrade", "small")
    assert (changed.on_exceed, changed.degrade_to) == ("block", None)


async def test_what_was_spent_is_read_for_the_periods_that_hold_now(tmp_path: Path) -> None:
    asked: list[tuple[float, float]] = []

    def rows(since_s: Sequence[float], until_s: float) -> Iterable[list[Spent]]:
        for one in since_s:
            asked.append((one, until_s))
            yield [
                Spent(facts={"user": "taro", "team": "research"}, cost_nanos=7),
                Spent(facts={"user": "taro", "team": "sales"}, cost_nanos=3),
            ]

    given = settings(tmp_path)
    zone = ZoneInfo("Asia/Tokyo")
    now = datetime(2026, 11, 20, 15, 30, tzinfo=zone).timestamp()
    spent = await spent_before(given, rules_of(given), rows)(now)
    assert spent.nanos == {"user=taro|day|block": 10, "team=research|month|block": 7}
    assert asked == [
        (datetime(2026, 11, 20, tzinfo=zone).timestamp(), now),
        (datetime(2026, 11, 1, tzinfo=zone).timestamp(), now),
    ]


async def test_what_calls_cost_that_died_is_in_the_sums_and_told_beside_them(tmp_path: Path) -> None:
    def rows(since_s: Sequence[float], until_s: float) -> Iterable[list[Spent]]:
        facts: dict[str, str | None] = {"user": "taro", "team": "research"}
        for _ in since_s:
            # of two models
            died = [Spent(facts=facts, cost_nanos=nanos, died="req_1") for nanos in (3, 4)]
            yield [Spent(facts=facts, cost_nanos=7), *died]

    given = settings(tmp_path)
    spent = await spent_before(given, rules_of(given), rows)(time.time())
    keys = ("user=taro|day|block", "team=research|month|block")
    assert spent.nanos == dict.fromkeys(keys, 14)
    assert spent.died == {"req_1": dict.fromkeys(keys, 7)}


async def test_counters_in_memory_begin_with_what_was_spent(tmp_path: Path) -> None:
    given = settings(tmp_path)
    rules = rules_of(given)

    async def spent(_as_of_s: float) -> SpentBefore:
        return SpentBefore(nanos={"team=research|month|block": 123})

    counters = await open_counters(given, lambda event: None, spent)
    assert isinstance(counters, MemoryCounters)
    counters.bind([], [], [spec for _, spec in rules.spending({"team": "research"})])
    _, (state,) = await counters.look(time.perf_counter())
    assert (state.spent_nanos, state.reserved_nanos) == (123, 0)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_more_than_one_worker_in_memory_is_refused(tmp_path: Path, language: str) -> None:
    given = settings(tmp_path)
    assert cannot_count(given, 1, "en") is None
    text = cannot_count(given, 4, language)  # type: ignore[arg-type]
    assert text is not None
    assert "4" in text
    assert "memory://" in text
    assert "redis://" in text.splitlines()[1]


def test_several_workers_may_share_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(tmp_path, 'state: {url: "redis://127.0.0.1"}\n')
    assert cannot_count(given, 4, "en") is None
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert ".uv/bin/uv pip install --python .venv -e '.[redis]'" in str(cannot_count(given, 4, "en"))
