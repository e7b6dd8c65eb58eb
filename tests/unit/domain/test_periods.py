"""Days, weeks and months in any time zone: they follow each other without gap or overlap."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.domain.periods import same_days, window
from sekisho.domain.spending import PERIODS, Period

ZONES = sorted(available_timezones())
HOUR = 3600


def at(text: str, zone: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(ZONES), st.floats(0, 4.1e9), st.sampled_from(PERIODS))
def test_periods_neither_overlap_nor_leave_a_gap(name: str, time_s: float, period: Period) -> None:
    zone = ZoneInfo(name)
    begins, ends = window(period, zone, time_s)
    assert begins <= time_s < ends
    assert window(period, zone, begins) == (begins, ends)
    assert window(period, zone, ends)[0] == ends
    before, same = window(period, zone, begins - 1)
    assert before < same == begins


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ZONES), st.floats(0, 4.1e9))
def test_a_period_begins_with_its_first_local_day(name: str, time_s: float) -> None:
    zone = ZoneInfo(name)
    for period in PERIODS:
        begins, _ = window(period, zone, time_s)
        first = datetime.fromtimestamp(begins, zone)
        before = datetime.fromtimestamp(begins - 1, zone)
        assert first.date() > before.date() or period == "day"
        if period == "week":
            assert before.isocalendar().week != first.isocalendar().week
        if period == "month":
            assert (before.year, before.month) != (first.year, first.month)


@pytest.mark.parametrize(
    ("period", "zone", "time", "begins", "ends"),
    [
        ("day", "Asia/Tokyo", "2026-11-20T23:59:59", "2026-11-20T00:00:00", "2026-11-21T00:00:00"),
        ("week", "Asia/Tokyo", "2026-11-22T12:00:00", "2026-11-16T00:00:00", "2026-11-23T00:00:00"),
        ("week", "Asia/Tokyo", "2027-01-01T00:00:00", "2026-12-28T00:00:00", "2027-01-04T00:00:00"),
        ("month", "Asia/Tokyo", "2026-12-31T23:59:59", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
        ("month", "UTC", "2028-02-29T12:00:00", "2028-02-01T00:00:00", "2028-03-01T00:00:00"),
    ],
)
def test_ends_of_weeks_months_and_years(period: Period, zone: str, time: str, begins: str, ends: str) -> None:
    assert window(period, ZoneInfo(zone), at(time, zone)) == (at(begins, zone), at(ends, zone))


def test_the_first_of_a_month_in_tokyo_is_still_the_last_one_in_utc() -> None:
    instant = datetime(2026, 11, 30, 15, tzinfo=UTC).timestamp()
    assert window("month", ZoneInfo("Asia/Tokyo"), instant)[0] == instant
    assert window("month", ZoneInfo("UTC"), instant)[0] == datetime(2026, 11, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00:00", 25),
        # clocks go from 24:00 to 01:00, so the day has no midnight
        ("America/Sao_Paulo", "2018-11-04T12:00:00", 23),
        ("Africa/Cairo", "2026-04-24T12:00:00", 23),
        ("Asia/Tokyo", "2026-03-29T12:00:00", 24),
    ],
)
def test_days_on_which_clocks_change(zone: str, day: str, hours: int) -> None:
    begins, ends = window("day", ZoneInfo(zone), at(day, zone))
    assert (ends - begins) / HOUR == hours


def test_a_day_that_a_country_left_out_has_no_length() -> None:
    zone = ZoneInfo("Pacific/Apia")
    begins, ends = window("day", zone, at("2011-12-29T12:00:00", "Pacific/Apia"))
    assert datetime.fromtimestamp(ends, zone).isoformat() == "2011-12-31T00:00:00+14:00"
    assert ends - begins == 24 * HOUR


@pytest.mark.parametrize(
    ("other", "same"),
    [("Asia/Tokyo", True), ("Japan", True), ("Asia/Seoul", True), ("UTC", False), ("Mars/Base", False), ("", False),
     ("../etc/passwd", False), ("a\x00b", False)],
)  # fmt: skip
def test_zones_are_the_same_whose_days_begin_together(other: str, same: bool) -> None:
    assert same_days(ZoneInfo("Asia/Tokyo"), other, 1_795_176_000.0) is same


def test_zones_that_change_their_clocks_in_another_half_of_the_year_are_not_the_same() -> None:
    winter_s = 1_795_176_000.0
    assert not same_days(ZoneInfo("Europe/London"), "UTC", winter_s)
