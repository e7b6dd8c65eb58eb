from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import pytest

from sekisho.mock.calls import Calls
from sekisho.mock.connection import Connection
from sekisho.mock.server import MockProvider, PortUnavailable


def test_a_connection_is_kept_for_the_next_request(connect, request_bytes, chat_body, read) -> None:
    with connect() as sock:
        for stream in (False, True, False):
            sock.sendall(request_bytes(chat_body("mock-small", stream)))
            assert read(sock).status == 200


def test_a_second_request_sent_early_is_answered_second(connect, request_bytes, chat_body, read) -> None:
    models = ["mock?answer=one&delay_ms=50", "mock?answer=two", "mock?answer=three&chunks=1"]
    with connect() as sock:
        sock.sendall(b"".join(request_bytes(chat_body(model)) for model in models))
        texts = [read(sock).json["choices"][0]["message"]["content"] for _ in models]
    assert texts == ["one", "two", "three"]


def test_a_request_may_come_in_pieces(connect, request_bytes, chat_body, read) -> None:
    with connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request_bytes(chat_body("mock-small")):
            sock.sendall(bytes([byte]))
        assert read(sock).status == 200


def test_a_client_that_asks_to_close_is_left(connect, request_bytes, chat_body) -> None:
    with connect() as sock:
        sock.sendall(request_bytes(chat_body("mock-small"), headers="connection: close\r\n"))
        data = b""
        while piece := sock.recv(65536):
            data += piece
    assert data.startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_waits_for_leave_gets_it(connect, request_bytes, chat_body, read) -> None:
    head, _, body = request_bytes(chat_body("mock-small"), headers="expect: 100-continue\r\n").partition(b"\r\n\r\n")
    with connect() as sock:
        sock.sendall(head + b"\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert read(sock).status == 200


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"not http at all\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.0\r\n\r\n", 505),
        (b"GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", 400),
    ],
)
def test_what_is_not_http_11_is_refused_in_the_envelope(connect, read, raw, status) -> None:
    with connect() as sock:
        sock.sendall(raw)
        answer = read(sock)
        assert answer.status == status
        assert answer.json["error"]["message"]
        assert sock.recv(1) == b""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models", 200),
        ("GET", "/models", 200),
        ("GET", "/v1/models/any%2Fname?x=1", 200),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/_mock/reset", 405),
        ("GET", "/nowhere", 404),
    ],
)
def test_paths_and_methods(connect, request_bytes, read, method, path, status) -> None:
    with connect() as sock:
        sock.sendall(request_bytes(b"", path, method))
        answer = read(sock)
        assert answer.status == status
        assert ("error" in answer.json) == (status >= 400)


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_the_prefix_may_be_left_out(connect, request_bytes, chat_body, read, prefix) -> None:
    with connect() as sock:
        sock.sendall(request_bytes(chat_body("mock-small"), f"{prefix}/chat/completions"))
        assert read(sock).status == 200
        sock.sendall(request_bytes({"model": "m", "input": "a"}, f"{prefix}/embeddings"))
        assert read(sock).status == 200


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"{", None, "invalid_json"),
        (b"\xff", None, "invalid_json"),
        ({"messages": [{"role": "user"}]}, "model", "invalid_value"),
        ({"model": "m", "messages": []}, "messages", "invalid_value"),
        ({"model": "m", "messages": [{"role": 1}]}, "messages[0].role", "invalid_value"),
        ({"model": "m", "messages": [{"role": "user"}], "stream_options": {}}, "stream_options", None),
    ],
)
def test_a_bad_body_is_a_400_with_the_field(connect, request_bytes, read, body, param, code) -> None:
    with connect() as sock:
        sock.sendall(request_bytes(body))
        answer = read(sock)
    assert answer.status == 400
    assert (answer.json["error"]["param"], answer.json["error"]["code"]) == (param, code)


def test_the_books_of_the_mock(connect, request_bytes, chat_body, read, mock) -> None:
    with connect() as sock:
        for model in ("a", "b", "a"):
            sock.sendall(
                request_bytes(chat_body(model), headers="Authorization: Bearer sk-1\r\nx-two: 1\r\nX-Two: 2\r\n")
            )
            read(sock)
        sock.sendall(request_bytes(b"", "/_mock/calls", "GET"))
        assert read(sock).json == {"calls": 3, "aborted": 0, "by_model": {"a": 2, "b": 1}} == mock.calls
        sock.sendall(request_bytes(b"", "/_mock/last", "GET"))
        last = read(sock).json
        assert last == mock.last
        assert (last["method"], last["path"], last["body"]) == ("POST", "/v1/chat/completions", chat_body("a"))
        assert (last["headers"]["authorization"], last["headers"]["x-two"]) == ("Bearer sk-1", "1, 2")
        sock.sendall(request_bytes(b"", "/_mock/reset", "POST"))
        assert read(sock).json == {"calls": 0, "aborted": 0, "by_model": {}}
        sock.sendall(request_bytes(b"", "/_mock/last", "GET"))
        assert read(sock).json is None


def test_a_body_that_is_no_json_is_shown_as_text(connect, request_bytes, read, mock) -> None:
    with connect() as sock:
        sock.sendall(request_bytes(b"{no"))
        read(sock)
    assert mock.last is not None
    assert mock.last["body"] == "{no"
    assert mock.calls == {"calls": 1, "aborted": 0, "by_model": {}}


@pytest.mark.parametrize(
    "model", ["mock?hang=1", "mock?delay_ms=60000", "mock?chunk_ms=60000", "mock?hang_after=1", "mock?line_mb=20"]
)
def test_a_client_that_leaves_early_is_counted(connect, request_bytes, chat_body, mock, until, model) -> None:
    with connect() as sock:
        sock.sendall(request_bytes(chat_body(model, stream=True)))
        until(lambda: mock.calls["calls"] == 1)
    until(lambda: mock.calls["aborted"] == 1)


@pytest.mark.parametrize("model", ["mock-small", "mock?cut_after=1", "mock?reset_after=0", "mock?error_after=1"])
def test_a_client_that_got_its_answer_has_not_left(ask, mock, model) -> None:
    ask(model, stream=True)
    # A second connection: what the server had to notice about the first one, it has noticed by now.
    ask("mock-small")
    assert mock.calls["aborted"] == 0


def test_a_client_that_does_not_read_is_not_sent_everything(
    connect, request_bytes, chat_body, read, mock, until
) -> None:
    with connect() as slow, connect() as other:
        slow.sendall(request_bytes(chat_body("mock?line_mb=30", stream=True)))
        until(lambda: mock.calls["calls"] == 1)
        other.sendall(request_bytes(chat_body("mock-small")))
        assert read(other).status == 200, "the others are served meanwhile"
        got = 0
        while True:
            data = slow.recv(1 << 20)
            got += len(data)
            if data.endswith(b"0\r\n\r\n"):
                break
        assert got > 30_000_000


async def test_answers_that_are_not_read_do_not_fill_the_memory() -> None:
    calls = Calls(most_held_bytes=30_000_000)
    everyone: set[Connection] = set()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(calls, everyone), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def ask(model: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "a"}]}).encode()
        writer.write(b"POST /chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        return reader, writer

    reader, unread = await ask("mock?line_mb=20")
    assert (await reader.readline()).split()[1] == b"200"
    reader, second = await ask("mock?line_mb=20")
    assert (await reader.readline()).split()[1] == b"503"
    unread.close()
    while len(everyone) > 1:
        await asyncio.sleep(0)
    reader, third = await ask("mock?line_mb=20")
    assert (await reader.readline()).split()[1] == b"200"
    for writer in (second, third):
        writer.close()
    server.close()
    while everyone:
        await asyncio.sleep(0)


def test_a_body_without_end_is_refused(connect, request_bytes) -> None:
    with connect() as sock:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 900000000\r\n\r\n")
        piece, sent = b" " * 1_000_000, 0
        with contextlib.suppress(ConnectionError):
            while sent < 900_000_000:
                sent += sock.send(piece)
    assert sent < 200_000_000


async def test_in_process_it_starts_and_closes_with_connections_open() -> None:
    async with MockProvider(delay_ms=60_000) as mock:
        assert mock.base_url == f"http://127.0.0.1:{mock.port}/v1"
        reader, writer = await asyncio.open_connection("127.0.0.1", mock.port)
        writer.write(b"POST /chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 46\r\n\r\n")
        writer.write(b'{"model":"m","messages":[{"role":"user"    }]}')
        while not mock.calls["calls"]:
            await asyncio.sleep(0.001)
    assert await reader.read() == b""
    writer.close()
    assert mock.calls["aborted"] == 0
    await mock.close()


async def test_a_port_that_is_taken_is_said_so() -> None:
    async with MockProvider() as first:
        with pytest.raises(PortUnavailable, match=rf"Port {first.port} on 127.0.0.1 is taken"):
            await MockProvider().start(port=first.port)


async def test_two_thousand_streams_at_once() -> None:
    body = json.dumps({"model": "mock?chunks=3&chunk_ms=300", "stream": True, "messages": [{"role": "user"}]}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    async def one(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        data = await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.close()
        return data

    async with MockProvider() as mock:
        answers = await asyncio.gather(*(one(mock.port) for _ in range(2000)))
        assert mock.calls["calls"] == 2000
    assert len(set(answers)) == 1
    assert answers[0].count(b'"content":"') == 4
    assert b"data: [DONE]" in answers[0]
