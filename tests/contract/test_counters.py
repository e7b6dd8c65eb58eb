"""What every store of counters promises: all of a call or nothing, ended once, sums that agree."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from zoneinfo import ZoneInfo

import pytest
from tests.support.redis_server import RedisServer

from sekisho.domain.periods import window
from sekisho.domain.spending import BudgetEvent, OnExceed, scope_of, scope_text
from sekisho.ledger.scopes import scope_key
from sekisho.stores.counters import BudgetSpec, BudgetState, Denial, MeterSpec, MeterState, Reservation, SpentBefore
from sekisho.stores.memory_counters import MemoryCounters
from sekisho.stores.redis_counters import RedisCounters

ZONE = ZoneInfo("Asia/Tokyo")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as one:
        yield one


class House:
    """Counters, and the words to use them by."""

    def __init__(self, counters: MemoryCounters | RedisCounters, events: list[BudgetEvent]) -> None:
        self.counters = counters
        self.events = events
        self.ids = 0

    def bind(
        self,
        *meters: MeterSpec,
        budgets: tuple[BudgetSpec, ...] = (),
        carried: tuple[MeterSpec, ...] = (),
        counted: tuple[BudgetSpec, ...] = (),
    ) -> object:
        return self.counters.bind(meters, carried, budgets, counted)

    async def admit(self, account: object, tokens: int = 0, reserve: int = 0, most: int = 0) -> Reservation | Denial:
        self.ids += 1
        outcome = self.counters.admit(
            account, time.perf_counter(), tokens, reserve, max(most, reserve), f"id{self.ids}"
        )
        return outcome if isinstance(outcome, Reservation | Denial) else await outcome

    async def granted(self, account: object, tokens: int = 0, reserve: int = 0, most: int = 0) -> Reservation:
        outcome = await self.admit(account, tokens, reserve, most)
        assert isinstance(outcome, Reservation), outcome
        return outcome

    async def denied(self, account: object, tokens: int = 0, reserve: int = 0) -> Denial:
        outcome = await self.admit(account, tokens, reserve)
        assert isinstance(outcome, Denial)
        return outcome

    def settle(self, reservation: Reservation, tokens: int = 0, cost: int = 0) -> bool:
        return self.counters.end(reservation, "settled", time.perf_counter(), tokens, cost)

    async def meter(self, spec: MeterSpec) -> MeterState:
        meters, _ = await self.counters.look(time.perf_counter())
        return next(state for state in meters if state.spec.key == spec.key)

    async def budget(self, spec: BudgetSpec) -> BudgetState:
        _, budgets = await self.counters.look(time.perf_counter())
        return next(state for state in budgets if state.spec.key == spec.key)


@pytest.fixture(params=["memory", "redis"])
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    events: list[BudgetEvent] = []
    if request.param == "memory":
        yield House(MemoryCounters(ZONE, events.append, time.perf_counter(), time.time()), events)
        return
    server: RedisServer = request.getfixturevalue("server")
    server.empty()

    async def nothing(_as_of_s: float) -> SpentBefore:
        return SpentBefore(nanos={})

    counters = RedisCounters(
        server.url, ZONE, events.append, nothing, time.perf_counter(), time.time(), grace_s=0.01, timeout_s=20
    )
    await counters.open()
    yield House(counters, events)
    await counters.close()


def meter(qpm: int | None = None, tpm: int | None = None, **more: object) -> MeterSpec:
    scope = scope_of({"team": str(more.pop("team", "営業 部|=%"))})
    return MeterSpec(key=scope_key(scope), scope=scope, qpm=qpm, tpm=tpm, **more)  # type: ignore[arg-type]


def budget(amount: int, team: str = "sales", on_exceed: OnExceed = "block") -> BudgetSpec:
    scope = scope_of({"team": team})
    key = f"{scope_key(scope)}|month|{on_exceed}"
    return BudgetSpec(key=key, scope=scope, amount_nanos=amount, period="month", on_exceed=on_exceed)


async def test_a_bucket_lets_a_minutes_worth_in_at_once_and_no_more(house: House) -> None:
    account = house.bind(meter(qpm=3))
    for _ in range(3):
        await house.granted(account)
    denial = await house.denied(account)
    assert (denial.cause, denial.limit, scope_text(denial.scope)) == ("requests", 3, "team 営業 部|=%")
    assert 19 < denial.retry_after_s <= 20


async def test_a_narrower_burst_lets_fewer_in_at_once(house: House) -> None:
    account = house.bind(meter(qpm=60, q_burst_s=5))
    for _ in range(5):
        await house.granted(account)
    assert (await house.denied(account)).retry_after_s == pytest.approx(1, abs=0.2)


async def test_tokens_are_debited_by_estimate_and_corrected_by_what_was_used(house: House) -> None:
    spec = meter(tpm=1_000)
    account = house.bind(spec)
    reservation = await house.granted(account, tokens=900)
    assert (await house.denied(account, tokens=200)).cause == "tokens"
    house.settle(reservation, tokens=100)
    assert (await house.meter(spec)).remaining_tokens == pytest.approx(900, abs=20)
    reservation = await house.granted(account, tokens=200)
    house.settle(reservation, tokens=800)
    assert (await house.denied(account, tokens=200)).cause == "tokens"


async def test_what_was_used_is_corrected_on_every_limit_of_the_call(house: House) -> None:
    specs = [meter(tpm=tpm, team=f"team {tpm}", concurrency=9) for tpm in (10_000, 20_000, 40_000, 80_000)]
    one = await house.granted(house.bind(*specs[:2], carried=tuple(specs[2:])), tokens=1_000)
    for spec in specs:
        assert (await house.meter(spec)).running == 1
    house.settle(one, tokens=4_000)
    for spec in specs:
        state = await house.meter(spec)
        assert state.running == 0
        assert spec.tpm is not None
        assert state.remaining_tokens == pytest.approx(spec.tpm - 4_000, abs=spec.tpm / 60 * 5)


async def test_a_call_larger_than_a_bucket_passes_when_the_bucket_is_full(house: House) -> None:
    account = house.bind(meter(tpm=100))
    await house.granted(account, tokens=250)
    denial = await house.denied(account, tokens=1)
    assert denial.retry_after_s == pytest.approx(90.6, abs=1)


async def test_calls_at_once_are_counted_until_they_end(house: House) -> None:
    spec = meter(concurrency=2)
    account = house.bind(spec)
    first, second = [await house.granted(account) for _ in range(2)]
    assert (await house.denied(account)).cause == "concurrency"
    house.settle(first)
    third = await house.granted(account)
    for one in (second, third):
        house.settle(one)
    assert (await house.meter(spec)).running == 0


async def test_a_refused_call_debits_no_scope(house: House) -> None:
    wide, narrow, money = meter(qpm=100, tpm=1000, team="wide"), meter(qpm=1, team="narrow"), budget(100)
    account = house.bind(wide, narrow, budgets=(money,))
    await house.granted(account, tokens=10, reserve=10)
    before = await house.counters.look(time.perf_counter())
    assert (await house.denied(account, tokens=10, reserve=10)).cause == "requests"
    after = await house.counters.look(time.perf_counter())
    assert after[1] == before[1]
    left = [state.remaining_requests for state in after[0]]
    assert left[0] in (99, 100)
    assert [state.running for state in after[0]] == [state.running for state in before[0]]


async def test_a_budget_holds_what_is_reserved_and_then_what_was_spent(house: House) -> None:
    spec = budget(100)
    account = house.bind(budgets=(spec,))
    first = await house.granted(account, reserve=60, most=90)
    denial = await house.denied(account, reserve=41)
    assert (denial.cause, denial.spent_nanos, denial.reserved_nanos, denial.wanted_nanos) == ("budget", 0, 60, 41)
    assert denial.retry_after_s == pytest.approx(window("month", ZONE, time.time())[1] - time.time(), abs=10)
    second = await house.granted(account, reserve=40, most=40)
    state = await house.budget(spec)
    assert (state.spent_nanos, state.reserved_nanos, state.bound_nanos) == (0, 100, 30)
    house.settle(first, cost=75)
    house.settle(second, cost=10)
    state = await house.budget(spec)
    assert (state.spent_nanos, state.reserved_nanos, state.bound_nanos) == (85, 0, 0)
    await house.granted(account, reserve=15)


async def test_every_budget_of_a_call_holds_it_and_is_charged_for_it(house: House) -> None:
    specs = [budget(1_000, team) for team in ("sales", "research", "legal")]
    warns, counted = budget(1_000, "sales", "warn"), budget(1_000, "others")
    account = house.bind(meter(qpm=10, concurrency=9), budgets=(*specs, warns), counted=(counted,))
    one = await house.granted(account, reserve=60, most=90)
    every = [*specs, warns, counted]
    for spec in every:
        state = await house.budget(spec)
        assert (state.spent_nanos, state.reserved_nanos, state.bound_nanos) == (0, 60, 30)
    house.settle(one, cost=75)
    for spec in every:
        state = await house.budget(spec)
        assert (state.spent_nanos, state.reserved_nanos, state.bound_nanos) == (75, 0, 0)


async def test_a_reservation_ends_once(house: House) -> None:
    spec = budget(100)
    account = house.bind(meter(tpm=1000, concurrency=5), budgets=(spec,))
    reservation = await house.granted(account, tokens=100, reserve=50)
    assert house.settle(reservation, tokens=100, cost=30)
    assert not house.settle(reservation, tokens=100, cost=30)
    assert not house.counters.end(reservation, "void", time.perf_counter())
    assert reservation.how == "settled"
    assert (await house.budget(spec)).spent_nanos == 30


async def test_a_void_reservation_gives_money_and_tokens_back(house: House) -> None:
    limit, money = meter(tpm=1000), budget(100)
    account = house.bind(limit, budgets=(money,))
    reservation = await house.granted(account, tokens=1000, reserve=100)
    house.counters.end(reservation, "void", time.perf_counter())
    state = await house.budget(money)
    assert (state.spent_nanos, state.reserved_nanos) == (0, 0)
    await house.granted(account, tokens=1000, reserve=100)


async def test_a_call_beyond_all_money_leaves_nothing_behind(house: House) -> None:
    spec = budget(1_000)
    account = house.bind(meter(concurrency=1), budgets=(spec, budget(1_000, on_exceed="warn")))
    outcome = await house.admit(account, reserve=10, most=2 * 10**19)
    if isinstance(outcome, Reservation):
        house.settle(outcome, cost=5)
    await house.granted(account, reserve=900)
    state = await house.budget(spec)
    assert (state.reserved_nanos, state.bound_nanos) == (900, 0)


async def test_a_warning_stops_nothing(house: House) -> None:
    account = house.bind(budgets=(budget(10, on_exceed="warn"),))
    for _ in range(3):
        house.settle(await house.granted(account, reserve=10), cost=10)


async def test_a_block_is_told_before_a_diversion(house: House) -> None:
    account = house.bind(budgets=(budget(10, on_exceed="degrade"), budget(10)))
    denial = await house.denied(account, reserve=11)
    assert denial.budget is not None
    assert denial.budget.on_exceed == "block"


async def test_a_budget_that_only_counts_a_call_refuses_it_not_and_stays_what_it_is(house: House) -> None:
    spec, block = budget(10, on_exceed="degrade"), budget(20)
    passed = house.bind(budgets=(block,), counted=(spec,))
    one = await house.granted(passed, reserve=15)
    assert (await house.denied(passed, reserve=15)).budget == block
    house.settle(one, cost=12)
    state = await house.budget(spec)
    assert (state.spec, state.spent_nanos, state.reserved_nanos) == (spec, 12, 0)
    denial = await house.denied(house.bind(budgets=(spec,)), reserve=1)
    assert (denial.budget, denial.spent_nanos) == (spec, 12)
    assert (await house.budget(block)).spent_nanos == 12


async def test_every_mark_of_a_budget_is_told_once(house: House) -> None:
    spec = budget(1_000)
    account = house.bind(budgets=(spec,))

    async def told(percents: list[int]) -> None:
        async with asyncio.timeout(60):
            while [event.percent for event in house.events] != percents:
                await asyncio.sleep(0.001)

    for cost, percents in ((499, []), (1, [50]), (299, [50]), (1, [50, 80]), (150, [50, 80]), (50, [50, 80, 100])):
        house.settle(await house.granted(account, reserve=cost), cost=cost)
        await house.budget(spec)
        await told(percents)
    assert len({event.id for event in house.events}) == 3
    assert house.events[-1].spent_nanos == 1_000
    assert house.events[0].scope == "team sales"
    assert all(abs(event.at_s - time.time()) < 60 for event in house.events)


async def test_a_call_far_above_its_reservation_passes_several_marks(house: House) -> None:
    spec = budget(100)
    account = house.bind(budgets=(spec,))
    house.settle(await house.granted(account, reserve=1, most=400), cost=300)
    await house.budget(spec)
    async with asyncio.timeout(60):
        while len(house.events) < 3:
            await asyncio.sleep(0.001)
    assert [event.percent for event in house.events] == [50, 80, 100]


async def test_a_smaller_amount_tells_the_marks_that_are_passed_already(house: House) -> None:
    house.settle(await house.granted(house.bind(budgets=(budget(5_000),)), reserve=1_200), cost=1_200)
    await house.budget(budget(5_000))
    account = house.bind(budgets=(budget(1_000),))
    await house.denied(account, reserve=1)
    await house.denied(account, reserve=1)
    assert [(event.percent, event.amount_nanos) for event in house.events] == [
        (50, 1_000),
        (80, 1_000),
        (100, 1_000),
    ]
    assert {event.spent_nanos for event in house.events} == {1_200}
    assert all(abs(event.at_s - time.time()) < 60 for event in house.events)


async def test_a_larger_amount_tells_only_the_marks_that_it_has_passed(house: House) -> None:
    house.settle(await house.granted(house.bind(budgets=(budget(1_000),)), reserve=600), cost=600)
    await house.budget(budget(1_000))
    async with asyncio.timeout(60):
        while not house.events:
            await asyncio.sleep(0.001)
    account = house.bind(budgets=(budget(1_100),))
    await house.denied(account, reserve=501)
    assert [(event.percent, event.amount_nanos) for event in house.events] == [(50, 1_000), (50, 1_100)]
    await house.denied(house.bind(budgets=(budget(5_000),)), reserve=5_000)
    assert len(house.events) == 2


async def test_carried_limits_count_and_do_not_refuse(house: House) -> None:
    spec = meter(qpm=1, tpm=100, concurrency=1)
    first, later = house.bind(spec), house.bind(carried=(spec,))
    one = await house.granted(first, tokens=100)
    house.settle(one, tokens=0)
    other = await house.granted(later, tokens=100)
    state = await house.meter(spec)
    assert (state.remaining_requests, state.remaining_tokens, state.running) == (0, pytest.approx(1, abs=1), 1)
    await house.granted(later, tokens=10)
    house.settle(other, tokens=50)
    assert (await house.denied(first, tokens=1)).cause in ("requests", "concurrency")


async def test_new_limits_hold_at_once_and_keep_what_was_used(house: House) -> None:
    account = house.bind(meter(qpm=10))
    for _ in range(10):
        await house.granted(account)
    await house.denied(account)
    wider = house.bind(meter(qpm=10, q_burst_s=120))
    await house.granted(wider)
    spec = meter(qpm=20)
    house.bind(spec)
    assert (await house.meter(spec)).remaining_requests == 0


async def test_a_bucket_holds_one_call_however_short_its_burst(house: House) -> None:
    spec = meter(qpm=10, q_burst_s=0.5)
    account = house.bind(spec)
    assert (await house.meter(spec)).remaining_requests == 1
    reservation = await house.granted(account)
    told = reservation.account.headroom(reservation, time.perf_counter())
    assert (told.limit_requests, told.remaining_requests) == (10, 0)
    assert (await house.meter(spec)).remaining_requests == 0
    await house.denied(account)


async def test_headroom_is_that_of_the_tightest_limit(house: House) -> None:
    account = house.bind(meter(qpm=10, tpm=500, team="a"), meter(qpm=100, tpm=400, team="b"))
    reservation = await house.granted(account, tokens=100)
    told = reservation.account.headroom(reservation, time.perf_counter())
    assert (told.limit_requests, told.remaining_requests) == (10, 9)
    assert (told.limit_tokens, told.remaining_tokens) == (400, pytest.approx(300, abs=3))
    assert told.reset_requests_s == pytest.approx(6, abs=0.5)
    assert told.reset_tokens_s == pytest.approx(15, abs=0.5)
    # a long answer is told of at its end, and meanwhile some has come back
    later = reservation.account.headroom(reservation, time.perf_counter() + 3)
    assert later.remaining_tokens == pytest.approx(320, abs=3)
    assert later.reset_requests_s == pytest.approx(3, abs=0.5)
    assert later.reset_tokens_s == pytest.approx(12, abs=0.5)
    full = reservation.account.headroom(reservation, time.perf_counter() + 60)
    assert (full.remaining_requests, full.remaining_tokens) == (10, 400)
    assert (full.reset_requests_s, full.reset_tokens_s) == (0, 0)
    nothing = await house.granted(house.bind())
    assert nothing.account.headroom(nothing, time.perf_counter()) is None


async def test_tokens_used_far_beyond_the_estimate_leave_nothing_until_they_are_made_up_for(house: House) -> None:
    spec = meter(tpm=100)
    account = house.bind(spec)
    house.settle(await house.granted(account, tokens=50), tokens=500)
    await house.meter(spec)
    denial = await house.denied(account, tokens=10)
    assert (denial.cause, denial.headroom and denial.headroom.remaining_tokens) == ("tokens", 0)
    assert denial.headroom is not None
    assert denial.headroom.reset_tokens_s == pytest.approx(300, abs=10)
    assert denial.retry_after_s == pytest.approx(246, abs=10)


async def test_headroom_of_a_fallback_tells_of_all_limits_of_its_call_and_of_what_was_used(house: House) -> None:
    model, key = meter(qpm=100, tpm=9_000, team="model"), meter(qpm=10, tpm=6_000, team="key")
    house.settle(await house.granted(house.bind(model, key)))
    fallback = house.bind(model, carried=(key,))
    reservation = await house.granted(fallback, tokens=1_000)
    told = reservation.account.headroom(reservation, time.perf_counter())
    assert (told.limit_requests, told.remaining_requests) == (10, 9)
    assert (told.limit_tokens, told.remaining_tokens) == (6_000, pytest.approx(5_000, abs=50))
    house.settle(reservation, tokens=100)
    told = reservation.account.headroom(reservation, time.perf_counter())
    assert told.remaining_tokens == pytest.approx(5_900, abs=50)


async def test_a_call_without_limits_is_let_in(house: House) -> None:
    assert house.settle(await house.granted(house.bind(), tokens=5, reserve=5), tokens=1, cost=1)


async def test_a_day_that_ends_begins_anew_and_leaves_what_still_runs_to_the_old_one(house: House) -> None:
    scope = scope_of({"team": "research"})
    daily = BudgetSpec(key="research|day", scope=scope, amount_nanos=100, period="day", on_exceed="block")
    account = house.bind(budgets=(daily,))
    old = await house.granted(account, reserve=60)
    assert (await house.denied(account, reserve=60)).cause == "budget"
    tomorrow_s = time.perf_counter() + 86_400
    house.counters.tick(tomorrow_s, time.time() + 86_400)

    async def asked(reserve: int) -> Reservation | Denial:
        house.ids += 1
        outcome = house.counters.admit(account, tomorrow_s, 0, reserve, reserve, f"id{house.ids}")  # type: ignore[arg-type]
        return outcome if isinstance(outcome, Reservation | Denial) else await outcome

    new = await asked(60)
    assert isinstance(new, Reservation)
    assert house.counters.end(old, "settled", tomorrow_s, 0, 100)
    assert house.counters.end(new, "settled", tomorrow_s, 0, 60)
    assert isinstance(await asked(41), Denial)
    assert isinstance(await asked(40), Reservation)
