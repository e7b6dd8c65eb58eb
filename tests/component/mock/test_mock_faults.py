from __future__ import annotations

import asyncio
import json
import time
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import quote

import pytest

from sekisho.mock.server import MockProvider

CANARY = "key sk-upstream-canary at https://provider.internal/v1"


@pytest.mark.parametrize("stream", [False, True])
def test_a_status_comes_with_the_envelope_and_the_canary(ask, stream) -> None:
    answer = ask("mock?status=429&retry_after=2", stream)
    assert (answer.status, answer.headers["retry-after"]) == (429, "2")
    assert CANARY in answer.json["error"]["message"]
    assert answer.json["error"] | {"message": ""} == {
        "message": "",
        "type": "requests",
        "param": None,
        "code": "rate_limit_exceeded",
    }


def test_a_date_to_try_again_comes_with_the_date_of_today(ask) -> None:
    """Without it nobody can say how long it is until then, a gateway neither: it said one second."""
    until = formatdate(time.time() + 40, usegmt=True)
    headers = ask(f"mock?status=429&retry_after={quote(until)}").headers
    assert headers["retry-after"] == until
    wait = parsedate_to_datetime(headers["retry-after"]) - parsedate_to_datetime(headers["date"])
    assert 30 < wait.total_seconds() <= 40
    assert "date" not in ask("mock?status=429&retry_after=2").headers


def test_code_and_param_of_an_error_can_be_told(ask) -> None:
    error = ask("mock?status=400&code=context_length_exceeded&param=messages").json["error"]
    assert (error["code"], error["param"], error["type"]) == (
        "context_length_exceeded",
        "messages",
        "invalid_request_error",
    )
    assert ask("mock?status=429&code=insufficient_quota").json["error"]["type"] == "insufficient_quota"


def test_a_redirect_has_a_place_to_go_to(ask) -> None:
    answer = ask("mock?status=307")
    assert (answer.status, answer.headers["location"]) == (307, "https://provider.internal/v1")


def test_a_status_without_a_name_is_still_http(ask) -> None:
    assert ask("mock?status=529").status == 529


def test_the_first_calls_fail_until_reset(ask, mock) -> None:
    assert [ask("mock?fail_first=2&status=503").status for _ in range(4)] == [503, 503, 200, 200]
    assert ask("mock?fail_first=2").status == 500
    mock.reset()
    assert ask("mock?fail_first=2&status=503").status == 503


def test_an_unknown_key_is_a_400_that_names_the_valid_ones(ask) -> None:
    answer = ask("mock?chunk=3")
    assert (answer.status, answer.json["error"]["param"]) == (400, "model")
    assert "valid keys: status, " in answer.json["error"]["message"]


def test_a_cut_stream_has_its_chunks_and_no_end(ask) -> None:
    answer = ask("mock?cut_after=3&answer=abcdefghijklmnop", stream=True)
    assert answer.text == "abcdefghijkl"
    assert not answer.complete
    assert not answer.reset
    assert not answer.raw.endswith(b"0\r\n\r\n")
    assert "[DONE]" not in answer.events


def test_a_stream_cut_behind_its_last_chunk_has_no_finish_reason(ask) -> None:
    answer = ask("mock?cut_after=99&chunks=2", stream=True)
    assert [json.loads(event)["choices"][0]["finish_reason"] for event in answer.events] == [None] * 3


def test_a_reset_stream_has_its_chunks_and_a_reset(ask) -> None:
    answer = ask("mock?reset_after=3&answer=abcdefghijklmnop", stream=True)
    assert answer.text == "abcdefghijkl"
    assert answer.reset


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("key", "reset"), [("reset_after", True), ("cut_after", False)])
def test_zero_is_before_any_byte(ask, stream, key, reset) -> None:
    answer = ask(f"mock?{key}=0", stream)
    assert (answer.raw, answer.reset) == (b"", reset)


@pytest.mark.parametrize(("key", "reset"), [("reset_after", True), ("cut_after", False)])
def test_a_plain_answer_breaks_at_its_half(ask, key, reset) -> None:
    answer = ask(f"mock?{key}=1")
    assert (answer.status, answer.complete, answer.reset) == (200, False, reset)
    assert len(answer.body) == int(answer.headers["content-length"]) // 2


def test_an_error_event_ends_the_stream(ask) -> None:
    answer = ask("mock?error_after=2&answer=abcdefghijkl", stream=True)
    assert "".join(json.loads(event)["choices"][0]["delta"]["content"] for event in answer.events[:-1]) == "abcdefgh"
    assert CANARY in json.loads(answer.events[-1])["error"]["message"]
    assert answer.complete


def test_an_error_before_the_first_chunk_comes_after_the_role(ask) -> None:
    answer = ask("mock?error_after=0", stream=True)
    assert len(answer.events) == 2
    assert "error" in json.loads(answer.events[1])


def test_an_error_under_status_200(ask) -> None:
    plain = ask("mock?ok_error=1")
    assert (plain.status, plain.json["error"]["type"]) == (200, "server_error")
    stream = ask("mock?ok_error=1", stream=True)
    assert stream.status == 200
    assert [list(json.loads(event)) for event in stream.events] == [["error"]]
    assert stream.complete


def test_broken_json(ask) -> None:
    plain = ask("mock?bad_json=1")
    assert plain.complete
    with pytest.raises(ValueError, match=r"."):
        json.loads(plain.body)
    stream = ask("mock?bad_json=1&chunks=3", stream=True)
    with pytest.raises(ValueError, match=r"."):
        json.loads(stream.events[1])
    assert json.loads(stream.events[2])
    assert stream.events[-1] == "[DONE]"


def test_a_stream_without_its_last_word_ends_well(ask) -> None:
    answer = ask("mock?no_done=1", stream=True)
    assert answer.complete
    assert json.loads(answer.events[-1])["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_a_mock_that_hangs_never_sends_a_byte(ask, stream) -> None:
    answer = ask("mock?hang=1", stream, silence_s=0.2)
    assert answer.raw == b""


def test_a_stream_can_fall_silent_after_its_role_or_some_chunks(ask) -> None:
    assert len(ask("mock?hang_after=0", stream=True, silence_s=0.2).events) == 1
    answer = ask("mock?hang_after=2", stream=True, silence_s=0.2)
    assert len(answer.events) == 3
    assert not answer.complete


@pytest.mark.parametrize("stream", [False, True])
def test_bytes_one_by_one_are_the_same_answer(ask, stream) -> None:
    answer = ask("mock?split=1&answer=abcdefgh", stream)
    assert answer.complete
    assert (answer.text if stream else answer.json["choices"][0]["message"]["content"]) == "abcdefgh"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_bytes_can_come_one_by_one(request_bytes, chat_body, stream, loop) -> None:
    async def packets() -> list[bytes]:
        # On one loop the two sides take turns, so nothing that was sent apart is received together.
        async with MockProvider() as mock:
            reader, writer = await asyncio.open_connection("127.0.0.1", mock.port)
            writer.write(request_bytes(chat_body("mock?split=1&chunks=2", stream)))
            last = b"\r\n0\r\n\r\n" if stream else b"}}}"
            got = [b""]
            while not b"".join(got[-20:]).endswith(last):
                got.append(await reader.read(65536))
            writer.close()
            return got

    factory = asyncio.new_event_loop if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        got = runner.run(packets())
    assert len(got) > len(b"".join(got)) // 4


@pytest.mark.parametrize("stream", [False, True])
def test_one_line_can_be_many_megabytes(ask, stream) -> None:
    answer = ask("mock?line_mb=3", stream)
    assert answer.complete
    text = answer.text if stream else answer.json["choices"][0]["message"]["content"]
    assert text == "x" * 3_000_000


def test_the_delay_comes_before_the_first_byte(ask) -> None:
    start = time.monotonic()
    assert ask("mock?delay_ms=150").status == 200
    assert time.monotonic() - start >= 0.149


def test_a_stream_keeps_its_pace(connect, request_bytes, chat_body) -> None:
    body = chat_body("mock?delay_ms=50&first_token_ms=100&chunk_ms=50&chunks=3", stream=True)
    times: list[float] = []
    with connect() as sock:
        start = time.monotonic()
        sock.sendall(request_bytes(body))
        while data := sock.recv(65536):
            times += [time.monotonic() - start] * data.count(b"data: ")
            if data.endswith(b"0\r\n\r\n"):
                break
    assert len(times) == 6, "role, three chunks, finish, [DONE]"
    for at, due in zip(times, [0.05, 0.15, 0.2, 0.25, 0.25, 0.25], strict=True):
        assert at >= due - 0.002
    assert times[0] < 0.15, "headers and role do not wait for the first chunk"
