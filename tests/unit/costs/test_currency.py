"""Yen by the rate of the day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.costs.currency import UsdJpy, whole_yen

#: a busy machine is not a failure
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
TABLE = UsdJpy(((NOVEMBER, Decimal("150.5")), (OCTOBER, Decimal(148))))


@pytest.mark.parametrize(
    ("day", "rate", "since"),
    [
        (date(2026, 9, 1), "148", OCTOBER),
        (OCTOBER, "148", OCTOBER),
        (date(2026, 10, 31), "148", OCTOBER),
        (NOVEMBER, "150.5", NOVEMBER),
        (date(2030, 1, 1), "150.5", NOVEMBER),
    ],
)
def test_a_day_has_the_rate_that_was_in_force(day: date, rate: str, since: date) -> None:
    assert TABLE.rate_on(day) == (Decimal(rate), since)


@STEADY
@given(
    st.lists(
        st.tuples(st.dates(date(2026, 1, 1), date(2026, 12, 31)), st.decimals("0.001", 1000, places=9)), max_size=4
    ),
    st.integers(0, 2 * 365 * 86_400),
    st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York", "Europe/London"]),
)
def test_a_rate_holds_for_as_long_as_is_told(dated: list[tuple[date, Decimal]], second: int, timezone: str) -> None:
    table = UsdJpy([*dict(dated).items()])
    us = int(datetime(2025, 10, 1, tzinfo=UTC).timestamp() + second) * 1_000_000 + 1
    found = table.holding_at(us, timezone)
    rate = table.rate_at(us, timezone)
    assert found.usd_jpy_nanos == (None if rate is None else int(rate * 10**9))
    assert found.from_us <= us < found.until_us
    for inside in {max(found.from_us, 0), min(found.until_us, 2**52) - 1}:
        assert table.holding_at(inside, timezone) == found
    if found.from_us > 0:
        assert table.holding_at(found.from_us - 1, timezone).until_us == found.from_us
    if found.until_us < 2**60:
        assert table.holding_at(found.until_us, timezone).from_us == found.until_us


def test_a_rate_without_a_day_holds_always() -> None:
    assert UsdJpy(((None, Decimal(150)),)).rate_on(date(2001, 1, 1)) == (Decimal(150), date.min)


def test_a_moment_has_the_rate_of_its_day_in_the_time_zone() -> None:
    # midnight in Tokyo
    begins = int(datetime(2026, 10, 31, 15, tzinfo=UTC).timestamp()) * 1_000_000
    assert TABLE.rate_at(begins - 1, "Asia/Tokyo") == Decimal(148)
    assert TABLE.rate_at(begins, "Asia/Tokyo") == Decimal("150.5")
    assert TABLE.rate_at(begins, "UTC") == Decimal(148)
    assert UsdJpy(()).rate_at(begins, "UTC") is None


def test_without_a_rate_yen_are_unknown_and_not_0() -> None:
    assert UsdJpy(()).rate_on(NOVEMBER) is None
    assert UsdJpy(()).yen(1_000, NOVEMBER) is None


def test_an_amount_in_yen_is_exact_until_it_is_shown() -> None:
    # 0.00045 USD x 150.5 = 0.067725 yen
    assert TABLE.yen(450_000, NOVEMBER) == Decimal("0.067725")
    # 1 USD x 150.5: half a yen goes to the even one
    assert whole_yen(Decimal("150.5")) == 150
    assert whole_yen(Decimal("151.5")) == 152


@STEADY
@given(st.integers(min_value=0, max_value=10**18), st.decimals(min_value=1, max_value=999, places=4))
def test_no_digit_is_lost(nanos: int, rate: Decimal) -> None:
    amount = UsdJpy(((None, rate),)).yen(nanos, OCTOBER + timedelta(days=3))
    assert amount is not None
    assert Fraction(amount) == Fraction(nanos) * Fraction(rate) / 10**9
