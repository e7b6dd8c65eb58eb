"""Requests damaged at random: whatever comes back is an answer in the envelope, and the books stay right."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from tests.component.http.client import Answer, Wire, chat, chunked, connected, http
from tests.support.gateway import Door, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

WHOLE = [
    http(chat("mock/mock?echo=1")),
    http(chat("mock/mock?answer=abc", stream=True)),
    http(b"", "/v1/models", "GET"),
    chunked(json.dumps(chat()).encode()),
]


def damaged(chance: random.Random) -> bytes:
    data = bytearray(chance.choice(WHOLE))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0 | 1:
                data[at] = chance.randrange(256)
            case 2:
                data[at : at + 8] = b""
            case _:
                data[at:at] = chance.randbytes(3)
        data = data or bytearray(b" ")
    return bytes(data)


async def answered(wire: Wire, data: bytes) -> Answer | None:
    """None where the gateway waits for more of the request."""
    await wire.send(data)
    try:
        async with asyncio.timeout(0.02):
            return await wire.answer()
    except TimeoutError:
        return None


@pytest.mark.parametrize("seed", range(10))
async def test_damaged_requests(gateway: Gateway, door: Door, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(25):
        data = damaged(chance)
        async with connected(gateway.port) as wire:
            answer = await answered(wire, data)
        if answer is None:
            continue
        assert answer.status in (200, 400, 401, 404, 405, 413, 415, 431, 502), data
        if answer.status != 200 and not (door == "asgi" and answer.body.startswith(b"Invalid HTTP")):
            assert answer.error["request_id"] == answer.headers["x-request-id"], data
    async with connected(gateway.port) as wire:
        await wire.send(WHOLE[0])
        assert (await wire.answer()).status == 200
