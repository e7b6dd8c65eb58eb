"""A failed attempt whose provider had begun to answer is charged: what the provider reported, else an estimate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from tests.component.gateway.raw import Peer, raw_server
from tests.property.house import ask, request
from tests.support.gateway import WIDE, Door, Gateway, running_gateway

from sekisho.mock.server import MockProvider

CONFIG = (
    """
data_dir: ./data
language: en
providers:
  mock: {type: openai, base_url: "MOCK", allow_private: true}
  dear: {type: openai, base_url: "MOCK", allow_private: true}
defaults: {timeouts: {connect_s: 1, first_token_s: 0.3, idle_s: 0.3, total_s: 0.3}}
endpoints:
  chat: {targets: [{provider: mock, model: first}]}
  unpriced: {targets: [{provider: dear, model: nobody-knows-this-model}]}
  rescued:
    targets: [{provider: mock, model: first}]
    fallbacks: [{provider: mock, model: rescue}]
keys:
  - {name: test, key: sk-test-0123456789abcdef, endpoints: ["*", "mock/*"]}
prices:
  mock/first:
    input_per_mtok: 1.00
    output_per_mtok: 2.00
    service_tiers: {flex: {input_per_mtok: 0.50, output_per_mtok: 1.00}}
  mock/*: {input_per_mtok: 1.00, output_per_mtok: 2.00}
"""
    + WIDE
)
USAGE = {"prompt_tokens": 1_000, "completion_tokens": 500}
COST = 2_000_000
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "word " * 200}, "finish_reason": "stop"}
WHOLE = {"id": "x", "model": "m", "choices": [CHOICE]}
GOOD = {"choices": [{**CHOICE, "message": {"content": "hi"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}


def encoded(answer: dict[str, Any]) -> bytes:
    return msgspec.json.encode(answer)


def http(body: bytes, *, status: int = 200, kind: str = "application/json", length: int | None = None) -> bytes:
    fields = f"content-type: {kind}\r\ncontent-length: {len(body) if length is None else length}"
    return f"HTTP/1.1 {status} X\r\n{fields}\r\n\r\n".encode() + body


@asynccontextmanager
async def answered(said: bytes, *, hang: bool = False, door: Door = "hot") -> AsyncIterator[Gateway]:
    """A gateway whose provider says this and closes, or falls silent; the model `rescue` answers well."""

    async def script(peer: Peer) -> None:
        while (asked := await peer.request()) is not None:
            if b'"rescue"' in asked:
                body = encoded(GOOD)
                if b'"stream":true' in asked:
                    body = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}],'
                    body += b'"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\ndata: [DONE]\n\n'
                await peer.say(http(body, kind="text/event-stream"))
                continue
            await peer.say(said)
            if hang:
                await asyncio.sleep(5)
            return

    async with raw_server(script) as server, running_gateway(server, door=door, config=CONFIG) as one:  # type: ignore[arg-type]
        yield one
        one.check_books()


async def told(gateway: Gateway, model: str, *, stream: bool) -> tuple[int | None, str | None]:
    seen = await ask(gateway.port, request(model, stream=stream, request_id="one"))
    return seen.status, seen.error_code


async def test_a_whole_answer_instead_of_a_stream_is_charged_what_it_reported(door: Door) -> None:
    async with answered(http(encoded({**WHOLE, "usage": USAGE})), door=door) as gateway:
        assert await told(gateway, "chat", stream=True) == (502, "upstream_error")
        row = await gateway.row()
        assert (row.cost_nanos, row.usage_source, row.input_tokens, row.output_tokens) == (COST, "provider", 1_000, 500)
        assert (row.attempts[0].status_code, row.attempts[0].cost_nanos) == (200, COST)


async def test_a_long_one_too() -> None:
    answer = {"choices": [{**CHOICE, "message": {"content": "word " * 200_000}}], "usage": USAGE}
    async with answered(http(encoded(answer))) as gateway:
        assert await told(gateway, "chat", stream=True) == (502, "upstream_error")
        row = await gateway.row()
        assert (row.cost_nanos, row.usage_source) == (COST, "provider")


async def test_one_without_usage_is_estimated_by_what_the_model_wrote() -> None:
    async with answered(http(encoded(WHOLE))) as gateway:
        assert await told(gateway, "chat", stream=True) == (502, "upstream_error")
        row = await gateway.row()
        assert row.usage_source == "estimated"
        assert 150 < (row.output_tokens or 0) < 260
        assert row.cost_nanos == (row.input_tokens or 0) * 1_000 + (row.output_tokens or 0) * 2_000


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    ("answer", "cost"),
    [
        ({"error": {"message": "overloaded"}, "usage": USAGE}, COST),
        ({"choices": [], "usage": USAGE}, COST),
        ({"error": {"message": "overloaded"}}, 0),
        ({"detail": "nobody"}, 0),
    ],
    ids=["error-with-usage", "nothing-with-usage", "error", "no-answer"],
)
async def test_an_error_costs_what_the_provider_reported_and_else_nothing(
    answer: dict[str, Any], cost: int, stream: bool
) -> None:
    async with answered(http(encoded(answer))) as gateway:
        assert (await told(gateway, "chat", stream=stream))[0] == 502
        row = await gateway.row()
        assert (row.cost_nanos, row.usage_source) == (cost, "provider" if cost else "none")


async def test_a_page_that_is_no_answer_costs_nothing() -> None:
    async with answered(http(b"<html>" + b"x" * 9_000, kind="text/html")) as gateway:
        assert await told(gateway, "chat", stream=True) == (502, "upstream_error")
        assert await told(gateway, "chat", stream=False) == (502, "upstream_error")
        await gateway.row(2)
        assert {(row.cost_nanos, row.usage_source) for row in gateway.rows} == {(0, "none")}


CUTS: dict[str, Callable[[], bytes]] = {
    "length": lambda: http(encoded(WHOLE)[:600], length=5_000),
    "to-the-end": lambda: b"HTTP/1.1 200 OK\r\n\r\n" + encoded(WHOLE)[:600],
}


@pytest.mark.parametrize("cut", CUTS)
async def test_a_plain_answer_that_breaks_off_is_charged_for_what_came(cut: str, door: Door) -> None:
    async with answered(CUTS[cut](), door=door) as gateway:
        assert await told(gateway, "chat", stream=False) == (502, "upstream_error")
        row = await gateway.row()
        assert (row.status_code, row.usage_source, row.attempts[0].status_code) == (502, "estimated", 200)
        assert 60 < (row.output_tokens or 0) < 150
        assert row.cost_nanos == (row.input_tokens or 0) * 1_000 + (row.output_tokens or 0) * 2_000
        assert row.attempts[0].cost_nanos == row.cost_nanos


async def test_a_plain_answer_that_falls_silent_is_charged_for_what_came() -> None:
    async with answered(CUTS["length"](), hang=True) as gateway:
        assert await told(gateway, "chat", stream=False) == (504, "upstream_timeout")
        row = await gateway.row()
        assert (row.usage_source, row.attempts[0].status_code) == ("estimated", 200)
        assert (row.output_tokens or 0) > 60


async def test_whoever_leaves_in_the_middle_of_a_plain_answer_is_charged_for_what_came() -> None:
    async with answered(CUTS["length"](), hang=True) as gateway:
        await ask(gateway.port, request("chat", stream=False, request_id="one"), leave_after_s=0.1)
        row = await gateway.row()
        assert (row.status_code, row.usage_source, row.attempts[0].status_code) == (499, "estimated", 200)
        assert (row.output_tokens or 0) > 60


async def test_an_error_that_breaks_off_costs_nothing_and_keeps_its_status() -> None:
    async with answered(http(b'{"error":', status=500, length=5_000)) as gateway:
        for stream in (False, True):
            assert await told(gateway, "chat", stream=stream) == (502, "upstream_error")
        await gateway.row(2)
        assert {(row.cost_nanos, row.usage_source, row.attempts[0].status_code) for row in gateway.rows} == {
            (0, "none", 500)
        }


ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'


@pytest.mark.parametrize("rest", [b"", b'data: {"choi\n\n'], ids=["cut", "broken-event"])
async def test_a_stream_that_breaks_before_its_content_is_charged_for_its_request(rest: bytes) -> None:
    async with answered(http(ROLE + rest, kind="text/event-stream", length=5_000)) as gateway:
        assert await told(gateway, "chat", stream=True) == (502, "upstream_error")
        row = await gateway.row()
        assert (row.usage_source, row.output_tokens, row.attempts[0].status_code) == ("estimated", 0, 200)
        assert row.cost_nanos == (row.input_tokens or 0) * 1_000 > 0


async def test_a_stream_that_is_an_error_costs_nothing() -> None:
    said = http(ROLE + b'data: {"error":{"message":"overloaded"}}\n\n', kind="text/event-stream")
    async with answered(said) as gateway:
        assert await told(gateway, "chat", stream=True) == (502, "upstream_error")
        row = await gateway.row()
        assert (row.cost_nanos, row.usage_source) == (0, "none")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_what_was_answered_by_nobody_costs_nothing(mock: MockProvider, stream: bool) -> None:
    async with running_gateway(mock, config=CONFIG) as gateway:
        assert await told(gateway, "mock/mock?hang=1", stream=stream) == (504, "upstream_timeout")
        assert await told(gateway, "mock/mock?cut_after=0", stream=stream) == (502, "upstream_error")
        await gateway.row(2)
        assert {(row.cost_nanos, row.usage_source, row.attempts[0].status_code) for row in gateway.rows} == {
            (0, "none", None)
        }
        gateway.check_books()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_what_a_failed_attempt_cost_is_in_the_sum(stream: bool) -> None:
    said = http(encoded({**WHOLE, "usage": USAGE})) if stream else CUTS["length"]()
    async with answered(said) as gateway:
        assert (await told(gateway, "rescued", stream=stream))[0] == 200
        row = await gateway.row()
        first, second = row.attempts
        assert (first.usage_source, second.usage_source, first.status_code) == (
            "provider" if stream else "estimated",
            "provider",
            200,
        )
        assert second.cost_nanos == 3_000
        assert row.cost_nanos == (first.cost_nanos or 0) + 3_000 > 103_000


async def test_a_failed_attempt_is_charged_by_its_own_tier() -> None:
    """Not by the tier of the attempt that answered in the end, nor the other way round."""
    async with answered(http(encoded({**WHOLE, "usage": USAGE, "service_tier": "flex"}))) as gateway:
        assert (await told(gateway, "rescued", stream=True))[0] == 200
        row = await gateway.row()
        assert [one.cost_nanos for one in row.attempts] == [COST // 2, 3_000]
        assert row.service_tier is None


async def test_an_unknown_price_makes_the_cost_unknown_and_not_nothing() -> None:
    async with answered(CUTS["length"]()) as gateway:
        assert await told(gateway, "unpriced", stream=False) == (502, "upstream_error")
        row = await gateway.row()
        assert (row.usage_source, row.cost_nanos, row.attempts[0].cost_nanos) == ("estimated", None, None)
