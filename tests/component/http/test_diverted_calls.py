"""Calls that an exceeded budget sends to another endpoint: there holds for them what holds for those that name it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.component.http.client import AUTH, ask, chat, http
from tests.support.counting import WIDE
from tests.support.gateway import CONFIG, DOORS, PEPPER, Door, Gateway, running_gateway

from sekisho.domain.stops import Stop
from sekisho.gateway.policies.idempotency import Idempotency
from sekisho.gateway.policies.stops import Stops
from sekisho.mock.server import MockProvider
from sekisho.stores.sqlite_idempotency import FILE_NAME, sqlite_idempotency

#: 100 input tokens and 50 output tokens at 1 and 2 dollars a million
USED = "mock?usage=100,50,0"
COST_NANOS = 200_000
ENDPOINTS = f"""\
  small:
    targets: [{{provider: mock, model: "{USED}"}}]
  shared:
    targets: [{{provider: mock, model: one, weight: 50}}, {{provider: mock, model: two, weight: 50}}]
  saved:
    targets: [{{provider: mock, model: "mock?status=500"}}]
    fallbacks: [{{provider: mock, model: "mock?status=503"}}, {{provider: mock, model: "{USED}"}}]
  lost:
    targets: [{{provider: mock, model: "mock?status=500"}}]
    fallbacks: [{{provider: mock, model: "dear?usage=100,50,0"}}]
  sync:
    targets: [{{provider: mock, model: mock-small}}]
    durability: sync
  brief:
    targets: [{{provider: mock, model: "mock?hang=1"}}]
    log: metadata
    timeouts: {{total_s: 0.3}}
"""
DEAR = 'prices:\n  "mock/dear?usage=100,50,0": {input_per_mtok: 1000, output_per_mtok: 2000}\n'


def used_up(endpoint: str) -> str:
    """A budget that has no room for any call."""
    return f"budgets:\n  - {{scope: {{user: taro}}, usd: 0.0000001, on_exceed: {{degrade: {endpoint}}}}}\n"


@contextlib.asynccontextmanager
async def gateway_with(door: Door, rules: str) -> AsyncIterator[Gateway]:
    config = CONFIG.replace(WIDE, rules).replace("  embed:\n", f"{ENDPOINTS}  embed:\n")
    config = config.replace("prices:\n", DEAR)
    async with MockProvider() as mock, running_gateway(mock, door=door, config=config) as one:
        yield one
        await one.until(lambda: one.pipeline.tally.in_flight == 0)
        one.check_books()


def body(model: str = "chat", headers: str = AUTH, **more: Any) -> bytes:
    return http(chat(model, max_tokens=50, **more), headers=headers)


async def spent(gateway: Gateway) -> int:
    return (await gateway.counting.budgets())["user month"].spent_nanos


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("stopped", ["small", USED, f"mock/{USED}"])
@pytest.mark.parametrize("door", DOORS)
async def test_no_call_is_sent_to_what_is_stopped(door: Door, stopped: str, stream: bool) -> None:
    async with gateway_with(door, used_up("small")) as gateway:
        gateway.pipeline.obey(Stops([Stop(kind="model", value=stopped)]))
        answer = await ask(gateway.port, body(stream=stream))
        assert (answer.status, answer.error["code"]) == (403, "stopped")
        assert answer.headers["x-should-retry"] == "false"
        assert gateway.mock.calls["calls"] == 0
        row = await gateway.row()
        assert (row.endpoint_name, row.terminal_state, row.attempts, row.cost_nanos) == ("small", "refused", [], 0)
        gateway.pipeline.obey(Stops())
        assert (await ask(gateway.port, body(stream=stream))).status == 200


@pytest.mark.parametrize("door", DOORS)
async def test_where_one_of_several_targets_is_stopped_the_others_take_the_call(door: Door) -> None:
    async with gateway_with(door, used_up("shared")) as gateway:
        gateway.pipeline.obey(Stops([Stop(kind="model", value="two")]))
        answers = [await ask(gateway.port, body()) for _ in range(12)]
        assert {answer.headers["x-sekisho-model"] for answer in answers} == {"one"}
        assert {row.route for row in gateway.rows} == {"degraded"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("door", DOORS)
async def test_fallbacks_are_tried_in_order_and_what_they_cost_is_counted(door: Door, stream: bool) -> None:
    async with gateway_with(door, used_up("saved")) as gateway:
        answer = await ask(gateway.port, body(stream=stream))
        assert (answer.status, answer.headers["x-sekisho-model"]) == (200, USED)
        row = await gateway.row()
        assert [one.reason for one in row.attempts or []] == ["degraded", "fallback", "fallback"]
        assert [one.model for one in row.attempts or []] == ["mock?status=500", "mock?status=503", USED]
        assert await spent(gateway) == row.cost_nanos == COST_NANOS


@pytest.mark.parametrize("door", DOORS)
async def test_a_call_let_in_keeps_its_fallback_when_the_budget_has_no_room_for_that(door: Door) -> None:
    rules = "budgets: [{scope: {user: taro}, usd: 0.001, on_exceed: {degrade: small}}]\n"
    async with gateway_with(door, rules) as gateway:
        assert (await ask(gateway.port, body("lost"))).status == 200
        row = await gateway.row()
        assert (row.endpoint_name, row.route) == ("lost", "fallback")
        assert await spent(gateway) == row.cost_nanos == 1000 * COST_NANOS
        # and the next one finds the budget used up
        assert (await ask(gateway.port, body("lost"))).status == 200
        assert (await gateway.row(2)).endpoint_name == "small"


@pytest.mark.parametrize("door", DOORS)
async def test_a_budget_that_blocks_refuses_the_fallback_all_the_same(door: Door) -> None:
    rules = f"{used_up('lost')}  - {{scope: {{team: research}}, usd: 0.001}}\n"
    async with gateway_with(door, rules) as gateway:
        assert (await ask(gateway.port, body())).status == 502
        assert [one.model for one in (await gateway.row()).attempts or []] == ["mock?status=500"]


@pytest.mark.parametrize("door", DOORS)
async def test_a_call_is_not_sent_to_a_model_without_a_price_where_those_are_blocked(door: Door) -> None:
    async with gateway_with(door, f"unknown_price: block\n{used_up('unpriced')}") as gateway:
        direct = await ask(gateway.port, body("unpriced"))
        answer = await ask(gateway.port, body())
        for one in (direct, answer):
            assert (one.status, one.error["code"]) == (400, "price_unknown")
        assert answer.error["message"] == direct.error["message"]
        row = await gateway.row(2)
        assert (row.endpoint_name, row.terminal_state, row.attempts) == ("unpriced", "refused", [])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("door", DOORS)
async def test_the_last_byte_waits_for_the_disk_where_the_new_endpoint_says_so(door: Door, stream: bool) -> None:
    async with gateway_with(door, used_up("sync")) as gateway:
        waiting: list[Callable[[bool], None]] = []
        gateway.sink.when_durable = waiting.append  # type: ignore[method-assign]
        asked = asyncio.ensure_future(ask(gateway.port, body(stream=stream)))
        await gateway.until(lambda: bool(waiting) or asked.done())
        assert not asked.done()
        waiting[0](True)
        assert (await asked).status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("door", DOORS)
async def test_times_and_log_are_those_of_the_new_endpoint(door: Door, stream: bool) -> None:
    async with gateway_with(door, used_up("brief")) as gateway:
        answer = await ask(gateway.port, body(stream=stream))
        assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
        row = await gateway.row()
        assert (row.endpoint_name, row.request, row.response) == ("brief", None, None)


@pytest.mark.parametrize("door", DOORS)
async def test_a_refused_call_leaves_its_idempotency_key_to_the_next(door: Door, tmp_path: Path) -> None:
    keyed = body(headers=f"{AUTH}idempotency-key: once\r\n")
    async with gateway_with(door, used_up("small")) as gateway:
        made = Idempotency(sqlite_idempotency(tmp_path / FILE_NAME, timeout_s=20), PEPPER, {})
        gateway.pipeline.idempotency = made
        gateway.pipeline.obey(Stops([Stop(kind="model", value="small")]))
        assert (await ask(gateway.port, keyed)).status == 403
        gateway.pipeline.obey(Stops())
        await gateway.until(lambda: not made._running)  # pyright: ignore[reportPrivateUsage]
        answers = [await ask(gateway.port, keyed) for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 200]
        assert answers[0].body == answers[1].body
        assert gateway.mock.calls["calls"] == 1
        await made.close()
