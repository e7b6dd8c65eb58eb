"""Connections that are kept: used again, trimmed, and replaced exactly once when they turn out to be dead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from tests.component.gateway.raw import OK, Heard, Peer, RawServer, answering, exchanged, raw_server, transport, until
from tests.support.gateway import DOORS, KEY, Door, Gateway, running_gateway

from sekisho.gateway import connection
from sekisho.gateway import transport as module
from sekisho.gateway.connection import TransportError

HEAD = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"


async def test_one_connection_serves_one_request_after_another() -> None:
    async with raw_server(answering(OK)) as server, transport() as one:
        pool = one.pool(server.origin)
        for _ in range(5):
            await exchanged(pool)
        assert (server.connections, one.idle) == (1, 1)


async def test_requests_at_once_get_connections_of_their_own_which_stay() -> None:
    async with raw_server(answering(OK)) as server, transport() as one:
        pool = one.pool(server.origin)
        await asyncio.gather(*(exchanged(pool) for _ in range(8)))
        assert (server.connections, one.idle) == (8, 8)
        await asyncio.gather(*(exchanged(pool) for _ in range(8)))
        assert server.connections == 8


async def test_only_so_many_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IDLE_PER_ORIGIN", 3)
    async with raw_server(answering(OK)) as server, transport() as one:
        pool = one.pool(server.origin)
        await asyncio.gather(*(exchanged(pool) for _ in range(8)))
        assert one.idle == 3
        await until(lambda: server.open == 3)


async def test_the_one_used_last_is_taken_first() -> None:
    """So that those beyond the need grow old and are trimmed."""
    async with raw_server(answering(OK)) as server, transport() as one:
        pool = one.pool(server.origin)
        await asyncio.gather(*(exchanged(pool) for _ in range(2)))
        first, second = pool.take(), pool.take()
        assert first is not None
        assert second is not None
        pool.release(first)
        pool.release(second)
        assert pool.take() is second
        pool.release(second)


async def test_connections_idle_for_long_are_trimmed_and_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(answering(OK)) as server, transport() as one:
        pool = one.pool(server.origin)
        await asyncio.gather(*(exchanged(pool) for _ in range(3)))
        one.trim()
        assert one.idle == 3
        monkeypatch.setattr(module, "IDLE_S", 0.0)
        assert pool.take() is None
        one.trim()
        await until(lambda: one.idle == 0 and server.open == 0)


async def test_connections_that_nobody_takes_any_more_are_closed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(answering(OK)) as server, transport() as one:
        pool = one.pool(server.origin)
        await asyncio.gather(*(exchanged(pool) for _ in range(3)))
        monkeypatch.setattr(module, "IDLE_S", 0.0)
        one.trim()
        await until(lambda: one.idle == 0 and server.open == 0)


async def test_a_connection_the_server_closes_leaves_the_pool() -> None:
    async with raw_server(answering(OK)) as server, transport() as one:
        await exchanged(one.pool(server.origin))
        assert one.idle == 1
    assert one.idle == 0


async def test_origins_do_not_share_connections() -> None:
    async with raw_server(answering(OK)) as first, raw_server(answering(OK)) as second, transport() as one:
        for server in (first, second, first):
            await exchanged(one.pool(server.origin))
        assert (first.connections, second.connections, one.idle) == (1, 1, 2)


async def test_an_abandoned_exchange_closes_its_connection_and_hears_nothing_more() -> None:
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
        await peer.gone()
        closed.set()

    async with raw_server(script) as server, transport() as one:
        heard = Heard()
        connection = await one.pool(server.origin).dial(1)
        connection.send(heard, HEAD, [b""])
        await until(lambda: heard.packets)
        connection.abandon(heard)
        await asyncio.wait_for(closed.wait(), 1)
        assert (one.active, heard.ends) == (0, 0)


async def test_what_an_exchange_says_after_its_end_does_not_reach_the_next_one() -> None:
    """It still knows its connection, which carries another's answer by now."""
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
        await go_on.wait()
        await peer.say(b"cd")
        await peer.gone()

    async with raw_server(script) as server, transport() as one:
        pool = one.pool(server.origin)
        first, second = Heard(), Heard()
        connection = await pool.dial(1)
        connection.send(first, HEAD, [b""])
        await first.ended
        assert pool.take() is connection
        connection.send(second, HEAD, [b""])
        await until(lambda: second.packets)
        connection.pause(first)
        connection.abandon(first)
        go_on.set()
        await second.ended
        assert second.body == b"abcd"


async def test_a_connection_paused_at_its_end_is_read_again() -> None:
    """The last packet of an answer filled the caller's buffer; the next answer on the connection once never came."""
    async with raw_server(answering(OK)) as server, transport() as one:
        pool = one.pool(server.origin)

        class Pausing(Heard):
            def on_data(self, packet: bytes) -> None:
                super().on_data(packet)
                connection.pause(self)

        connection = await pool.dial(1)
        first = Pausing()
        connection.send(first, HEAD, [b""])
        await first.ended
        assert (await exchanged(pool, timeout_s=1.0)).body == b"ok"
        assert server.connections == 1


# -- stale connections, by the gateway

CONFIG = """
data_dir: ./data
language: en
providers:
  mock: {type: openai, base_url: "MOCK", allow_private: true}
defaults: {timeouts: {connect_s: 1, first_token_s: 1, idle_s: 1, total_s: 2}}
endpoints:
  chat: {targets: [{provider: mock, model: m}]}
keys:
  - {name: test, key: sk-test-0123456789abcdef, endpoints: ["*"]}
prices:
  mock/*: {input_per_mtok: 1.00, output_per_mtok: 2.00}
"""
PLAIN = b'{"choices":[{"finish_reason":"stop","message":{"content":"hi"}}],"usage":{"prompt_tokens":1}}'
EVENTS = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def good(request: bytes) -> bytes:
    """A whole answer to a request of the gateway."""
    kind, body = (b"text/event-stream", EVENTS) if b'"stream":true' in request else (b"application/json", PLAIN)
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (kind, len(body), body)


async def _asked(gateway: Gateway, *, stream: bool) -> tuple[int, bytes]:
    body = {"model": "chat", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as session,
        session.post(f"{gateway.base_url}/chat/completions", json=body) as answer,
    ):
        return answer.status, await answer.read()


Second = Callable[[Peer], Awaitable[None]]


async def _second_call(door: Door, second: Second, *, stream: bool) -> tuple[RawServer, Gateway, int]:
    """The first call of a connection is answered; what befalls the second one's request is the test's."""
    server: RawServer

    async def script(peer: Peer) -> None:
        request = await peer.request()
        assert request is not None
        server.requests.append(request)
        await peer.say(good(request))
        request = await peer.request()
        if request is None:
            return
        server.requests.append(request)
        if peer.number == 1:
            await second(peer)
        else:
            await peer.say(good(request))
            await peer.gone()

    async with raw_server(script) as server, running_gateway(server, door=door, config=CONFIG) as gateway:  # type: ignore[arg-type]
        assert (await _asked(gateway, stream=stream))[0] == 200
        status, _ = await _asked(gateway, stream=stream)
        gateway.check_books()
        assert gateway.pipeline._transport.active == 0
        return server, gateway, status


async def _closes(peer: Peer) -> None:
    """Without a word: as if the idle time had run out while the request was on its way."""


async def _resets(peer: Peer) -> None:
    peer.reset()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("second", [_closes, _resets])
async def test_a_dead_connection_is_replaced_without_anybody_noticing(second: Second, door: Door, stream: bool) -> None:
    server, gateway, status = await _second_call(door, second, stream=stream)
    assert status == 200
    assert (server.connections, len(server.requests)) == (2, 3)
    assert server.requests[1] == server.requests[2]
    row = gateway.rows[-1]
    assert (row.status_code, row.terminal_state, len(row.attempts)) == (200, "completed", 1)


async def _begins_a_status_line(peer: Peer) -> None:
    await peer.say(b"HT")


async def _says_continue(peer: Peer) -> None:
    await peer.say(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _begins_a_head(peer: Peer) -> None:
    await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n")


async def _begins_a_body(peer: Peer) -> None:
    await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("second", [_begins_a_status_line, _says_continue, _begins_a_head, _begins_a_body])
async def test_a_request_whose_answer_had_begun_is_never_sent_again(second: Second, stream: bool) -> None:
    server, gateway, status = await _second_call("hot", second, stream=stream)
    assert (status, server.connections, len(server.requests)) == (502, 1, 2)
    assert gateway.rows[-1].error_code == "upstream_error"


async def test_a_request_that_was_worked_on_for_a_while_is_never_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that dies long after the request took it along: the provider may have done the work."""
    monkeypatch.setattr(connection, "_STALE_WITHIN_S", 0.03)

    async def works_and_dies(peer: Peer) -> None:
        await asyncio.sleep(0.06)

    server, _, status = await _second_call("hot", works_and_dies, stream=False)
    assert (status, len(server.requests)) == (502, 2)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_replaced_connection_is_not_replaced_again(stream: bool) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.request()
        if request is not None and peer.number == 1:
            await peer.say(good(request))
            await peer.request()

    async with raw_server(script) as server, running_gateway(server, config=CONFIG) as gateway:  # type: ignore[arg-type]
        assert (await _asked(gateway, stream=stream))[0] == 200
        assert (await _asked(gateway, stream=stream))[0] == 502
        assert server.connections == 2
        gateway.check_books()


async def test_a_first_connection_that_dies_is_no_stale_one() -> None:
    async with raw_server(_closes) as server, transport() as one:
        with pytest.raises(TransportError) as failed:
            await exchanged(one.pool(server.origin))
        assert (failed.value.kind, failed.value.sent) == ("reset", True)
