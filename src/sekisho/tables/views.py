"""The views that stand beside the tables in SQL. Must give the names of Databricks' inference tables exactly, and never
fail on a body: it may be anything that a caller sent, cut short, or not there.

Twelve names and their types: the payload table of Databricks' serving endpoints, as `SHOW CREATE TABLE` prints it.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class View(NamedTuple):
    #: the table it reads
    table: str
    sql: str


#: No macro takes the place of a function of DuckDB that means something else: `dayofweek` counts from 0 there, and
#: `element_at` is for maps. `date_format` would need a format for `strftime` that is not constant.
#: Functions that statements written for Databricks use and DuckDB knows by another name or not at all; bodies are
#: read through `get_json_object`, because DuckDB's own functions raise on text that is no JSON.
#: Source: Databricks SQL language reference, built-in functions.
MACROS: Final = {
    "get_json_object": "(document, path) AS json_extract_string(TRY_CAST(document AS JSON), path)",
    "percentile": "(value, share) AS quantile_cont(value, share)",
    "percentile_approx": "(value, share) AS quantile_disc(value, share), "
    "(value, share, accuracy) AS quantile_disc(value, share)",
    "approx_percentile": "(value, share) AS quantile_disc(value, share), "
    "(value, share, accuracy) AS quantile_disc(value, share)",
    "nvl": "(value, otherwise) AS coalesce(value, otherwise)",
    "to_date": "(value) AS CAST(value AS DATE)",
    "size": "(map MAP(VARCHAR, VARCHAR)) AS cardinality(map), (list) AS len(list)",
    "array_size": "(list) AS len(list)",
    "date_sub": "(day, days) AS CAST(day AS DATE) - CAST(days AS INTEGER), "
    "(part, start, stop) AS datesub(part, start, stop)",
    "datediff": "(stop, start) AS CAST(stop AS DATE) - CAST(start AS DATE), "
    "(part, start, stop) AS date_diff(part, start, stop)",
    "current_timestamp": "() AS now()",
    "unix_timestamp": "() AS CAST(floor(epoch(now())) AS BIGINT), "
    "(time) AS CAST(floor(epoch(CAST(time AS TIMESTAMPTZ))) AS BIGINT)",
    "try_divide": "(dividend, divisor) AS dividend / nullif(divisor, 0)",
    "collect_list": "(value) AS coalesce(list(value) FILTER (WHERE value IS NOT NULL), [])",
    "collect_set": "(value) AS coalesce(list(DISTINCT value) FILTER (WHERE value IS NOT NULL), [])",
}

#: The last user message of a chat in OpenAI's or Anthropic's form, else the input of the other routes, as JSON. It is
#: nearly always the last message of all; looking through the whole list costs more.
_LAST_QUESTION = """
    CASE WHEN json_extract_string(request, '$.messages[#-1].role') = 'user'
        THEN json_extract(request, '$.messages[#-1].content')
        ELSE coalesce(
            json_extract(
                list_filter(
                    json_extract(request, '$.messages[*]'),
                    lambda message: json_extract_string(message, '$.role') = 'user'
                )[-1],
                '$.content'
            ),
            json_extract(request, '$.input'),
            json_extract(request, '$.message')
        )
    END
"""

#: the text of a content: a string, or a list of strings and of parts of which only some have a text
_TEXT_OF = """
    CASE json_type({content})
        WHEN 'ARRAY' THEN array_to_string(
            list_transform(
                json_extract({content}, '$[*]'),
                lambda part: coalesce(
                    json_extract_string(part, '$.text'),
                    CASE WHEN json_type(part) = 'VARCHAR' THEN json_extract_string(part, '$') END
                )
            ),
            chr(10)
        )
        ELSE json_extract_string({content}, '$')
    END
"""

#: not the fault of what was asked: no valid key, no permission, a limit, a client that left
_NOT_THE_INPUT = "(401, 403, 429, 499)"

# Hours are numbers until they are shown: date_trunc on a time with a zone costs more than all the rest of the question.
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
        SELECT endpoint_name, make_timestamptz(hour * 3_600_000_000) AS hour, calls, q[1] AS p50_ms, q[2] AS p95_ms,
               q[3] AS p99_ms, request_date
        FROM (
            SELECT endpoint_name, request_date, epoch_us(event_time) // 3_600_000_000 AS hour, count(*) AS calls,
                   quantile_cont(latency_ms, [0.5, 0.95, 0.99]) AS q
            FROM usage
            WHERE status_code < 400 AND error_code IS NULL
            GROUP BY ALL
        )
        ORDER BY hour DESC, endpoint_name
        """,
    ),
    "tokens_by_day": View(
        "usage",
        """
        SELECT request_date, team, feature, provider, destination_model, count(*) AS calls,
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
        SELECT request_date, team, endpoint_name, feature, provider, destination_model, count(*) AS calls,
               sum(cost_usd) AS cost_usd, count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced_calls,
               CASE WHEN count(*) FILTER (WHERE cost_usd > 0 AND usd_jpy IS NULL) = 0
                   THEN CAST(sum(cost_usd * usd_jpy) AS DECIMAL(38, 6))
               END AS cost_jpy
        FROM usage
        GROUP BY ALL
        ORDER BY request_date DESC, cost_usd DESC NULLS LAST
        """,
    ),
    "last_user_message": View(
        "inference_log",
        f"""
        SELECT event_time, request_id, endpoint_name, requester,
               {_TEXT_OF.format(content="asked")} AS last_user_message,
               {_TEXT_OF.format(content="said")} AS answer, conversation_id, request_date
        FROM (
            SELECT event_time, request_id, endpoint_name, requester, conversation_id, request_date,
                   {_LAST_QUESTION} AS asked,
                   coalesce(
                       json_extract(response, '$.choices[0].message.content'), json_extract(response, '$.content')
                   ) AS said
            FROM (SELECT * REPLACE (TRY_CAST(request AS JSON) AS request, TRY_CAST(response AS JSON) AS response)
                  FROM inference_log)
        )
        WHERE asked IS NOT NULL
        ORDER BY event_time DESC
        """,
    ),
    "growing_inputs": View(
        "usage",
        """
        SELECT request_date, endpoint_name, feature, calls, input_tokens_a_call, p95_input_tokens,
               usual_input_tokens_a_call, round(input_tokens_a_call / usual_input_tokens_a_call, 2) AS growth
        FROM (
            SELECT request_date, endpoint_name, feature, calls, p95_input_tokens,
                   round(input_tokens / calls, 1) AS input_tokens_a_call,
                   round(sum(input_tokens) OVER before / sum(calls) OVER before, 1) AS usual_input_tokens_a_call
            FROM (
                SELECT request_date, endpoint_name, feature, count(*) AS calls, sum(input_tokens) AS input_tokens,
                       quantile_cont(input_tokens, 0.95) AS p95_input_tokens
                FROM usage
                WHERE input_tokens IS NOT NULL
                GROUP BY ALL
            )
            WINDOW before AS (
                PARTITION BY endpoint_name, feature ORDER BY request_date
                RANGE BETWEEN INTERVAL 7 DAYS PRECEDING AND INTERVAL 1 DAY PRECEDING
            )
        )
        WHERE usual_input_tokens_a_call > 0
        ORDER BY request_date DESC, growth DESC
        """,
    ),
    "verbose_outputs": View(
        "usage",
        """
        SELECT request_date, endpoint_name, feature, destination_model, count(*) AS calls,
               round(avg(output_tokens), 1) AS output_tokens_a_call,
               quantile_cont(output_tokens, 0.95) AS p95_output_tokens,
               max(output_tokens) AS longest_output_tokens,
               round(sum(output_tokens) / nullif(sum(input_tokens), 0), 2) AS output_tokens_an_input_token,
               count(*) FILTER (WHERE list_contains(finish_reasons, 'length')) AS cut_by_length
        FROM usage
        WHERE output_tokens > 0
        GROUP BY ALL
        ORDER BY request_date DESC, sum(output_tokens) DESC
        """,
    ),
    "failing_inputs": View(
        "inference_log",
        f"""
        SELECT input_hash, endpoint_name, count(*) AS calls, list_sort(list(DISTINCT error_code)) AS error_codes,
               count(DISTINCT requester) AS requesters, min(event_time) AS first_time, max(event_time) AS last_time,
               sum(cost_usd) AS cost_usd, any_value(input_preview) AS input_preview,
               arg_max(request_id, event_time) AS last_request_id
        FROM inference_log
        WHERE input_hash IS NOT NULL AND status_code NOT IN {_NOT_THE_INPUT}
        GROUP BY input_hash, endpoint_name
        HAVING count(*) > 1 AND bool_and(error_code IS NOT NULL)
        ORDER BY calls DESC, last_time DESC
        """,
    ),
    "inference_table": View(
        "inference_log",
        """
        SELECT event_time AS timestamp, endpoint_name, request, response,
               CASE WHEN status_code < 400 AND error_code IS NULL THEN 'success' ELSE 'error' END AS status,
               status_code,
               CASE WHEN error_code IS NOT NULL THEN concat_ws(': ', error_code, error_message) END AS error,
               latency_ms,
               {
                   'prompt_tokens': input_tokens, 'completion_tokens': output_tokens, 'total_tokens': total_tokens
               } AS usage,
               request_id, request_date, requester, cost_usd
        FROM inference_log
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
