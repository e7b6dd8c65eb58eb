"""From an entry to the row that stands in the table, read back by the bytes of the spool."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.gateway import read_record
from tests.unit.ledger.pages import RATES, TARO, Clock, attempt, call, entry, target

from sekisho.domain.call import Attempt, Caller, Entry, Known
from sekisho.domain.money import ExchangeRate, MediaRates, Rates, cost_breakdown, cost_nanos
from sekisho.domain.row import (
    LOG_FULL,
    LOG_METADATA,
    OWN_FIELDS,
    RESPONSE_CHAT_EVENTS,
    RESPONSE_JSON,
    RESPONSE_NONE,
    InferenceRow,
)
from sekisho.domain.usage import MediaTokens, Usage
from sekisho.ledger import recorder as module
from sekisho.ledger.recorder import MAX_BODY_BYTES, Recorder


def row(one: Entry, took_s: float = 1.0) -> InferenceRow:
    served = one.attempts[-1] if one.attempts else None
    return read_record(Recorder("0.1").record(one, served, took_s))


def test_a_record_is_its_row_column_by_column() -> None:
    clock = Clock(100.0)
    one = entry({b"user-agent": b"curl/8", b"x-client-request-id": b"mine"}, body=b'{"q":1}', now_s=clock)
    one.call.client_ip = "203.0.113.77"
    usage = Usage(
        input_tokens=100,
        output_tokens=20,
        cache_read_input_tokens=60,
        cache_creation_input_tokens=10,
        cache_creation_1h_input_tokens=4,
        reasoning_output_tokens=5,
    )
    failed = attempt(target("first"), status=503, error_code="upstream_error", started_s=100.0, ended_s=100.5)
    served = attempt(
        target("second"), usage, reason="fallback", status=200, started_s=100.5, ended_s=101.25, cost_nanos=7
    )
    one.attempts = [failed, served]
    one.status, one.terminal_state, one.streaming, one.cost_nanos = 200, "completed", True, 7
    one.finish_reasons, one.service_tier, one.config_hash = ["stop", "length"], "default", "cfg"
    one.tags, one.feature, one.end_user, one.conversation_id = {"feature": "f"}, "f", "hanako", "c-1"
    one.first_byte_s, one.waited_s, one.response = 100.75, 1.2, b'{"a":2}'
    found = row(one, took_s=1.25)
    expected: dict[str, Any] = {
        "log_level": LOG_FULL,
        "event_time_us": 1_700_000_000_000_000,
        "request_id": "req_1",
        "client_request_id": "mine",
        "endpoint_name": "chat",
        "route": "fallback",
        "feature": "f",
        "api_type": "openai/v1/chat",
        "url_path": "/v1/chat/completions",
        "operation": "chat",
        "request_model": "chat",
        "provider": "mock",
        "destination_model": "second",
        "served_entity_id": "mock/second",
        "status_code": 200,
        "error_code": None,
        "latency_us": 1_250_000,
        "time_to_first_byte_us": 750_000,
        "streaming": True,
        "finish_reasons": ["stop", "length"],
        "input_tokens": 100,
        "output_tokens": 20,
        "cache_read_input_tokens": 60,
        "cache_creation_input_tokens": 10,
        "cache_creation_1h_input_tokens": 4,
        "reasoning_output_tokens": 5,
        "usage_source": "provider",
        "service_tier": "default",
        "cost_nanos": 7,
        "price_source": "config",
        "price_version": "v1",
        "requester": "taro",
        "requester_type": "user",
        "api_key_id": "key_1",
        "team": "research",
        "department": "rd",
        "end_user": "hanako",
        "tags": {"feature": "f"},
        "terminal_state": "completed",
        "user_agent": "curl/8",
        "client_ip_prefix": "203.0.113.0/24",
        "gateway_version": "0.1",
        "config_hash": "cfg",
        "conversation_id": "c-1",
        "request": b'{"q":1}',
        "response": b'{"a":2}',
        "response_kind": RESPONSE_JSON,
    }
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.gateway_overhead_us == pytest.approx(50_000, abs=1)
    first, second = found.attempts
    assert (first.n, first.model, first.status_code, first.latency_us, first.error_code, first.reason) == (
        1, "first", 503, 500_000, "upstream_error", "primary",
    )  # fmt: skip
    assert (first.input_tokens, first.usage_source, first.cost_nanos) == (None, "none", 0)
    assert (second.n, second.latency_us, second.input_tokens, second.output_tokens, second.cost_nanos) == (
        2, 750_000, 100, 20, 7,
    )  # fmt: skip


def test_a_record_has_the_two_groups_and_every_other_column() -> None:
    record = Recorder("0.1").record(entry(), None, 0.0)
    assert len(record) == 2 + len(OWN_FIELDS)


def test_a_call_that_got_nowhere_is_a_row_too() -> None:
    one = Entry(call(body=b"secret words"))
    one.status, one.error_code, one.terminal_state = 401, "invalid_api_key", "refused"
    found = row(one)
    assert (found.status_code, found.endpoint_name, found.provider, found.usage_source) == (401, None, None, "none")
    assert (found.request, found.response, found.response_kind) == (None, None, RESPONSE_NONE)
    assert (found.requester, found.api_key_id, found.input_tokens, found.cost_nanos) == (None, None, None, 0)


def test_a_key_without_a_user_is_its_own_requester() -> None:
    found = row(entry(caller=Caller(key_id="key_2", key_name="nightly")))
    assert (found.requester, found.requester_type) == ("nightly", "key")


# -- bodies


def test_metadata_keeps_no_body() -> None:
    one = entry(log="metadata", body=b"{}")
    one.response = b"{}"
    found = row(one)
    assert (found.log_level, found.request, found.response, found.response_kind) == (LOG_METADATA, None, None, 0)


def test_the_events_of_a_stream_are_lines() -> None:
    one = entry(body=b"{}")
    one.events = [b'{"a":1}', b'{"b":2}']
    found = row(one)
    assert (found.response, found.response_kind) == (b'{"a":1}\n{"b":2}', RESPONSE_CHAT_EVENTS)


@pytest.mark.parametrize("over", [0, 1])
def test_a_body_over_ten_mebibytes_leaves_and_says_so(over: int) -> None:
    large = b"x" * (MAX_BODY_BYTES + over)
    one = entry(body=large)
    one.response = large
    found = row(one)
    kept = None if over else large
    assert (found.request, found.response) == (kept, kept)
    codes = ["MAX_REQUEST_SIZE_EXCEEDED", "MAX_RESPONSE_SIZE_EXCEEDED"]
    assert found.logging_error_codes == (codes if over else None)
    assert found.response_kind == (RESPONSE_NONE if over else RESPONSE_JSON)
    assert MAX_BODY_BYTES == 10 * 1024 * 1024


def test_one_body_over_the_limit_leaves_the_other() -> None:
    one = entry(body=b"{}")
    one.events = [b"x" * MAX_BODY_BYTES, b"y"]
    found = row(one)
    assert (found.request, found.response) == (b"{}", None)
    assert found.logging_error_codes == ["MAX_RESPONSE_SIZE_EXCEEDED"]


# -- money

BUSY = Usage(input_tokens=1_000, output_tokens=20, cache_read_input_tokens=600)
#: one second into 2023-11-15
DAY_US = 1_700_006_400_000_000


def priced(*attempts: Attempt, cost_nanos: int | None) -> InferenceRow:
    one = entry()
    one.attempts, one.cost_nanos = [*attempts], cost_nanos
    return row(one)


def test_a_row_has_the_rates_by_which_its_cost_falls_into_parts() -> None:
    flex = Rates(input_nanos_per_mtok=7, output_nanos_per_mtok=9)
    rates = msgspec.structs.replace(RATES, service_tiers=(("flex", flex), ("priority", None)))
    one = entry()
    one.attempts = [attempt(target(rates=rates), BUSY)]
    for tier, wanted in ((None, RATES.lines()), ("flex", flex.lines()), ("priority", None)):
        one.service_tier = tier
        found = row(one)
        assert (found.cost_breakdown, found.rates) == (None, None if wanted is None else [[*line] for line in wanted])
    assert priced(attempt(target(rates=None), BUSY), cost_nanos=None).rates is None


def test_a_row_of_several_attempts_or_of_sound_has_its_parts_itself() -> None:
    parts = cost_breakdown(BUSY, RATES)
    both = priced(attempt(usage=BUSY), attempt(), attempt(usage=BUSY), cost_nanos=2 * sum(parts.values()))
    assert both.cost_breakdown == {name: 2 * nanos for name, nanos in parts.items()}
    assert priced(attempt(usage=BUSY), attempt(usage=BUSY), cost_nanos=1).cost_breakdown is None
    assert priced(attempt(usage=BUSY), attempt(target(rates=None), BUSY), cost_nanos=None).cost_breakdown is None
    assert priced(cost_nanos=0).cost_breakdown is None
    speaking = msgspec.structs.replace(RATES, media=MediaRates(output_audio_nanos_per_mtok=50_000_000_000))
    spoken = msgspec.structs.replace(BUSY, media=MediaTokens(output_audio_tokens=15))
    found = priced(attempt(target(rates=speaking), spoken), cost_nanos=cost_nanos(spoken, speaking)).cost_breakdown
    assert found == cost_breakdown(spoken, speaking)
    assert found["output_audio"] == 750_000


def test_a_call_that_dies_has_no_parts_for_it_is_charged_what_was_reserved() -> None:
    found = read_record(Recorder("0.1").begun(entry(), attempt(), 100))
    assert (found.cost_nanos, found.cost_breakdown, found.rates) == (100_000, None, None)


def test_a_row_keeps_the_rate_of_exchange_of_the_moment_its_call_came() -> None:
    asked: list[int] = []

    def rate_at(us: int) -> ExchangeRate:
        asked.append(us)
        return ExchangeRate(150, 0, DAY_US) if us < DAY_US else ExchangeRate(160, DAY_US, 2 * DAY_US)

    recorder = Recorder("0.1")
    # as in a running gateway, where one call is like the other and its groups are remembered
    shared, served = entry().endpoint, attempt(usage=Usage(input_tokens=1, output_tokens=1))

    def rates(*received_us: int) -> list[tuple[int | None, int | None]]:
        found: list[tuple[int | None, int | None]] = []
        for us in received_us:
            one = entry()
            one.call.received_us = us
            one.endpoint, one.attempts = shared, [served]
            begun = recorder.begun(one, served, 1)
            ended = recorder.record(one, served, 0.0)
            found.append((read_record(begun).usd_jpy_nanos, read_record(ended).usd_jpy_nanos))
        return found

    assert rates(DAY_US) == [(None, None)]
    recorder.convert(rate_at)
    # a call from before midnight may end after others that came later
    assert rates(DAY_US - 1, DAY_US - 2, DAY_US, DAY_US - 1, DAY_US) == [(n, n) for n in (150, 150, 160, 150, 160)]
    assert asked == [DAY_US - 1, DAY_US, DAY_US - 1, DAY_US]
    recorder.convert(lambda _: ExchangeRate(170, 0, 2 * DAY_US))
    assert rates(DAY_US) == [(170, 170)]


# -- groups that repeat


def test_groups_are_encoded_once_and_never_mixed_up() -> None:
    recorder = Recorder("0.1")
    variants: list[Entry] = []
    for status, state, feature in [(200, "completed", None), (200, "completed", "f"), (502, "upstream_error", None)]:
        for finish in (None, ["stop"], ["stop", "stop"], ["length"]):
            one = entry({b"user-agent": (feature or "a").encode()})
            one.status, one.terminal_state, one.feature, one.finish_reasons = status, state, feature, finish  # type: ignore[assignment]
            variants.append(one)
    for _ in range(2):
        for one in variants:
            found = read_record(recorder.record(one, None, 0.0))
            expected = (one.status, one.terminal_state, one.feature, one.finish_reasons)
            assert (found.status_code, found.terminal_state, found.feature, found.finish_reasons) == expected
            assert found.user_agent == (one.feature or "a")
    assert (len(recorder._shapes), len(recorder._callers)) == (len(variants), 2)


def test_what_is_remembered_is_bounded_in_number_and_in_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone may send another user agent with each request, without a key."""
    monkeypatch.setattr(module, "_MAX_REMEMBERED", 3)
    recorder = Recorder("0.1")
    for n in range(10):
        one = entry({b"user-agent": b"%d" % n + b"x" * 60_000})
        one.request_model = f"made-up-{n}"
        found = read_record(recorder.record(one, None, 0.0))
        assert (found.request_model, len(found.user_agent or "")) == (f"made-up-{n}", 256)
    assert (len(recorder._shapes), len(recorder._callers)) <= (3, 3)
    kept = [value for key in recorder._callers for value in key if isinstance(value, bytes)]
    assert max(map(len, kept)) <= 256


def test_large_groups_are_written_but_not_remembered() -> None:
    """A feature is named by a header of up to ten thousand bytes."""
    recorder = Recorder("0.1")
    for n in range(5):
        one = entry()
        one.feature = f"{n}" + "x" * 9_000
        assert read_record(recorder.record(one, None, 0.0)).feature == one.feature
    assert len(recorder._shapes) == 0


# -- where a call comes from

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "headers", [{}, {b"x-request-id": b"mine"}, {b"traceparent": f"00-{TRACE}-{SPAN}-01".encode()}]
)
def test_calls_with_the_same_header_lines_have_the_same_ids(headers: dict[bytes, bytes]) -> None:
    recorder, known, found = Recorder("0.1"), Known(), set[Any]()
    for _ in range(3):
        one = entry(headers)
        one.call.known = known
        found |= {
            read_record(recorder.begun(one, attempt(), 1))[3:6],
            read_record(recorder.record(one, None, 1.0))[3:6],
        }
    alone = row(entry(headers))
    assert found == {(alone.client_request_id, alone.trace_id, alone.span_id)}


@pytest.mark.parametrize(
    "header",
    [
        f"00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-00",
        f"cc-{TRACE}-{SPAN}-01-what-comes-later",
        f"01-{TRACE}-{SPAN}-01",
    ],
)
def test_a_trace_that_is_one(header: str) -> None:
    found = row(entry({b"traceparent": header.encode()}))
    assert (found.trace_id, found.span_id) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'z' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'é' * 16}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"{TRACE}-{SPAN}-01-00",
        "-" * 80,
    ],
)
def test_a_trace_that_is_none(header: str) -> None:
    found = row(entry({b"traceparent": header.encode("latin-1")}))
    assert (found.trace_id, found.span_id) == (None, None)


@given(st.binary(max_size=120))
def test_any_traceparent_is_read_or_left(header: bytes) -> None:
    found = row(entry({b"traceparent": header}))
    assert (found.trace_id is None) == (found.span_id is None)


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("127.0.0.1", "127.0.0.0/24"),
        ("2001:db8:85a3:8d3:1319:8a2e:370:7348", "2001:db8:85a3::/48"),
        ("2001:db8::1", "2001:db8::/48"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::/48"),
        ("::1", "::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        (None, None),
        ("", None),
        ("testclient", None),
        ("/run/gateway.sock", None),
        ("1.2.3", None),
    ],
)
def test_of_an_address_only_its_network_is_kept(address: str | None, prefix: str | None) -> None:
    assert row(entry(client_ip=address)).client_ip_prefix == prefix


@given(st.ip_addresses())
def test_no_row_holds_a_whole_address(address: Any) -> None:
    prefix = row(entry(client_ip=str(address))).client_ip_prefix
    assert prefix is not None
    assert prefix.endswith(("/24", "/48"))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({b"x-client-request-id": b"a", b"x-request-id": b"b"}, "a"),
        ({b"x-request-id": b"b"}, "b"),
        ({b"x-client-request-id": b"\xff"}, "\ufffd"),
        ({b"x-client-request-id": b"a" * 999}, "a" * 256),
        ({b"x-client-request-id": b""}, None),
    ],
)
def test_the_clients_own_id_is_kept_within_bounds(headers: dict[bytes, bytes], expected: str | None) -> None:
    assert row(entry(headers)).client_request_id == expected


def test_overhead_is_never_negative() -> None:
    one = entry()
    one.waited_s = 5.0
    assert row(one, took_s=1.0).gateway_overhead_us == 0


def test_a_price_that_is_unknown_has_no_source() -> None:
    one = entry()
    one.attempts = [attempt(target(rates=None), Usage(input_tokens=1), cost_nanos=None)]
    one.cost_nanos = None
    found = row(one)
    assert (found.cost_nanos, found.price_source, found.price_version) == (None, None, None)
    assert found.attempts[0].cost_nanos is None
    assert (RATES.source, TARO.user) == ("config", "taro")
