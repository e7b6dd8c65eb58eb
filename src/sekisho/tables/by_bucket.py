"""What the rows say of a provider's models, summed by the buckets of its export. Must only look.

A call belongs to the bucket in which it arrived. Every attempt counts under its own model; what was read from and
written to a cache is known of the last one alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

#: runs one statement with these values
Ask = Callable[..., list[tuple[Any, ...]]]
MOST_IDS = 20

_CALLS = """
    SELECT request_id, epoch_us(event_time) AS began_us,
           epoch_us(event_time) + coalesce(latency_ms, 0) * 1000 AS ended_us,
           terminal_state NOT IN ('completed', 'refused', 'upstream_error') AS cut_off,
           cache_read_input_tokens AS read_tokens, cache_creation_input_tokens AS written_tokens,
           operation = 'embeddings' AS embeds, len(attempts) AS tries, unnest(attempts) AS attempt
    FROM usage WHERE request_date BETWEEN CAST($1 AS DATE) AND CAST($2 AS DATE)
"""
#: an attempt that was answered, so that the provider counts it as a request
_ANSWERED = "(attempt.usage_source <> 'none' OR attempt.status_code BETWEEN 200 AND 299)"
_PROVIDERS = f"SELECT DISTINCT attempt.provider FROM ({_CALLS}) WHERE began_us >= $3 AND began_us < $4 ORDER BY ALL"
_USED = f"""
    WITH wanted AS (SELECT unnest($3::BIGINT[]) AS begins_us, unnest($4::BIGINT[]) AS ends_us),
    met AS (
        SELECT *, began_us >= begins_us AND began_us < ends_us AS inside, {_ANSWERED} AS answered,
               attempt.usage_source = 'estimated' AS estimated, attempt.n = tries AS last,
               (began_us < begins_us OR ended_us >= ends_us) AS across
        FROM ({_CALLS}) JOIN wanted ON began_us < ends_us AND ended_us >= begins_us
        WHERE list_contains($5::VARCHAR[], attempt.provider)
    )
    SELECT begins_us, ends_us, attempt.model, embeds,
           count(*) FILTER (inside AND answered),
           coalesce(sum(attempt.input_tokens) FILTER (inside), 0)::BIGINT,
           coalesce(sum(read_tokens) FILTER (inside AND last), 0)::BIGINT,
           coalesce(sum(written_tokens) FILTER (inside AND last), 0)::BIGINT,
           coalesce(sum(attempt.output_tokens) FILTER (inside), 0)::BIGINT,
           coalesce(sum(attempt.cost_usd) FILTER (inside), 0),
           count(*) FILTER (inside AND estimated),
           coalesce(sum(coalesce(attempt.input_tokens, 0) + coalesce(attempt.output_tokens, 0))
                    FILTER (inside AND estimated), 0)::BIGINT,
           count(*) FILTER (inside AND last AND cut_off AND answered),
           count(*) FILTER (inside AND attempt.cost_usd IS NULL),
           count(*) FILTER (inside AND NOT answered),
           count(*) FILTER (across AND answered),
           list_sort(list(DISTINCT request_id) FILTER (inside AND (estimated OR (last AND cut_off))))[1:{MOST_IDS}]
    FROM met GROUP BY ALL ORDER BY ALL
"""


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts of one model in one bucket. Times are microseconds since 1970; tokens include what was estimated."""

    begins_us: int
    ends_us: int
    model: str
    #: providers tell embeddings in a report of their own
    embeds: bool = False
    requests: int = 0
    input_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int = 0
    #: attempts whose tokens no provider told, and those tokens
    estimated: int = 0
    estimated_tokens: int = 0
    #: calls whose answer was not read to its end
    cut_off: int = 0
    #: attempts without a price; they are in no cost
    unpriced: int = 0
    #: attempts that brought an error or nothing
    unanswered: int = 0
    #: attempts that may as well belong to the bucket before or after
    across: int = 0
    #: some of those that are estimated or cut off
    request_ids: list[str] = []


def providers_in(ask: Ask, begins_us: int, ends_us: int) -> list[str]:
    """Those that rows of that time name."""
    return [name for (name,) in ask(_PROVIDERS, *_days(begins_us, ends_us), begins_us, ends_us)]


def used_in(ask: Ask, buckets: Sequence[tuple[int, int]], providers: Sequence[str]) -> list[Used]:
    """Sums for every bucket (beginning, end) and model that has any."""
    if not buckets:
        return []
    days = _days(min(begins for begins, _ in buckets), max(ends for _, ends in buckets))
    values = [begins for begins, _ in buckets], [ends for _, ends in buckets]
    return [_used(row) for row in ask(_USED, *days, *values, list(providers))]


def _used(row: tuple[Any, ...]) -> Used:
    named = dict(zip(Used.__struct_fields__, row, strict=True))
    cost: Decimal = named["cost_nanos"]
    named["cost_nanos"] = int(cost.scaleb(9))
    named["request_ids"] = named["request_ids"] or []
    return Used(**named)


def _days(begins_us: int, ends_us: int) -> tuple[str, str]:
    """The partitions that can hold calls of that time, those that ran into it too."""
    first, last = (datetime.fromtimestamp(at // 1_000_000, UTC).date() for at in (begins_us, ends_us))
    return (first - timedelta(days=1)).isoformat(), last.isoformat()
