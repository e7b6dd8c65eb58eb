"""The columns of `inference_log` and `usage`, their order and their types. Must only ever grow at the end of a struct
or of a table: older files lack what came later and read as NULL.

Names follow OpenTelemetry GenAI and Databricks' inference tables. Money is DECIMAL(18,9) dollars, exactly the integer
nano-dollars of the books; dates and times are UTC.
"""

from __future__ import annotations

from typing import Final

from sekisho.tables.arrow import pa

USD: Final = pa.decimal128(18, 9)
TIME: Final = pa.timestamp("us", tz="UTC")
STRINGS: Final = pa.list_(pa.field("element", pa.string()))
TAGS: Final = pa.map_(pa.string(), pa.string())
BREAKDOWN: Final = pa.map_(pa.string(), USD)

#: in the order of AttemptRow
ATTEMPT: Final = pa.struct(
    [
        ("n", pa.int32()),
        ("provider", pa.string()),
        ("model", pa.string()),
        ("status_code", pa.int32()),
        ("latency_ms", pa.int64()),
        ("error_code", pa.string()),
        ("reason", pa.string()),
        ("input_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("cost_usd", USD),
        ("usage_source", pa.string()),
    ]
)
GUARDRAIL: Final = pa.struct(
    [
        ("phase", pa.string()),
        ("policy", pa.string()),
        ("action", pa.string()),
        ("entity_counts", pa.map_(pa.string(), pa.int64())),
    ]
)

ATTEMPTS: Final = pa.list_(pa.field("element", ATTEMPT))
GUARDRAILS: Final = pa.list_(pa.field("element", GUARDRAIL))

PARTITION: Final = "request_date"

INFERENCE_LOG: Final = pa.schema(
    [
        (PARTITION, pa.date32()),
        ("event_time", TIME),
        ("request_id", pa.string()),
        ("client_request_id", pa.string()),
        ("trace_id", pa.string()),
        ("span_id", pa.string()),
        ("conversation_id", pa.string()),
        ("endpoint_name", pa.string()),
        ("route", pa.string()),
        ("feature", pa.string()),
        ("api_type", pa.string()),
        ("url_path", pa.string()),
        ("operation", pa.string()),
        ("request_model", pa.string()),
        ("provider", pa.string()),
        ("destination_model", pa.string()),
        ("served_entity_id", pa.string()),
        ("status_code", pa.int32()),
        ("error_code", pa.string()),
        ("error_message", pa.string()),
        ("latency_ms", pa.int64()),
        ("time_to_first_byte_ms", pa.int64()),
        ("gateway_overhead_ms", pa.float64()),
        ("streaming", pa.bool_()),
        ("finish_reasons", STRINGS),
        ("input_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("total_tokens", pa.int64()),
        ("cache_read_input_tokens", pa.int64()),
        ("cache_creation_input_tokens", pa.int64()),
        ("cache_creation_1h_input_tokens", pa.int64()),
        ("reasoning_output_tokens", pa.int64()),
        ("usage_source", pa.string()),
        ("service_tier", pa.string()),
        ("processing", pa.string()),
        ("cost_usd", USD),
        ("cost_breakdown", BREAKDOWN),
        ("price_source", pa.string()),
        ("price_version", pa.string()),
        ("requester", pa.string()),
        ("requester_type", pa.string()),
        ("api_key_id", pa.string()),
        ("team", pa.string()),
        ("department", pa.string()),
        ("end_user", pa.string()),
        ("tags", TAGS),
        ("attempts", ATTEMPTS),
        ("guardrails", GUARDRAILS),
        ("cache_status", pa.string()),
        ("terminal_state", pa.string()),
        ("user_agent", pa.string()),
        ("client_ip_prefix", pa.string()),
        ("gateway_version", pa.string()),
        ("config_hash", pa.string()),
        ("sampling_fraction", pa.float64()),
        ("logging_error_codes", STRINGS),
        ("masking", pa.string()),
        ("input_hash", pa.string()),
        ("input_preview", pa.string()),
        ("output_preview", pa.string()),
        ("request", pa.string()),
        ("response", pa.string()),
        ("usd_jpy", USD),
    ]
)

#: what a caller or a provider wrote: only in `inference_log`
BODIES: Final = ("error_message", "input_preview", "output_preview", "request", "response")

USAGE: Final = pa.schema([field for field in INFERENCE_LOG if field.name not in BODIES])

#: columns of a table that a row of the spool names otherwise: column -> field of InferenceRow
RENAMED: Final = {
    "event_time": "event_time_us",
    "latency_ms": "latency_us",
    "time_to_first_byte_ms": "time_to_first_byte_us",
    "gateway_overhead_ms": "gateway_overhead_us",
    "cost_usd": "cost_nanos",
    "usd_jpy": "usd_jpy_nanos",
}
#: columns that no field of a row holds
DERIVED: Final = (PARTITION, "total_tokens", "input_preview", "output_preview")
#: fields of a row that are no columns: they say what to do with it
STEERING: Final = ("log_level", "response_kind", "rates")

TABLES: Final = {"usage": USAGE, "inference_log": INFERENCE_LOG}
