"""Letting calls in: what is reserved, who waits, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.support.virtual_time import run_virtually

from sekisho.domain.call import Caller
from sekisho.domain.endpoint import Target
from sekisho.domain.money import Rates
from sekisho.domain.spending import Budget, BudgetEvent, Limit, scope_of
from sekisho.ledger import limiter as module
from sekisho.ledger import plans as plans_module
from sekisho.ledger.limiter import Limiter
from sekisho.ledger.plans import Plan, Planner, SizeBook
from sekisho.ledger.refusals import degrades_to
from sekisho.ledger.scopes import Rules
from sekisho.stores import memory_counters
from sekisho.stores.counters import Denial, Outcome, Reservation
from sekisho.stores.memory_counters import MemoryCounters

M = 1_000_000
#: one nano-dollar for a token of input, ten for one of output
TARGET = Target(provider="openai", model="m", rates=Rates(input_nanos_per_mtok=M, output_nanos_per_mtok=10 * M))
FREE = Target(provider="local", model="free")
CALLER = Caller(key_id="key_1", key_name="bench", team="research", department="rd")


class House:
    """A limiter over memory counters; the clock is the event loop's, or stands still where there is none."""

    def __init__(self, *rules: Limit | Budget) -> None:
        self.events: list[BudgetEvent] = []
        self.counters = MemoryCounters(ZoneInfo("UTC"), self.events.append, 0.0, 1_795_000_000.0)
        self.rules = Rules(
            [rule for rule in rules if isinstance(rule, Limit)], [rule for rule in rules if isinstance(rule, Budget)]
        )
        self.planner = Planner(self.rules, self.counters, SizeBook())
        self.limiter = Limiter(self.counters, self.now_s)

    def now_s(self) -> float:
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return 0.0

    def plan(self, target: Target = TARGET, **more: Any) -> Plan:
        return self.planner.plan_for(CALLER, more.pop("user", "taro"), more.pop("endpoint", "chat"), target, **more)

    def reserve(self, plan: Plan, tokens: int = 10, most: int | None = None, **more: Any) -> Any:
        return self.limiter.reserve(plan, self.now_s(), tokens, most, **more)

    def granted(self, plan: Plan, tokens: int = 10, most: int | None = None, **more: Any) -> Reservation:
        outcome = self.reserve(plan, tokens, most, **more)
        assert isinstance(outcome, Reservation), outcome
        return outcome

    def settle(self, reservation: Reservation, tokens: int = 10, cost: int | None = 0, output: int = 0) -> bool:
        return self.limiter.settle(reservation, self.now_s(), tokens, cost, output)


def limit(scope: dict[str, str] | None = None, **more: Any) -> Limit:
    return Limit(scope=scope_of(scope or {"key": "*"}), **more)


def budget(amount: int, scope: dict[str, str] | None = None, **more: Any) -> Budget:
    return Budget(scope=scope_of(scope or {"team": "research"}), amount_nanos=amount, **more)


def waiting(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtually(work())


# -- sizes


@pytest.mark.parametrize(
    ("most", "choices", "reserved", "at_most"),
    [
        (None, 1, 10 + 1_024 * 10, 10 + 128_000 * 10),
        (100, 1, 10 + 100 * 10, 10 + 100 * 10),
        (5_000, 1, 10 + 1_024 * 10, 10 + 5_000 * 10),
        (5_000, 2, 10 + 2_048 * 10, 10 + 10_000 * 10),
        (2_000, 2, 10 + 2_048 * 10, 10 + 4_000 * 10),
        (100, 3, 10 + 300 * 10, 10 + 300 * 10),
        (0, 1, 10, 10),
    ],
)
def test_a_reservation_guesses_the_output_and_knows_the_most(
    most: int | None, choices: int, reserved: int, at_most: int
) -> None:
    house = House(budget(10**9))
    one = house.granted(house.plan(), most=most, choices=choices)
    assert (one.reserved_nanos, one.most_nanos) == (reserved, at_most)


def test_the_guess_follows_what_the_key_and_model_have_answered() -> None:
    house = House(budget(10**9))
    for _ in range(20):
        house.settle(house.granted(house.plan()), output=50)
    assert house.granted(house.plan()).reserved_nanos == 10 + 50 * 10
    other = Target(provider="openai", model="other", rates=TARGET.rates)
    assert house.granted(house.plan(other)).reserved_nanos == 10 + 1_024 * 10


def test_what_is_reserved_is_never_above_what_is_told_as_the_most() -> None:
    house = House(budget(10**9))
    house.planner = Planner(house.rules, house.counters, SizeBook(), most_output_tokens=100)
    one = house.granted(house.plan())
    assert one.reserved_nanos == one.most_nanos == 10 + 1_024 * 10


def test_an_attempt_without_output_teaches_nothing() -> None:
    house = House(budget(10**9))
    for _ in range(30):
        house.settle(house.granted(house.plan()), output=0)
    assert house.granted(house.plan()).reserved_nanos == 10 + 1_024 * 10
    for _ in range(30):
        house.settle(house.granted(house.plan()), output=1)
    assert house.granted(house.plan()).reserved_nanos == 10 + 1 * 10


def test_a_strict_budget_reserves_the_most_and_has_no_bound() -> None:
    house = House(budget(10**9, strict=True))
    one = house.granted(house.plan(), most=5_000)
    assert one.reserved_nanos == one.most_nanos == 10 + 5_000 * 10


def test_a_settlement_that_comes_twice_teaches_nothing() -> None:
    house = House(budget(10**9))
    one = house.granted(house.plan())
    assert house.settle(one, output=1)
    for _ in range(30):
        assert not house.settle(one, output=1)
    assert house.granted(house.plan()).reserved_nanos == 10 + 1_024 * 10


def test_calls_that_nothing_limits_are_not_counted() -> None:
    house = House(limit({"key": "another"}, qpm=1), budget(1, {"team": "another"}))
    plan = house.plan()
    assert (plan.counts, plan.headers, plan.stops) == (False, False, False)
    for _ in range(3):
        assert house.settle(house.granted(plan), cost=5)


def test_an_unknown_price_under_a_blocking_budget_is_refused_and_under_a_warning_is_not() -> None:
    assert House(budget(1)).plan(FREE).refuses_unpriced
    assert not House(budget(1)).plan(TARGET).refuses_unpriced
    house = House(budget(1, on_exceed="warn"))
    assert not house.plan(FREE).refuses_unpriced
    assert house.settle(house.granted(house.plan(FREE)), cost=None)


# -- plans


def test_a_plan_is_made_once_for_what_rules_ask_about() -> None:
    house = House(limit(qpm=5))
    assert house.plan(user="taro") is house.plan(user="jiro", feature="x")
    assert house.plan() is not house.plan(endpoint="other")
    by_user = House(limit({"user": "*"}, qpm=5))
    assert by_user.plan(user="taro") is not by_user.plan(user="jiro")


def test_new_prices_make_a_new_plan() -> None:
    house = House(budget(10**9))
    before = house.plan()
    dearer = Target(provider="openai", model="m", rates=Rates(input_nanos_per_mtok=2 * M, output_nanos_per_mtok=M))
    assert house.plan(dearer) is not before
    assert house.granted(house.plan(dearer), most=0).reserved_nanos == 20


def test_a_later_attempt_is_asked_for_its_model_and_its_money_only() -> None:
    house = House(limit(qpm=1, concurrency=1), limit({"model": "openai/m"}, qpm=1), budget(10**6))
    first = house.granted(house.plan())
    house.settle(first)
    # the same model has no room; another one has, although the key has none
    assert isinstance(house.reserve(house.plan(later=True)), Denial)
    other = Target(provider="local", model="m2", rates=TARGET.rates)
    second = house.granted(house.plan(other, later=True))
    assert house.settle(second, cost=500)


@pytest.mark.parametrize("how", [{"later": True}, {"degraded": True}, {"later": True, "degraded": True}])
def test_a_budget_that_blocks_blocks_a_fallback_and_a_call_that_was_sent_elsewhere(how: dict[str, bool]) -> None:
    house = House(budget(1_000), budget(10**9, on_exceed="degrade", degrade_to="small"))
    denial = house.reserve(house.plan(**how), most=500)
    assert isinstance(denial, Denial)
    assert (denial.cause, degrades_to(denial)) == ("budget", None)


def test_plans_and_what_was_learned_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans_module, "_MOST_PLANS", 2)
    house, sizes = House(limit(qpm=1)), SizeBook()
    for made in (lambda n: house.plan(endpoint=f"e{n}"), lambda n: sizes.of(f"key_{n}", TARGET)):
        first, second = made(1), made(2)
        assert (made(1) is first, made(2) is second, first is second) == (True, True, False)
        made(3)
        assert made(1) is not first


def test_a_new_configuration_keeps_what_was_used() -> None:
    house = House(limit(qpm=2), budget(100_000))
    for _ in range(2):
        house.settle(house.granted(house.plan()), cost=1_000)
    rules = Rules([limit(qpm=2), limit({"team": "research"}, qpm=5)], [budget(12_000)])
    house.planner = Planner(rules, house.counters, SizeBook())
    denial = house.reserve(house.plan(), most=100)
    assert isinstance(denial, Denial)
    assert denial.cause == "requests"
    house.counters.tick(30.0, 1_795_000_030.0)
    outcome = house.limiter.reserve(house.plan(), 30.0, 10, 1_000)
    assert isinstance(outcome, Denial)
    assert (outcome.cause, outcome.spent_nanos, outcome.wanted_nanos) == ("budget", 2_000, 10_010)


def test_an_exceeded_budget_sends_calls_elsewhere_once() -> None:
    house = House(budget(1_000, on_exceed="degrade", degrade_to="small"))
    denial = house.reserve(house.plan(), most=500)
    assert isinstance(denial, Denial)
    assert degrades_to(denial) == "small"
    there = house.plan(endpoint="small", degraded=True)
    assert house.settle(house.granted(there, most=500), cost=700)
    # and what is spent there counts
    assert isinstance(house.reserve(house.plan(), most=100), Denial)


@pytest.mark.parametrize("degraded", [False, True])
def test_a_budget_that_sends_calls_elsewhere_counts_a_fallback_and_refuses_none(degraded: bool) -> None:
    house = House(budget(1_000, on_exceed="degrade", degrade_to="small"))
    assert house.settle(house.granted(house.plan(later=True, degraded=degraded), most=500), cost=700)
    denial = house.reserve(house.plan(), most=100)
    assert isinstance(denial, Denial)
    assert denial.spent_nanos == 700
    # and whoever looks sees it as it was declared, whichever attempt met it first
    assert [(spec.on_exceed, spec.degrade_to) for spec in house.counters.met()] == [("degrade", "small")]


# -- waiting


def test_without_a_wait_a_call_is_refused_at_once() -> None:
    house = House(limit(qpm=1))
    house.granted(house.plan())
    denial = house.reserve(house.plan())
    assert isinstance(denial, Denial)
    assert denial.retry_after_s == pytest.approx(60, abs=0.1)


def test_calls_wait_in_their_order_and_whoever_comes_later_comes_after() -> None:
    async def work() -> None:
        house = House(limit(qpm=60, burst_s=1, wait_s=10))
        order: list[tuple[int, float]] = []

        async def call(number: int) -> None:
            outcome = house.reserve(house.plan())
            if not isinstance(outcome, Reservation):
                outcome = await outcome
            assert isinstance(outcome, Reservation)
            order.append((number, round(house.now_s(), 2)))

        calls = [asyncio.ensure_future(call(number)) for number in range(5)]
        await asyncio.sleep(2.5)
        calls.append(asyncio.ensure_future(call(5)))
        await asyncio.gather(*calls)
        assert [number for number, _ in order] == [0, 1, 2, 3, 4, 5]
        assert [at_s for _, at_s in order] == pytest.approx([0, 1, 2, 3, 4, 5], abs=0.05)
        assert house.limiter.waiting == 0

    waiting(work)


def test_a_wait_that_would_be_too_long_is_not_begun() -> None:
    house = House(limit(qpm=1, wait_s=10))
    house.granted(house.plan())
    assert isinstance(house.reserve(house.plan()), Denial)


def test_a_wait_ends_with_its_time_and_a_truthful_answer() -> None:
    async def work() -> None:
        house = House(limit(concurrency=1, wait_s=3))
        house.granted(house.plan())
        await asyncio.sleep(100)
        outcomes: list[Outcome] = await asyncio.gather(*(house.reserve(house.plan()) for _ in range(3)))
        assert house.now_s() == pytest.approx(103, abs=0.1)
        assert {outcome.cause for outcome in outcomes if isinstance(outcome, Denial)} == {"concurrency"}
        assert house.limiter.waiting == 0

    waiting(work)


def test_a_call_that_ends_lets_the_next_one_in_at_once() -> None:
    async def work() -> None:
        house = House(limit(concurrency=1, wait_s=100))
        running = house.granted(house.plan())
        next_one = asyncio.ensure_future(house.reserve(house.plan()))
        await asyncio.sleep(0.25)
        house.settle(running)
        assert isinstance(await next_one, Reservation)
        assert house.now_s() == pytest.approx(0.25, abs=0.01)

    waiting(work)


def test_a_call_that_leaves_gives_its_turn_away() -> None:
    async def work() -> None:
        house = House(limit(concurrency=1, wait_s=100))
        running = house.granted(house.plan())
        first, second = (asyncio.ensure_future(house.reserve(house.plan())) for _ in range(2))
        await asyncio.sleep(0.1)
        first.cancel()
        await asyncio.sleep(0.1)
        house.limiter.void(running, house.now_s())
        assert isinstance(await second, Reservation)
        assert house.now_s() == pytest.approx(0.2, abs=0.01)
        assert house.limiter.waiting == 0

    waiting(work)


def test_no_more_than_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)

    async def work() -> None:
        house = House(limit(concurrency=1, wait_s=5))
        house.granted(house.plan())
        three = [asyncio.ensure_future(house.reserve(house.plan())) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert [one.done() for one in three] == [False, False, True]
        assert isinstance(three[2].result(), Denial)
        await asyncio.gather(*three)

    waiting(work)


def test_a_budget_is_not_waited_for() -> None:
    house = House(limit(qpm=10, wait_s=100), budget(5))
    denial = house.reserve(house.plan())
    assert isinstance(denial, Denial)
    assert denial.cause == "budget"


def test_those_who_wait_at_one_limit_do_not_hold_up_others() -> None:
    async def work() -> None:
        house = House(limit({"user": "*"}, qpm=60, burst_s=1, wait_s=10))
        house.granted(house.plan(user="taro"))
        held = asyncio.ensure_future(house.reserve(house.plan(user="taro")))
        await asyncio.sleep(0.1)
        assert isinstance(house.reserve(house.plan(user="jiro")), Reservation)
        assert isinstance(await held, Reservation)

    waiting(work)


# -- ends


def test_an_expired_attempt_is_charged_as_estimated_if_it_was_sent() -> None:
    house = House(budget(10**6), limit(tpm=10_000))
    sent, unsent = house.granted(house.plan(), most=100), house.granted(house.plan(), most=100)
    house.limiter.dispatched(sent)
    assert house.limiter.expire(sent, 0.0)
    assert house.limiter.expire(unsent, 0.0)
    assert (sent.how, unsent.how) == ("expired", "void")
    (meter,), (state,) = asyncio.run(house.counters.look(0.0))
    assert (state.spent_nanos, state.reserved_nanos) == (1_010, 0)
    assert meter.remaining_tokens == 10_000 - 110


# -- bounds


def test_scopes_that_callers_invent_share_one_beyond_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_counters, "MOST_SCOPES", 4)
    house = House(limit({"user": "*"}, qpm=1), budget(100, {"feature": "*"}))
    for number in range(4):
        house.granted(house.plan(user=f"user {number}", feature=f"feature {number}"), most=0)
    house.granted(house.plan(user="another", feature="another"), most=0)
    denial = house.reserve(house.plan(user="one more", feature="one more"), most=0)
    assert isinstance(denial, Denial)
    assert denial.scope == (("user", "*"),)
    # idle ones are dropped in time, and the plans with them
    assert house.counters.tick(120.0, 1_795_000_120.0)
    house.planner.forget()
    assert isinstance(house.limiter.reserve(house.plan(user="one more"), 120.0, 10, 0), Reservation)


def test_invented_scopes_take_no_room_from_those_of_other_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_counters, "MOST_SCOPES", 4)
    house = House(budget(1_000_000, {"feature": "*"}, period="day"), budget(1_000, {"user": "*"}, period="day"))
    for number in range(9):
        house.settle(house.granted(house.plan(feature=f"feature {number}", user="x"), most=0), cost=100)
    for user in ("taro", "jiro"):
        house.settle(house.granted(house.plan(user=user), tokens=900, most=0), cost=900)
    # with the day what was invented in it is forgotten
    assert house.counters.tick(86_400.0, 1_795_086_400.0)
    house.planner.forget()
    assert not house.counters.tick(86_401.0, 1_795_086_401.0)
    for number in range(4):
        plan = house.plan(feature=f"feature {number} of today")
        assert isinstance(house.limiter.reserve(plan, 86_402.0, 10, 0), Reservation)
    assert all(not state.key.startswith("others:") for state in house.counters.met())
