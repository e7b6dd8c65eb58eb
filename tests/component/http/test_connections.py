"""What HTTP/1.1 allows on one connection, byte by byte: order of answers, bodies of every kind, ends of connections."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.component.http.client import AUTH, Answer, ask, chat, chunked, connected, http
from tests.support.gateway import KEY, Door, Gateway

from sekisho.entrypoints.http import answers
from sekisho.entrypoints.http.hot import HotProtocol

pytestmark = pytest.mark.asyncio(loop_scope="module")


def hot(word: str, **more: object) -> bytes:
    """A call whose answer holds the word."""
    return http(chat("mock/mock?echo=1", messages=[{"role": "user", "content": word}], **more))


COLD = http(b"", "/v1/models", "GET")
BODY = json.dumps(chat("mock/mock?echo=1")).encode()


def said(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    if answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.events[-1] == "[DONE]"
        return answer.text
    if answer.json["object"] == "list":
        return "models"
    return answer.json["choices"][0]["message"]["content"]


async def test_many_calls_on_one_connection(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        for n in range(50):
            await wire.send(hot(f"call {n}", stream=n % 3 == 0) if n % 5 else COLD)
            assert said(await wire.answer()) == (f"call {n}" if n % 5 else "models")
    ids = [row.request_id for row in gateway.rows]
    assert [one[:16] for one in ids] == sorted(one[:16] for one in ids), "ids begin with the time"
    assert len(set(ids)) == 40


async def test_a_connection_goes_on_after_a_refusal(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        for data, status in (
            (http(b"{"), 400),
            (http(chat(), headers=""), 401),
            (http(chat("nothing")), 404),
            (http(chat(), "/nothing"), 404),
            (http(b"", "/v1/chat/completions", "GET"), 405),
            (http(chat("mock/mock?status=500")), 502),
            (hot("after all"), 200),
        ):
            await wire.send(data)
            answer = await wire.answer()
            assert (answer.status, answer.headers.get("connection")) == (status, None)


SLOW = http(chat("mock/mock?delay_ms=60&answer=slow"))
STREAMED = http(chat("mock/mock?chunk_ms=5&answer=streamed", stream=True))
REFUSED = http(chat(), headers="")
KINDS = {"slow": SLOW, "streamed": STREAMED, "quick": hot("quick"), "models": COLD, "refused": REFUSED}


def kind(answer: Answer) -> str:
    return "refused" if answer.status == 401 else said(answer)


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
async def test_two_requests_at_once_are_answered_in_order(gateway: Gateway, first: str, second: str) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(KINDS[first] + KINDS[second])
        assert [kind(await wire.answer()) for _ in range(2)] == [first, second]
        await wire.send(KINDS["quick"])
        assert kind(await wire.answer()) == "quick"


@pytest.mark.parametrize(
    "order",
    [
        ["slow", "quick", "models", "streamed", "quick"],
        ["streamed", "streamed", "streamed", "streamed", "streamed"],
        ["models", "slow", "models", "slow", "models"],
        ["refused", "slow", "refused", "quick", "streamed"],
        ["quick", "refused", "quick", "models", "slow"],
    ],
)
async def test_five_requests_at_once(gateway: Gateway, order: list[str]) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(b"".join(KINDS[one] for one in order))
        assert [kind(await wire.answer()) for _ in order] == order
    assert len(gateway.rows) == len(order) - order.count("models")


async def test_a_hundred_requests_at_once(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(b"".join(hot(str(n)) for n in range(100)))
        assert [said(await wire.answer()) for _ in range(100)] == [str(n) for n in range(100)]


async def test_the_second_request_arrives_in_the_middle_of_the_first_answer(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(STREAMED)
        await wire.until(b'"content":"stre"')
        await wire.send(KINDS["quick"][:100])
        await asyncio.sleep(0.01)
        await wire.send(KINDS["quick"][100:])
        assert [kind(await wire.answer()) for _ in range(2)] == ["streamed", "quick"]


async def test_leaving_with_a_request_behind_stops_the_one_in_progress(gateway: Gateway, door: Door) -> None:
    if door == "asgi":
        return  # uvicorn tells only the newest request; in the product every connection is the hot protocol's
    async with connected(gateway.port) as wire:
        await wire.send(http(chat("mock/mock?chunk_ms=20&chunks=200", stream=True)))
        await wire.until(b"data: ")
        await wire.send(hot("never answered"))
        await asyncio.sleep(0.03)
        wire.leave(reset=True)
    await gateway.until(lambda: gateway.mock.calls["aborted"] == 1)
    row = await gateway.row()
    assert (row.status_code, row.terminal_state) == (499, "client_left")


async def test_garbage_behind_a_call_does_not_spoil_its_answer(gateway: Gateway, door: Door) -> None:
    if door == "asgi":
        return  # uvicorn writes its own 400 between; in the product every connection is the hot protocol's
    for data, word in ((SLOW, "slow"), (STREAMED, "streamed"), (COLD, "models")):
        async with connected(gateway.port) as wire:
            await wire.send(data + b"nonsense\r\n\r\n")
            assert kind(await wire.answer()) == word
            assert await wire.closed()
    async with connected(gateway.port) as wire:
        await wire.send(KINDS["quick"])
        assert kind(await wire.answer()) == "quick"
        await wire.send(b"\x00\x01\x02")
        assert (await wire.answer()).error["code"] == "bad_http"
        assert await wire.closed()
    assert len(gateway.rows) == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_our_own_mistake_in_the_door_leaves_nobody_waiting(
    gateway: Gateway, door: Door, stream: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if door == "asgi":
        return

    def broken(*_: object) -> str:
        raise RuntimeError("a mistake")

    with monkeypatch.context() as patched:
        patched.setattr(answers, "fields", broken)
        for data in (hot("never said", stream=stream), http(chat(), headers="")):
            async with connected(gateway.port) as wire:
                await wire.send(data)
                assert await wire.closed()
    assert "RuntimeError: a mistake" in caplog.text
    assert said(await ask(gateway.port, hot("said", stream=stream))) == "said"


@pytest.mark.parametrize("address", ["/v1/chat/completions", "/v1/chat/completions?x=1"])
async def test_a_broken_chunk_ends_the_call(gateway: Gateway, door: Door, address: str) -> None:
    """And answer and row say the same of it, also where the address has a query."""
    async with connected(gateway.port) as wire:
        await wire.send(chunked(BODY, address, end=b"zz\r\n"))
        answer = await wire.answer()
        assert answer.status == 400
        assert await wire.closed()
    row = await gateway.row()
    if door == "hot":
        assert (row.status_code, row.error_code) == (400, "bad_http")
        assert answer.error["request_id"] == row.request_id
    assert gateway.mock.calls["calls"] == 0


# -- ends of connections


async def test_a_client_that_closes_after_this_answer(gateway: Gateway) -> None:
    for data in (hot("last"), hot("last", stream=True)):
        async with connected(gateway.port) as wire:
            await wire.send(data.replace(b"host: gateway", b"host: gateway\r\nconnection: close"))
            answer = await wire.answer()
            assert (said(answer), answer.headers["connection"]) == ("last", "close")
            assert await wire.closed()


async def test_nothing_is_served_after_a_last_request(gateway: Gateway) -> None:
    last = http(chat(), headers="connection: close\r\n")
    async with connected(gateway.port) as wire:
        await wire.send(last + hot("never"))
        assert (await wire.answer()).status == 401
        assert await wire.closed()
    await asyncio.sleep(0.02)
    assert gateway.mock.calls["calls"] == 0


async def test_a_client_that_closes_its_sending_side_gets_its_answer_or_is_gone(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(hot("half closed"))
        wire._writer.write_eof()
        await wire.answer()
    row = await gateway.row()
    assert row.status_code in (200, 499)


async def test_http_1_0(gateway: Gateway, door: Door) -> None:
    body = chat("mock/mock?echo=1")
    async with connected(gateway.port) as wire:
        await wire.send(http(body, version="1.0"))
        answer = await wire.answer()
        assert (said(answer), "transfer-encoding" in answer.headers) == ("hello there", False)
        assert await wire.closed()
    assert (await ask(gateway.port, http(body, headers="", version="1.0"))).status == 401
    assert (await ask(gateway.port, http(b"", "/health/live", "GET", version="1.0"))).status == 200
    async with connected(gateway.port) as wire:
        await wire.send(http({**body, "stream": True}, version="1.0"))
        await wire.answer()
        assert b"data: [DONE]" in wire.raw
        assert await wire.closed()
        head, _, sent = wire.raw.lower().partition(b"\r\n\r\n")
    if door == "hot":  # uvicorn itself sends chunks; in the product every connection is the hot protocol's
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        assert all(line.startswith(b"data: ") for line in sent.split(b"\n") if line)
    # HTTP/1.0 knows no 100 either, but uvicorn's own class says it
    for more in ("connection: keep-alive\r\n", "expect: 100-continue\r\n" if door == "hot" else ""):
        async with connected(gateway.port) as wire:
            await wire.send(http(body, headers=AUTH + more, version="1.0"))
            assert said(await wire.answer()) == "hello there"
            assert await wire.closed()
    assert [row.status_code for row in gateway.rows] == [200, 401, 200, 200, 200]


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[HotProtocol]:
    """The hot connections that are made from now on."""
    made: list[HotProtocol] = []
    original = HotProtocol.connection_made

    def connection_made(self: HotProtocol, transport: asyncio.Transport) -> None:
        made.append(self)
        original(self, transport)

    monkeypatch.setattr(HotProtocol, "connection_made", connection_made)
    return made


async def test_a_connection_that_says_nothing_for_a_while_is_closed_and_a_busy_one_is_not(
    gateway: Gateway, door: Door, connections: list[HotProtocol]
) -> None:
    if door == "asgi":
        return
    loop = asyncio.get_running_loop()
    async with connected(gateway.port) as silent, connected(gateway.port) as used, connected(gateway.port) as busy:
        await used.send(hot("used"))
        await used.answer()
        await busy.send(http(chat("mock/mock?chunk_ms=50&chunks=4", stream=True)))
        await busy.until(b"data: ")
        for one in connections:
            one.close_idle(loop.time() + 3)
        await asyncio.sleep(0.01)
        assert not silent.ended
        for one in connections:
            one.close_idle(loop.time() + 6)
        assert await silent.closed()
        assert await used.closed()
        assert (await busy.answer()).events[-1] == "[DONE]"


@pytest.mark.parametrize("before", [b"", COLD, hot("before")], ids=["alone", "behind", "behind a call"])
@pytest.mark.parametrize("line", ["POST /v1/chat/completions", "POST /v1/embeddings?a=1", "PUT /chat/stream"])
async def test_the_rest_of_a_request_is_waited_for_as_long_on_every_way(
    gateway: Gateway, door: Door, connections: list[HotProtocol], line: str, before: bytes
) -> None:
    """It needs no key: who never sent it kept a connection for ever, and was taken for one that is served."""
    if door == "asgi":
        return
    loop = asyncio.get_running_loop()
    half = f"{line} HTTP/1.1\r\nhost: gateway\r\ncontent-length: 9\r\n\r\n{{".encode()
    async with connected(gateway.port) as left, connected(gateway.port) as served:
        for wire in (left, served):
            await wire.send(before + half)
            if before:
                assert (await wire.answer()).status == 200
        await asyncio.sleep(0.02)
        for one in connections:
            one.close_idle(loop.time() + 290)
        await served.send(b"       }")
        assert (await served.answer()).status in (400, 401, 405)
        for one in connections:
            assert one.waiting_since_s, "it can be closed where there are too many"
            one.close_idle(loop.time() + 290 if one is connections[0] else loop.time())
        assert not left.ended
        for one in connections:
            one.close_idle(loop.time() + 301)
        assert await left.closed()
    await gateway.until(lambda: "client_left" in {row.terminal_state for row in gateway.rows})


@pytest.mark.parametrize("more", [b"", b"x" * 1_000], ids=["at once", "after some more"])
async def test_who_leaves_after_a_body_that_was_not_waited_for_has_one_row(
    gateway: Gateway, door: Door, connections: list[HotProtocol], more: bytes
) -> None:
    if door == "asgi":
        return
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-length: 900000\r\n\r\n"
    async with connected(gateway.port) as wire:
        await wire.send(head)
        assert (await wire.answer()).status == 401
        await wire.send(more)
        wire.leave(reset=True)
    [one] = connections
    await gateway.until(lambda: one not in one.connections)
    assert [(row.status_code, row.terminal_state) for row in gateway.rows] == [(401, "refused")]


async def test_a_call_on_the_slower_way_may_take_its_time(
    gateway: Gateway, door: Door, connections: list[HotProtocol]
) -> None:
    if door == "asgi":
        return
    slow = http(chat("mock/mock?delay_ms=300"), "/v1/chat/completions?a=1")
    async with connected(gateway.port) as wire:
        for data in (slow, slow + slow):
            await wire.send(data[:-1])
            await asyncio.sleep(0.02)
            await wire.send(data[-1:])
            for _ in range(data.count(b"POST ")):
                await asyncio.sleep(0.05)
                connections[0].close_idle(asyncio.get_running_loop().time() + 1_000)
                assert (await wire.answer()).status == 200


@pytest.mark.parametrize(("place", "rows"), [("on_url", 0), ("on_body", 1), ("on_message_complete", 1)])
async def test_a_mistake_of_ours_in_reading_is_answered_and_touches_no_other_connection(
    gateway: Gateway,
    door: Door,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    place: str,
    rows: int,
) -> None:
    if door == "asgi":
        return

    def mistaken(*_: object) -> None:
        raise LookupError(KEY)

    async with connected(gateway.port) as other:
        await other.send(COLD)
        assert said(await other.answer()) == "models"
        with monkeypatch.context() as patch:
            patch.setattr(HotProtocol, place, mistaken)  # a connection takes it when it is made
            async with connected(gateway.port) as wire:
                await wire.send(hot("lost"))
                answer = await wire.answer()
                assert (answer.status, answer.error["code"]) == (500, "internal_error")
                assert answer.headers["connection"] == "close"
                assert KEY not in answer.body.decode()
                assert await wire.closed()
        await other.send(hot("fine"))
        assert said(await other.answer()) == "fine"
    assert [(row.status_code, row.error_code) for row in gateway.rows] == [(500, "internal_error")] * rows + [
        (200, None)
    ]
    assert "our own mistake" in caplog.text


async def test_finished_calls_leave_nothing_behind(
    gateway: Gateway, door: Door, connections: list[HotProtocol]
) -> None:
    """Whatever stays in uvicorn's set of tasks is never freed, and holds up the end of the process."""
    async with connected(gateway.port) as wire:
        for n in range(5):
            for stream in (False, True):
                await wire.send(hot(str(n), stream=stream))
                await wire.answer()
        await wire.send(http(chat("mock/mock?cut_after=2&chunk_ms=2", stream=True)))
        await wire.answer()
        await wire.send(http(b"{"))
        await wire.answer()
        await wire.send(http(chat("mock/mock?hang=1")))
        await gateway.until(lambda: gateway.mock.calls["calls"] == 12)
        wire.leave()
    await gateway.row(13)
    if door == "hot":
        await gateway.until(lambda: not connections[0].tasks)


# -- bodies


async def test_a_body_in_chunks(gateway: Gateway) -> None:
    for size in (1, 7, 1000):
        assert said(await ask(gateway.port, chunked(BODY, size=size))) == "hello there"
    trailer = b"0\r\nx-checksum: 1\r\n\r\n"
    extended = chunked(BODY, end=trailer).replace(b"7\r\n", b"7;name=value\r\n", 1)
    assert said(await ask(gateway.port, extended)) == "hello there"
    assert all(json.loads(row.request or b"") == json.loads(BODY) for row in gateway.rows)


async def test_chunks_that_grow_too_large(gateway: Gateway) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(chunked(b"x" * (12 * 2**20 + 1), size=2**20, end=b""))
        answer = await wire.answer()
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert len(gateway.rows) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_bytes_one_by_one(gateway: Gateway, stream: bool) -> None:
    async with connected(gateway.port) as wire:
        await wire.dribble(hot("bytes", stream=stream))
        assert said(await wire.answer()) == "bytes"
        await wire.dribble(chunked(BODY))
        assert said(await wire.answer()) == "hello there"
        await wire.dribble(COLD)
        assert said(await wire.answer()) == "models"


async def test_an_answer_that_comes_byte_by_byte(gateway: Gateway) -> None:
    for stream in (False, True):
        model = "mock/mock?split=1&answer=%E9%96%A2%E6%89%80&chunks=2"
        assert said(await ask(gateway.port, http(chat(model, stream=stream)))) == "関所"


async def test_expect_100_continue(gateway: Gateway) -> None:
    for path, body in (("/v1/chat/completions", BODY), ("/v1/embeddings", b'{"model": "embed", "input": "a"}')):
        async with connected(gateway.port) as wire:
            head = http(body, path, headers=f"{AUTH}Expect: 100-Continue\r\n").removesuffix(body)
            await wire.send(head)
            assert (await wire.answer()).status == 100
            await wire.send(body)
            assert (await wire.answer()).status == 200
            await wire.send(hot("no invitation needed"))
            assert said(await wire.answer()) == "no invitation needed"


@pytest.mark.parametrize(
    "upgrade",
    ["connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"],
)
async def test_a_client_that_offers_another_protocol_is_served_in_this_one(
    gateway: Gateway, upgrade: str, door: Door
) -> None:
    """curl --http2 and Java's HttpClient offer h2c with every first request."""
    if door == "asgi":
        return  # uvicorn drops the body; in the product every connection is the hot protocol's
    async with connected(gateway.port) as wire:
        await wire.send(http(BODY, headers=AUTH + upgrade))
        assert said(await wire.answer()) == "hello there"
        await wire.send(KINDS["quick"])
        assert kind(await wire.answer()) == "quick"
        await wire.dribble(http(BODY, "/v1/chat/completions?api-version=1", headers=AUTH + upgrade))
        assert said(await wire.answer()) == "hello there"
        await wire.send(chunked(BODY, headers=AUTH + upgrade) + http(b"", "/v1/models", "GET", AUTH + upgrade))
        assert [said(await wire.answer()) for _ in range(2)] == ["hello there", "models"]
        await wire.send(http(b"", "/v1/chat/completions", "GET", "connection: upgrade\r\nupgrade: websocket\r\n"))
        assert (await wire.answer()).status == 405
        await wire.send(b"CONNECT evil.example:443 HTTP/1.1\r\nhost: g\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
        assert (await wire.answer()).status == 400


# -- what may not get into headers, and what a provider sees


@pytest.mark.parametrize(
    ("model", "header"),
    [
        ("mock/mock?answer=日本", "mock?answer=%E6%97%A5%E6%9C%AC"),
        ("mock/mock?answer=a%0d%0ax-evil: 1", "mock?answer=a%250d%250ax-evil:%201"),
        ("mock/mock?answer=ÿ", "mock?answer=%C3%BF"),
        ("mock/mock?answer=💴", "mock?answer=%F0%9F%92%B4"),
        ('mock/mock?answer="<>\\', "mock?answer=%22<>%5C"),
    ],
)
async def test_a_model_name_cannot_add_headers(gateway: Gateway, model: str, header: str) -> None:
    for stream in (False, True):
        answer = await ask(gateway.port, http(chat(model, stream=stream)))
        assert answer.status == 200
        assert answer.headers["x-sekisho-model"] == header
        assert "x-evil" not in answer.headers
        row = gateway.rows[-1]
        assert (row.request_model, row.destination_model) == (model, model.removeprefix("mock/"))
    refused = await ask(gateway.port, http(chat(model.replace("mock/", "nobody/"))))
    assert (refused.status, "x-evil" in refused.headers) == (404, False)


@pytest.mark.parametrize("name", ["chat\r\nx-evil: 1", "chat\n", "chat\x00", "\u2028chat", "chat\x7f"])
async def test_a_model_name_with_control_characters_is_refused(gateway: Gateway, name: str) -> None:
    answer = await ask(gateway.port, http(chat(name)))
    assert (answer.status, answer.error["param"]) == (400, "model")
    assert "x-evil" not in answer.body.decode()
    for method in ("GET", "POST"):
        quoted = "".join(f"%{byte:02x}" for byte in name.encode())
        answer = await ask(gateway.port, http(b"", f"/v1/models/{quoted}", method))
        assert answer.status < 500
        assert "x-evil" not in answer.headers


async def test_a_member_that_comes_twice_reaches_the_provider_once(gateway: Gateway) -> None:
    body = (
        b'{"model": "dead/x", "messages": [], "temperature": 1, "model": "mock/mock?echo=1", "temperature": 2, '
        b'"messages": [{"role": "user", "content": "second"}]}'
    )
    assert said(await ask(gateway.port, http(body))) == "second"
    async with connected(gateway.port) as wire:
        await wire.send(http(body.replace(b'"temperature": 1', b'"stream": true')))
        assert said(await wire.answer()) == "second"
    sent = gateway.mock.last
    assert sent is not None
    assert sent["body"]["model"] == "mock?echo=1"  # type: ignore[index]
    assert [row.request_model for row in gateway.rows] == ["mock/mock?echo=1"] * 2


async def test_odd_but_legal_text_passes_unchanged(gateway: Gateway) -> None:
    text = '\\ud83d \\u0000 \\u2028 \\"quoted\\" 関所 💴 \\/ ' + "é" * 3
    body = b'{"model":"mock/mock-small","messages":[{"role":"user","content":"%b"}],"n":1}' % text.encode()
    answer = await ask(gateway.port, http(body))
    if answer.status == 200:
        assert (await gateway.row()).request == body
    else:  # half a pair is no text: a strict reader may refuse it, ours or the provider's, but nobody may break
        assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    whole = text.replace("\\ud83d ", "")
    body = body.replace(b"\\ud83d ", b"")
    assert (await ask(gateway.port, http(body))).status == 200
    row = await gateway.row(2)
    assert row.request == body
    assert gateway.mock.last["body"]["messages"][0]["content"] == json.loads(f'"{whole}"')  # type: ignore[index]


async def test_numbers_pass_to_the_digit(gateway: Gateway) -> None:
    body = b'{"model":"mock/mock-small","messages":[{"role":"user","content":"a"}],"temperature":0.10000000000000001,'
    body += b'"seed":12345678901234567890,"top_p":1e-7}'
    assert (await ask(gateway.port, http(body))).status == 200
    sent = gateway.mock.last["body"]  # type: ignore[index]
    assert (sent["seed"], sent["top_p"]) == (12345678901234567890, 1e-7)  # type: ignore[index]


async def test_what_a_row_keeps_of_the_headers(gateway: Gateway) -> None:
    """Header values are whatever bytes a client sends."""
    more = (
        "x-client-request-id: mine-1\r\nx-request-id: theirs-1\r\nx-sekisho-conversation: 会話-1\r\n"
        'x-sekisho-tags: {"feature":"要約","job":"7"}\r\nuser-agent: tester/1\r\n'
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
    )
    for stream in (False, True):
        answer = await ask(
            gateway.port, http(chat(stream=stream, user="hanako", metadata={"job": "1", "a": "b"}), headers=AUTH + more)
        )
        row = gateway.rows[-1]
        assert answer.headers["x-request-id"] == row.request_id
        assert (row.client_request_id, row.conversation_id, row.user_agent) == ("mine-1", "会話-1", "tester/1")
        assert (row.tags, row.feature) == ({"feature": "要約", "job": "7", "a": "b"}, "要約")
        assert (row.trace_id, row.span_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
        assert (row.end_user, row.requester, row.client_ip_prefix) == ("hanako", "taro", "127.0.0.0/24")
    await ask(
        gateway.port, http(chat(), headers=f"{AUTH}x-request-id: theirs-2\r\nuser-agent: \xff\r\ntraceparent: 1\r\n")
    )
    row = gateway.rows[-1]
    assert (row.client_request_id, row.trace_id, row.span_id) == ("theirs-2", None, None)


TWO_LENGTHS = http(BODY, headers=f"{AUTH}content-length: 5\r\n")
NO_CHUNK = chunked(BODY, end=b"zz\r\n")
NO_CHUNK_EITHER = chunked(BODY, "/v1/chat/completions?x=1", end=b"zz\r\n")
NOWHERE = chunked(BODY, "/v1/nowhere", end=b"zz\r\n")


@pytest.mark.parametrize("first", [pytest.param(hot("first"), id="hot"), pytest.param(COLD, id="cold")])
@pytest.mark.parametrize("unreadable", [pytest.param(NO_CHUNK, id="body"), pytest.param(TWO_LENGTHS, id="head")])
async def test_what_cannot_be_read_waits_until_the_calls_before_it_are_answered(
    gateway: Gateway, door: Door, first: bytes, unreadable: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection ends then. It stayed open for good, or the answer to the second came in place of the first."""
    if door == "asgi":
        return  # uvicorn's own protocol, which no gateway serves by
    async with connected(gateway.port) as wire:
        await wire.send(first + COLD + unreadable)
        assert said(await wire.answer()) in ("first", "models")
        assert said(await wire.answer()) == "models"
        last = await wire.answer()
        await wire.closed()
    if unreadable is NO_CHUNK:
        assert (last.status, last.error["code"]) == (400, "bad_http")
        assert last.headers["connection"] == "close"
    assert wire.raw.count(b"HTTP/1.1 ") == 2 + (unreadable is NO_CHUNK)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("first", [pytest.param(hot("first"), id="hot"), pytest.param(COLD, id="cold")])
@pytest.mark.parametrize("unreadable", [NO_CHUNK, NO_CHUNK_EITHER, NOWHERE], ids=["plain", "query", "no route"])
async def test_a_broken_chunk_behind_another_call_is_a_row(
    gateway: Gateway, door: Door, first: bytes, unreadable: bytes
) -> None:
    """Where it was a call: one whose body broke in its turn had an answer and no row."""
    if door == "asgi":
        return  # uvicorn's own protocol, which no gateway serves by
    async with connected(gateway.port) as wire:
        await wire.send(first + unreadable)
        assert said(await wire.answer()) in ("first", "models")
        last = await wire.answer()
        await wire.closed()
    assert (last.status, last.error["code"]) == (400, "bad_http")
    rows = [row for row in gateway.rows if row.status_code != 200]
    assert [(row.status_code, row.error_code) for row in rows] == [(400, "bad_http")] * (unreadable is not NOWHERE)
    assert [row.request_id for row in rows] == [last.headers["x-request-id"]] * len(rows)
    assert gateway.mock.calls["calls"] == (first is not COLD)
