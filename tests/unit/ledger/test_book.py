"""The book: an entry is closed once, whatever happens; its price is true or None; its row is written or counted."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.gateway import ListSink
from tests.unit.ledger.pages import RATES, Clock, attempt, call, entry, target

from sekisho.domain.call import Entry
from sekisho.domain.endpoint import Endpoint
from sekisho.domain.errors import Refusal
from sekisho.domain.money import ExchangeRate, MediaRates, Rates
from sekisho.domain.row import Record
from sekisho.domain.usage import MediaTokens, Usage
from sekisho.ledger.book import Ledger
from sekisho.ledger.tally import Tally
from sekisho.ledger.tally_sums import by_model

USAGE = Usage(input_tokens=1_000, output_tokens=500)
#: of USAGE by RATES: 1000 x 1 USD + 500 x 2 USD a million
COST = 2_000_000


class House:
    """A ledger with a list for a spool and a clock that stands."""

    def __init__(self) -> None:
        self.sink = ListSink()
        self.clock = Clock()
        self.tally = Tally()
        self.ledger = Ledger(self.sink, self.tally, gateway_version="0.1", monotonic_s=self.clock)

    def opened(self, one: Entry | None = None) -> Entry:
        """As the pipeline does it, but the page is given."""
        one = one or entry()
        self.ledger.open(one.call)
        return one


@pytest.fixture
def house() -> House:
    return House()


def test_open_and_close_are_one_row_and_one_count(house: House) -> None:
    one = house.opened()
    assert house.tally.in_flight == 1
    one.attempts = [attempt(usage=USAGE, status=200)]
    house.ledger.close(one, 200, "completed")
    [row] = house.sink.rows
    assert (row.status_code, row.terminal_state, row.cost_nanos, row.error_code) == (200, "completed", COST, None)
    assert (house.tally.in_flight, house.tally.rows["appended"]) == (0, 1)
    counts = by_model(house.tally)["mock-small"]
    assert (counts.statuses, counts.cost_nanos, counts.unpriced) == ({200: 1}, COST, 0)


def test_a_second_close_is_logged_and_changes_nothing(house: House, caplog: pytest.LogCaptureFixture) -> None:
    one = house.opened()
    house.ledger.close(one, 200, "completed")
    house.ledger.close(one, 502, "upstream_error", "upstream_error", "late")
    assert "entry closed twice" in caplog.text
    assert [row.status_code for row in house.sink.rows] == [200]
    assert (house.tally.in_flight, one.status, one.error_code) == (0, 200, None)
    assert sum(sum(counts.statuses.values()) for counts in house.tally.models.values()) == 1


def test_a_sink_that_fails_is_counted_and_does_not_touch_the_call(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.sink.fault = OSError("no space left on device")
    one = house.opened()
    house.ledger.close(one, 200, "completed")
    assert house.tally.rows == {"appended": 0, "dropped": 0, "failed": 1}
    assert (one.closed, house.tally.in_flight) == (True, 0)
    assert "row not recorded" in caplog.text
    house.sink.fault = None
    house.ledger.close(house.opened(), 200, "completed")
    assert house.tally.rows["appended"] == 1


def test_an_entry_that_cannot_be_recorded_is_counted_too(house: House) -> None:
    one = house.opened()
    one.feature = ["not", "hashable"]  # type: ignore[assignment]
    house.ledger.close(one, 200, "completed")
    assert house.tally.rows == {"appended": 0, "dropped": 0, "failed": 1}


# -- money


def test_an_unknown_price_is_none_and_not_zero(house: House) -> None:
    one = house.opened()
    one.attempts = [attempt(target(rates=None), USAGE)]
    house.ledger.close(one, 200, "completed")
    assert house.sink.rows[0].cost_nanos is None
    assert house.sink.rows[0].attempts[0].cost_nanos is None
    counts = by_model(house.tally)["mock-small"]
    assert (counts.cost_nanos, counts.unpriced) == (0, 1)


@pytest.mark.parametrize("known_first", [True, False])
def test_one_unknown_part_makes_the_sum_unknown(house: House, known_first: bool) -> None:
    parts = [attempt(usage=USAGE), attempt(target(rates=None), USAGE)]
    one = house.opened()
    one.attempts = parts if known_first else parts[::-1]
    house.ledger.close(one, 200, "completed")
    assert house.sink.rows[0].cost_nanos is None
    assert {part.cost_nanos for part in house.sink.rows[0].attempts} == {COST, None}


def test_an_attempt_without_usage_costs_nothing_whatever_its_price(house: House) -> None:
    one = house.opened()
    one.attempts = [attempt(target(rates=None)), attempt(usage=USAGE)]
    house.ledger.close(one, 200, "completed")
    assert house.sink.rows[0].cost_nanos == COST
    assert [part.cost_nanos for part in house.sink.rows[0].attempts] == [0, COST]


def test_no_attempt_costs_nothing(house: House) -> None:
    house.ledger.close(house.opened(), 429, "refused", "budget_exceeded")
    assert house.sink.rows[0].cost_nanos == 0


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.booleans()), max_size=4))
def test_the_cost_of_a_call_is_the_sum_of_its_attempts(parts: list[tuple[int, int, bool]]) -> None:
    house = House()
    one = house.opened()
    for read, written, priced in parts:
        usage = Usage(input_tokens=read, output_tokens=written)
        one.attempts.append(attempt(target(rates=RATES if priced else None), usage))
    house.ledger.close(one, 200, "completed")
    [row] = house.sink.rows
    costs = [part.cost_nanos for part in row.attempts]
    if all(priced for *_, priced in parts):
        assert row.cost_nanos == sum(cost or 0 for cost in costs)
        assert costs == [read * 1_000 + written * 2_000 for read, written, _ in parts]
    else:
        assert row.cost_nanos is None
    if parts:
        assert (row.input_tokens, row.output_tokens) == parts[-1][:2], "tokens are those of the served attempt"
        tokens = by_model(house.tally)["mock-small"].tokens
        read, written = (sum(part[place] for part in parts) for place in (0, 1))
        assert (tokens.input, tokens.output) == (read, written), "and metrics count all"


def test_a_service_tier_has_its_own_price(house: House) -> None:
    flex = Rates(input_nanos_per_mtok=1_000_000, output_nanos_per_mtok=1_000_000)
    rates = Rates(
        input_nanos_per_mtok=1_000_000_000,
        output_nanos_per_mtok=2_000_000_000,
        service_tiers=(("flex", flex), ("priority", None)),
    )
    costs: list[int | None] = []
    for tier in (None, "default", "flex", "priority"):
        one = house.opened()
        one.attempts = [attempt(target(rates=rates), USAGE)]
        one.service_tier = tier
        house.ledger.close(one, 200, "completed")
        costs.append(house.sink.rows[-1].cost_nanos)
    assert costs == [COST, COST, 1_500, None]


def test_sound_in_a_tier_without_a_price_for_sound_is_unknown_and_not_text(house: House) -> None:
    flex = Rates(input_nanos_per_mtok=1_000_000, output_nanos_per_mtok=1_000_000)
    rates = Rates(
        input_nanos_per_mtok=1_000_000_000,
        output_nanos_per_mtok=2_000_000_000,
        media=MediaRates(output_audio_nanos_per_mtok=64_000_000_000),
        service_tiers=(("flex", flex), ("priority", None)),
    )
    spoken = msgspec.structs.replace(USAGE, media=MediaTokens(output_audio_tokens=1))
    all_as_text = msgspec.structs.replace(rates, media=None)
    costs: list[int | None] = []
    for of, usage, tier in (
        (rates, USAGE, "flex"), (rates, spoken, "flex"), (rates, spoken, "priority"), (all_as_text, spoken, "flex"),
    ):  # fmt: skip
        one = house.opened()
        one.attempts = [attempt(target(rates=of), usage)]
        one.service_tier = tier
        house.ledger.close(one, 200, "completed")
        costs.append(house.sink.rows[-1].cost_nanos)
    assert costs == [1_500, None, None, 1_500]


# -- calls that are about to be dispatched


@pytest.mark.parametrize("takes_calls", [True, False])
def test_a_call_that_could_not_be_noted_goes_on_where_calls_are_taken_then(house: House, takes_calls: bool) -> None:
    def begin(record: Record) -> bool:
        house.sink.takes_calls = takes_calls
        return False

    house.sink.begin = begin  # type: ignore[method-assign]
    if takes_calls:
        house.ledger.begin(house.opened(), attempt())
    else:
        with pytest.raises(Refusal, match="rows_unavailable"):
            house.ledger.begin(house.opened(), attempt())


def test_a_call_that_was_noted_is_dispatched_whatever_came_since(house: House) -> None:
    one = house.opened()
    house.ledger.begin(one, attempt())
    house.sink.takes_calls = False
    house.ledger.begin(one, attempt())
    assert len(house.sink.begun) == 1, "a fallback notes nothing anew"
    with pytest.raises(Refusal, match="rows_unavailable"):
        house.ledger.begin(house.opened(), attempt())


# -- refusals that anyone can cause


def test_rows_of_refusals_without_a_key_are_capped_a_second_and_the_rest_is_counted(house: House) -> None:
    for _ in range(250):
        house.ledger.close(house.opened(Entry(call())), 401, "refused", "invalid_api_key")
    assert house.tally.rows == {"appended": 200, "dropped": 50, "failed": 0}
    assert by_model(house.tally)["unknown"].statuses == {401: 250}, "metrics count every call"
    assert house.tally.in_flight == 0
    house.clock.now_s += 1
    house.ledger.close(house.opened(Entry(call())), 401, "refused", "invalid_api_key")
    assert house.tally.rows["appended"] == 201


@pytest.mark.parametrize(
    ("status", "with_key", "capped"),
    [
        (401, False, True),
        (400, False, True),  # two keys, a damaged gzip body: nobody needs a key for that
        (415, False, True),
        (413, False, True),
        (431, False, True),
        (405, False, True),
        (499, False, True),  # gone before the body was whole
        (404, True, True),
        (413, True, True),
        (400, True, False),
        (403, True, False),
        (429, True, False),
        (499, True, False),
        (502, True, False),
        (200, True, False),
    ],
)
def test_only_rows_that_cost_their_caller_something_are_never_dropped(
    status: int, with_key: bool, capped: bool
) -> None:
    house = House()
    for _ in range(230):
        one = house.opened(entry() if with_key else Entry(call()))
        house.ledger.close(one, status, "refused" if status != 200 else "completed", "code")
    assert house.tally.rows["dropped"] == (30 if capped else 0)
    assert sum(house.tally.rows.values()) == 230


def test_no_row_of_a_call_that_a_provider_has_seen_is_dropped(house: House) -> None:
    """Its 413 may be the provider's: the spool knows that it began, and a fallback may have cost something."""
    for _ in range(230):
        one = house.opened()
        one.attempts.append(attempt())
        house.ledger.close(one, 413, "upstream_error", "request_too_large")
    assert house.tally.rows == {"appended": 230, "dropped": 0, "failed": 0}


def test_dropped_rows_do_not_cost_those_of_others_their_place(house: House) -> None:
    for _ in range(300):
        house.ledger.close(house.opened(Entry(call())), 401, "refused", "invalid_api_key")
    house.ledger.close(house.opened(), 200, "completed")
    assert house.sink.rows[-1].status_code == 200


# -- labels


@pytest.mark.parametrize("known", [False, True])
def test_names_that_callers_make_up_are_no_labels(house: House, known: bool) -> None:
    one = house.opened()
    model = "mock-small" if known else "made-up"
    one.endpoint = Endpoint(name="x", targets=(target(model),), direct=not known)
    one.attempts = [attempt(target(model), USAGE)]
    house.ledger.close(one, 200, "completed")
    assert list(by_model(house.tally)) == ["mock-small" if known else "unknown"]


def test_the_time_to_the_first_token_is_that_of_streams(house: House) -> None:
    for streaming in (False, True):
        one = house.opened()
        one.streaming, one.first_byte_s = streaming, 100.25
        one.attempts = [attempt(usage=USAGE)]
        house.ledger.close(one, 200, "completed")
    counts = by_model(house.tally)["mock-small"]
    assert counts.first_token.cumulative()[-1] == ("+Inf", 1.0)
    assert counts.first_token.total == 0.25
    assert counts.latency.cumulative()[-1] == ("+Inf", 2.0)


def test_an_error_message_stays_short_and_stands_only_beside_a_code(house: House) -> None:
    for code in ("upstream_error", None):
        house.ledger.close(house.opened(), 502, "upstream_error", code, "x" * 9_999)
    assert [len(row.error_message or "") for row in house.sink.rows] == [500, 0]
    assert [row.error_code for row in house.sink.rows] == ["upstream_error", None]


def test_how_long_a_call_took_is_on_its_row_and_in_the_metrics(house: House) -> None:
    clock = Clock(100.0)
    one = house.opened(entry(now_s=clock))
    one.attempts = [attempt(usage=USAGE)]
    clock.now_s = 100.75
    house.ledger.close(one, 200, "completed")
    assert house.sink.rows[0].latency_us == 750_000
    assert by_model(house.tally)["mock-small"].latency.total == 0.75


def test_rows_keep_the_rate_of_exchange_that_is_told_later(house: House) -> None:
    house.ledger.close(house.opened(), 200, "completed")
    house.ledger.convert(lambda at_us: ExchangeRate(150_000_000_000, at_us, at_us + 1))
    house.ledger.close(house.opened(), 200, "completed")
    assert [row.usd_jpy_nanos for row in house.sink.rows] == [None, 150_000_000_000]


@pytest.mark.parametrize(("done", "takes_calls"), [(True, False), (False, True), (False, False)])
def test_a_row_that_is_not_durable_holds_up_a_call_only_where_none_is_taken_then(
    house: House, done: bool, takes_calls: bool
) -> None:
    house.sink.when_durable = lambda told: told(done)  # type: ignore[method-assign]
    house.sink.takes_calls = takes_calls
    told: list[bool] = []
    house.ledger.when_durable(told.append)
    assert told == [done or takes_calls]
