"""What providers and what lies between may put on the wire, byte by byte."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from tests.component.gateway.raw import (
    OK,
    Heard,
    Peer,
    answering,
    connection,
    exchanged,
    raw_server,
    transport,
    until,
)

from sekisho.gateway import connection as module
from sekisho.gateway.connection import TransportError


async def _answer(*parts: bytes, close: bool = False) -> tuple[Heard, int]:
    """The exchange, and how many connections stay in the pool."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(*parts)
        if not close:
            await peer.gone()

    async with raw_server(script) as server, transport() as one:
        heard = await exchanged(one.pool(server.origin))
        await asyncio.sleep(0.005)
        return heard, one.idle


async def _failure(*parts: bytes, close: bool = False, timeout_s: float = 5.0) -> TransportError:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(*parts)
        if not close:
            await peer.gone()

    async with raw_server(script) as server, transport() as one:
        with pytest.raises(TransportError) as failed:
            await exchanged(one.pool(server.origin), timeout_s=timeout_s)
        await until(lambda: server.open == 0)
        assert one.idle == 0
        return failed.value


# -- whole answers


async def test_a_length() -> None:
    heard, idle = await _answer(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nX-Request-ID: r\r\n\r\nhel", b"lo")
    assert (heard.status, heard.body, heard.heads, idle) == (201, b"hello", 1, 1)
    assert heard.headers == {"content-length": "5", "x-request-id": "r"}


async def test_chunks_with_trailers_and_extensions() -> None:
    heard, idle = await _answer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;name=value\r\nabc\r\n",
        b"2\r\nde\r\n0\r\nx-checksum: 1\r\nretry-after: 5\r\n\r\n",
    )
    assert (heard.status, heard.body, heard.ends, idle) == (200, b"abcde", 1, 1)


async def test_the_head_of_an_answer_is_not_that_of_the_one_before_on_its_connection() -> None:
    numbers = iter(range(1, 4))

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            head = b"HTTP/1.1 200 OK\r\nx-request-id: %d\r\ntransfer-encoding: chunked\r\n\r\n" % next(numbers)
            await peer.say(head[:20], head[20:], b"2\r\nok\r\n0\r\n\r\n")

    async with raw_server(script) as server, transport() as one:
        pool = one.pool(server.origin)
        for number in ("1", "2", "3"):
            assert (await exchanged(pool)).headers["x-request-id"] == number
        assert server.connections == 1
        (kept,) = pool._idle
        assert len(kept._raw_head) < 200, "nor is it kept"


async def test_a_body_that_ends_with_the_connection() -> None:
    heard, idle = await _answer(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n", b"abc", b"de", close=True)
    assert (heard.body, idle) == (b"abcde", 0)


async def test_a_body_without_length_that_ends_in_a_reset_is_cut() -> None:
    """The end of the connection is the end of such a body only where the provider has closed in peace."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nabc")
        await came.wait()
        # without waiting for what is unsent: that is a reset
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.reset()

    came = asyncio.Event()
    async with raw_server(script) as server, transport() as one:
        heard = Heard()
        (await connection(one.pool(server.origin))).send(
            heard, b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n", [b"{}"]
        )
        await until(lambda: heard.body == b"abc")
        came.set()
        assert (await heard.failure()).kind == "cut"
        assert one.idle == 0


async def test_http_1_0_and_connection_close_are_not_kept() -> None:
    for head in (b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nconnection: close\r\n"):
        heard, idle = await _answer(head + b"content-length: 2\r\n\r\nok")
        assert (heard.body, idle) == (b"ok", 0)


async def test_no_body_at_all() -> None:
    heard, _ = await _answer(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (heard.status, heard.body) == (204, b"")
    heard, idle = await _answer(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert (heard.body, idle) == (b"", 1)


@pytest.mark.parametrize("together", [True, False])
async def test_interim_answers_are_no_answers(together: bool) -> None:
    parts = [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\ncontent-type: text/html\r\nretry-after: 9\r\n\r\n",
        OK,
    ]
    heard, idle = await _answer(*([b"".join(parts)] if together else parts))
    assert (heard.status, heard.body, heard.heads, idle) == (200, b"ok", 1, 1)
    assert heard.headers == {"content-length": "2"}


async def test_an_offer_to_upgrade_is_only_an_offer() -> None:
    """Apache says so on any answer."""
    heard, idle = await _answer(
        b"HTTP/1.1 200 OK\r\nupgrade: h2,h2c\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nok"
    )
    assert (heard.status, heard.body, idle) == (200, b"ok", 1)


async def test_every_byte_in_a_packet_of_its_own() -> None:
    whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    heard, idle = await _answer(*(whole[n : n + 1] for n in range(len(whole))))
    assert (heard.body, idle) == (b"ok", 1)


# -- what is no whole answer


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel"], "cut"),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"], "cut"),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"], "cut"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n"], "reset"),
        ([b"HTT"], "reset"),
        ([b""], "reset"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"], "reset"),
    ],
)
async def test_a_connection_that_closes_too_early(parts: list[bytes], kind: str) -> None:
    assert (await _failure(*parts, close=True)).kind == kind


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"220 smtp.example ESMTP\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5x\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokokok\r\n",
        b"HTTP/1.1 200 OK\r\nna me: value\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    ],
)
async def test_what_is_not_http_fails_at_once(garbage: bytes) -> None:
    assert (await _failure(garbage)).kind == "bad_http"


# -- more than was asked for


@pytest.mark.parametrize(
    "more", [b"garbage", b"!", b"HTTP/1.1 408 Request Time-out\r\ncontent-length: 3\r\n\r\nbye", b"HTT"]
)
async def test_what_follows_a_whole_answer_is_no_part_of_it(more: bytes) -> None:
    """A load balancer that gives up an idle connection says so unasked, perhaps in the packet of the answer."""
    heard, idle = await _answer(OK + more)
    assert (heard.status, heard.body, heard.heads, heard.ends) == (200, b"ok", 1, 1)
    assert idle == 0, "a connection that talks unasked is not used again"


async def test_words_on_an_idle_connection_close_it() -> None:
    speak = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        await speak.wait()
        await peer.say(b"HTTP/1.1 408 Request Time-out\r\n\r\n")
        await peer.gone()

    async with raw_server(script) as server, transport() as one:
        await exchanged(one.pool(server.origin))
        assert one.idle == 1
        speak.set()
        await until(lambda: one.idle == 0)


# -- bounds


async def test_a_head_without_end_is_given_up() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n")
        while True:
            await peer.say(b"x-padding: " + b"x" * 4_000 + b"\r\n")

    async with raw_server(script) as server, transport() as one:
        with pytest.raises(TransportError, match="head larger") as failed:
            await exchanged(one.pool(server.origin))
        assert failed.value.kind == "bad_http"
        await until(lambda: server.open == 0)


@pytest.mark.parametrize(
    "name", [b"x-padding: ", b"HTTP/1.1 100 Continue\r\nx: "], ids=["one-line", "one-interim-line"]
)
async def test_a_header_line_without_end_is_given_up(name: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n" if name.startswith(b"x") else b"", name)
        while True:
            await peer.say(b"x" * 8_000)

    async with raw_server(script) as server, transport() as one:
        with pytest.raises(TransportError) as failed:
            await exchanged(one.pool(server.origin))
        assert failed.value.kind == "bad_http"


async def test_interim_answers_without_end_are_given_up() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        while True:
            await peer.say(b"HTTP/1.1 102 Processing\r\n\r\n" * 200)

    async with raw_server(script) as server, transport() as one:
        with pytest.raises(TransportError) as failed:
            await exchanged(one.pool(server.origin))
        assert failed.value.kind == "bad_http"


async def test_a_large_head_within_the_bound_is_read() -> None:
    padding = b"".join(b"x-%d: %b\r\n" % (n, b"v" * 500) for n in range(60))
    heard, _ = await _answer(b"HTTP/1.1 200 OK\r\n" + padding + b"content-length: 2\r\n\r\nok")
    assert heard.body == b"ok"
    assert len(padding) < module.MAX_HEADER_BYTES


async def test_a_large_body_in_the_packet_of_the_head_is_no_large_head() -> None:
    body = b"x" * 3_000_000
    heard, idle = await _answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    assert (heard.body == body, idle) == (True, 1)


async def test_a_head_that_dribbles_meets_the_deadline() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        for byte in b"HTTP/1.1 200 OK\r\n" * 1_000:
            await peer.say(bytes([byte]))
            await asyncio.sleep(0.01)

    async with raw_server(script) as server, transport() as one:
        started = asyncio.get_running_loop().time()
        with pytest.raises(TransportError) as failed:
            await exchanged(one.pool(server.origin), timeout_s=0.15)
        assert failed.value.kind == "timeout"
        assert 0.1 < asyncio.get_running_loop().time() - started < 10
        await until(lambda: server.open == 0)


async def test_one_exchange_that_fails_badly_leaves_the_deadlines_of_the_others() -> None:
    """Deadlines are looked at in one sweep: a mistake in one must not be the last thing it did."""

    class Broken(Heard):
        def on_fail(self, error: TransportError) -> None:
            raise ZeroDivisionError

    trouble: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))

    async def silent(peer: Peer) -> None:
        await peer.gone()

    async with raw_server(silent) as server, transport() as one:
        pool = one.pool(server.origin)
        heard = [Broken(0.03), Heard(0.15), Broken(0.06), Heard(0.2)]
        for exchange in heard:
            (await pool.dial(1)).send(exchange, b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n", [b""])
        assert (await heard[1].failure()).kind == "timeout"
        assert (await heard[3].failure()).kind == "timeout"
        await until(lambda: one.active == 0)
    assert len(trouble) == 2


# -- requests


async def test_a_request_goes_out_whole_and_in_order() -> None:
    got: list[bytes] = []
    async with raw_server(answering(OK, server=got)) as server, transport() as one:
        pool = one.pool(server.origin)
        bodies = [b"{}", b"x" * 70_000, b"y" * 2_000_000, b"z"]
        for body in bodies:
            await exchanged(pool, body=body)
        assert [request.partition(b"\r\n\r\n")[2] for request in got] == bodies
        assert server.connections == 1


async def test_an_early_answer_to_a_large_request_is_heard() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.say(b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
        await peer.gone()

    async with raw_server(script) as server, transport() as one:
        heard = await exchanged(one.pool(server.origin), body=b"x" * 8_000_000)
        assert (heard.status, heard.body) == (413, b"no")


async def test_a_connection_whose_request_was_not_read_to_its_end_is_not_used_again() -> None:
    """It says 413 and keep-alive, and reads no further: the next request would stand behind eight megabytes."""

    async def script(peer: Peer) -> None:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        if b"content-length: 2\r" in head:
            await peer.say(OK)
        else:
            await peer.say(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno")
            await asyncio.sleep(5)

    async with raw_server(script) as server, transport() as one:
        pool = one.pool(server.origin)
        assert (await exchanged(pool, body=b"x" * 8_000_000)).status == 413
        assert (await exchanged(pool, timeout_s=1.0)).body == b"ok"
        assert server.connections == 2
