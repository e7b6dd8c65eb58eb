"""The numbers at which a panel changes its colour and an alert goes off. Must stand here once, for both."""

from __future__ import annotations

from typing import Final

#: of calls that are answered without a fault of ours or of a provider
AVAILABILITY: Final = 0.999
ERROR_BUDGET: Final = round(1 - AVAILABILITY, 9)
#: how many times faster than allowed the error budget is used up; Google's SRE Workbook, chapter 5, table 5-8
BURN_FAST, BURN_SLOW, BURN_ALL = 14.4, 6.0, 1.0
#: a share of very few calls says little: below so many failed calls nobody is woken
FEWEST_FAILED: Final = 10
LATENCY_S: Final = 5.0
#: a 95th percentile of fewer calls is one call
FEWEST_TIMED: Final = 20
SPOOL_S: Final = 60.0
BUDGET_HALF, BUDGET_WARNS = 0.5, 0.8
#: a blocking budget refuses calls that do not fit any more, so it need not ever reach 1
BUDGET_USED_UP: Final = 0.99
MAINTENANCE_S: Final = 2 * 86_400.0
DEATHS_AN_HOUR: Final = 3
