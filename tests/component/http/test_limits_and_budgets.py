"""Limits and budgets on the way of a call, through both doors: what is let in, what is told, what is settled."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from openai import AsyncOpenAI, BadRequestError, RateLimitError
from tests.component.http.client import AUTH, ask, chat, connected, http
from tests.support.counting import WIDE
from tests.support.gateway import CONFIG, DOORS, Door, Gateway, running_gateway

from sekisho.domain.money import usd_to_nanos
from sekisho.mock.server import MockProvider

#: 100 input tokens and 50 output tokens at 1 and 2 dollars a million
USED = "mock?usage=100,50,0"
COST_NANOS = 200_000


@contextlib.asynccontextmanager
async def gateway_with(door: Door, rules: str, endpoints: str = "") -> AsyncIterator[Gateway]:
    config = CONFIG.replace(WIDE, rules).replace("  embed:\n", f"{endpoints}  embed:\n")
    async with MockProvider() as mock, running_gateway(mock, door=door, config=config) as one:
        yield one
        await one.until(lambda: one.pipeline.tally.in_flight == 0)
        one.check_books()


ENDPOINTS = f"""\
  used:
    targets: [{{provider: mock, model: "{USED}"}}]
  small:
    targets: [{{provider: mock, model: "mock?usage=1,1,0"}}]
  slow:
    targets: [{{provider: mock, model: "mock?delay_ms=300"}}]
  saved:
    targets: [{{provider: mock, model: "mock?status=500"}}]
    fallbacks: [{{provider: mock, model: "mock?usage=2,2,0"}}, {{provider: mock, model: "{USED}"}}]
"""


def body(model: str, **more: Any) -> bytes:
    return http(chat(model, max_tokens=50, **more))


@contextlib.asynccontextmanager
async def sdk(gateway: Gateway) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=gateway.base_url, api_key=gateway.key) as client:
        yield client


@pytest.mark.parametrize("door", DOORS)
async def test_a_limit_lets_in_so_many_calls_and_says_when_to_come_again(door: Door) -> None:
    async with gateway_with(door, 'limits: [{scope: {key: "*"}, qpm: 3}]', ENDPOINTS) as gateway:
        answers = [await ask(gateway.port, body("used")) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0"]
        assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"3"}
        refused = answers[3]
        assert (refused.error["code"], refused.error["type"]) == ("rate_limit_exceeded", "requests")
        assert 0 < int(refused.headers["retry-after"]) <= 20
        assert "x-ratelimit-limit-tokens" not in refused.headers
        row = await gateway.row(4)
        assert (row.status_code, row.error_code, row.endpoint_name) == (429, "rate_limit_exceeded", "used")
        assert (row.attempts, row.cost_nanos, row.terminal_state) == ([], 0, "refused")
        assert "key test" in (row.error_message or "")
        assert gateway.mock.calls["calls"] == 3


@pytest.mark.parametrize("door", DOORS)
async def test_tokens_are_debited_by_estimate_and_corrected_by_what_was_used(door: Door) -> None:
    async with gateway_with(door, "limits: [{scope: {endpoint: used}, tpm: 6000}]", ENDPOINTS) as gateway:
        first = await ask(gateway.port, body("used"))
        # 150 tokens were used, whatever was estimated; a refilled token or two may have come since
        left = int(first.headers["x-ratelimit-remaining-tokens"])
        assert 6000 - 150 <= left <= 6000 - 150 + 110 * 2
        assert first.headers["x-ratelimit-limit-tokens"] == "6000"


@pytest.mark.parametrize("door", DOORS)
async def test_a_running_call_holds_its_place_until_it_ends(door: Door) -> None:
    async with gateway_with(door, "limits: [{scope: {user: taro}, concurrency: 1}]", ENDPOINTS) as gateway:
        async with connected(gateway.port) as wire:
            await wire.send(body("slow"))
            await gateway.until(lambda: gateway.mock.calls["calls"] == 1)
            assert (await ask(gateway.port, body("used"))).status == 429
            assert (await wire.answer()).status == 200
        assert (await ask(gateway.port, body("used"))).status == 200
        # one who leaves gives it back too
        async with connected(gateway.port) as wire:
            await wire.send(body("slow"))
            await gateway.until(lambda: gateway.mock.calls["calls"] == 3)
            wire.leave(reset=True)
        await gateway.until(lambda: len(gateway.rows) == 4)
        assert (await ask(gateway.port, body("used"))).status == 200


@pytest.mark.parametrize("door", DOORS)
async def test_a_feature_is_limited_however_its_name_is_written(door: Door) -> None:
    rules = 'limits: [{scope: {feature: "要約（社内）"}, qpm: 3}]'
    async with gateway_with(door, rules, ENDPOINTS) as gateway:
        sent = ["要約（社内）", "要約(社内)", "要約（社\u200b内） "]
        answers = [await ask(gateway.port, body("used", metadata={"feature": one})) for one in sent]
        tags = f'{AUTH}x-sekisho-tags: {{"feature":"要約（社内）"}}\r\n'
        answers.append(await ask(gateway.port, http(chat("used"), headers=tags)))
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        await gateway.row(4)
        assert {row.feature for row in gateway.rows} == {"要約(社内)"}
        assert [(row.tags or {})["feature"] for row in gateway.rows] == [*sent, "要約（社内）"]


@pytest.mark.parametrize("door", DOORS)
async def test_a_call_may_wait_for_its_turn(door: Door) -> None:
    rules = "limits: [{scope: {user: taro}, concurrency: 1, wait_s: 30}]"
    async with gateway_with(door, rules, ENDPOINTS) as gateway:
        answers = await asyncio.gather(*(ask(gateway.port, body("slow")) for _ in range(3)))
        assert [answer.status for answer in answers] == [200, 200, 200]
        # and who leaves while waiting holds nothing
        async with connected(gateway.port) as first, connected(gateway.port) as second:
            await first.send(body("slow"))
            await gateway.until(lambda: gateway.mock.calls["calls"] == 4)
            await second.send(body("slow"))
            await gateway.until(lambda: gateway.counting.limiter.waiting == 1)
            second.leave(reset=True)
            await gateway.until(lambda: gateway.counting.limiter.waiting == 0)
            assert (await first.answer()).status == 200
        row = await gateway.row(5)
        assert {one.status_code for one in gateway.rows[3:]} == {200, 499}
        assert row.terminal_state in ("completed", "client_left")
        assert gateway.mock.calls["calls"] == 4


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"max_completion_tokens": 10}, 200),
        ({"max_completion_tokens": None, "max_tokens": 10}, 200),
        ({"max_completion_tokens": 1, "max_tokens": 5000}, 429),
        ({"max_completion_tokens": 5000, "max_tokens": 1}, 429),
        ({"max_completion_tokens": 1, "max_tokens": -1}, 429),
        ({"max_tokens": 10, "n": 100}, 429),
    ],
)
async def test_a_strict_budget_takes_the_larger_of_what_a_provider_may_heed(more: dict[str, Any], status: int) -> None:
    rules = "budgets: [{scope: {key: test}, usd: 0.001, strict: true}]"
    async with gateway_with("hot", rules, ENDPOINTS) as gateway:
        answer = await ask(gateway.port, http(chat("used", **more)))
        assert answer.status == status
        assert status == 200 or answer.error["code"] == "budget_exceeded"


@pytest.mark.parametrize("more", [{"max_tokens": 10**400}, {"n": 10**400}, {"max_tokens": 10**18, "n": 10**18}])
async def test_numbers_without_measure_are_no_mistake_of_ours(more: dict[str, Any]) -> None:
    rules = """
limits: [{scope: {user: taro}, tpm: 10000000}]
budgets: [{scope: {user: taro}, usd: 1, on_exceed: warn}]
"""
    async with gateway_with("hot", rules, ENDPOINTS) as gateway:
        answer = await ask(gateway.port, http(chat("used", **more)))
        assert answer.status in (200, 400, 429)
        await gateway.row(0)
        _, states = await gateway.counting.limiter.counters.look(0.0)
        assert all((state.reserved_nanos, state.bound_nanos) == (0, 0) for state in states)


@pytest.mark.parametrize(
    "rules", ["limits: [{scope: {key: test}, tpm: 2000}]", "budgets: [{scope: {key: test}, usd: 0.01}]"]
)
async def test_a_long_message_of_a_web_page_is_as_large_as_it_is(rules: str) -> None:
    """A closer look, which a refused call gets, took it for 3 tokens and let it in."""
    async with gateway_with("hot", rules, ENDPOINTS) as gateway:
        await ask(gateway.port, http({"model": "small", "message": "hello"}, "/chat/stream"))
        answer = await ask(gateway.port, http({"model": "small", "message": "関所を通る。" * 5000}, "/chat/stream"))
        assert answer.status == 429
        assert gateway.mock.calls["calls"] == 1


@pytest.mark.parametrize("on_exceed", ["warn", "block"])
@pytest.mark.parametrize("most", [2**31 - 1, 2**63 - 1, 10**30])
async def test_the_largest_number_that_a_client_knows_is_no_mistake_of_ours(most: int, on_exceed: str) -> None:
    """It means "no limit". What it would cost fits neither into a row nor into Redis, where the reservation stayed."""
    rules = f"budgets: [{{scope: {{key: test}}, usd: 100, strict: true, on_exceed: {on_exceed}}}]"
    async with gateway_with("hot", rules, ENDPOINTS) as gateway:
        answer = await ask(gateway.port, http(chat("used", max_tokens=most)))
        assert answer.status == 200
        (begun,) = gateway.sink.begun
        assert begun.cost_nanos is not None
        assert begun.cost_nanos <= usd_to_nanos(Decimal(100))


@pytest.mark.parametrize("door", DOORS)
async def test_a_budget_ends_and_says_so_to_an_official_client(door: Door) -> None:
    rules = "budgets: [{scope: {team: research}, usd: 0.001}]"
    async with gateway_with(door, rules, ENDPOINTS) as gateway:
        async with sdk(gateway) as client:
            messages: Any = [{"role": "user", "content": "こんにちは"}]
            for _ in range(4):
                await client.chat.completions.create(model="used", messages=messages, max_tokens=50)
            # 800,000 of 1,000,000 nano-dollars are spent, and what the next one reserves still fits
            await client.chat.completions.create(model="used", messages=messages, max_tokens=50)
            with pytest.raises(RateLimitError) as refused:
                await client.chat.completions.create(model="used", messages=messages, max_tokens=50)
        answer = refused.value.response
        assert (refused.value.code, refused.value.type) == ("budget_exceeded", "insufficient_quota")
        assert answer.headers["x-should-retry"] == "false"
        error = answer.json()["error"]
        assert (error["scope"], error["limit_usd"], error["spent_usd"]) == ("team research", "0.001", "0.001")
        assert error["resets_at"].endswith("Z")
        assert int(answer.headers["retry-after"]) > 0
        assert gateway.mock.calls["calls"] == 5, "a client that is told not to does not try again"
        assert [event.percent for event in gateway.counting.events] == [50, 80, 100]
        states = await gateway.counting.budgets()
        assert states["team month"].spent_nanos == 5 * COST_NANOS


@pytest.mark.parametrize("door", DOORS)
async def test_a_refusal_in_japanese(door: Door) -> None:
    async with gateway_with(door, 'budgets: [{scope: {organisation: "*"}, usd: 0.0000001}]', ENDPOINTS) as gateway:
        answer = await ask(gateway.port, http(chat("used", max_tokens=50), headers=f"{AUTH}accept-language: ja\r\n"))
        assert (answer.status, answer.error["code"]) == (429, "budget_exceeded")
        assert "予算" in answer.error["message"]


@pytest.mark.parametrize("door", DOORS)
async def test_an_exceeded_budget_sends_calls_to_a_cheaper_endpoint(door: Door) -> None:
    rules = "budgets: [{scope: {user: taro}, usd: 0.0003, period: day, on_exceed: {degrade: small}}]"
    async with gateway_with(door, rules, ENDPOINTS) as gateway:
        answers = [await ask(gateway.port, body("used")) for _ in range(4)]
        assert {answer.status for answer in answers} == {200}
        assert answers[0].headers["x-sekisho-model"] == USED
        assert answers[3].headers["x-sekisho-model"] == "mock?usage=1,1,0"
        rows = gateway.rows
        assert (rows[0].endpoint_name, rows[0].route) == ("used", "primary")
        assert (rows[3].endpoint_name, rows[3].route, rows[3].request_model) == ("small", "degraded", "used")
        streamed = await ask(gateway.port, body("used", stream=True))
        assert streamed.events[-1] == "[DONE]"
        assert gateway.rows[-1].endpoint_name == "small"


@pytest.mark.parametrize("door", DOORS)
async def test_a_model_without_a_price_is_refused_under_a_blocking_budget(door: Door) -> None:
    config = CONFIG.replace(WIDE, 'budgets: [{scope: {organisation: "*"}, usd: 10}]')
    config = config.replace(
        "  mock/*: {input_per_mtok: 1.00, cached_input_per_mtok: 0.10, output_per_mtok: 2.00}\n", ""
    )
    async with (
        MockProvider() as mock,
        running_gateway(mock, door=door, config=config) as gateway,
        sdk(gateway) as client,
    ):
        with pytest.raises(BadRequestError) as refused:
            await client.embeddings.create(model="embed", input="text")
        assert refused.value.code == "price_unknown"
        assert mock.calls["calls"] == 0
        assert (await ask(gateway.port, body("chat"))).status == 200


@pytest.mark.parametrize("door", DOORS)
async def test_a_fallback_asks_for_its_own_model_and_only_for_that(door: Door) -> None:
    rules = """
limits:
  - {scope: {model: "mock/mock?usage=2,2,0"}, qpm: 1}
  - {scope: {key: "*"}, qpm: 2}
budgets: [{scope: {user: taro}, usd: 1}]
"""
    async with gateway_with(door, rules, ENDPOINTS) as gateway:
        first, second = await ask(gateway.port, body("saved")), await ask(gateway.port, body("saved"))
        assert (first.headers["x-sekisho-model"], second.headers["x-sekisho-model"]) == ("mock?usage=2,2,0", USED)
        assert [one.reason for one in gateway.rows[1].attempts] == ["primary", "fallback"]
        assert (await ask(gateway.port, body("saved"))).status == 429, "each call counts once on its key"
        spent = (await gateway.counting.budgets())["user month"].spent_nanos
        assert spent == 6_000 + COST_NANOS


@pytest.mark.parametrize("stream", [False, True])
async def test_a_fallback_without_a_price_is_passed_by_under_a_blocking_budget(stream: bool) -> None:
    endpoint = f"""\
  passed:
    targets: [{{provider: mock, model: "mock?status=500"}}]
    fallbacks: [{{provider: dead, model: nobody-knows-this-model}}, {{provider: mock, model: "{USED}"}}]
"""
    async with gateway_with("hot", "budgets: [{scope: {user: taro}, usd: 1}]", endpoint) as gateway:
        answer = await ask(gateway.port, body("passed", stream=stream))
        assert (answer.status, answer.headers["x-sekisho-model"]) == (200, USED)
        assert [one.model for one in gateway.rows[0].attempts] == ["mock?status=500", USED]
        assert (await gateway.counting.budgets())["user month"].spent_nanos == COST_NANOS


@pytest.mark.parametrize("door", DOORS)
async def test_a_stream_settles_on_its_usage_and_one_that_was_left_on_what_was_seen(door: Door) -> None:
    rules = "budgets: [{scope: {user: taro}, usd: 1}]\nlimits: [{scope: {user: taro}, concurrency: 5, tpm: 1000000}]"
    async with gateway_with(door, rules, ENDPOINTS) as gateway:
        answer = await ask(gateway.port, body("used", stream=True))
        assert answer.events[-1] == "[DONE]"
        assert answer.headers["x-ratelimit-limit-tokens"] == "1000000"
        assert (await gateway.counting.budgets())["user month"].spent_nanos == COST_NANOS
        async with connected(gateway.port) as wire:
            await wire.send(body("mock/mock?chunks=500&chunk_ms=5&answer=関所", stream=True))
            await wire.until("関所".encode())
            wire.leave(reset=True)
        row = await gateway.row(2)
        assert (row.terminal_state, row.usage_source) == ("client_left", "estimated")
        assert row.cost_nanos
        spent = (await gateway.counting.budgets())["user month"].spent_nanos
        assert spent == COST_NANOS + row.cost_nanos


@pytest.mark.parametrize("door", DOORS)
async def test_many_at_once_do_not_overspend_and_use_up_what_there_is(door: Door) -> None:
    async with gateway_with(door, "budgets: [{scope: {user: taro}, usd: 0.01, strict: true}]", ENDPOINTS) as gateway:

        async def client() -> list[int]:
            async with connected(gateway.port) as wire:
                seen: list[int] = []
                for _ in range(4):
                    await wire.send(body("used"))
                    seen.append((await wire.answer()).status)
                return seen

        began_s = time.perf_counter()
        statuses = [status for seen in await asyncio.gather(*(client() for _ in range(32))) for status in seen]
        state = (await gateway.counting.budgets())["user month"]
        assert state.spent_nanos == statuses.count(200) * COST_NANOS
        assert state.spent_nanos <= state.spec.amount_nanos == usd_to_nanos(msgspec.json.decode(b"0.01"))
        assert state.spent_nanos >= 0.97 * state.spec.amount_nanos
        assert statuses.count(200) + statuses.count(429) == 128
        assert time.perf_counter() - began_s < 60
