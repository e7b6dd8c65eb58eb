"""Rules that change while counters go on, what is told of budgets, and where what was spent comes from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sekisho.app import limits, limits_and_budgets
from sekisho.app.limits_and_budgets import LimitsAndBudgets, open_limits_and_budgets
from sekisho.app.settings import Settings, parse
from sekisho.domain.call import Caller
from sekisho.domain.endpoint import Target
from sekisho.domain.money import Rates
from sekisho.domain.spending import Spent
from sekisho.stores.control import NOTHING
from sekisho.stores.counters import Denial, Reservation
from sekisho.stores.memory_counters import MemoryCounters
from sekisho.stores.migrate import migrate
from sekisho.stores.ports import StoreUnavailable
from sekisho.tables.spent import SpentUnknown

FILE = """
providers: {local: {type: vllm, base_url: "https://llm.example/v1"}}
endpoints: {chat: {targets: [{provider: local, model: m}]}}
"""
CALLER = Caller(key_id="key_1", key_name="app", user="太郎", team="research", department="rd")
TARGET = Target(provider="local", model="m", rates=Rates(input_nanos_per_mtok=10**9, output_nanos_per_mtok=2 * 10**9))


def settings(folder: Path, rules: str = "") -> Settings:
    return parse(FILE + rules, "sekisho.yaml", environ={}, base_dir=folder)


class Rows:
    """What the rows say was spent."""

    def __init__(self, *sums: Spent) -> None:
        self.sums = sums
        self.asked: list[tuple[float, float]] = []
        self.fault: Exception | None = None

    def __call__(self, data_dir: Path, storage: Any, since_s: Sequence[float], until_s: float) -> list[list[Spent]]:
        self.asked += [(one, until_s) for one in since_s]
        if self.fault is not None:
            raise self.fault
        return [msgspec.convert(msgspec.to_builtins(self.sums), list[Spent]) for _ in since_s]


def spent(cost_nanos: int, **facts: str) -> Spent:
    every: dict[str, str | None] = dict.fromkeys(("department", "team", "key", "user", "endpoint", "feature", "model"))
    return Spent(facts={**every, **facts}, cost_nanos=cost_nanos)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    found = Rows(
        spent(900_000, team="research", key="key_1", user="太郎"), spent(50_000, team="sales", key="key_2", user="花子")
    )
    monkeypatch.setattr(limits_and_budgets, "spent_rows", found)
    return found


def ask(one: LimitsAndBudgets, output_tokens: int = 0) -> Any:
    planner = one.planner()
    assert planner is not None
    plan = planner.plan_for(CALLER, "太郎", "chat", TARGET)
    return one.limiter.reserve(plan, time.perf_counter(), 50, output_tokens)


async def test_without_rules_nothing_is_limited_and_no_row_is_read(tmp_path: Path, rows: Rows) -> None:
    one = await open_limits_and_budgets(settings(tmp_path), {})
    assert one.planner() is None
    assert rows.asked == []
    # dashboards and alerts find the names before there is a budget
    assert {name: gauge.values for name, (_, gauge) in one.gauges().items()} == {
        "sekisho_budget_ratio": {},
        "sekisho_budget_bound_dollars": {},
    }


async def test_a_budget_begins_with_what_the_rows_say_and_keys_go_by_their_names(tmp_path: Path, rows: Rows) -> None:
    text = "budgets: [{scope: {key: app}, usd: 0.001}, {scope: {user: 太郎}, usd: 1, period: day, on_exceed: warn}]"
    one = await open_limits_and_budgets(settings(tmp_path, text), {"key_1": "app"})
    assert len(rows.asked) == 2, "a month and a day"
    held = ask(one)
    assert type(held) is Reservation
    denied = ask(one, 26)
    assert type(denied) is Denial
    assert (denied.spent_nanos, denied.reserved_nanos) == (900_000, 50_000)


async def test_a_budget_of_a_key_that_was_made_after_the_start_begins_with_its_rows(tmp_path: Path, rows: Rows) -> None:
    one = await open_limits_and_budgets(settings(tmp_path), {})
    await one.change(settings(tmp_path, "budgets: [{scope: {key: app}, usd: 0.001}]"), {"key_1": "app"}, NOTHING)
    denied = ask(one, 51)
    assert type(denied) is Denial
    assert denied.spent_nanos == 900_000


async def test_rows_that_cannot_be_read_are_no_start(tmp_path: Path, rows: Rows) -> None:
    rows.fault = SpentUnknown("no rows")
    with pytest.raises(StoreUnavailable, match="no rows; budgets cannot be kept without it"):
        await open_limits_and_budgets(settings(tmp_path, "budgets: [{scope: {key: a}, usd: 1}]"), {})


async def test_new_rules_go_on_with_what_was_counted(tmp_path: Path, rows: Rows) -> None:
    one = await open_limits_and_budgets(settings(tmp_path), {})
    await one.change(settings(tmp_path, "budgets: [{scope: {team: research}, usd: 0.001}]"), {}, NOTHING)
    assert type(ask(one)) is Reservation
    assert type(ask(one, 26)) is Denial
    await one.change(settings(tmp_path, "budgets: [{scope: {team: research}, usd: 0.002}]"), {}, NOTHING)
    assert type(ask(one, 26)) is Reservation
    assert len(rows.asked) == 2
    rows.fault = SpentUnknown("no rows")
    with pytest.raises(SpentUnknown):
        await one.change(settings(tmp_path), {}, NOTHING) or await one.change(
            settings(tmp_path, "budgets: [{scope: {team: sales}, usd: 1}]"), {}, NOTHING
        )


async def test_a_limit_that_is_raised_while_calls_wait_holds_for_those_who_come(tmp_path: Path, rows: Rows) -> None:
    one = await open_limits_and_budgets(
        settings(tmp_path, "limits: [{scope: {user: 太郎}, concurrency: 1, wait_s: 60}]"), {}
    )
    assert type(ask(one)) is Reservation
    waits = asyncio.ensure_future(ask(one))
    await asyncio.sleep(0)
    await one.change(settings(tmp_path, "limits: [{scope: {user: 太郎}, concurrency: 9, wait_s: 60}]"), {}, NOTHING)
    assert type(ask(one)) is Reservation
    waits.cancel()


async def test_what_the_counters_have_forgotten_no_plan_goes_on_counting_on(
    tmp_path: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit would hold twice: once for who came before, and once for who comes after."""
    one = await open_limits_and_budgets(settings(tmp_path, "limits: [{scope: {user: '*'}, concurrency: 1}]"), {})
    planner = one.planner()
    assert planner is not None
    plan = planner.plan_for(CALLER, "太郎", "chat", TARGET)
    assert planner.plan_for(CALLER, "太郎", "chat", TARGET) is plan
    one.tick()
    assert planner.plan_for(CALLER, "太郎", "chat", TARGET) is plan
    monkeypatch.setattr(one.counters, "tick", lambda *_: True)
    one.tick()
    assert planner.plan_for(CALLER, "太郎", "chat", TARGET) is not plan


async def test_metrics_name_no_user_and_no_key(tmp_path: Path, rows: Rows) -> None:
    text = 'budgets: [{scope: {user: 太郎}, usd: 0.001}, {scope: {user: "*"}, usd: 1, period: day}]'
    one = await open_limits_and_budgets(settings(tmp_path, text), {"key_1": "app"})
    ask(one)
    await one._look(time.perf_counter())  # pyright: ignore[reportPrivateUsage]
    found = one.gauges()
    assert set(found) == {"sekisho_budget_ratio", "sekisho_budget_bound_dollars"}
    values = found["sekisho_budget_ratio"][1].values
    assert values == {"user *, month, block": 0.95, "user *, day, block": 950_000 / 10**9}
    assert "太郎" not in str(found)


async def labels(one: LimitsAndBudgets, feature: str, endpoint: str = "chat", target: Target = TARGET) -> set[str]:
    planner = one.planner()
    assert planner is not None
    plan = planner.plan_for(CALLER, "太郎", endpoint, target, feature)
    one.limiter.reserve(plan, time.perf_counter(), 50, 0)
    await one._look(time.perf_counter())  # pyright: ignore[reportPrivateUsage]
    found = one.gauges()
    assert set(found["sekisho_budget_ratio"][1].values) == set(found["sekisho_budget_bound_dollars"][1].values)
    return set(found["sekisho_budget_ratio"][1].values)


async def test_metrics_name_no_feature_that_callers_invent(tmp_path: Path, rows: Rows) -> None:
    each = 'budgets: [{scope: {feature: "*"}, usd: 1}, {scope: {team: "*", feature: "*"}, usd: 1}'
    one = await open_limits_and_budgets(settings(tmp_path, f"{each}]"), {})
    hidden = {"feature *, month, block", "team research, feature *, month, block"}
    for feature in ("u1@example.com", "x" * 3_000, "*", ""):
        assert await labels(one, feature) == hidden
    # a name that a rule declares may be seen
    await one.change(settings(tmp_path, f"{each}, {{scope: {{feature: 要約}}, usd: 2}}]"), {}, NOTHING)
    seen = {"feature 要約, month, block", "team research, feature 要約, month, block"}
    assert await labels(one, "要約") == hidden | seen


async def test_metrics_name_no_endpoint_and_no_model_that_callers_invent(tmp_path: Path, rows: Rows) -> None:
    text = 'budgets: [{scope: {endpoint: "*"}, usd: 1}, {scope: {model: "*"}, usd: 1}]'
    one = await open_limits_and_budgets(settings(tmp_path, text), {})
    configured = {"endpoint chat, month, block", "model local/m, month, block"}
    assert await labels(one, "") == configured
    other = Target(provider="local", model="u1@example.com", rates=TARGET.rates)
    hidden = {"endpoint *, month, block", "model *, month, block"}
    assert await labels(one, "", "local/u1@example.com", other) == configured | hidden


async def test_events_are_written_and_the_last_ones_at_the_end(tmp_path: Path, rows: Rows) -> None:
    text = "budgets: [{scope: {team: research}, usd: 0.001}]"
    configured = settings(tmp_path, text)
    migrate(configured.database_path)
    one = await open_limits_and_budgets(configured, {})
    ask(one)
    assert one.events.waiting == 2, "50 and 80 %"
    await one.close()
    assert one.events.waiting == 0


async def test_events_that_cannot_be_written_are_kept_until_they_can(tmp_path: Path, rows: Rows) -> None:
    configured = settings(tmp_path, "budgets: [{scope: {team: research}, usd: 0.001}]")
    one = await open_limits_and_budgets(configured, {})
    ask(one)
    await one.close()
    assert one.events.waiting == 2, "there is no database yet"
    migrate(configured.database_path)
    one.tick()
    async with asyncio.timeout(20):
        while one.events.waiting:
            await asyncio.sleep(0.001)
    await one.close()


async def test_another_amount_tells_the_marks_that_are_passed_already(tmp_path: Path, rows: Rows) -> None:
    one = await open_limits_and_budgets(settings(tmp_path, "budgets: [{scope: {team: research}, usd: 0.005}]"), {})
    ask(one)
    assert one.events.waiting == 0
    await one.change(settings(tmp_path, "budgets: [{scope: {team: research}, usd: 0.001}]"), {}, NOTHING)
    assert one.events.waiting == 2, "50 and 80 %, before anybody calls"


async def test_a_budget_that_comes_back_with_another_amount_tells_the_marks_of_that(tmp_path: Path, rows: Rows) -> None:
    told: list[tuple[int, int]] = []
    rows.sums = (spent(100_000, team="research"),)
    one = await open_limits_and_budgets(settings(tmp_path, "budgets: [{scope: {team: research}, usd: 0.001}]"), {})
    note = one.events.note
    one.counters._on_event = lambda event: (  # type: ignore[union-attr]  # pyright: ignore[reportPrivateUsage]
        told.append((event.percent, event.amount_nanos)) or note(event)
    )
    ask(one)
    await one.change(settings(tmp_path), {}, NOTHING)
    rows.sums = (spent(5_500_000, team="research"),)
    await one.change(settings(tmp_path, "budgets: [{scope: {team: research}, usd: 0.01}]"), {}, NOTHING)
    assert told == [(50, 10_000_000)]


async def test_what_was_spent_while_a_budget_was_away_counts_when_it_is_back(tmp_path: Path, rows: Rows) -> None:
    configured = settings(tmp_path, "budgets: [{scope: {team: research}, usd: 0.003}]")
    one = await open_limits_and_budgets(configured, {})
    running, held = ask(one), ask(one)
    one.counters.end(running, "settled", time.perf_counter(), 50, 40_000)
    await one.change(settings(tmp_path), {}, NOTHING)
    rows.sums = (spent(2_000_000, team="research"),)
    await one.change(configured, {}, NOTHING)
    assert await state(one) == (2_000_000, 50_000), "and what runs is still reserved"
    one.counters.end(held, "settled", time.perf_counter(), 50, 10_000)
    assert await state(one) == (2_010_000, 0)


async def test_a_clock_that_was_wrong_for_a_while_costs_no_budget_what_was_spent(tmp_path: Path, rows: Rows) -> None:
    text = "budgets: [{scope: {team: research}, usd: 0.003, period: day}]"
    one = await open_limits_and_budgets(settings(tmp_path, text), {})
    assert isinstance(one.counters, MemoryCounters)
    ask(one)
    one.counters.tick(time.perf_counter(), time.time() + 3 * 86_400)
    assert await state(one) == (0, 0), "another day"
    one.tick()
    await one.close()
    assert await state(one) == (900_000, 0), "today again, as the rows have it"
    asked = len(rows.asked)
    one.tick()
    await one.close()
    assert len(rows.asked) == asked, "once"
    one.counters.end(ask(one), "settled", time.perf_counter(), 50, 10_000)
    await one.change(settings(tmp_path, text.replace("0.003", "0.004")), {}, NOTHING)
    assert await state(one) == (910_000, 0), "and goes on from there"


async def test_rows_that_cannot_be_read_when_the_clock_was_set_are_read_later(
    tmp_path: Path, rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    text = "budgets: [{scope: {team: research}, usd: 0.003, period: day}]"
    one = await open_limits_and_budgets(settings(tmp_path, text), {})
    ask(one)
    one.counters.tick(time.perf_counter(), time.time() + 3 * 86_400)
    rows.fault = SpentUnknown("no tables")
    one.tick()
    await one.close()
    assert "no tables; budgets count anew until it is there" in caplog.text
    assert await state(one) == (0, 0)
    rows.fault = None
    one.tick()
    await one.close()
    assert await state(one) == (900_000, 0)


async def test_a_clock_that_is_put_right_after_the_start_finds_what_was_spent_today(
    tmp_path: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "time", Yesterday)
    text = "budgets: [{scope: {team: research}, usd: 0.003, period: day}]"
    one = await open_limits_and_budgets(settings(tmp_path, text), {})
    one.tick()
    await one.close()
    ask(one)
    assert await state(one) == (900_000, 50_000)


class Yesterday:
    """The clock of a machine that does not know the time yet."""

    perf_counter = staticmethod(time.perf_counter)

    @staticmethod
    def time() -> float:
        return time.time() - 86_400


async def test_a_budget_that_only_changes_its_form_goes_on(tmp_path: Path, rows: Rows) -> None:
    one = await open_limits_and_budgets(settings(tmp_path, 'budgets: [{scope: {team: "*"}, usd: 0.003}]'), {})
    one.counters.end(ask(one), "settled", time.perf_counter(), 50, 40_000)
    rows.sums = ()
    await one.change(settings(tmp_path, "budgets: [{scope: {team: research}, usd: 0.002}]"), {}, NOTHING)
    assert await state(one) == (940_000, 0)


async def state(one: LimitsAndBudgets) -> tuple[int, int]:
    """Spent and reserved of the team's budget."""
    _, budgets = await one.counters.look(time.perf_counter())
    (found,) = (budget for budget in budgets if dict(budget.spec.scope) == {"team": "research"})
    return found.spent_nanos, found.reserved_nanos
