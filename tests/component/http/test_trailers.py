"""What comes behind a body in chunks: it is no part of the head, and it ends. In the product every connection is the
hot protocol's; uvicorn's own takes trailers for headers."""

from __future__ import annotations

import json

import pytest
from tests.component.http.client import AUTH, ask, chat, chunked, connected
from tests.support.gateway import KEY, Door, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = json.dumps(chat("mock/mock?echo=1")).encode()
PATHS = ("/v1/chat/completions", "/v1/chat/completions?version=1")


def trailed(trailers: str, headers: str, path: str) -> bytes:
    return chunked(BODY, path, headers, end=f"0\r\n{trailers}\r\n".encode())


@pytest.mark.parametrize("path", PATHS)
async def test_trailers_do_not_say_who_calls(gateway: Gateway, door: Door, path: str) -> None:
    if door == "asgi":
        return
    for trailer in (AUTH, f"x-api-key: {KEY}\r\n"):
        answer = await ask(gateway.port, trailed(trailer, "", path))
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    for trailer in ("authorization: Bearer sk-other\r\n", "x-api-key: sk-other\r\n"):
        assert (await ask(gateway.port, trailed(trailer, AUTH, path))).status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_trailers_change_nothing_of_a_call(gateway: Gateway, door: Door, path: str) -> None:
    if door == "asgi":
        return
    more = 'content-encoding: gzip\r\nx-sekisho-tags: {"feature": "other"}\r\nidempotency-key: ""\r\nexpect: x\r\n'
    assert (await ask(gateway.port, trailed(more, AUTH, path))).status == 200
    assert gateway.rows[0].tags is None


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("line", ["x-%d: " + "a" * 1000 + "\r\n", "a" * 1000])
async def test_trailers_without_end_are_given_up(gateway: Gateway, door: Door, path: str, line: str) -> None:
    if door == "asgi":
        return
    async with connected(gateway.port) as wire:
        await wire.send(chunked(BODY, path, AUTH, end=b"0\r\nx: "))
        for n in range(500):
            await wire.send((line % n if "%" in line else line).encode())
        answer = await wire.answer()
    assert (answer.status, answer.error["code"]) == (431, "header_too_large")
    assert len(gateway.rows) == 1


async def test_a_body_in_packets_without_end_of_it_is_not_given_up(gateway: Gateway) -> None:
    body = json.dumps(chat("mock/mock-small", messages=[{"role": "user", "content": "x" * 400_000}])).encode()
    async with connected(gateway.port) as wire:
        data = chunked(body, size=3)
        for start in range(0, len(data), 50_000):
            await wire.send(data[start : start + 50_000])
        assert (await wire.answer()).status == 200
