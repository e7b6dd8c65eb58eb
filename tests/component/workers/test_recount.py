"""Counts made from rows are those that the calls were counted with, so a worker that died is counted from its spool."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import msgspec
from tests.support.gateway import KEY, Gateway, running_gateway

from sekisho.ledger.recount import count_rows
from sekisho.ledger.tally import Tally
from sekisho.ledger.tally_sums import by_model, sums_of
from sekisho.mock.server import MockProvider
from sekisho.tables.layout import encode_record

STREAM = {"stream": True, "stream_options": {"include_usage": True}}
CALLS: list[dict[str, Any]] = [
    {"model": "chat"},
    {"model": "chat", **STREAM},
    {"model": "safe"},
    {"model": "hopeless"},
    {"model": "unpriced"},
    {"model": "metadata-only"},
    {"model": "nobody-has-this"},
    {"model": "mock/mock?usage=100,20,60"},
    {"model": "mock/mock?cut_after=3", **STREAM},
    {"model": "dead/gone"},
    {"model": "chat", "messages": "none"},
]


def counted(tally: Tally) -> Any:
    """Times in rows are whole microseconds: of those it is enough how many there are."""
    found = msgspec.to_builtins(sums_of(tally))
    for model in found["models"].values():
        for name in ("latency", "first_token"):
            model["histograms"][name] = sum(model["histograms"][name][0])
    return found


async def call(house: Gateway, session: aiohttp.ClientSession, body: dict[str, Any], key: str = KEY) -> None:
    body = {"messages": [{"role": "user", "content": "関所へようこそ"}], **body}
    headers = {"authorization": f"Bearer {key}"}
    async with session.post(f"{house.base_url}/chat/completions", json=body, headers=headers) as answer:
        await answer.read()


async def leave(house: Gateway) -> None:
    body = msgspec.json.encode(
        {"model": "mock/mock?first_token_ms=2000", "messages": [{"role": "user", "content": "x"}], **STREAM}
    )
    lines = ("POST /v1/chat/completions HTTP/1.1", "host: x", f"authorization: Bearer {KEY}")
    head = "\r\n".join((*lines, f"content-length: {len(body)}", "", ""))
    _, writer = await asyncio.open_connection("127.0.0.1", house.port, family=socket.AF_INET)
    writer.write(head.encode() + body)
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.close()


async def test_rows_count_as_their_calls_did(monkeypatch: Any) -> None:
    payloads: list[bytes] = []
    async with MockProvider() as mock, running_gateway(mock) as house:
        append = house.sink.append
        monkeypatch.setattr(house.sink, "append", lambda row: (payloads.append(encode_record(row)), append(row))[1])
        async with aiohttp.ClientSession() as session:
            for body in CALLS:
                await call(house, session, body)
            await call(house, session, {"model": "chat"}, key="sk-nobody")
            await leave(house)
            await house.until(lambda: len(house.rows) == len(CALLS) + 2)
        again = Tally()
        count_rows(again, [*payloads, b"no row at all"])
        assert {row.status_code for row in house.rows} >= {200, 401, 404, 429, 499, 502}
        assert counted(again) == counted(house.pipeline.tally)


async def test_a_call_that_died_with_its_process_is_counted_as_the_row_it_became() -> None:
    async with MockProvider() as mock, running_gateway(mock) as house, aiohttp.ClientSession() as session:
        begun: list[bytes] = []
        begin = house.sink.begin
        house.sink.begin = lambda record: (begun.append(encode_record(record)), begin(record))[1]  # type: ignore[method-assign]
        await call(house, session, {"model": "chat"})
        tally = Tally()
        count_rows(tally, begun)
        model = by_model(tally)["mock-small"]
        assert model.statuses == {500: 1}
        assert sum(model.latency.counts) == 0, "nobody saw the end"
        assert model.cost_nanos == house.sink.begun[0].cost_nanos
        assert model.cost_nanos > model.tokens.input * 1000 > 0, "what was reserved"
