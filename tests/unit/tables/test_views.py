"""The views: true sums, Databricks' names and types, and no body that makes them fail."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.tables.rows import NOON_US, a_row, record_of, without_log

from sekisho.domain.row import AttemptRow
from sekisho.tables.committer import Committer
from sekisho.tables.reader import ask
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.views import VIEWS

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
#: of `a_row(n)`: this moment
NOW = time.time_ns() // 1000 - NOON_US
BODIES = [name for name, view in VIEWS.items() if view.table == "inference_log"]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolWriter]:
    writer = SpoolWriter(tmp_path / "spool", 256 * 1024)
    yield writer
    writer.close()


def rows_of(data_dir: Path, sql: str) -> list[tuple[Any, ...]]:
    return list(ask(data_dir, sql).rows())


def record(spool: SpoolWriter, *rows: Any) -> None:
    for row in rows:
        spool.append(record_of(row))


def drain(data_dir: Path) -> None:
    committer = Committer(data_dir)
    while committer.step():
        pass


def chat(*messages: Any, **more: Any) -> bytes:
    return json.dumps({"model": "chat", "messages": messages, **more}, ensure_ascii=False).encode()


def test_recent_errors_are_those_of_a_week(tmp_path: Path, spool: SpoolWriter):
    failed = {"status_code": 502, "error_code": "upstream_down", "cost_nanos": None}
    record(spool, a_row(NOW), a_row(NOW + 1, **failed), a_row(NOW - 9 * DAY_US, **failed))
    record(spool, a_row(NOW + 2, error_code="stream_truncated"))
    drain(tmp_path)
    got = rows_of(tmp_path, "SELECT status_code, error_code, attempts FROM recent_errors")
    assert got == [(200, "stream_truncated", 1), (502, "upstream_down", 1)]


def test_latency_by_endpoint_and_hour(tmp_path: Path, spool: SpoolWriter):
    for n in range(10):
        record(spool, a_row(n, latency_us=(n + 1) * 100_000), a_row(n, endpoint_name="要約"))
    record(spool, a_row(HOUR_US, latency_us=7_000), a_row(3, status_code=502, latency_us=9_000_000_000))
    # a stream that broke off is no call that went well, though 200 was sent
    record(spool, a_row(4, error_code="upstream_timeout", terminal_state="timed_out", latency_us=9_000_000_000))
    got = rows_of(tmp_path, "SELECT epoch_us(hour), * EXCLUDE (hour, request_date) FROM latency_by_endpoint")
    hour_us = NOON_US // HOUR_US * HOUR_US
    assert got == [
        (hour_us + HOUR_US, "chat", 1, 7.0, 7.0, 7.0),
        (hour_us, "chat", 10, 550.0, pytest.approx(955.0), pytest.approx(991.0)),
        (hour_us, "要約", 10, 813.0, 813.0, 813.0),
    ]


def test_tokens_by_day(tmp_path: Path, spool: SpoolWriter):
    record(spool, a_row(0), a_row(1), a_row(2, feature="翻訳"), a_row(3, input_tokens=None, output_tokens=None))
    got = rows_of(tmp_path, "SELECT team, feature, calls, input_tokens, output_tokens, total_tokens FROM tokens_by_day")
    assert got == [("research", "summary", 3, 200, 40, 240), ("research", "翻訳", 1, 100, 20, 120)]


def test_tokens_by_day_have_their_kinds_apart(tmp_path: Path, spool: SpoolWriter):
    kinds = {"cache_read_input_tokens": 1, "cache_creation_input_tokens": 10, "reasoning_output_tokens": 100}
    record(spool, a_row(0, **kinds), a_row(1, **kinds), a_row(DAY_US, **kinds), a_row(2, **dict.fromkeys(kinds)))
    got = rows_of(tmp_path, f"SELECT epoch(request_date) / 86400, {', '.join(kinds)} FROM tokens_by_day")
    day = NOON_US // DAY_US
    assert got == [(day + 1, 1, 10, 100), (day, 2, 20, 200)]


def test_cost_by_day_keeps_the_unknown_unknown(tmp_path: Path, spool: SpoolWriter):
    record(spool, a_row(0, cost_nanos=1), a_row(1, cost_nanos=10**15), a_row(2, cost_nanos=None))
    record(spool, a_row(3, team="法務", cost_nanos=None), a_row(4, team="法務", cost_nanos=None))
    drain(tmp_path)
    record(spool, a_row(5, cost_nanos=2), a_row(6, team=None, status_code=401, cost_nanos=0))
    got = rows_of(tmp_path, "SELECT team, calls, cost_usd, unpriced_calls FROM cost_by_day")
    assert got == [
        ("research", 4, Decimal("1000000.000000003"), 1),
        (None, 1, Decimal("0E-9"), 0),
        ("法務", 2, None, 2),
    ]


def test_cost_by_day_is_in_yen_where_every_call_has_a_rate(tmp_path: Path, spool: SpoolWriter):
    yen = 10**9
    record(
        spool, a_row(0, cost_nanos=2 * 10**9, usd_jpy_nanos=150 * yen), a_row(1, cost_nanos=1, usd_jpy_nanos=160 * yen)
    )
    record(
        spool, a_row(2, team="法務", cost_nanos=10**9), a_row(3, team="法務", cost_nanos=10**9, usd_jpy_nanos=150 * yen)
    )
    record(spool, a_row(4, team="free", cost_nanos=0), a_row(5, team="free", cost_nanos=10**8, usd_jpy_nanos=yen // 8))
    drain(tmp_path)
    record(spool, a_row(6, cost_nanos=10**9, usd_jpy_nanos=160 * yen))
    got = dict(rows_of(tmp_path, "SELECT team, cost_jpy FROM cost_by_day"))
    assert got == {"research": Decimal("460.000000"), "法務": None, "free": Decimal("0.012500")}


def test_growing_inputs_are_measured_against_the_week_before(tmp_path: Path, spool: SpoolWriter):
    for day, tokens in ((8, 9_000), (5, 100), (4, 200), (4, 300), (0, 300), (0, 500)):
        record(
            spool, without_log(NOW - day * DAY_US, input_tokens=tokens), without_log(NOW - day * DAY_US, feature="x")
        )
    record(spool, without_log(NOW, status_code=401, input_tokens=None))
    asked = "SELECT feature, calls, input_tokens_a_call, p95_input_tokens, usual_input_tokens_a_call, growth"
    today = "WHERE request_date = (SELECT max(request_date) FROM usage) ORDER BY 1"
    got = rows_of(tmp_path, f"{asked} FROM growing_inputs {today}")
    assert got == [("summary", 2, 400.0, 490.0, 200.0, 2.0), ("x", 2, 100.0, 100.0, 100.0, 1.0)]


def test_verbose_outputs(tmp_path: Path, spool: SpoolWriter):
    record(spool, a_row(0, output_tokens=400, finish_reasons=["length"]), a_row(1, output_tokens=200))
    record(spool, a_row(2, output_tokens=0), a_row(3, endpoint_name="embed", output_tokens=None))
    record(spool, a_row(4, endpoint_name="free", input_tokens=0))
    fields = "endpoint_name, calls, output_tokens_a_call, p95_output_tokens, longest_output_tokens"
    got = rows_of(tmp_path, f"SELECT {fields}, output_tokens_an_input_token, cut_by_length FROM verbose_outputs")
    assert got == [("chat", 2, 300.0, 390.0, 400, 3.0, 1), ("free", 1, 20.0, 20.0, 20, None, 0)]


def test_inputs_that_always_fail(tmp_path: Path, spool: SpoolWriter):
    bad, good, once = chat("always"), chat("sometimes"), chat("once")
    failed = {"status_code": 400, "error_code": "context_length_exceeded", "cost_nanos": None}
    limited = {"status_code": 429, "error_code": "rate_limit_exceeded"}
    record(spool, *(a_row(n, request=bad, requester=f"u{n % 2}", **failed) for n in range(3)))
    record(spool, a_row(3, request=bad, **limited), a_row(4, request=good, **failed), a_row(5, request=good))
    record(spool, a_row(6, request=once, **failed), a_row(7, request=once, **limited))
    for n, (status, code) in enumerate({401: "invalid_key", 403: "not_allowed", 499: "client_left"}.items()):
        others = {"request": chat("others", n), "status_code": status, "error_code": code}
        record(spool, a_row(10 + 2 * n, **others), a_row(11 + 2 * n, **others))
    got = rows_of(tmp_path, "SELECT calls, error_codes, requesters, cost_usd, last_request_id FROM failing_inputs")
    assert got == [(3, ["context_length_exceeded"], 2, None, a_row(2).request_id)]
    times = rows_of(tmp_path, "SELECT epoch_us(first_time), epoch_us(last_time) FROM failing_inputs")
    assert times == [(NOON_US, NOON_US + 2)]


# -- bodies


@pytest.mark.parametrize(
    ("request_body", "last"),
    [
        (chat({"role": "user", "content": "一"}, {"role": "assistant", "content": "二"}), "一"),
        (chat({"role": "user", "content": "old"}, {"role": "user", "content": 'new "quoted"\n行'}), 'new "quoted"\n行'),
        (chat({"role": "user", "content": [{"type": "text", "text": "見て"}, {"type": "image_url"}]}), "見て"),
        (chat({"role": "user", "content": ["a", {"text": "b"}, 3, None]}), "a\nb"),
        (
            chat(
                {"role": "user", "content": "天気は?"},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                {"role": "tool", "content": "晴れ", "tool_call_id": "1"},
            ),
            "天気は?",
        ),
        (b'{"input": "embed me"}', "embed me"),
        (b'{"input": ["a", "b"]}', "a\nb"),
        (b'{"message": "from a page"}', "from a page"),
    ],
)
def test_the_last_user_message(tmp_path: Path, spool: SpoolWriter, request_body: bytes, last: str):
    record(spool, a_row(request=request_body))
    assert rows_of(tmp_path, "SELECT last_user_message, answer FROM last_user_message") == [(last, "hi")]


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (b'{"choices": [{"message": {"content": [{"type": "thinking"}, {"text": "a"}, {"text": "b"}]}}]}', "a\nb"),
        (b'{"choices": [{"message": {"content": null, "tool_calls": []}}]}', None),
        (b'{"choices": [{"message": {"content": ""}}]}', ""),
        (b'{"content": [{"type": "text", "text": "a"}, {"type": "tool_use"}]}', "a"),
        (b'{"data": [{"embedding": "AAAA"}]}', None),
    ],
)
def test_the_answer_to_it(tmp_path: Path, spool: SpoolWriter, response: bytes, answer: str | None):
    record(spool, a_row(response=response))
    assert rows_of(tmp_path, "SELECT last_user_message, answer FROM last_user_message") == [("hello", answer)]


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b'{"messages": [{"role": "user", "content": "cut sh',
        b"",
        b"null",
        b"[]",
        b'"text"',
        b'{"messages": "x"}',
        b'{"messages": [1, null, [], {"role": 3}]}',
        b'{"messages": [{"role": "user"}]}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": {"0": []}}',
        b'{"messages": [{"role": "user", "content": "\\ud83d"}]}',
        b"\xff\xfe",
        b'{"a":' * 2_000,
        None,
    ],
)
def test_no_body_makes_a_view_fail(tmp_path: Path, spool: SpoolWriter, body: bytes | None):
    failed = {"request": body, "response": body, "error_code": "invalid_json", "status_code": 400}
    record(spool, a_row(0, **failed), a_row(1, **failed), a_row(2))
    for committed in (False, True):
        if committed:
            drain(tmp_path)
        for name in BODIES:
            rows_of(tmp_path, f"FROM {name}")
        assert ("hello", "hi") in rows_of(tmp_path, "SELECT last_user_message, answer FROM last_user_message")
        assert rows_of(tmp_path, "SELECT count(*) FROM inference_table WHERE error = 'invalid_json'") == [(2,)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["role", "content", "text"]), inner),
    max_leaves=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(JSON, max_size=4), end=st.integers(0, 200))
def test_any_messages_and_any_cut(tmp_path: Path, spool: SpoolWriter, messages: list[Any], end: int):
    body = json.dumps({"messages": messages}, ensure_ascii=False).encode("utf-8", "replace")
    record(spool, a_row(request=body, response=body), a_row(request=body[:end], response=body[:end]))
    for name in BODIES:
        rows_of(tmp_path, f"FROM {name}")


def test_text_in_japanese_stays_as_it_was(tmp_path: Path, spool: SpoolWriter):
    text = "髙橋さん、①㈱🍣 ｶﾅ が゙"
    response = json.dumps({"choices": [{"message": {"content": text}}]}, ensure_ascii=False).encode()
    names = {"endpoint_name": "社内チャット", "team": "法務部", "requester": "山田太郎", "feature": "議事録の要約"}
    record(spool, a_row(0, request=chat({"role": "user", "content": text}), response=response, **names))
    record(spool, a_row(1, request=chat(text), error_code="x", error_message="失敗しました", status_code=502, **names))
    for _ in range(2):
        got = rows_of(tmp_path, "SELECT endpoint_name, requester, last_user_message, answer FROM last_user_message")
        assert got == [("社内チャット", "山田太郎", text, text)]
        told = rows_of(tmp_path, "SELECT error FROM inference_table WHERE status = 'error'")
        assert told == [("x: 失敗しました",)]
        assert rows_of(tmp_path, "SELECT DISTINCT team, feature FROM cost_by_day") == [("法務部", "議事録の要約")]
        drain(tmp_path)


# -- names of others


def described(data_dir: Path, name: str) -> list[tuple[Any, ...]]:
    return rows_of(data_dir, f"SELECT column_name, column_type FROM (DESCRIBE {name})")


def test_databricks_names_and_types(tmp_path: Path):
    assert described(tmp_path, "inference_table_databricks") == [
        ("databricks_request_id", "VARCHAR"),
        ("request_date", "DATE"),
        ("client_request_id", "VARCHAR"),
        ("request_time", "TIMESTAMP WITH TIME ZONE"),
        ("status_code", "INTEGER"),
        ("sampling_fraction", "DOUBLE"),
        ("execution_duration_ms", "BIGINT"),
        ("request", "VARCHAR"),
        ("response", "VARCHAR"),
        ("logging_error_codes", "VARCHAR[]"),
        ("served_entity_id", "VARCHAR"),
        ("requester", "VARCHAR"),
    ]


def test_what_stands_under_databricks_names(tmp_path: Path, spool: SpoolWriter):
    row = a_row(7, client_request_id="mine", status_code=418, sampling_fraction=0.5, logging_error_codes=["X"])
    record(spool, row)
    got = rows_of(tmp_path, "SELECT * REPLACE (epoch_us(request_time) AS request_time) FROM inference_table_databricks")
    assert row.request is not None
    assert row.response is not None
    asked, said = row.request.decode(), row.response.decode()
    day = date(2026, 11, 20)
    first = (row.request_id, day, "mine", row.event_time_us, 418, 0.5, 813)
    assert got == [(*first, asked, said, ["X"], "openai/gpt-4o-mini", "taro")]
    plain = rows_of(tmp_path, "SELECT epoch_us(timestamp), endpoint_name, request, response FROM inference_table")
    assert plain == [(row.event_time_us, "chat", asked, said)]


def test_functions_for_databricks_take_anything(tmp_path: Path):
    sql = "SELECT get_json_object('no json', '$.a'), collect_set(x), collect_list(x) FROM (SELECT NULL AS x)"
    assert rows_of(tmp_path, sql) == [(None, [], [])]


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        (
            """SELECT date_trunc('HOUR', request_time) AS hour, percentile(execution_duration_ms, 0.95) AS p95, count(*)
               FROM main.sekisho.inference_table_databricks GROUP BY 1""",
            [(813.0, 2)],
        ),
        (
            """SELECT count_if(status_code != 200), approx_percentile(execution_duration_ms, 0.5, 100),
                      percentile_approx(execution_duration_ms, 0.99)
               FROM inference_table_databricks""",
            [(1, 813, 813)],
        ),
        (
            """SELECT get_json_object(request, '$.messages[0].content'), nvl(client_request_id, '-'),
                      size(logging_error_codes)
               FROM inference_table_databricks WHERE status_code = 200""",
            [("hello", "-", 1)],
        ),
        (
            """SELECT requester, count(DISTINCT databricks_request_id) FROM inference_table_databricks
               WHERE request_date >= date_sub(current_date(), 7)
                 AND request_time > current_timestamp() - INTERVAL 2 DAYS
                 AND datediff(current_date(), request_date) < 3 AND to_date(request_time) = request_date
               GROUP BY requester""",
            [("taro", 2)],
        ),
        (
            """SELECT unix_timestamp(max(request_date)) % 86400, unix_timestamp('1970-01-02'),
                      unix_timestamp() > unix_timestamp(min(request_time)) - 86400, try_divide(sum(status_code), 2),
                      try_divide(count(*), count_if(status_code = 1))
               FROM inference_table_databricks""",
            [(0, 86400, True, 351.0, None)],
        ),
        (
            """SELECT requester, list_sort(collect_list(status_code)), collect_set(requester),
                      collect_list(client_request_id)
               FROM inference_table_databricks GROUP BY requester""",
            [([200, 502], ["taro"], [])],
        ),
        (
            """SELECT size(tags), size(cost_breakdown), size(attempts), size(guardrails)
               FROM main.sekisho.usage WHERE status_code = 200""",
            [(1, 2, 1, None)],
        ),
    ],
)
def test_sql_that_was_written_for_databricks(tmp_path: Path, spool: SpoolWriter, sql: str, answer: list[Any]):
    record(spool, a_row(NOW, logging_error_codes=["X"]), a_row(NOW + 1, status_code=502, request=b"no json"))
    got = rows_of(tmp_path, sql)
    assert [row[-len(answer[0]) :] for row in got] == answer


def test_functions_of_duckdb_with_the_same_names_still_work(tmp_path: Path):
    days = "DATE '2026-01-01', DATE '2026-01-03'"
    assert rows_of(tmp_path, f"SELECT date_sub('day', {days}), datediff('day', {days})") == [(2, 2)]


def test_the_plain_names(tmp_path: Path, spool: SpoolWriter):
    names = [name for name, _ in described(tmp_path, "inference_table")]
    wanted = ["timestamp", "endpoint_name", "request", "response", "status", "status_code", "error", "latency_ms"]
    assert names[:9] == [*wanted, "usage"]
    record(
        spool, a_row(0), a_row(1, status_code=503, error_code="upstream_down", error_message="down", input_tokens=None)
    )
    got = rows_of(
        tmp_path,
        "SELECT status, status_code, error, latency_ms, usage.prompt_tokens, usage.completion_tokens, "
        "get_json_object(usage, '$.total_tokens') FROM main.sekisho.inference_table ORDER BY timestamp",
    )
    assert got == [
        ("success", 200, None, 813, 100, 20, "120"),
        ("error", 503, "upstream_down: down", 813, None, 20, "20"),
    ]


def test_the_attempts_of_a_call_add_up_in_sql(tmp_path: Path, spool: SpoolWriter):
    tries = [
        AttemptRow(1, "a", "m", 500, 1, "upstream_error", "primary", 1, 1, 1, "estimated"),
        AttemptRow(2, "b", "m", 200, 1, None, "fallback", 1, 1, 2, "provider"),
    ]
    record(spool, a_row(0, attempts=tries, cost_nanos=3), a_row(1))
    drain(tmp_path)
    difference = "cost_usd - list_sum(list_transform(attempts, lambda one: one.cost_usd))"
    assert rows_of(tmp_path, f"SELECT sum({difference}) FROM usage") == [(Decimal("0E-9"),)]
