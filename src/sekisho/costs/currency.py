"""US dollars in the company's currency, by the rate of the day. Must not pass an amount through a float.

Rows are in US dollars, which is what providers bill, and keep the rate that was in force when their call came. What
covers other times, as budgets do, is turned into yen by the rate of the day.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import ROUND_HALF_EVEN, Context, Decimal
from zoneinfo import ZoneInfo

from sekisho.domain.money import NANOS_PER_USD, ExchangeRate

#: more digits than any sum of money has
_EXACT = Context(prec=50)
_US = 1_000_000
_EVER_US = 2**63 - 1


class UsdJpy:
    """Yen for one US dollar by day. `rates` holds the day from which each holds; a day of None holds from ever."""

    def __init__(self, rates: Sequence[tuple[date | None, Decimal]]) -> None:
        ordered = sorted(((day or date.min, rate) for day, rate in rates), key=lambda dated: dated[0])
        self._days = [day for day, _ in ordered]
        self._rates = [rate for _, rate in ordered]

    def rate_on(self, day: date) -> tuple[Decimal, date] | None:
        """The rate in force on a day of the company's calendar, and the day from which it holds.

        Before the first day the first rate holds. None without any rate: the amount in yen is then unknown.
        """
        if not self._days:
            return None
        place = max(0, bisect_right(self._days, day) - 1)
        return self._rates[place], self._days[place]

    def rate_at(self, us: int, timezone: str) -> Decimal | None:
        """The rate in force at a moment (microseconds since 1970), by the calendar of the company's time zone."""
        found = self.rate_on(datetime.fromtimestamp(us // _US, ZoneInfo(timezone)).date())
        return None if found is None else found[0]

    def holding_at(self, us: int, timezone: str) -> ExchangeRate:
        """The same with the time for which it holds: days begin in the company's time zone."""
        rate = self.rate_at(us, timezone)
        nanos = None if rate is None else int((rate * NANOS_PER_USD).to_integral_value(ROUND_HALF_EVEN))
        zone = ZoneInfo(timezone)
        # the first rate holds before its day too
        turns = [int(datetime.combine(day, time(), zone).timestamp()) * _US for day in self._days[1:]]
        at = bisect_right(turns, us)
        return ExchangeRate(nanos, turns[at - 1] if at else -_EVER_US, turns[at] if at < len(turns) else _EVER_US)

    def yen(self, nanos: int, day: date) -> Decimal | None:
        """Nano-dollars of a day in yen, exact; round once, where a sum is shown. None where no rate is known."""
        found = self.rate_on(day)
        if found is None:
            return None
        return _EXACT.divide(_EXACT.multiply(Decimal(nanos), found[0]), Decimal(NANOS_PER_USD))


def whole_yen(amount: Decimal) -> int:
    """Half-even, as money is rounded everywhere here."""
    return int(amount.to_integral_value(ROUND_HALF_EVEN))
