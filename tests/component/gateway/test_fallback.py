"""Another target is free before the first content, and never after it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from tests.component.gateway.raw import Peer, raw_server
from tests.property.house import Seen, ask, request
from tests.support.gateway import Door, Gateway, running_gateway

from sekisho.mock.server import MockProvider

CONFIG = """
data_dir: ./data
language: en
providers:
  mock: {type: openai, base_url: "MOCK", allow_private: true}
  dead: {type: openai, base_url: "DEAD", allow_private: true}
defaults: {timeouts: {connect_s: 1, first_token_s: 0.15, idle_s: 0.15, total_s: 0.3}}
endpoints:
ENDPOINTS
  weighted:
    targets: [{provider: mock, model: left, weight: 3}, {provider: mock, model: right, weight: 1}]
  weighted-broken:
    targets: [{provider: mock, model: "mock?status=500"}, {provider: mock, model: "mock?status=503"}]
    fallbacks: [{provider: mock, model: rescue}]
  hopeless:
    targets: [{provider: mock, model: "mock?status=429&retry_after=7"}]
    fallbacks: [{provider: mock, model: "mock?status=500"}, {provider: dead, model: gone}]
  alone:
    targets: [{provider: mock, model: "mock?status=429&retry_after=7"}]
  invalid-second:
    targets: [{provider: mock, model: "mock?status=503"}]
    fallbacks: [{provider: mock, model: "mock?status=400"}, {provider: mock, model: rescue}]
keys:
  - {name: test, key: sk-test-0123456789abcdef, endpoints: ["*"]}
prices:
  mock/*: {input_per_mtok: 1.00, output_per_mtok: 2.00}
"""
#: name -> (provider, model, code of the failed attempt): all before any content, streamed or not
BEFORE = {
    "status-500": ("mock", "mock?status=500", "upstream_error"),
    "status-503": ("mock", "mock?status=503", "upstream_error"),
    "status-429": ("mock", "mock?status=429", "rate_limit_exceeded"),
    "status-401": ("mock", "mock?status=401", "upstream_credentials"),
    "status-404": ("mock", "mock?status=404", "upstream_model_not_found"),
    "reset": ("mock", "mock?reset_after=0", "upstream_error"),
    "cut": ("mock", "mock?cut_after=0", "upstream_error"),
    "hang": ("mock", "mock?hang=1", "upstream_timeout"),
    "bad-json": ("mock", "mock?bad_json=1", "upstream_error"),
    "ok-error": ("mock", "mock?ok_error=1", "upstream_error"),
    "dead": ("dead", "gone", "upstream_error"),
}
#: after three chunks of content: nothing may be switched any more
AFTER = {
    "cut-3": ("mock", "mock?cut_after=3&chunk_ms=2", "stream_truncated"),
    "reset-3": ("mock", "mock?reset_after=3&chunk_ms=2", "stream_truncated"),
    "error-3": ("mock", "mock?error_after=3&chunk_ms=2", "stream_failed"),
    "hang-3": ("mock", "mock?hang_after=3&chunk_ms=2", "upstream_timeout"),
    "cut-1": ("mock", "mock?cut_after=1", "stream_truncated"),
    "error-1": ("mock", "mock?error_after=1", "stream_failed"),
}


def _endpoint(name: str, provider: str, model: str) -> str:
    return (
        f'  {name}:\n    targets: [{{provider: {provider}, model: "{model}"}}]\n'
        "    fallbacks: [{provider: mock, model: rescue}, {provider: mock, model: never}]\n"
    )


ENDPOINTS = "".join(_endpoint(name, *one[:2]) for name, one in (BEFORE | AFTER).items())


@pytest.fixture
async def house(mock: MockProvider, door: Door) -> Any:
    async with running_gateway(mock, door=door, config=CONFIG.replace("ENDPOINTS\n", ENDPOINTS)) as one:
        yield one
        one.check_books()
        assert one.pipeline._transport.active == 0


async def _ask(gateway: Gateway, model: str, *, stream: bool) -> Seen:
    return await ask(gateway.port, request(model, stream=stream, request_id=model))


def _asked(gateway: Gateway) -> dict[str, int]:
    found = gateway.mock.calls["by_model"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_failure_before_the_content_is_not_seen(house: Gateway, stream: bool) -> None:
    for n, (name, (provider, model, code)) in enumerate(BEFORE.items(), 1):
        seen = await _ask(house, name, stream=stream)
        assert (seen.status, seen.whole, seen.headers["x-sekisho-attempts"]) == (200, True, "2"), name
        assert seen.headers["x-sekisho-model"] == "rescue"
        assert b"error" not in seen.body
        if stream:
            assert {msgspec.json.decode(frame)["model"] for frame in seen.frames[:-1]} == {"rescue"}
        row = await house.row(n)
        assert [(one.provider, one.model, one.error_code, one.reason) for one in row.attempts] == [
            (provider, model, code, "primary"),
            ("mock", "rescue", None, "fallback"),
        ]
        assert (row.terminal_state, row.destination_model, row.route) == ("completed", "rescue", "fallback")
        assert row.response is None or b"rescue" in row.response
    assert "never" not in _asked(house)


async def test_after_the_content_nothing_is_switched(house: Gateway) -> None:
    for n, (name, (_, model, code)) in enumerate(AFTER.items(), 1):
        seen = await _ask(house, name, stream=True)
        assert (seen.status, seen.whole, seen.error_code) == (200, True, code), name
        assert seen.frames[-1] != b"[DONE]"
        row = await house.row(n)
        assert [(one.model, one.error_code) for one in row.attempts] == [(model, code)]
        assert row.error_code == code
        assert row.usage_source == "estimated"
    assert "rescue" not in _asked(house)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_when_all_fail_the_first_failure_is_told(house: Gateway, stream: bool) -> None:
    seen = await _ask(house, "hopeless", stream=stream)
    assert (seen.status, seen.error_code) == (429, "rate_limit_exceeded")
    assert (seen.headers["retry-after"], seen.headers["x-sekisho-attempts"]) == ("7", "3")
    assert seen.headers["x-should-retry"] == "false", "the retries of an SDK would multiply ours"
    row = await house.row()
    assert [one.error_code for one in row.attempts] == ["rate_limit_exceeded", "upstream_error", "upstream_error"]
    assert [one.n for one in row.attempts] == [1, 2, 3]
    assert (row.status_code, row.cost_nanos) == (429, 0)


async def test_a_single_target_leaves_the_retry_to_the_caller(house: Gateway) -> None:
    seen = await _ask(house, "alone", stream=False)
    assert (seen.status, seen.headers["retry-after"], "x-should-retry" in seen.headers) == (429, "7", False)


async def test_a_request_that_one_calls_invalid_is_not_passed_on(house: Gateway) -> None:
    seen = await _ask(house, "invalid-second", stream=False)
    assert (seen.status, seen.error_code) == (502, "upstream_error"), "the failure of the target that was named"
    row = await house.row()
    assert [one.error_code for one in row.attempts] == ["upstream_error", "upstream_rejected"]
    assert "rescue" not in _asked(house)


async def test_targets_share_by_weight_and_say_so(house: Gateway) -> None:
    for n in range(40):
        assert (await _ask(house, "weighted", stream=bool(n % 2))).status == 200
    row = await house.row(40)
    counts = Counter(row.destination_model for row in house.rows)
    assert counts["left"] > counts["right"] > 0
    assert {one.reason for row in house.rows for one in row.attempts} == {"weighted"}
    assert row.route == "weighted"


async def test_a_weighted_target_that_fails_leads_to_the_fallbacks_not_to_its_sibling(house: Gateway) -> None:
    for n in range(1, 5):
        assert (await _ask(house, "weighted-broken", stream=False)).status == 200
        row = await house.row(n)
        assert [one.reason for one in row.attempts] == ["weighted", "fallback"]
        assert row.destination_model == "rescue"


async def test_what_a_failed_attempt_said_is_not_on_the_row_of_the_one_that_answered() -> None:
    """Its service tier, its events and its text: the row tells of the answer that was given."""
    tier = b'data: {"service_tier":"priority","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
    failure = b'data: {"error":{"message":"overloaded"}}\n\n'
    good = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

    async def script(peer: Peer) -> None:
        while (asked := await peer.request()) is not None:
            body = good if b'"rescue"' in asked else tier + failure
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body)
            await peer.say(head + body)

    config = CONFIG.replace("ENDPOINTS\n", ENDPOINTS).replace("total_s: 0.3}}", "total_s: 0.3}, log: full}")
    async with raw_server(script) as server, running_gateway(server, config=config) as gateway:  # type: ignore[arg-type]
        seen = await _ask(gateway, "status-500", stream=True)
        assert (seen.status, seen.frames[-1], len(seen.frames)) == (200, b"[DONE]", 2)
        row = await gateway.row()
        assert [one.error_code for one in row.attempts] == ["upstream_error", None]
        assert (row.service_tier, row.finish_reasons, row.output_tokens) == (None, ["stop"], 1)
        assert row.response is not None
        assert b"priority" not in row.response
        gateway.check_books()
