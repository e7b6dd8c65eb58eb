"""A provider that repeats the credentials it was sent: no row and no answer has them."""

from __future__ import annotations

import asyncio
import copy

import msgspec
import pytest
from tests.component.gateway.raw import Peer, answering, raw_server
from tests.property.house import ask, request
from tests.support.gateway import Door, running_gateway

API_KEY, TOKEN = "sk-upstream-canary-key", "token-canary-4711"
CONFIG = f"""
data_dir: ./data
language: en
providers:
  mock:
    {{type: openai, base_url: "MOCK", allow_private: true, api_key: {API_KEY}, headers: {{x-token: "Bearer {TOKEN}"}}}}
endpoints:
  chat: {{targets: [{{provider: mock, model: m}}], log: full}}
keys:
  - {{name: test, key: sk-test-0123456789abcdef}}
"""
ERROR = msgspec.json.encode(
    {"error": {"message": f"Incorrect API key: {API_KEY}, {TOKEN}", "param": f"messages.{API_KEY}", "code": "x"}}
)
#: cut where rows are, in the middle of the key
LONG = msgspec.json.encode({"error": {"message": "x" * 460 + API_KEY}})
TEXT = b'{"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}'


def whole(status: int, body: bytes, kind: bytes = b"application/json") -> bytes:
    head = b"HTTP/1.1 %d OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (status, kind, len(body))
    return head + body


def events(*payloads: bytes) -> bytes:
    return whole(200, b"".join(b"data: %b\n\n" % one for one in payloads), b"text/event-stream")


@pytest.mark.parametrize(
    ("answer", "stream"),
    [
        (whole(401, ERROR), False),
        (whole(400, ERROR), False),
        (whole(400, LONG), False),
        (whole(200, ERROR), False),
        (whole(400, ERROR), True),
        (events(ERROR), True),
        (events(TEXT, ERROR), True),
        (events(TEXT, LONG), True),
    ],
)
async def test_credentials_that_a_provider_repeats_stand_nowhere(door: Door, answer: bytes, stream: bool) -> None:
    async with raw_server(answering(answer)) as server, running_gateway(server, door=door, config=CONFIG) as gateway:  # type: ignore[arg-type]
        seen = await ask(gateway.port, request("chat", stream=stream, request_id="one"))
        row = await gateway.row()
    assert "***" in str(row.error_message)
    for secret in (API_KEY, API_KEY[:12], TOKEN):
        assert secret not in str(seen)
        assert secret not in str(row)


async def test_nor_do_those_that_were_replaced_while_a_stream_ran(door: Door) -> None:
    began, replaced = asyncio.Event(), asyncio.Event()

    async def rotate(peer: Peer) -> None:
        if await peer.request() is not None:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
            await peer.say(b"%bdata: %b\n\n" % (head, TEXT))
            began.set()
            await replaced.wait()
            await peer.say(b"data: %b\n\n" % ERROR)

    async with raw_server(rotate) as server, running_gateway(server, door=door, config=CONFIG) as gateway:  # type: ignore[arg-type]
        asked = asyncio.ensure_future(ask(gateway.port, request("chat", stream=True, request_id="one")))
        await began.wait()
        gateway.pipeline.snapshot = copy.copy(gateway.pipeline.snapshot)
        gateway.pipeline.snapshot.providers = {}
        replaced.set()
        await asked
        row = await gateway.row()
    assert "***" in str(row.error_message)
    assert API_KEY not in str(row)
