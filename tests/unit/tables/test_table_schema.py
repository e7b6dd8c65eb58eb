"""The columns: their order, and what the contract promises about them."""

from __future__ import annotations

from sekisho.domain.row import AttemptRow, InferenceRow
from sekisho.tables.schema import ATTEMPT, BODIES, DERIVED, INFERENCE_LOG, RENAMED, STEERING, USAGE

CONTRACT = [
    "request_date",
    "event_time",
    "request_id",
    "client_request_id",
    "conversation_id",
    "endpoint_name",
    "feature",
    "api_type",
    "operation",
    "request_model",
    "provider",
    "destination_model",
    "status_code",
    "error_code",
    "error_message",
    "latency_ms",
    "time_to_first_byte_ms",
    "gateway_overhead_ms",
    "streaming",
    "finish_reasons",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_output_tokens",
    "usage_source",
    "cost_usd",
    "price_source",
    "requester",
    "api_key_id",
    "team",
    "department",
    "tags",
    "attempts",
    "guardrails",
    "cache_status",
    "terminal_state",
    "request",
    "response",
]


def test_columns_follow_the_fields_of_a_row():
    columns = {field: column for column, field in RENAMED.items()}
    fields = [columns.get(name, name) for name in InferenceRow._fields if name not in STEERING]
    assert [name for name in INFERENCE_LOG.names if name not in DERIVED] == fields


def test_attempt_columns_follow_the_fields_of_an_attempt():
    renamed = {"latency_us": "latency_ms", "cost_nanos": "cost_usd"}
    assert [field.name for field in ATTEMPT] == [renamed.get(name, name) for name in AttemptRow._fields]


def test_contract_columns_are_there_in_its_order():
    assert [name for name in INFERENCE_LOG.names if name in CONTRACT] == CONTRACT


def test_usage_is_the_log_without_what_people_wrote():
    assert USAGE.names == [name for name in INFERENCE_LOG.names if name not in BODIES]
    assert not {"request", "response", "input_preview", "output_preview", "error_message"} & set(USAGE.names)
