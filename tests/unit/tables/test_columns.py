"""Records -> Parquet -> DuckDB: every value arrives exactly, and an odd one costs only itself."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import polars
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.tables.rows import NOON_US, a_row, record_of, without_log

from sekisho.domain.row import LOG_FULL, LOG_METADATA, RESPONSE_CHAT_EVENTS, AttemptRow, InferenceRow
from sekisho.tables.arrow import pa
from sekisho.tables.columns import Batch
from sekisho.tables.disk import DiskFiles
from sekisho.tables.layout import encode_record
from sekisho.tables.parts import write_parts
from sekisho.tables.schema import INFERENCE_LOG, USAGE

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NANO = Decimal(1).scaleb(-9)

counts = st.none() | st.integers(0, 2**50)
nanos = st.none() | st.integers(-(10**17), 10**17)
words = st.none() | st.text(max_size=12)
labels = st.none() | st.sampled_from(["a", "b", "日本語", ""])
maps = st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)
attempts = st.lists(
    st.builds(
        AttemptRow,
        n=st.integers(1, 9),
        provider=st.text(max_size=5),
        model=st.text(max_size=5),
        status_code=st.none() | st.integers(100, 599),
        latency_us=st.integers(0, 2**40),
        error_code=words,
        reason=st.sampled_from(["primary", "fallback"]),
        input_tokens=counts,
        output_tokens=counts,
        cost_nanos=nanos,
        usage_source=st.sampled_from(["provider", "estimated", "none"]),
    ),
    max_size=3,
)
rows = st.lists(
    st.builds(
        a_row,
        log_level=st.sampled_from([LOG_METADATA, LOG_FULL]),
        event_time_us=st.integers(NOON_US - 10**12, NOON_US + 10**12),
        request_id=st.text(min_size=1, max_size=8),
        client_request_id=words,
        endpoint_name=labels,
        error_message=words,
        status_code=st.integers(100, 599),
        latency_us=st.integers(0, 2**45),
        time_to_first_byte_us=counts,
        gateway_overhead_us=st.integers(0, 10**9),
        streaming=st.booleans(),
        finish_reasons=st.none() | st.lists(st.text(max_size=5), max_size=3),
        input_tokens=counts,
        output_tokens=counts,
        cost_nanos=nanos,
        cost_breakdown=st.none() | st.dictionaries(st.text(max_size=5), st.integers(0, 10**17), max_size=3),
        requester=labels,
        tags=maps,
        attempts=attempts,
        logging_error_codes=st.none() | st.lists(st.text(max_size=5), max_size=2),
        sampling_fraction=st.floats(0, 1),
        input_hash=words,
        usd_jpy_nanos=nanos,
    ),
    min_size=1,
    max_size=8,
)


def table_of(given_rows: list[InferenceRow], at_a_time: int = 3) -> Any:
    batch = Batch()
    for start in range(0, len(given_rows), at_a_time):
        batch.add([encode_record(record_of(row)) for row in given_rows[start : start + at_a_time]])
    return batch.table()


def through_parquet(folder: Path, table: Any) -> list[dict[str, Any]]:
    files = [str(folder / part.path) for part in write_parts(DiskFiles(folder), "inference_log", table)]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"SELECT {', '.join(INFERENCE_LOG.names)} FROM read_parquet(?, hive_partitioning = true, "
            "hive_types = {'request_date': DATE})",
            [files],
        )
        return [dict(zip(INFERENCE_LOG.names, row, strict=True)) for row in connection.fetchall()]


def usd(value: int | None) -> Decimal | None:
    return None if value is None else value * NANO


def ms(value: int | None) -> int | None:
    return None if value is None else (value + 500) // 1000


def expected(row: InferenceRow) -> dict[str, Any]:
    tokens = [count for count in (row.input_tokens, row.output_tokens) if count is not None]
    when = EPOCH + timedelta(microseconds=row.event_time_us)
    made = {
        "request_date": when.date(),
        "event_time": when,
        "latency_ms": ms(row.latency_us),
        "time_to_first_byte_ms": ms(row.time_to_first_byte_us),
        "gateway_overhead_ms": row.gateway_overhead_us / 1000,
        "total_tokens": sum(tokens) if tokens else None,
        "cost_usd": usd(row.cost_nanos),
        "cost_breakdown": row.cost_breakdown and {name: usd(part) for name, part in row.cost_breakdown.items()},
        "usd_jpy": usd(row.usd_jpy_nanos),
        "attempts": [
            {
                **{name: value for name, value in one._asdict().items() if name not in ("latency_us", "cost_nanos")},
                "latency_ms": ms(one.latency_us),
                "cost_usd": usd(one.cost_nanos),
            }
            for one in row.attempts
        ],
        "request": row.request and row.request.decode(),
        "response": row.response and row.response.decode(),
        "input_preview": "hello",
        "output_preview": "hi",
    }
    if row.input_hash is None:
        made["input_hash"] = hashlib.sha256(row.request or b"").hexdigest()[:16]
    return {**{name: value for name, value in row._asdict().items() if name in INFERENCE_LOG.names}, **made}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows)
def test_rows_round_trip_through_parquet_and_duckdb(
    tmp_path_factory: pytest.TempPathFactory, given_rows: list[InferenceRow]
):
    got = through_parquet(tmp_path_factory.mktemp("t"), table_of(given_rows))
    want = [expected(row) for row in given_rows]
    # by day they are separate files, within a day the order of arrival holds
    assert sorted(got, key=lambda row: row["request_date"]) == sorted(want, key=lambda row: row["request_date"])


@given(st.lists(nanos, min_size=1, max_size=20))
def test_money_is_exact_to_the_nano_dollar(costs: list[int | None]):
    table = table_of([a_row(n, cost_nanos=cost) for n, cost in enumerate(costs)])
    assert table["cost_usd"].to_pylist() == [usd(cost) for cost in costs]
    assert table["cost_usd"].type == pa.decimal128(18, 9)


@pytest.mark.parametrize(("us", "whole"), [(0, 0), (499, 0), (500, 1), (1499, 1), (1500, 2), (2500, 3)])
def test_latencies_round_half_up(us: int, whole: int):
    table = table_of([a_row(latency_us=us, gateway_overhead_us=us)])
    assert table["latency_ms"].to_pylist() == [whole]
    assert table["gateway_overhead_ms"].to_pylist() == [us / 1000]


def test_types_are_those_of_the_schema():
    batch = Batch()
    batch.add([encode_record(record_of(a_row(1))), encode_record(record_of(without_log(2)))])
    assert batch.table().cast(INFERENCE_LOG).schema == INFERENCE_LOG
    assert batch.full().to_pylist() == [True, False]


def test_a_call_without_anything_is_a_row():
    nothing = {
        name: None
        for name in InferenceRow._fields
        if name not in ("log_level", "event_time_us", "request_id", "attempts", "response_kind", "status_code")
    }
    (row,) = table_of([a_row(7, **nothing, attempts=[])]).to_pylist()
    assert row["request_id"] == a_row(7).request_id
    assert row["attempts"] == []
    assert row["total_tokens"] is None
    assert row["tags"] is None


def test_a_value_that_does_not_fit_becomes_null_and_the_rest_stays():
    batch = Batch()
    odd = a_row(2, input_tokens=2**63, cost_nanos="dear", attempts="none", tags={"a": 1}, request=b'"\xff"')
    batch.add([encode_record(record_of(row)) for row in (a_row(1), odd, a_row(3))])
    first, second, third = batch.table().to_pylist()
    assert (first["input_tokens"], third["input_tokens"]) == (100, 100)
    assert (second["input_tokens"], second["cost_usd"], second["attempts"]) == (None, None, None)
    assert second["request"] == '"\ufffd"'
    assert second["request_id"] == odd.request_id
    assert first["cost_usd"] == third["cost_usd"] == Decimal("0.000027")
    assert first["tags"] == [("feature", "summary")]
    assert batch.unfit >= 4


def test_a_record_that_is_no_record_is_counted_and_left_out():
    batch = Batch()
    batch.add([encode_record(record_of(a_row(1))), b"\xc1 no msgpack", encode_record(record_of(a_row(2)))])
    assert batch.undecodable == 1
    assert batch.table()["request_id"].to_pylist() == [a_row(1).request_id, a_row(2).request_id]


def test_streams_are_stored_as_the_answer_they_stand_for():
    events = [
        {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}
        for text in ("こん", "にちは")
    ]
    body = b"\n".join(msgspec.json.encode(event) for event in events)
    plain, streamed = a_row(1), a_row(2, response=body, response_kind=RESPONSE_CHAT_EVENTS, streaming=True)
    first, second = table_of([plain, streamed]).to_pylist()
    assert first["response"] == (plain.response or b"").decode()
    answer = msgspec.json.decode(second["response"])
    assert answer["choices"][0]["message"]["content"] == "こんにちは"
    assert second["output_preview"] == "こんにちは"


def test_guardrail_verdicts_keep_their_counts():
    verdicts = [["input", "pii", "mask", {"email": 2}], {"phase": "output", "policy": "words", "action": "block"}]
    (row,) = table_of([a_row(guardrails=verdicts)]).to_pylist()
    assert row["guardrails"] == [
        {"phase": "input", "policy": "pii", "action": "mask", "entity_counts": [("email", 2)]},
        {"phase": "output", "policy": "words", "action": "block", "entity_counts": None},
    ]


def test_midnight_splits_a_batch(tmp_path: Path):
    midnight = 20_777 * 86_400 * 1_000_000
    table = table_of([a_row(n, event_time_us=midnight + n - 2) for n in range(5)])
    parts = write_parts(DiskFiles(tmp_path), "usage", table.select(USAGE.names))
    assert [(part.day, part.rows) for part in parts] == [("2026-11-19", 2), ("2026-11-20", 3)]
    stats = msgspec.json.decode(parts[1].stats)
    assert stats["minValues"]["event_time"] == "2026-11-20T00:00:00.000000Z"
    assert not list(tmp_path.rglob("*.tmp"))


def test_other_readers_agree(tmp_path: Path):
    table = table_of([a_row(n, endpoint_name=f"e{n % 3}") for n in range(50)])
    (part,) = write_parts(DiskFiles(tmp_path), "inference_log", table)
    frame = polars.read_parquet(tmp_path / part.path, hive_partitioning=False)
    assert frame["endpoint_name"].to_list() == [f"e{n % 3}" for n in range(50)]
    assert frame["cost_usd"].sum() == 50 * Decimal("0.000027")
    assert frame["attempts"][0][0]["cost_usd"] == Decimal("0.000027")
    assert str(frame["event_time"].dtype) == "Datetime(time_unit='us', time_zone='UTC')"
