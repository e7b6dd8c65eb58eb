"""From an entry to its record for the spool. Must stay cheap: it runs inside every call.

Values that repeat from call to call stand in two groups, encoded once and then looked up: building and encoding all
sixty columns anew costs more than the rest of the bookkeeping together. See `domain.row` for the order.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from sekisho.domain.call import Attempt, Call, Caller, Entry
from sekisho.domain.money import ExchangeRate, cost_breakdown, served_tier
from sekisho.domain.row import (
    LOG_FULL,
    LOG_METADATA,
    RESPONSE_CHAT_EVENTS,
    RESPONSE_JSON,
    RESPONSE_NONE,
    CallerGroup,
    Record,
    ShapeGroup,
)

#: what a caller saw of a call that died with the gateway: a connection that broke, without a status
INTERRUPTED_STATUS = 500
MAX_BODY_BYTES = 10 * 1024 * 1024
_MAX_REMEMBERED = 20_000
_MAX_GROUP_BYTES = 2_048
_MAX_TEXT_BYTES = 256
_HEX = frozenset("0123456789abcdef")
_encode = msgspec.msgpack.Encoder().encode
T = TypeVar("T")


class _NoUsage:
    """Stands for a usage that nobody reported."""

    input_tokens = output_tokens = cache_read_input_tokens = cache_creation_input_tokens = None
    cache_creation_1h_input_tokens = reasoning_output_tokens = media = None


_NO_USAGE = _NoUsage()
_NO_IDS = (None, None, None)
#: no rate is known at any time
_NO_RATE = ExchangeRate(None, -(2**63), 2**63)
#: microseconds since 1970 -> the rate in force then
RateAt = Callable[[int], ExchangeRate]
_TRACING = frozenset({b"traceparent", b"x-client-request-id", b"x-request-id"})


class Recorder:
    """Makes records; remembers the groups it has encoded."""

    def __init__(self, gateway_version: str) -> None:
        self._version = gateway_version
        self._shapes: dict[tuple[Any, ...], tuple[msgspec.Raw, object, object]] = {}
        self._begun: dict[tuple[Any, ...], tuple[msgspec.Raw, object, object]] = {}
        self._callers: dict[tuple[Any, ...], msgspec.Raw] = {}
        self._rate_at: RateAt = lambda _: _NO_RATE
        self._usd_jpy_nanos, self._rate_from_us, self._rate_until_us = _NO_RATE
        self._nobody = msgspec.Raw(_encode(CallerGroup(None, None, None, None, None, None, None)))

    def convert(self, rate_at: RateAt) -> None:
        """Which rate of exchange rows keep from now on."""
        self._rate_at = rate_at
        self._rate_from_us = self._rate_until_us = 0  # the next row asks

    def _turn(self, received_us: int) -> None:
        """Take the rate that was in force when a call came: groups hold it."""
        self._usd_jpy_nanos, self._rate_from_us, self._rate_until_us = self._rate_at(received_us)
        self._shapes.clear()
        self._begun.clear()

    def record(self, entry: Entry, served: Attempt | None, took_s: float) -> Record:
        """The record of a closed entry; `took_s` from the request to the last byte."""
        call = entry.call
        if not self._rate_from_us <= call.received_us < self._rate_until_us:
            self._turn(call.received_us)
        request, response, kind = None, None, RESPONSE_NONE
        if entry.keep_request and entry.endpoint is not None and entry.endpoint.log == "full":
            request, response, kind = _bodies(entry)
        client_id, trace_id, span_id = _NO_IDS if (known := call.known) is not None and known.untraced else _ids(call)
        usage = _NO_USAGE if served is None else served.usage or _NO_USAGE
        first = entry.first_byte_s
        overhead_s = took_s - entry.waited_s
        attempts = entry.attempts
        return (
            self._shape(entry, served, kind),
            self._caller(call, entry.caller),
            call.received_us,
            call.request_id,
            client_id, trace_id, span_id,
            entry.conversation_id,
            entry.error_message,
            int(took_s * 1e6),
            None if first is None else int((first - call.started_s) * 1e6),
            int(overhead_s * 1e6) if overhead_s > 0 else 0,
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_input_tokens,
            usage.cache_creation_input_tokens,
            usage.cache_creation_1h_input_tokens,
            usage.reasoning_output_tokens,
            entry.cost_nanos,
            None if len(attempts) == 1 and usage.media is None else _breakdown(entry),  # or by the committer
            entry.end_user,
            entry.tags,
            [_attempt_row(n, attempt) for n, attempt in enumerate(attempts, 1)]
            if len(attempts) != 1
            else (_attempt_row(1, attempts[0]),),
            None,  # input_hash: made by the committer, off the call path
            request, response,
        )  # fmt: skip

    def begun(self, entry: Entry, attempt: Attempt, input_tokens: int) -> Record:
        """The row that a call becomes when the process dies before its end. What came back is not known: charged is
        what was reserved, as the counters do whose lease runs out, or else the estimated input alone."""
        call = entry.call
        if not self._rate_from_us <= call.received_us < self._rate_until_us:
            self._turn(call.received_us)
        target = attempt.target
        client_id, trace_id, span_id = _NO_IDS if (known := call.known) is not None and known.untraced else _ids(call)
        rates = target.rates
        # By the plain rate, whole nano-dollars: an estimate of tokens is not worth more.
        cost = None if rates is None else input_tokens * rates.input_nanos_per_mtok // 1_000_000
        output_tokens = 0
        held = attempt.held
        if held is not None and held.reserved_nanos and cost is not None:
            cost = held.reserved_nanos
            output_tokens = max(0, held.tokens - input_tokens)
        return (
            self._interrupted(entry, attempt),
            self._caller(call, entry.caller),
            call.received_us,
            call.request_id,
            client_id, trace_id, span_id,
            entry.conversation_id,
            "interrupted",
            0, None, 0,  # no times: nobody saw the end
            input_tokens, output_tokens, 0, 0, 0, 0,
            cost,
            None,
            entry.end_user,
            entry.tags,
            ((1, target.provider, target.model, None, 0, "interrupted", attempt.reason, input_tokens,
              output_tokens, cost,
              "estimated"),),
            None,
            None,
            None,
        )  # fmt: skip

    def _interrupted(self, entry: Entry, attempt: Attempt) -> msgspec.Raw:
        """As `_shape`, of the row that a begun call becomes."""
        endpoint, target = entry.endpoint, attempt.target
        key = (
            id(endpoint), id(target), entry.call.route.path, entry.request_model, entry.streaming, attempt.reason,
            entry.feature, entry.config_hash,
        )  # fmt: skip
        known = self._begun.get(key)
        if known is not None:
            return known[0]
        full = endpoint is not None and endpoint.log == "full"
        group = self._shape_group(entry, attempt, full, RESPONSE_NONE)._replace(
            status_code=INTERRUPTED_STATUS,
            error_code="interrupted",
            terminal_state="interrupted",
            usage_source="estimated",
            logging_error_codes=["INTERRUPTED"] if full else None,
            rates=None,  # charged is what was reserved, not tokens
        )
        encoded = msgspec.Raw(_encode(group))
        _remember(self._begun, key, (encoded, endpoint, target), len(encoded))
        return encoded

    def _shape(self, entry: Entry, served: Attempt | None, kind: int) -> msgspec.Raw:
        """By what makes the group. An endpoint and a target stand for all they say: both are made anew by a reload,
        and those that are remembered here are kept alive, so that no other can have their id."""
        endpoint = entry.endpoint
        target = None if served is None else served.target
        finish = entry.finish_reasons
        errors = entry.logging_errors
        key = (
            id(endpoint),
            id(target),
            entry.call.route.path,
            entry.request_model,
            None if served is None else served.reason,
            "none" if served is None else served.usage_source,
            entry.status,
            entry.error_code,
            entry.terminal_state,
            entry.streaming,
            entry.service_tier,
            entry.config_hash,
            entry.feature,
            kind,
            entry.keep_request,
            None if finish is None else finish[0] if len(finish) == 1 else tuple(finish),
            None if errors is None else tuple(errors),
            entry.cache_status,
        )
        known = self._shapes.get(key)
        if known is not None:
            return known[0]
        full = entry.keep_request and endpoint is not None and endpoint.log == "full"
        encoded = msgspec.Raw(_encode(self._shape_group(entry, served, full, kind)))
        _remember(self._shapes, key, (encoded, endpoint, target), len(encoded))
        return encoded

    def _shape_group(self, entry: Entry, served: Attempt | None, full: bool, kind: int) -> ShapeGroup:
        target = served.target if served is not None else None
        rates = target.rates if target is not None else None
        route = entry.call.route
        tier = None if rates is None else rates.for_service_tier(served_tier(entry.service_tier))
        return ShapeGroup(
            log_level=LOG_FULL if full else LOG_METADATA,
            endpoint_name=entry.endpoint.name if entry.endpoint is not None else None,
            route=served.reason if served is not None else None,
            feature=entry.feature,
            api_type=route.api_type,
            url_path=route.path,
            operation=route.operation,
            request_model=entry.request_model,
            provider=target.provider if target is not None else None,
            destination_model=target.model if target is not None else None,
            served_entity_id=f"{target.provider}/{target.model}" if target is not None else None,
            status_code=entry.status,
            error_code=entry.error_code,
            streaming=entry.streaming,
            finish_reasons=entry.finish_reasons,
            usage_source=served.usage_source if served is not None else "none",
            service_tier=entry.service_tier,
            processing=None,
            price_source=rates.source if rates is not None else None,
            price_version=rates.version if rates is not None else None,
            guardrails=None,
            cache_status=entry.cache_status,
            terminal_state=entry.terminal_state or "interrupted",
            gateway_version=self._version,
            config_hash=entry.config_hash,
            sampling_fraction=1.0,
            logging_error_codes=entry.logging_errors,
            masking=None,
            response_kind=kind,
            rates=None if tier is None else tier.lines(),
            usd_jpy_nanos=self._usd_jpy_nanos,
        )

    def _caller(self, call: Call, caller: Caller | None) -> msgspec.Raw:
        known = call.known
        if known is not None and known.caller is caller and (group := known.group) is not None:
            return group
        agent = call.headers.get(b"user-agent")
        if agent is not None:
            agent = agent[:_MAX_TEXT_BYTES]  # what is remembered must not be as large as a caller likes
        if caller is None and agent is None and call.client_ip is None:
            return self._nobody
        key = (
            (caller.key_id, caller.user, caller.team, caller.department, agent, call.client_ip)
            if caller is not None
            else (agent, call.client_ip)
        )
        group = self._callers.get(key)
        if group is None:
            group = msgspec.Raw(_encode(_caller_group(caller, agent, call.client_ip)))
            _remember(self._callers, key, group, len(group))
        if known is not None and known.caller is caller:
            known.group = group
        return group


def _remember(known: dict[tuple[Any, ...], T], key: tuple[Any, ...], value: T, size: int) -> None:
    """Large groups are not kept, for callers choose what stands in them."""
    if size <= _MAX_GROUP_BYTES:
        if len(known) >= _MAX_REMEMBERED:
            known.clear()
        known[key] = value


def _caller_group(caller: Caller | None, agent: bytes | None, client_ip: str | None) -> CallerGroup:
    return CallerGroup(
        requester=caller.user or caller.key_name if caller is not None else None,
        requester_type=None if caller is None else "user" if caller.user else "key",
        api_key_id=caller.key_id if caller is not None else None,
        team=caller.team if caller is not None else None,
        department=caller.department if caller is not None else None,
        user_agent=_text(agent),
        client_ip_prefix=_ip_prefix(client_ip),
    )


def _ids(call: Call) -> tuple[str | None, str | None, str | None]:
    """client_request_id, trace_id, span_id as the caller gave them."""
    headers = call.headers
    if _TRACING.isdisjoint(headers):
        if call.known is not None:
            call.known.untraced = True
        return _NO_IDS
    client_id = _text(headers.get(b"x-client-request-id") or headers.get(b"x-request-id"))
    return client_id, *_trace(headers.get(b"traceparent"))


def _attempt_row(n: int, attempt: Attempt) -> tuple[Any, ...]:
    """By the fields of AttemptRow."""
    usage = attempt.usage or _NO_USAGE
    target = attempt.target
    ended = attempt.ended_s
    return (
        n,
        target.provider,
        target.model,
        attempt.status,
        0 if ended is None else int((ended - attempt.started_s) * 1e6),
        attempt.error_code,
        attempt.reason,
        usage.input_tokens,
        usage.output_tokens,
        attempt.cost_nanos,
        attempt.usage_source,
    )


def _breakdown(entry: Entry) -> dict[str, int] | None:
    """Nano-dollars by token type of all attempts together; None where they are not known to sum to the cost."""
    parts: dict[str, int] = {}
    for attempt in entry.attempts:
        usage, rates = attempt.usage, attempt.target.rates
        if usage is None or rates is None:
            continue
        tier = rates.for_service_tier(served_tier(entry.service_tier), usage.media)
        if tier is None:
            return None
        for name, nanos in cost_breakdown(usage, tier).items():
            parts[name] = parts.get(name, 0) + nanos
    return parts if parts and sum(parts.values()) == entry.cost_nanos else None


def _bodies(entry: Entry) -> tuple[bytes | None, bytes | None, int]:
    """Bodies over the limit leave the row with an error code; the row itself always stays."""
    request: bytes | None = entry.call.body or None
    if request is not None and len(request) > MAX_BODY_BYTES:
        request = None
        _note(entry, "MAX_REQUEST_SIZE_EXCEEDED")
    if entry.response is not None:
        response, kind = entry.response, RESPONSE_JSON
    elif entry.events:
        response, kind = b"\n".join(entry.events), RESPONSE_CHAT_EVENTS
    else:
        return request, None, RESPONSE_NONE
    if len(response) > MAX_BODY_BYTES:
        _note(entry, "MAX_RESPONSE_SIZE_EXCEEDED")
        return request, None, RESPONSE_NONE
    return request, response, kind


def _note(entry: Entry, code: str) -> None:
    if entry.logging_errors is None:
        entry.logging_errors = []
    if code not in entry.logging_errors:
        entry.logging_errors.append(code)


def _text(value: bytes | None) -> str | None:
    return value[:_MAX_TEXT_BYTES].decode("utf-8", "replace") if value else None


def _trace(value: bytes | None) -> tuple[str | None, str | None]:
    """W3C traceparent `00-<32 hex>-<16 hex>-<flags>`; anything else is no trace."""
    if value is None or len(value) < 55:
        return None, None
    version, trace, span, *rest = (*value[:256].decode("latin-1").split("-"), "", "")
    hexadecimal = _HEX.issuperset(version) and _HEX.issuperset(trace) and _HEX.issuperset(span)
    if not hexadecimal or (len(version), len(trace), len(span)) != (2, 32, 16) or len(rest[0]) != 2:
        return None, None
    if version == "ff" or not trace.strip("0") or not span.strip("0"):
        return None, None
    return trace, span


def _ip_prefix(address: str | None) -> str | None:
    """/24 of IPv4, /48 of IPv6: enough to see where a key is used from, not who sits there."""
    try:
        ip = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ipaddress.ip_network((ip, 48), strict=False))
        ip = ip.ipv4_mapped
    return str(ipaddress.ip_network((ip, 24), strict=False))
