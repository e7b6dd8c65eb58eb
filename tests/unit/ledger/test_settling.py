"""Every way a call ends settles what it held, once, on what its row says; what dies in flight costs what it held."""

from __future__ import annotations

import time
from zoneinfo import ZoneInfo

import msgspec
import pytest
from tests.support.gateway import ListSink
from tests.unit.ledger.pages import RATES, TARO, Clock, attempt, entry, target

from sekisho.domain.call import Attempt, Entry
from sekisho.domain.money import Rates
from sekisho.domain.row import InferenceRow
from sekisho.domain.spending import Budget, Limit, scope_of
from sekisho.domain.usage import Usage
from sekisho.ledger.book import Ledger
from sekisho.ledger.limiter import Limiter
from sekisho.ledger.plans import Planner, SizeBook
from sekisho.ledger.scopes import Rules
from sekisho.ledger.tally import Tally
from sekisho.stores.counters import How, Reservation
from sekisho.stores.memory_counters import MemoryCounters

USAGE = Usage(input_tokens=1_000, output_tokens=500)
COST = 2_000_000
#: 100 input tokens and 50 of output at the prices of the pages
RESERVED = 200_000
RULES = Rules(
    [Limit(scope=scope_of({"key": "*"}), concurrency=10, tpm=10**6)],
    [Budget(scope=scope_of({"team": "research"}), amount_nanos=10**12)],
)


class House:
    """A ledger that settles in memory counters."""

    def __init__(self) -> None:
        self.sink = ListSink()
        clock = self.clock = Clock()
        self.counters = MemoryCounters(ZoneInfo("UTC"), lambda _: None, clock(), time.time())
        self.limiter = Limiter(self.counters, clock)
        self.planner = Planner(RULES, self.counters, SizeBook())
        self.ledger = Ledger(self.sink, Tally(), gateway_version="0.1", limiter=self.limiter, monotonic_s=clock)

    def held(self, rates: Rates | None = RATES) -> Reservation:
        plan = self.planner.plan_for(TARO, "taro", "chat", target(rates=rates))
        outcome = self.limiter.reserve(plan, self.clock(), 100, 50)
        assert type(outcome) is Reservation
        return outcome

    def opened(self, *attempts: Attempt) -> Entry:
        one = entry()
        one.attempts = list(attempts)
        self.ledger.open(one.call)
        return one

    def spent(self) -> int:
        """In nano-dollars; nothing may be held any more."""
        (budget,) = self.counters._budgets.values()  # pyright: ignore[reportPrivateUsage]
        (meter,) = self.counters._meters.values()  # pyright: ignore[reportPrivateUsage]
        assert (budget.held, budget.exposed, meter.running) == (budget.spent, 0, 0)
        return budget.spent

    def tokens(self) -> int:
        """How many the limit counts as used."""
        (meter,) = self.counters._meters.values()  # pyright: ignore[reportPrivateUsage]
        return 10**6 - (meter.state(self.clock()).remaining_tokens or 0)


@pytest.fixture
def house() -> House:
    return House()


def test_what_a_row_says_is_what_is_counted(house: House) -> None:
    one = house.opened(attempt(usage=USAGE, sent_s=1.0, held=house.held()))
    assert house.tokens() == 150
    house.ledger.close(one, 200, "completed")
    assert house.spent() == house.sink.rows[0].cost_nanos == COST
    assert house.tokens() == 1_500


def test_a_second_close_settles_nothing_again(house: House) -> None:
    one = house.opened(attempt(usage=USAGE, sent_s=1.0, held=house.held()))
    house.ledger.close(one, 200, "completed")
    house.ledger.close(one, 499, "client_left")
    assert house.spent() == COST


def test_a_call_that_was_never_sent_costs_nothing(house: House) -> None:
    house.ledger.close(house.opened(attempt(held=house.held())), 503, "refused", "rows_unavailable")
    assert (house.spent(), house.tokens()) == (0, 0)


def test_what_was_held_for_an_attempt_that_was_never_made_is_given_back(house: House) -> None:
    one = house.opened()
    one.held = house.held()
    house.ledger.close(one, 499, "client_left", "client_left")
    assert house.spent() == 0
    assert one.held is None


def test_a_failed_attempt_is_free_before_the_next_one_asks(house: House) -> None:
    failed = attempt(sent_s=1.0, status=500, error_code="upstream_error", held=house.held())
    one = house.opened(failed)
    house.ledger.failed(one, failed)
    assert (house.spent(), house.tokens()) == (0, 0)
    one.attempts.append(attempt(usage=USAGE, sent_s=2.0, held=house.held()))
    house.ledger.close(one, 200, "completed")
    assert house.spent() == house.sink.rows[0].cost_nanos == COST


def test_a_failed_attempt_that_said_what_it_used_is_charged_for_it(house: House) -> None:
    failed = attempt(usage=USAGE, sent_s=1.0, held=house.held())
    one = house.opened(failed)
    house.ledger.failed(one, failed)
    house.ledger.close(one, 502, "upstream_error", "upstream_error")
    assert house.spent() == house.sink.rows[0].cost_nanos == COST


@pytest.mark.parametrize(("remote", "cost", "told"), [(True, COST, 2), (False, COST, 1), (True, 0, 1)])
def test_a_failed_attempt_that_was_charged_is_told_to_a_remote_store_again_when_its_call_ends(
    house: House, monkeypatch: pytest.MonkeyPatch, remote: bool, cost: int, told: int
) -> None:
    ends: list[tuple[object, str, int, int]] = []
    end = house.counters.end

    def noting(held: Reservation, how: How, now_s: float, tokens: int = 0, cost_nanos: int = 0) -> bool:
        ends.append((held, how, tokens, cost_nanos))
        return end(held, how, now_s, tokens, cost_nanos)

    failed = attempt(usage=USAGE if cost else None, sent_s=1.0, held=house.held())
    one = house.opened(failed, attempt(usage=USAGE, sent_s=2.0, held=house.held()))
    house.limiter.remote = remote
    monkeypatch.setattr(house.limiter, "_end", noting)
    house.ledger.failed(one, failed)
    house.ledger.close(one, 200, "completed")
    assert [words for words in ends if words[0] is failed.held] == [
        (failed.held, "settled", 1_500 if cost else 0, cost)
    ] * told
    assert house.spent() == cost + COST


def test_a_tier_without_a_price_is_charged_as_reserved_and_its_row_says_unknown(house: House) -> None:
    rates = msgspec.structs.replace(RATES, service_tiers=(("flex", None),))
    one = house.opened(attempt(target(rates=rates), USAGE, sent_s=1.0, held=house.held(rates)))
    one.service_tier = "FLEX"
    house.ledger.close(one, 200, "completed")
    assert house.sink.rows[0].cost_nanos is None
    assert house.spent() == RESERVED


def test_counters_that_break_cost_no_row(house: House, caplog: pytest.LogCaptureFixture) -> None:
    held = house.held()
    held.account = None
    house.ledger.close(house.opened(attempt(usage=USAGE, sent_s=1.0, held=held)), 200, "completed")
    assert len(house.sink.rows) == 1
    assert "not settled" in caplog.text


def test_what_dies_in_flight_costs_what_it_held(house: House) -> None:
    """As the counters of several workers charge it, whose lease runs out."""

    def row(dying: Attempt) -> InferenceRow:
        one = entry(body=b"x" * 200)
        house.ledger.open(one.call)
        house.ledger.begin(one, dying)
        return house.sink.begun[-1]

    died = row(attempt(held=house.held()))
    assert (died.cost_nanos, died.attempts[0].cost_nanos, died.usage_source) == (RESERVED, RESERVED, "estimated")
    assert (died.input_tokens, died.output_tokens) == (50, 100)
    without = row(attempt())
    assert (without.input_tokens, without.output_tokens, without.cost_nanos) == (50, 0, 50_000)
    house.planner = Planner(Rules(RULES.limits, ()), house.counters, SizeBook())
    limited = row(attempt(held=house.held()))
    assert (limited.output_tokens, limited.cost_nanos) == (0, 50_000), "nothing was reserved but tokens"
    assert row(attempt(target(rates=None))).cost_nanos is None
