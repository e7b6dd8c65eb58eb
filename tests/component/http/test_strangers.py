"""What somebody without a valid key can make the gateway hold and do: as good as nothing."""

from __future__ import annotations

import gzip

import pytest
from tests.component.http.client import AUTH, ask, chat, chunked, connected, http
from tests.support.gateway import Door, Gateway

from sekisho.entrypoints.http.intake import KEPT_NAMES, KEYLESS_BODY_BYTES

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRANGERS = ["", "authorization: Bearer sk-nobody-has-this\r\n"]
ROUTES = ["/v1/chat/completions", "/v1/embeddings", "/chat/stream"]
LARGE = b'{"model": "chat", "messages": "' + b"x" * (KEYLESS_BODY_BYTES + 1)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("headers", STRANGERS)
async def test_a_large_body_is_not_waited_for(gateway: Gateway, path: str, headers: str) -> None:
    """Answered at the head; before, 32 MB of every connection were kept until the body was whole."""
    async with connected(gateway.port) as wire:
        await wire.send(http(LARGE, path, headers=headers)[: -len(LARGE)])
        answer = await wire.answer()
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    row = await gateway.row()
    assert (row.status_code, row.error_code, row.request) == (401, "invalid_api_key", None)
    assert len(gateway.rows) == 1


@pytest.mark.parametrize("headers", STRANGERS)
async def test_a_large_body_of_unknown_length_is_not_waited_for(gateway: Gateway, headers: str) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(chunked(LARGE, headers=headers, size=65536, end=b""))
        answer = await wire.answer()
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert len(gateway.rows) == 1


async def test_after_a_body_that_was_not_waited_for_the_connection_is_closed(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(http(LARGE, headers=""))
        answer = await wire.answer()
        assert answer.status == 401
        if answer.headers.get("connection") == "close":
            assert await wire.closed()
        else:  # by the other door the rest is read, and the connection goes on
            await wire.send(http(chat()))
            assert (await wire.answer()).status == 200
    assert gateway.rows[0].status_code == 401


async def test_an_invitation_to_send_much_is_for_those_with_a_key(gateway: Gateway) -> None:
    for headers, status in (("", 401), (AUTH, 100)):
        async with connected(gateway.port) as wire:
            head = http(LARGE, headers=f"{headers}expect: 100-continue\r\n")[: -len(LARGE)]
            await wire.send(head)
            answer = await wire.answer()
        assert answer.status == status


@pytest.mark.parametrize("headers", STRANGERS)
@pytest.mark.parametrize("encoding", ["gzip", "br"])
async def test_nothing_is_unpacked_without_a_key(
    gateway: Gateway, headers: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpacked(*_: object) -> bytes:
        raise AssertionError("32 KB become 32 MB, which takes a tenth of a second")

    monkeypatch.setattr("sekisho.entrypoints.http.intake.decoded", unpacked)
    body = gzip.compress(b" " * 1_000_000)
    answer = await ask(gateway.port, http(body, headers=f"{headers}content-encoding: {encoding}\r\n"))
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


async def test_long_names_of_headers_are_not_remembered(gateway: Gateway) -> None:
    """A thousand of them were kept for as long as the gateway ran: 60 MB for a thousand requests without a key."""
    for number in range(3):
        answer = await ask(gateway.port, http(b"{}", headers=f"x-{number}-{'a' * 40_000}: 1\r\n"))
        assert answer.status == 401
    assert max(map(len, KEPT_NAMES), default=0) < 100


async def test_requests_that_wait_behind_another_are_bounded(gateway: Gateway, door: Door) -> None:
    """2 million of them on one connection took 4.6 GB. Those that wait are answered, and then the connection ends."""
    if door == "asgi":
        return  # in the product every connection is the hot protocol's
    one = b"GET /health/live HTTP/1.1\r\nhost: gateway\r\n\r\n"
    async with connected(gateway.port) as wire:
        await wire.send(http(chat("mock/mock?delay_ms=200")) + one * 20_000)
        await wire.closed()
    assert wire.raw.count(b"HTTP/1.1 200 OK") < 500
    assert wire.raw.endswith(b'{"status":"ok"}')


async def test_connect_is_no_word_in_the_log(gateway: Gateway, door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """It was answered, and each time the log advised to install a library for WebSockets."""
    if door == "asgi":
        return
    for target in ("169.254.169.254:80", "/v1/models", "/v1/chat/completions"):
        async with connected(gateway.port) as wire:
            await wire.send(f"CONNECT {target} HTTP/1.1\r\nhost: gateway\r\n\r\n".encode())
            assert (await wire.answer()).status in (400, 405)
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
