"""The views that stand beside the tables in SQL. Must give the names of Databricks' inference tables exactly.

Twelve names and their types: the payload table of Databricks' serving endpoints, as `SHOW CREATE TABLE` prints it.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class View(NamedTuple):
    #: the table it reads
    table: str
    sql: str


VIEWS: Final = {
    "recent_errors": View(
        "usage",
        """
        SELECT event_time, request_id, endpoint_name, provider, destination_model, status_code, error_code,
               terminal_state, requester, team, latency_ms, len(attempts) AS attempts
        FROM usage
        WHERE request_date >= current_date - 7 AND (status_code >= 400 OR error_code IS NOT NULL)
        ORDER BY event_time DESC
        """,
    ),
    "latency_by_endpoint": View(
        "usage",
        """
        SELECT endpoint_name, hour, calls, q[1] AS p50_ms, q[2] AS p95_ms, q[3] AS p99_ms
        FROM (
            SELECT endpoint_name, date_trunc('hour', event_time) AS hour, count(*) AS calls,
                   quantile_cont(latency_ms, [0.5, 0.95, 0.99]) AS q
            FROM usage
            WHERE status_code < 400
            GROUP BY ALL
        )
        ORDER BY hour DESC, endpoint_name
        """,
    ),
    "tokens_by_day": View(
        "usage",
        """
        SELECT request_date, provider, destination_model, count(*) AS calls,
               sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens,
               sum(total_tokens)::BIGINT AS total_tokens,
               sum(cache_read_input_tokens)::BIGINT AS cache_read_input_tokens,
               sum(cache_creation_input_tokens)::BIGINT AS cache_creation_input_tokens,
               sum(reasoning_output_tokens)::BIGINT AS reasoning_output_tokens
        FROM usage
        GROUP BY ALL
        ORDER BY request_date DESC, total_tokens DESC NULLS LAST
        """,
    ),
    "cost_by_day": View(
        "usage",
        """
        SELECT request_date, team, endpoint_name, provider, destination_model, count(*) AS calls,
               sum(cost_usd) AS cost_usd, count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced_calls
        FROM usage
        GROUP BY ALL
        ORDER BY request_date DESC, cost_usd DESC NULLS LAST
        """,
    ),
    "last_user_message": View(
        "inference_log",
        """
        SELECT event_time, request_id, endpoint_name, requester,
               CASE WHEN json_type(content) = 'ARRAY'
                    THEN array_to_string(json_extract_string(content, '$[*].text'), chr(10))
                    ELSE json_extract_string(content, '$') END AS last_user_message,
               json_extract_string(response, '$.choices[0].message.content') AS answer
        FROM (
            SELECT event_time, request_id, endpoint_name, requester,
                   CASE WHEN json_valid(response) THEN response END AS response,
                   json_extract(
                       list_filter(
                           json_extract(request, '$.messages[*]'),
                           lambda message: json_extract_string(message, '$.role') = 'user'
                       )[-1],
                       '$.content'
                   ) AS content
            FROM inference_log
            WHERE json_valid(request)
        )
        WHERE content IS NOT NULL
        ORDER BY event_time DESC
        """,
    ),
    "inference_table_databricks": View(
        "inference_log",
        """
        SELECT request_id AS databricks_request_id, request_date, client_request_id, event_time AS request_time,
               status_code, sampling_fraction, latency_ms AS execution_duration_ms, request, response,
               logging_error_codes, served_entity_id, requester
        FROM inference_log
        """,
    ),
}
