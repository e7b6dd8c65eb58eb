"""What the rows of a budget's period cost, by the facts that budgets ask for. Must count every attempt of a row once.

A call counts in the period in which it began. Who let it in read a clock a moment after the one that stands on the row,
and a fallback may be let in when the next period has begun, so calls at the very beginning are summed apart.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

#: runs one statement with these values
Ask = Callable[..., list[tuple[Any, ...]]]
#: by so much the clocks of a gateway and of its counters may differ
EDGE_US = 1_000_000
_FACTS = ("department", "team", "key", "user", "endpoint", "feature", "model")
_SUMS = f"""
    WITH calls AS (
        SELECT department, team, api_key_id, requester, endpoint_name, feature, attempt,
               terminal_state = 'interrupted' AS interrupted, (price_source IS NOT NULL OR len(attempts) > 1) AS priced,
               epoch_us(event_time) < $1 + {EDGE_US} AS at_edge
        FROM (SELECT *, unnest(attempts) AS attempt FROM usage
              WHERE request_date >= CAST($3 AS DATE) AND epoch_us(event_time) < $2
              AND epoch_us(event_time) + coalesce(latency_ms, 0) * 1000 >= $1 - {EDGE_US})
    )
    SELECT department, team, api_key_id, requester, endpoint_name, feature, attempt.provider || '/' || attempt.model,
           coalesce(sum(attempt.cost_usd) FILTER (NOT at_edge), 0),
           coalesce(sum(attempt.cost_usd) FILTER (at_edge), 0),
           count(*) FILTER (attempt.cost_usd IS NULL AND priced AND attempt.usage_source <> 'none'),
           count(*) FILTER (interrupted),
           coalesce(sum(attempt.cost_usd) FILTER (interrupted), 0)
    FROM calls GROUP BY ALL
"""


class PeriodSum(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts with the same facts; `key` is the id of the key. Money is nano-dollars."""

    facts: dict[str, str | None]
    #: of calls that began in the period for sure
    cost_nanos: int
    #: of calls that began at its very beginning, or ran over it
    edge_nanos: int = 0
    #: attempts whose tier has no known price: their budgets were charged what had been reserved
    unpriced: int = 0
    #: calls that died with the gateway, and what their rows are charged
    interrupted: int = 0
    interrupted_nanos: int = 0


def sums_of_period(ask: Ask, begins_us: int, ends_us: int) -> list[PeriodSum]:
    """Microseconds since 1970, UTC; the end is exclusive."""
    # a call that runs for more than a day is none
    day = datetime.fromtimestamp(begins_us // 1_000_000, UTC).date() - timedelta(days=1)
    return [_sum(row) for row in ask(_SUMS, begins_us, ends_us, day.isoformat())]


def _sum(row: tuple[Any, ...]) -> PeriodSum:
    cost, edge, unpriced, interrupted, interrupted_cost = row[len(_FACTS) :]
    return PeriodSum(
        facts=dict(zip(_FACTS, row[: len(_FACTS)], strict=True)),
        cost_nanos=int(cost.scaleb(9)),
        edge_nanos=int(edge.scaleb(9)),
        unpriced=unpriced,
        interrupted=interrupted,
        interrupted_nanos=int(interrupted_cost.scaleb(9)),
    )
