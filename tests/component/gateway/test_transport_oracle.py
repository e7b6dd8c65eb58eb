"""Our transport beside aiohttp: of any answer that HTTP allows, and of any that is cut, both must say the same."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import AsyncExitStack

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.component.gateway.raw import Peer, RawServer, exchanged, raw_server

from sekisho.gateway.connection import TransportError
from sekisho.gateway.transport import Transport


class Wire(msgspec.Struct, kw_only=True):
    """The bytes of an answer, in packets; what follows is the end of the connection where `close` says so."""

    packets: list[bytes]
    close: bool


class House:
    """One server whose answer each example sets, and both clients."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.wire = Wire(packets=[], close=True)

    async def answer(self, peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.say(*self.wire.packets)
            if self.wire.close:
                return


def _mixed_case(name: str) -> st.SearchStrategy[str]:
    return st.sampled_from([name, name.upper(), name.title()])


TOKEN = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)


@st.composite
def wires(draw: st.DrawFn) -> tuple[Wire, int, bytes, bool]:
    """(what goes over the wire, status, body, whether it is all there)."""
    status = draw(st.sampled_from([200, 200, 201, 400, 404, 429, 500, 503]))
    reason = draw(st.sampled_from([" OK", " Too Many Requests", " ", ""]))
    body = draw(st.binary(max_size=300) | st.binary(min_size=3000, max_size=4000))
    framing = draw(st.sampled_from(["length", "chunked", "chunked", "close"]))
    fields = draw(st.lists(st.tuples(TOKEN.map(lambda name: f"x-{name}"), VALUE), max_size=4))
    space = draw(st.sampled_from([" ", "", "  ", "\t"]))
    if framing == "length":
        fields.append((draw(_mixed_case("content-length")), str(len(body))))
    elif framing == "chunked":
        fields.append((draw(_mixed_case("transfer-encoding")), draw(st.sampled_from(["chunked", "Chunked"]))))
    fields.append((draw(_mixed_case("content-type")), "application/json"))
    fields = draw(st.permutations(fields))
    head = f"HTTP/1.1 {status}{reason}\r\n" + "".join(f"{name}:{space}{value}\r\n" for name, value in fields) + "\r\n"
    interim = draw(st.sampled_from([b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    payload = _chunked(draw, body) if framing == "chunked" else body
    whole = interim + head.encode("latin-1") + payload
    start = len(whole) - len(payload)
    cut = draw(st.integers(start, len(whole)) | st.just(len(whole)))
    complete = cut == len(whole) or framing == "close"
    if framing == "close":
        body = payload[: cut - start]
    sent = whole[:cut]
    places = sorted(draw(st.sets(st.integers(1, max(1, len(sent) - 1)), max_size=6)))
    packets = [sent[a:b] for a, b in itertools.pairwise([0, *places, len(sent)]) if sent[a:b]]
    close = not complete or framing == "close" or draw(st.booleans())
    return Wire(packets=packets, close=close), status, body, complete


def _chunked(draw: st.DrawFn, body: bytes) -> bytes:
    out = b""
    places = sorted(draw(st.sets(st.integers(0, len(body)), max_size=5)))
    for start, end in itertools.pairwise([0, *places, len(body)]):
        if piece := body[start:end]:
            size = f"{len(piece):x}"
            extension = draw(st.sampled_from(["", "", ";name=value", ";a"]))
            out += draw(st.sampled_from([size, size.upper(), f"0{size}"])).encode() + extension.encode()
            out += b"\r\n" + piece + b"\r\n"
    trailer = draw(st.sampled_from([b"", b"", b"x-checksum: 1\r\n"]))
    return out + b"0\r\n" + trailer + b"\r\n"


@pytest.fixture(scope="module")
def house() -> Iterator[tuple[House, RawServer, Transport, aiohttp.ClientSession]]:
    loop = asyncio.new_event_loop()
    one = House(loop)
    stack = AsyncExitStack()

    async def opened() -> tuple[RawServer, Transport, aiohttp.ClientSession]:
        server = await stack.enter_async_context(raw_server(one.answer))
        transport = Transport(loop)
        stack.callback(transport.close)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True), auto_decompress=False, trust_env=False
        )
        return server, transport, await stack.enter_async_context(session)

    try:
        yield one, *loop.run_until_complete(opened())
    finally:
        loop.run_until_complete(stack.aclose())
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()


@given(wire=wires())
@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_both_see_the_same_answer(
    house: tuple[House, RawServer, Transport, aiohttp.ClientSession], wire: tuple[Wire, int, bytes, bool]
) -> None:
    one, server, transport, session = house
    one.wire, status, body, complete = wire
    ours = one.loop.run_until_complete(_ours(server, transport))
    theirs = one.loop.run_until_complete(_theirs(server, session))
    assert ours == theirs
    assert ours == ((status, body) if complete else None)
    assert transport.active == 0


async def _ours(server: RawServer, transport: Transport) -> tuple[int, bytes] | None:
    pool = transport.pool(server.origin)
    try:
        heard = await exchanged(pool)
    except TransportError as error:
        assert error.kind in ("cut", "reset")
        return None
    finally:
        # each example on a connection of its own, as the oracle has it
        pool.close_idle()
        while transport.idle:
            await asyncio.sleep(0)
    return heard.status, heard.body


async def _theirs(server: RawServer, session: aiohttp.ClientSession) -> tuple[int, bytes] | None:
    try:
        async with session.post(f"http://127.0.0.1:{server.port}/", data=b"{}") as answer:
            return answer.status, await answer.read()
    except aiohttp.ClientError:
        return None
