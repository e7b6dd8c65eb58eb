"""A head that came before on its connection is not parsed again: the answers must be those of a parsed one."""

from __future__ import annotations

import asyncio

import pytest
from tests.component.http.client import AUTH, chat, connected, http
from tests.component.http.test_connections import hot, said
from tests.support.gateway import KEY, Gateway

from sekisho.domain.call import Call, Entry
from sekisho.entrypoints.http.hot_call import HotCall
from sekisho.entrypoints.http.intake import ROUTES
from sekisho.entrypoints.http.known_heads import known_head
from sekisho.gateway.pipeline import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = b"/v1/chat/completions"


def packet(length: bytes, body: bytes, more: bytes = b"") -> bytes:
    return (
        b"POST %b HTTP/1.1\r\nhost: here\r\n%bcontent-length: %b\r\n%b\r\n%b"
        % (PATH, AUTH.encode(), length, more, body)
    )  # fmt: skip


async def test_bodies_of_every_length_under_the_same_head(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        for n in (1, 7, 80, 900, 5_000, 3):
            await wire.send(hot("さ" * n))
            assert said(await wire.answer()) == "さ" * n


async def test_a_body_in_pieces_and_one_byte_at_a_time(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(hot("first"))
        assert said(await wire.answer()) == "first"
        data = hot("in pieces")
        for at in (len(data) // 2, len(data) - 1, data.index(b"\r\n\r\n") + 4, 10):
            await wire.send(data[:at])
            await asyncio.sleep(0.01)
            await wire.send(data[at:])
            assert said(await wire.answer()) == "in pieces"
        await wire.dribble(data)
        assert said(await wire.answer()) == "in pieces"


async def test_two_requests_in_one_packet_are_answered_in_order(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(hot("zero"))
        assert said(await wire.answer()) == "zero"
        await wire.send(hot("one") + hot("two") + hot("three"))
        assert [said(await wire.answer()) for _ in range(3)] == ["one", "two", "three"]


@pytest.mark.parametrize("length", [b"+2", b"1_0", b"0x2", b" 2 2", b"-2", b"2,2", b""])
async def test_a_length_that_is_none_is_refused_as_ever(gateway: Gateway, length: bytes) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(packet(b"2", b"{}"))
        assert (await wire.answer()).status == 400
        await wire.send(packet(length, b"{}"))
        assert (await wire.answer()).status == 400


async def test_another_key_under_a_head_that_differs_in_it_alone(gateway: Gateway) -> None:
    good = hot("mine")
    bad = good.replace(AUTH.encode(), AUTH.encode()[:-3] + b"x\r\n")
    async with connected(gateway.port) as wire:
        for data, status in ((good, 200), (good, 200), (bad, 401), (bad, 401), (good, 200)):
            await wire.send(data)
            assert (await wire.answer()).status == status


async def test_those_on_whose_behalf_a_key_calls_stand_on_their_own_rows(gateway: Gateway) -> None:
    key = "authorization: Bearer sk-behalf-0123456789abcdef\r\n"
    async with connected(gateway.port) as wire:
        for user in ("hanako", "jiro", "jiro", None, "hanako"):
            body = chat("chat") if user is None else chat("chat", user=user)
            await wire.send(http(body, headers=key))
            assert (await wire.answer()).status == 200
    await gateway.until(lambda: len(gateway.rows) == 5)
    assert [row.requester for row in gateway.rows] == ["hanako", "jiro", "jiro", "behalf", "hanako"]


async def test_a_body_over_the_limit_under_a_known_head_is_413(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(hot("small"))
        assert said(await wire.answer()) == "small"
        limit = gateway.pipeline.snapshot.max_body_bytes
        gateway.pipeline.snapshot.max_body_bytes = 2_000
        try:
            await wire.send(hot("x" * 3_000))
            assert (await wire.answer()).status == 413
        finally:
            gateway.pipeline.snapshot.max_body_bytes = limit


def call(body: bytes, headers: dict[bytes, bytes] | None = None) -> HotCall:
    one = HotCall(ROUTES[PATH], headers or {}, 1_000, True)
    one.size = len(body)
    return one


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (packet(b"2", b"{}"), True),
        (packet(b"2", b"{}").replace(b"content-length", b"Content-LENGTH"), True),
        (packet(b"2", b"{}", b"x-content-length: 9\r\n"), False),
        (packet(b"2", b"{}", b"transfer-encoding: chunked\r\n"), False),
        (packet(b"2", b"{}") + b"P", False),
        (packet(b"2", b"{}")[:-1], False),
        (packet(b"00000002", b"{}"), False),
    ],
)
async def test_only_a_plain_whole_request_is_remembered(data: bytes, kept: bool) -> None:
    assert (known_head(data, call(b"{}")) is not None) is kept


@pytest.mark.parametrize("behind", [b"", b"x-api-key: sk-mine\r\nuser-agent: one\r\n"])
async def test_a_head_is_known_again_by_all_its_bytes_but_those_of_the_length(behind: bytes) -> None:
    first = packet(b"2", b"{}", behind)
    known = known_head(first, call(b"{}"))
    assert known is not None

    def again(data: bytes) -> bytes | None:
        return known.body_in(data) if data.startswith(known.prefix) else None

    for body in (b"", b"{}", b"a" * 9, b"a" * 10, b"a" * 12_345, first):
        data = packet(b"%d" % len(body), body, behind)
        assert again(data) == body
        assert again(data + b"P") is None, "more than it says"
        assert body == b"" or again(data[:-1]) is None, "not all of it"
    assert again(packet(b"0000002", b"{}", behind)) == b"{}"
    assert again(packet(b"00000002", b"{}", behind)) is None
    assert again(packet(b"", b"", behind)) is None
    for at in range(first.index(b"\r\n\r\n") + 4):
        for changed in (b"~", b"", b"\r", bytes([first[at] ^ 0x20])):
            other = first[:at] + changed + first[at + 1 :]
            assert other == first or again(other) is None
            # also where the body makes up for what the head lacks
            assert other == first or again(other + b"a" * (len(first) - len(other))) is None
        for inserted in (b"~", b" ", b"0x"):
            other = first[:at] + inserted + first[at:]
            assert again(other) is None
            assert again(other[: len(first)]) is None


@pytest.mark.parametrize("name", [b"expect", b"upgrade", b"content-encoding", b"idempotency-key"])
async def test_what_needs_more_than_its_bytes_is_not_remembered(name: bytes) -> None:
    assert known_head(packet(b"2", b"{}"), call(b"{}", {name: b"x"})) is None


async def test_a_call_that_says_something_new_each_time_is_still_read(gateway: Gateway) -> None:
    """Heads that are never the same, as with trace ids: remembered no more after a while, and right all the same."""
    async with connected(gateway.port) as wire:
        for n in range(30):
            data = http(chat("mock/mock?echo=1"), headers=f"{AUTH}x-client-request-id: never-{n}\r\n")
            await wire.send(data)
            assert (await wire.answer()).status == 200
    named = [row.client_request_id for row in gateway.rows]
    assert named == [f"never-{n}" for n in range(30)]


async def test_what_is_remembered_does_not_print_the_key() -> None:
    headers = {b"authorization": AUTH.split(" ", 1)[1].strip().encode()}
    known = known_head(packet(b"2", b"{}"), call(b"{}", headers))
    assert known is not None
    one = Call(ROUTES[PATH], headers, b"{}", "req_1", 0, None, known=known.known)
    for text in (repr(known), repr(one), str(one), repr(Reply(Entry(one), 200))):
        assert KEY not in text
