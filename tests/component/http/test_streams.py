"""Streams as they stand on the wire: headers, frames, comments, usage, ends; and the plain chat for web pages."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any, Self

import openai
import pytest
from tests.component.http.client import AUTH, HELLO, Answer, ask, chat, connected, http
from tests.support.gateway import CHAT_ONLY_KEY, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")


def lines(answer: Answer) -> list[str]:
    return answer.body.decode().splitlines()


async def test_the_head_of_a_stream(gateway: Gateway) -> None:
    answer = await ask(gateway.port, http(chat(stream=True)))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in answer.headers
    assert answer.headers["x-request-id"] == (await gateway.row()).request_id
    names = [name for name, _ in answer.fields]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "model",
    ["chat", "mock/mock?tools=1&parallel=2&reasoning=1", "mock/mock?split=1&echo=1", "mock/mock?no_done=1&no_usage=1"],
)
async def test_every_line_is_data_or_a_comment(gateway: Gateway, model: str) -> None:
    answer = await ask(gateway.port, http(chat(model, stream=True)))
    for line in lines(answer):
        assert line == "" or line.startswith(("data: ", ": ")), line
    assert answer.events[-1] == "[DONE]"
    assert answer.events.count("[DONE]") == 1
    assert all(json.loads(event)["object"] == "chat.completion.chunk" for event in answer.events[:-1])


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": None}])
async def test_no_usage_chunk_for_those_who_did_not_ask(gateway: Gateway, options: Any) -> None:
    more = {} if options is None else {"stream_options": options}
    answer = await ask(gateway.port, http(chat("mock/mock?usage=9,4,2", stream=True, **more)))
    chunks = [json.loads(event) for event in answer.events[:-1]]
    assert all(chunk["choices"] for chunk in chunks)
    assert not any(chunk.get("usage") for chunk in chunks)
    assert gateway.mock.last["body"]["stream_options"]["include_usage"] is True  # type: ignore[index]
    row = await gateway.row()
    assert (row.input_tokens, row.output_tokens, row.usage_source) == (9, 4, "provider")


async def test_the_usage_chunk_for_those_who_asked(gateway: Gateway) -> None:
    asked = {"include_usage": True, "include_obfuscation": False}
    answer = await ask(gateway.port, http(chat("mock/mock?usage=9,4,2", stream=True, stream_options=asked)))
    *chunks, last = [json.loads(event) for event in answer.events[:-1]]
    assert (last["choices"], last["usage"]["prompt_tokens"]) == ([], 9)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert gateway.mock.last["body"]["stream_options"] == asked  # type: ignore[index]


async def test_a_provider_without_usage_is_charged_by_estimate(gateway: Gateway) -> None:
    data = http(chat("mock/mock?no_usage=1&answer=12345678&chunks=2", stream=True))
    assert (await ask(gateway.port, data)).text == "12345678"
    row = await gateway.row()
    assert (row.usage_source, row.output_tokens) == ("estimated", 4)
    assert row.cost_nanos


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("cut_after=2", "stream_truncated"),
        ("reset_after=2", "stream_truncated"),
        ("error_after=2", "stream_failed"),
        ("hang_after=2", "upstream_timeout"),
    ],
)
async def test_a_stream_that_breaks_ends_with_an_error_and_without_its_last_word(
    gateway: Gateway, fault: str, code: str
) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(http(chat(f"mock/mock?{fault}&chunk_ms=15&answer=abcd&chunks=4", stream=True)))
        answer = await wire.answer()
        assert answer.complete
        error = json.loads(answer.events[-1])["error"]
        assert list(error) == ["message", "type", "param", "code", "request_id"]
        assert (error["code"], error["type"]) == (code, "server_error")
        assert error["request_id"] == answer.headers["x-request-id"]
        assert "[DONE]" not in answer.body.decode()
        assert [json.loads(event)["choices"][0]["delta"].get("content") for event in answer.events[1:-1]] == ["a", "b"]
        await wire.send(http(chat("mock/mock?answer=next")))
        assert (await wire.answer()).json["choices"][0]["message"]["content"] == "next"


async def test_what_arrived_with_the_mistake_still_comes_before_it(gateway: Gateway) -> None:
    """The provider's last content and its failure in one packet."""
    for fault in ("error_after=3", "cut_after=3"):
        answer = await ask(gateway.port, http(chat(f"mock/mock?{fault}&answer=abcd&chunks=4", stream=True)))
        if answer.status == 200:
            *chunks, last = [json.loads(event) for event in answer.events]
            assert "error" in last
            assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == "abc"
        else:
            assert answer.status == 502


class Resting:
    """A client that reads only when it is told to."""

    def __init__(self) -> None:
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._sock.setblocking(False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sock.close()

    async def ask(self, port: int, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._sock, ("127.0.0.1", port))
        await loop.sock_sendall(self._sock, data)

    async def read(self) -> bytes:
        """Everything up to the end of the connection."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 2**20)
        loop, parts = asyncio.get_running_loop(), []
        while part := await loop.sock_recv(self._sock, 2**20):
            parts.append(part)
        return b"".join(parts)


def large(mb: int) -> bytes:
    return http(chat(f"mock/mock?line_mb={mb}", stream=True), headers=f"{AUTH}connection: close\r\n")


async def test_large_frames_reach_a_slow_reader_whole(gateway: Gateway) -> None:
    """More than all buffers hold, after a rest longer than a silent provider is waited for."""
    async with Resting() as client:
        await client.ask(gateway.port, large(15))
        await asyncio.sleep(0.7)
        whole = await client.read()
    assert whole.count(b"x") > 15_000_000
    assert b"[DONE]" in whole[-40:]
    assert (await gateway.row()).terminal_state == "completed"
    for n in range(4):
        assert (await ask(gateway.port, http(chat("mock/mock-small", stream=bool(n % 2))))).status == 200


async def test_a_reader_that_rests_and_leaves_is_found_out(gateway: Gateway) -> None:
    """While the provider is held back, too."""
    async with Resting() as client:
        await client.ask(gateway.port, http(chat("mock/mock?line_mb=2", n=12, stream=True)))
        await gateway.until(lambda: gateway.mock.calls["calls"] == 1)
        await asyncio.sleep(0.1)
        assert gateway.pipeline.live_streams == 1
    row = await gateway.row()
    assert (row.status_code, row.terminal_state, row.usage_source) == (499, "client_left", "estimated")
    await gateway.until(lambda: gateway.mock.calls["aborted"] == 1)


async def test_a_reader_that_stops_does_not_spoil_the_connection_to_the_provider(gateway: Gateway) -> None:
    """Paused at the very end of the answer, when the provider's connection is free for others again."""
    async with Resting() as one, Resting() as two, Resting() as three:
        for client in (one, two, three):
            await client.ask(gateway.port, large(3))
        await gateway.until(lambda: gateway.mock.calls["calls"] == 3)
        await asyncio.sleep(0.1)
        for n in range(6):
            assert (await ask(gateway.port, http(chat("mock/mock-small", stream=bool(n % 2))))).status == 200
    await gateway.row(9)


async def test_a_silent_stream_is_kept_alive_by_comments(gateway: Gateway) -> None:
    loop = asyncio.get_running_loop()
    async with connected(gateway.port) as wire:
        await wire.send(http(chat("mock/mock?chunk_ms=200&answer=ab&chunks=2", stream=True)))
        await wire.until(b'"content":"a"')
        gateway.pipeline.tick(loop.time())
        await asyncio.sleep(0.01)
        assert b": ping" not in wire.raw, "not silent for long enough"
        gateway.pipeline.tick(loop.time() + 6)
        await wire.until(b": ping\n\n")
        answer = await wire.answer()
        assert (answer.text, answer.events[-1]) == ("ab", "[DONE]")


async def test_the_official_client_does_not_mind_comments(gateway: Gateway) -> None:
    loop = asyncio.get_running_loop()
    async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="mock/mock?chunk_ms=100&answer=abc&chunks=3", messages=HELLO, stream=True
        )
        said = ""
        async for chunk in stream:
            said += chunk.choices[0].delta.content or ""
            gateway.pipeline.tick(loop.time() + 6)
            gateway.pipeline.tick(loop.time() + 12)
    assert said == "abc"


async def test_no_comment_before_the_first_content(gateway: Gateway) -> None:
    """It would cost the status: until then an error is an error, and another target can be tried."""
    async with connected(gateway.port) as wire:
        await wire.send(http(chat("mock/mock?first_token_ms=100", stream=True)))
        await gateway.until(lambda: gateway.mock.calls["calls"] == 1)
        gateway.pipeline.tick(asyncio.get_running_loop().time() + 6)
        await asyncio.sleep(0.02)
        assert wire.raw == b""
        assert (await wire.answer()).status == 200


# -- the chat for web pages


async def test_the_chat_for_web_pages(gateway: Gateway) -> None:
    body = {"model": "mock/mock?echo=1&chunks=3", "message": "関所とは"}
    answer = await ask(gateway.port, http(body, "/chat/stream"))
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *frames, last = answer.events
    assert last == "[DONE]"
    assert all(list(json.loads(frame)) == ["content"] for frame in frames)
    assert "".join(json.loads(frame)["content"] for frame in frames) == "関所とは"
    row = await gateway.row()
    assert (row.api_type, row.url_path, row.streaming) == ("sekisho/chat/stream", "/chat/stream", True)
    assert (row.usage_source, row.terminal_state, row.finish_reasons) == ("provider", "completed", ["stop"])


async def test_what_was_said_before_goes_along(gateway: Gateway) -> None:
    history = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    body = {"model": "chat", "message": "and now?", "history": history, "system": "be brief"}
    assert (await ask(gateway.port, http(body, "/chat/stream"))).status == 200
    assert gateway.mock.last["body"]["messages"] == [  # type: ignore[index]
        {"role": "system", "content": "be brief"},
        *history,
        {"role": "user", "content": "and now?"},
    ]


async def test_a_web_page_sees_errors_in_the_envelope_and_no_last_word(gateway: Gateway) -> None:
    def asking(model: str) -> bytes:
        return http({"model": model, "message": "hello"}, "/chat/stream")

    for model, status in (("nothing", 404), ("mock/mock?status=500", 502), ("mock/mock?status=429", 429)):
        answer = await ask(gateway.port, asking(model))
        assert (answer.status, answer.error["request_id"]) == (status, answer.headers["x-request-id"])
    answer = await ask(gateway.port, asking("mock/mock?cut_after=1&chunk_ms=10"))
    *frames, last = [json.loads(event) for event in answer.events]
    assert [list(frame) for frame in frames] == [["content"]]
    assert last["error"]["code"] == "stream_truncated"


async def test_a_web_page_sees_text_only(gateway: Gateway) -> None:
    body = {"model": "mock/mock?reasoning=1&answer=yes&logprobs=1", "message": "hello"}
    answer = await ask(gateway.port, http(body, "/chat/stream"))
    assert [json.loads(event) for event in answer.events[:-1]] == [{"content": "yes"}]
    answer = await ask(gateway.port, http({"model": "mock/mock?tools=1", "message": "hello"}, "/chat/stream"))
    assert answer.events == ["[DONE]"]


async def test_a_web_page_needs_a_key_too(gateway: Gateway) -> None:
    body = {"model": "safe", "message": "hello"}
    assert (await ask(gateway.port, http(body, "/chat/stream", headers=""))).status == 401
    auth = f"authorization: Bearer {CHAT_ONLY_KEY}\r\n"
    assert (await ask(gateway.port, http(body, "/chat/stream", headers=auth))).status == 403
    page = http(body, "/chat/stream", headers=f"{AUTH}origin: http://evil.example\r\n")
    assert "access-control-allow-origin" not in (await ask(gateway.port, page)).headers
