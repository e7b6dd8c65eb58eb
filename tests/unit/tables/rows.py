"""Rows for the tests of the tables."""

from __future__ import annotations

from typing import Any

import msgspec

from sekisho.domain.row import LOG_FULL, LOG_METADATA, RESPONSE_JSON, RESPONSE_NONE, AttemptRow, InferenceRow, Record
from sekisho.tables.layout import CALLER, OWN, SHAPE

#: 2026-11-20T14:13:20Z
NOON_US = 1_795_184_000_000_000


def a_row(n: int = 0, **changes: Any) -> InferenceRow:
    """A call that went well, logged in full."""
    attempt = AttemptRow(1, "openai", "gpt-4o-mini", 200, 800_400, None, "primary", 100, 20, 27_000, "provider")
    row = InferenceRow(
        log_level=LOG_FULL,
        event_time_us=NOON_US + n,
        request_id=f"req_{n:032x}",
        client_request_id=None,
        trace_id=None,
        span_id=None,
        conversation_id=None,
        endpoint_name="chat",
        route="primary",
        feature="summary",
        api_type="openai/v1/chat/completions",
        url_path="/v1/chat/completions",
        operation="chat",
        request_model="chat",
        provider="openai",
        destination_model="gpt-4o-mini",
        served_entity_id="openai/gpt-4o-mini",
        status_code=200,
        error_code=None,
        error_message=None,
        latency_us=812_500,
        time_to_first_byte_us=300_499,
        gateway_overhead_us=187,
        streaming=False,
        finish_reasons=["stop"],
        input_tokens=100,
        output_tokens=20,
        cache_read_input_tokens=0,
        cache_creation_input_tokens=0,
        cache_creation_1h_input_tokens=0,
        reasoning_output_tokens=0,
        usage_source="provider",
        service_tier="default",
        processing=None,
        cost_nanos=27_000,
        cost_breakdown={"input": 15_000, "output": 12_000},
        price_source="genai-prices",
        price_version="0.2.3",
        requester="taro",
        requester_type="user",
        api_key_id="key_1",
        team="research",
        department="rd",
        end_user=None,
        tags={"feature": "summary"},
        attempts=[attempt],
        guardrails=None,
        cache_status="bypass",
        terminal_state="completed",
        user_agent="OpenAI/Python 2.3.0",
        client_ip_prefix="10.1.2.0/24",
        gateway_version="0.1.0",
        config_hash="c0ffee",
        sampling_fraction=1.0,
        logging_error_codes=None,
        masking=None,
        input_hash=None,
        request=b'{"model":"chat","messages":[{"role":"user","content":"hello"}]}',
        response=b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}',
        response_kind=RESPONSE_JSON,
    )
    return row._replace(**changes)


def without_log(n: int = 0, **changes: Any) -> InferenceRow:
    """The same at log level metadata."""
    return a_row(n, log_level=LOG_METADATA, request=None, response=None, response_kind=RESPONSE_NONE, **changes)


def record_of(row: InferenceRow) -> Record:
    """The record as the recorder makes it: both groups encoded already."""
    shape, caller = (
        msgspec.Raw(msgspec.msgpack.encode([getattr(row, name) for name in names])) for names in (SHAPE, CALLER)
    )
    return (shape, caller, *(getattr(row, name) for name in OWN))


def records(count: int, start: int = 0, **changes: Any) -> list[Record]:
    return [record_of(a_row(n, **changes)) for n in range(start, start + count)]
