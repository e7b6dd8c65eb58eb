"""What the two tables say about themselves and about each other, from one snapshot. Must only look.

Every list of request ids is cut at MOST_IDS; the counts are whole. Money is integer nano-dollars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from sekisho.tables.by_bucket import Used, providers_in, used_in
from sekisho.tables.by_period import PeriodSum, sums_of_period
from sekisho.tables.maintenance.policy import RETENTION_DAYS
from sekisho.tables.reader import SqlFailed, open_connection
from sekisho.tables.schema import TABLES
from sekisho.tables.storage import Storage

MOST_IDS = 20

#: cost of a row by its attempts: unknown as soon as that of one is
_BY_ATTEMPTS = """
    CASE WHEN len(list_filter(attempts, lambda one: one.cost_usd IS NULL)) > 0 THEN NULL
         ELSE coalesce(list_sum(list_transform(attempts, lambda one: one.cost_usd)), 0) END
"""

#: rows of one call, but for those that a copy of a folder makes of calls that were in flight when it was copied
_ITS_OWN = "count(*) FILTER (error_code IS DISTINCT FROM 'interrupted')"

#: name -> request ids of rows for which something does not hold. `since` is the first day looked at. Each table keeps
#: its rows for days of its own, and may have dropped more by hand: only days count that the other still has.
_DOUBTS = {
    "usage_doubled": f"""
        SELECT request_id FROM usage WHERE request_date >= since() GROUP BY ALL HAVING {_ITS_OWN} > 1
    """,
    "usage_copied": f"""
        SELECT request_id FROM usage WHERE request_date >= since() GROUP BY ALL
        HAVING count(*) > 1 AND {_ITS_OWN} <= 1
    """,
    "log_doubled": f"""
        SELECT request_id FROM inference_log WHERE request_date >= since() GROUP BY ALL HAVING {_ITS_OWN} > 1
    """,
    "log_copied": f"""
        SELECT request_id FROM inference_log WHERE request_date >= since() GROUP BY ALL
        HAVING count(*) > 1 AND {_ITS_OWN} <= 1
    """,
    "usage_missing": """
        SELECT request_id FROM inference_log AS log WHERE request_date >= greatest(since(), kept('usage'))
        AND NOT EXISTS (FROM usage WHERE usage.request_date = log.request_date AND usage.request_id = log.request_id)
    """,
    "log_missing": """
        SELECT request_id FROM usage
        WHERE request_date >= greatest(
            since(), kept('inference_log'), (SELECT min(request_date) FROM inference_log)
        )
        AND input_hash IS NOT NULL
        AND NOT EXISTS (FROM inference_log AS log
                        WHERE usage.request_date = log.request_date AND usage.request_id = log.request_id)
    """,
    "tables_differ": """
        SELECT request_id FROM usage JOIN inference_log AS log USING (request_date, request_id)
        WHERE request_date >= since() AND (
            usage.cost_usd IS DISTINCT FROM log.cost_usd OR usage.status_code <> log.status_code
            OR usage.total_tokens IS DISTINCT FROM log.total_tokens
        )
        -- of the two rows of a call that a copy of a folder has interrupted each has its own in the other table
        AND (usage.error_code IS NOT DISTINCT FROM log.error_code OR request_id NOT IN (
            SELECT request_id FROM usage WHERE request_date >= since() GROUP BY ALL HAVING count(*) > 1
        ))
    """,
    "cost_differs": f"""
        SELECT request_id FROM usage
        WHERE request_date >= since() AND cost_usd IS DISTINCT FROM ({_BY_ATTEMPTS})
    """,
    "wrong_day": """
        SELECT request_id FROM usage
        WHERE request_date >= since() AND request_date <> (event_time AT TIME ZONE 'UTC')::DATE
    """,
}

_DAYS = """
    SELECT request_date::VARCHAR, count(*), coalesce(any_value(logged), 0), sum(cost_usd),
           count(*) FILTER (WHERE cost_usd IS NULL)
    FROM usage LEFT JOIN (SELECT request_date, count(*) AS logged FROM inference_log GROUP BY ALL) USING (request_date)
    WHERE request_date >= since()
    GROUP BY request_date ORDER BY request_date
"""

#: as the gateway labels its counters: a model addressed as `provider/model`, or none at all, is `unknown`
_COUNTED = """
    SELECT CASE WHEN endpoint_name IS NULL OR contains(endpoint_name, '/') OR destination_model IS NULL
                THEN 'unknown' ELSE destination_model END AS model,
           status_code, count(*), sum(cost_usd), count(*) FILTER (WHERE cost_usd IS NULL),
           coalesce(sum(list_sum(list_transform(
               attempts, lambda one: coalesce(one.input_tokens, 0) + coalesce(one.output_tokens, 0)))), 0)::BIGINT
    FROM usage
    WHERE request_date >= make_timestamp($1)::DATE AND event_time >= make_timestamptz($1)
    GROUP BY ALL
"""


class Doubt(msgspec.Struct, frozen=True):
    """How many rows something does not hold for, and the ids of some."""

    count: int
    request_ids: list[str]


class Day(msgspec.Struct, frozen=True):
    """One UTC day. `cost_nanos` leaves out the calls whose price is unknown."""

    day: str
    usage_rows: int
    logged_rows: int
    cost_nanos: int
    unpriced: int


class Counted(msgspec.Struct, frozen=True):
    """Rows of one model and status since a moment. Tokens are those of all attempts."""

    model: str
    status: int
    rows: int
    cost_nanos: int
    unpriced: int
    tokens: int


class Books:
    """The tables as they are now. Close it when done."""

    def __init__(
        self,
        data_dir: Path,
        days: int,
        storage: Storage | None = None,
        retention_days: Mapping[str, int] = RETENTION_DAYS,
    ) -> None:
        """Looks at that many UTC days, today among them; in `storage`, by default the folder `tables` of data_dir, and
        in its spool. `retention_days` by table: older rows may be gone. Raises SqlFailed, OSError."""
        self._data_dir, self._days, self._storage, self._retention_days = data_dir, days, storage, retention_days
        try:
            self._connection = open_connection(data_dir, storage=storage)
            self._connection.execute(f"CREATE MACRO since() AS current_date - {days - 1:d}")
            kept = " ".join(f"WHEN '{name}' THEN {retention_days[name]:d}" for name in TABLES)
            self._connection.execute(f"CREATE MACRO kept(name) AS current_date - CASE name {kept} END")
        except duckdb.Error as error:
            raise SqlFailed(str(error)) from None

    def doubts(self) -> dict[str, Doubt]:
        """Everything that a row can be asked without looking elsewhere; a count of 0 is as it should be."""
        found = {name: self._doubt(sql) for name, sql in _DOUBTS.items()}
        if found["usage_missing"].count:
            # `usage` was read a moment before `inference_log`: what came in between is there at a second look
            late = [request_id for (request_id,) in self._rows(_DOUBTS["usage_missing"])]
            second = Books(self._data_dir, self._days, self._storage, self._retention_days)
            try:
                found["usage_missing"] = second.missing(late)
            finally:
                second.close()
        return found

    def days(self) -> list[Day]:
        return [
            Day(day, rows, logged, nanos(cost), unpriced) for day, rows, logged, cost, unpriced in self._rows(_DAYS)
        ]

    def since(self, started_us: int) -> list[Counted]:
        """Rows of calls that arrived at this time or later; microseconds since 1970, UTC."""
        return [
            Counted(model, status, rows, nanos(cost), unpriced, tokens)
            for model, status, rows, cost, unpriced, tokens in self._rows(_COUNTED, started_us)
        ]

    def missing(self, request_ids: list[str]) -> Doubt:
        """Which of these no row of `usage` has."""
        known = "SELECT request_id FROM usage WHERE request_date >= since()"
        return self._doubt(f"SELECT unnest($1::VARCHAR[]) AS request_id EXCEPT {known}", request_ids)

    def providers(self, begins_us: int, ends_us: int) -> list[str]:
        """Those whom rows of that time name; microseconds since 1970, UTC."""
        return providers_in(self._rows, begins_us, ends_us)

    def used(self, buckets: Sequence[tuple[int, int]], providers: Sequence[str]) -> list[Used]:
        """What these providers' models did in each bucket (beginning, end), as far back as there are rows."""
        return used_in(self._rows, buckets, providers)

    def of_period(self, begins_us: int, ends_us: int) -> list[PeriodSum]:
        """What calls of a budget's period cost, by their facts, as far back as there are rows."""
        return sums_of_period(self._rows, begins_us, ends_us)

    def close(self) -> None:
        self._connection.close()

    def _doubt(self, sql: str, *values: Any) -> Doubt:
        first = f"list_sort(list(request_id))[1:{MOST_IDS}]"
        [(count, request_ids)] = self._rows(f"SELECT count(*), {first} FROM ({sql})", *values)
        return Doubt(count, request_ids or [])

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, list(values)).fetchall()
        except duckdb.Error as error:
            raise SqlFailed(str(error)) from None


def nanos(usd: Decimal | None) -> int:
    """Dollars of a DECIMAL(…,9) as nano-dollars, exactly; 0 for a sum over nothing."""
    return 0 if usd is None else int(usd.scaleb(9))
