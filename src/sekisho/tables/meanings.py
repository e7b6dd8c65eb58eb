"""What the columns mean, in a sentence or two, for whoever meets the tables in another program. Must say what
`docs/reference/tables.md` says, without its links: a test compares.

They are comments in the log of a Delta table from when it is made, so that Databricks, Spark and a catalog show them.
"""

from __future__ import annotations

from typing import Final

from sekisho.tables.arrow import Schema, pa

TABLE_MEANINGS: Final = {
    "usage": "A row for every call, without its bodies",
    "inference_log": "A row for every call of an endpoint with log: full, with everything in usage and the bodies",
}

MEANINGS: Final = {
    "request_date": "UTC day of event_time; the partition.",
    "event_time": "When the request had arrived.",
    "request_id": "req_ and a UUIDv7 as hex: sorts by time. The header x-request-id of the answer.",
    "client_request_id": "x-client-request-id, else x-request-id, of the request.",
    "trace_id": "From the header traceparent.",
    "span_id": "From the header traceparent.",
    "conversation_id": "x-sekisho-conversation of the request, 256 bytes of it.",
    "endpoint_name": "The endpoint, or provider/model as it was addressed.",
    "route": (
        "Why the last target was chosen: primary, weighted, fallback, or degraded: an exceeded budget sent the call "
        "to this endpoint."
    ),
    "feature": "The tag feature: what the call was for, in the form of names.",
    "api_type": "For example openai/v1/chat/completions.",
    "url_path": "The path that was called.",
    "operation": "chat or embeddings.",
    "request_model": "model of the request.",
    "provider": "Of the last attempt.",
    "destination_model": "The model's name at the provider, of the last attempt.",
    "served_entity_id": "provider/model of the last attempt.",
    "status_code": "What was sent; 499 when the client left. A broken stream is 200 with an error_code.",
    "error_code": (
        "A code of errors, or one of those that nobody was sent: client_left, and interrupted where the gateway died."
    ),
    "error_message": (
        "Details, also what the provider wrote, up to 500 characters. Credentials of ours in it are ***."
    ),
    "latency_ms": "From request to last byte.",
    "time_to_first_byte_ms": "Streams: to the first content. Plain answers: to the whole answer.",
    "gateway_overhead_ms": "Time that was ours: all of it but the waiting for providers.",
    "streaming": "The answer was asked for as a stream.",
    "finish_reasons": "One for each choice: stop, length, tool_calls, content_filter.",
    "input_tokens": "Includes cached tokens.",
    "output_tokens": "Includes reasoning tokens.",
    "total_tokens": "The sum of both.",
    "cache_read_input_tokens": "Part of the input that the provider read from its cache.",
    "cache_creation_input_tokens": "Part of the input that it wrote into its cache.",
    "cache_creation_1h_input_tokens": "Part of that for one hour.",
    "reasoning_output_tokens": "Part of the output that is reasoning.",
    "usage_source": "provider, estimated, or none: nothing was consumed.",
    "service_tier": "The tier the provider says it served; priced as such where the price library knows its price.",
    "processing": "NULL until batches come.",
    "cost_usd": "All attempts together. NULL: the price is unknown.",
    "cost_breakdown": (
        "What cost_usd is made of, by token type; the parts sum to it exactly. NULL where it is not made of tokens: "
        "an unknown price, a call that failed or died with its gateway."
    ),
    "price_source": "config, genai-prices, mock.",
    "price_version": "Version of the price library, or the digest of the configuration.",
    "requester": "The key's user, else the key's name; for a key with on_behalf the user that the body names.",
    "requester_type": "user or key.",
    "api_key_id": "key_…, never the key.",
    "team": "Of the key.",
    "department": "Of the team.",
    "end_user": "user or safety_identifier of the body; recorded, not trusted.",
    "tags": (
        "metadata of the body and the header x-sekisho-tags, a JSON object of strings of up to 10 KiB; of a name in "
        "both the header counts."
    ),
    "attempts": "Every try at a target, see below.",
    "guardrails": "NULL until there are guardrails.",
    "cache_status": (
        "replay: the answer of an earlier call with the same Idempotency-Key, with cost 0 and no attempts. Else "
        "bypass, until there is a cache."
    ),
    "terminal_state": "completed, truncated, upstream_error, refused, client_left, timed_out, interrupted.",
    "user_agent": "Of the client.",
    "client_ip_prefix": "/24 of IPv4, /48 of IPv6.",
    "gateway_version": "Version of Sekisho.",
    "config_hash": "12 hex digits of the configuration's SHA-256.",
    "sampling_fraction": "1: every call is recorded.",
    "logging_error_codes": (
        "Why a body is missing: MAX_REQUEST_SIZE_EXCEEDED, MAX_RESPONSE_SIZE_EXCEEDED, SPOOL_FULL; INTERRUPTED: the "
        "gateway died before the call had ended."
    ),
    "masking": "NULL until there is masking.",
    "input_hash": "Digest of the request's input, where there is a body: finds the same question again.",
    "input_preview": "First 200 characters of the last user message.",
    "output_preview": "First 200 characters of the answer.",
    "request": "The body as it came, JSON.",
    "response": "The provider's answer, JSON. A stream is assembled into the form of a plain answer.",
    "usd_jpy": (
        "Yen for one dollar on the day of the call, in the configured time zone, as configured then; cost_usd * "
        "usd_jpy is the cost in yen. NULL without fx."
    ),
}


def described(schema: Schema) -> Schema:
    """The same columns with their meanings as Delta's comments. For the log of a table only: in Parquet files they
    would be written again and again."""
    return pa.schema([field.with_metadata({"comment": MEANINGS[field.name]}) for field in schema])
