"""Days, weeks and months in the time zone of the installation. Must not read a clock."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from sekisho.domain.spending import Period


def window(period: Period, zone: ZoneInfo, at_s: float) -> tuple[float, float]:
    """Beginning and end (exclusive) of the period that holds a time, all in seconds since 1970.

    A period begins with the first instant of its first local day, and weeks begin on Monday (ISO 8601). The end is the
    next one's beginning, so periods neither overlap nor leave a gap, whatever clocks do: a day lasts 23 or 25 hours
    when they change, and one that a zone leaves out has no length.
    """
    # whole seconds: rounding up to the next microsecond could be the next day already
    day = datetime.fromtimestamp(math.floor(at_s), zone).date()
    first = first_day(period, day)
    return _begins(first, zone), _begins(next_first_day(period, first), zone)


def same_days(zone: ZoneInfo, other: str, at_s: float) -> bool:
    """Whether days begin together in both zones, this year and the next: one zone can have several names. False for a
    name that this machine does not know."""
    if other == zone.key:
        return True
    try:
        found = ZoneInfo(other)
    except (ValueError, OSError, KeyError):
        return False
    months = (datetime.fromtimestamp(math.floor(at_s), UTC) + timedelta(days=30 * n) for n in range(24))
    return all(at.astimezone(zone).utcoffset() == at.astimezone(found).utcoffset() for at in months)


def first_day(period: Period, day: date) -> date:
    if period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day


def next_first_day(period: Period, first: date) -> date:
    if period == "month":
        return (first.replace(day=28) + timedelta(days=4)).replace(day=1)
    return first + timedelta(days=7 if period == "week" else 1)


def _begins(day: date, zone: ZoneInfo) -> float:
    """The first instant at which the local date is `day` or later.

    Midnight may not exist (clocks jump over it: the day begins at the jump) or come twice (the first one counts).
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    at = midnight.astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return at.timestamp()
    return _jump(at.timestamp(), day, zone)


def _jump(near_s: float, day: date, zone: ZoneInfo) -> float:
    """The change of clocks near a time at which the local date becomes `day` or later; it falls on a whole second."""
    low, high = int(near_s) - 26 * 3600, int(near_s) + 26 * 3600
    while low + 1 < high:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).date() >= day:
            high = middle
        else:
            low = middle
    return float(high)
