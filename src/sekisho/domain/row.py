"""One call as the inference tables store it. Must keep its order: the tuple itself is what the spool holds."""

from __future__ import annotations

from typing import Any, NamedTuple

from sekisho.domain.money import RateLine

#: How `response` is encoded: nothing kept, the JSON body as it came, or the JSON payloads of the events of a stream
#: joined by newlines, which the committer assembles into the shape of a plain answer.
RESPONSE_NONE, RESPONSE_JSON, RESPONSE_CHAT_EVENTS = 0, 1, 2

LOG_METADATA, LOG_FULL = 0, 1

#: the requester of rows whose person was taken out of the tables; nothing else in them says who it was
ERASED = "erased"


class AttemptRow(NamedTuple):
    """One try at one target. Cost None means the price is unknown; 0 that nothing was charged."""

    n: int
    provider: str
    model: str
    status_code: int | None
    latency_us: int
    error_code: str | None
    #: why this attempt was made: primary | weighted | fallback | degraded
    reason: str
    input_tokens: int | None
    output_tokens: int | None
    cost_nanos: int | None
    usage_source: str


class ShapeGroup(NamedTuple):
    """Columns that are the same for most calls of one endpoint."""

    log_level: int
    endpoint_name: str | None
    route: str | None
    feature: str | None
    api_type: str
    url_path: str
    operation: str
    request_model: str | None
    provider: str | None
    destination_model: str | None
    served_entity_id: str | None
    status_code: int
    error_code: str | None
    streaming: bool
    finish_reasons: list[str] | None
    usage_source: str
    service_tier: str | None
    processing: str | None
    price_source: str | None
    price_version: str | None
    #: guardrail verdicts; None until there are guardrails
    guardrails: list[Any] | None
    cache_status: str
    terminal_state: str
    gateway_version: str
    config_hash: str
    sampling_fraction: float
    logging_error_codes: list[str] | None
    masking: str | None
    response_kind: int
    #: by which the cost falls into its parts; None where a row has its parts itself, or none are known
    rates: tuple[RateLine, ...] | None = None
    #: yen for a dollar when the call came, in billionths
    usd_jpy_nanos: int | None = None


class CallerGroup(NamedTuple):
    """Columns that are the same for most calls with one key."""

    requester: str | None
    requester_type: str | None
    api_key_id: str | None
    team: str | None
    department: str | None
    user_agent: str | None
    client_ip_prefix: str | None


class InferenceRow(NamedTuple):
    """Columns in the order of the spool record. Times are microseconds, money nano-dollars, None is NULL."""

    log_level: int
    event_time_us: int
    request_id: str
    client_request_id: str | None
    trace_id: str | None
    span_id: str | None
    conversation_id: str | None
    endpoint_name: str | None
    route: str | None
    feature: str | None
    api_type: str
    url_path: str
    operation: str
    request_model: str | None
    provider: str | None
    destination_model: str | None
    served_entity_id: str | None
    status_code: int
    error_code: str | None
    error_message: str | None
    latency_us: int
    time_to_first_byte_us: int | None
    gateway_overhead_us: int
    streaming: bool
    finish_reasons: list[str] | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_input_tokens: int | None
    cache_creation_input_tokens: int | None
    cache_creation_1h_input_tokens: int | None
    reasoning_output_tokens: int | None
    usage_source: str
    service_tier: str | None
    processing: str | None
    cost_nanos: int | None
    #: token type -> nano-dollars, where `rates` and the tokens do not say it
    cost_breakdown: dict[str, int] | None
    price_source: str | None
    price_version: str | None
    requester: str | None
    requester_type: str | None
    api_key_id: str | None
    team: str | None
    department: str | None
    #: end user named in the body; recorded, never trusted for limits
    end_user: str | None
    tags: dict[str, str] | None
    attempts: list[AttemptRow]
    #: guardrail verdicts; None until there are guardrails
    guardrails: list[Any] | None
    cache_status: str
    terminal_state: str
    user_agent: str | None
    client_ip_prefix: str | None
    gateway_version: str
    config_hash: str
    sampling_fraction: float
    logging_error_codes: list[str] | None
    masking: str | None
    input_hash: str | None
    #: bodies as bytes of JSON; None at log level metadata
    request: bytes | None
    response: bytes | None
    response_kind: int
    rates: tuple[RateLine, ...] | None = None
    usd_jpy_nanos: int | None = None


#: columns that differ from call to call, in the order of the record
OWN_FIELDS = tuple(
    name for name in InferenceRow._fields if name not in ShapeGroup._fields and name not in CallerGroup._fields
)

#: what the spool holds: `(shape, caller, *own)`, the two groups as encoded msgpack, the rest by OWN_FIELDS
Record = tuple[Any, ...]
