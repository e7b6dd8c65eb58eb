"""An answer that is taken without the parser must be one that the parser would give just so."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.gateway.answer_head import headers_of, plain_answer, with_limits


class Parsed:
    def __init__(self, packet: bytes) -> None:
        self.body, self.whole, self.more = b"", False, False
        parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(packet)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.whole = False
        self.status = parser.get_status_code()
        self.keep_alive = self.whole and self._keep

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_begin(self) -> None:
        self.more = self.whole

    def on_message_complete(self) -> None:
        self.whole = True
        self._keep = True


LINES = st.sampled_from(
    [
        b"Content-Length: 5", b"content-length: 5", b"Content-Length: 6", b"Content-Length:5", b"content-length: +5",
        b"x-content-length: 5", b"Transfer-Encoding: chunked", b"Connection: keep-alive", b"Connection: close",
        b"Connection: keep-alive, close",
        b"Content-Type: application/json", b"Date: now", b"content-length: 05",
    ]
)  # fmt: skip


#: half of them with the length that `LINES` tells most, so that enough is taken
BODIES = st.binary(min_size=5, max_size=5) | st.binary(max_size=8)


@given(
    st.sampled_from([b"200 OK", b"200 ", b"500 No", b"201 Made"]),
    st.lists(LINES, max_size=5) | st.lists(LINES, max_size=2).map(lambda lines: [b"Content-Length: 5", *lines]),
    BODIES,
)
def test_what_is_taken_is_what_the_parser_says(status: bytes, lines: list[bytes], body: bytes) -> None:
    packet = b"HTTP/1.1 " + status + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body
    taken = plain_answer(packet)
    if taken is None:
        return
    parsed = Parsed(packet)
    assert parsed.whole
    assert not parsed.more
    assert (parsed.status, parsed.body) == (200, taken[0])
    assert not any(line.startswith(b"Connection:") and b"close" in line for line in lines)


@pytest.mark.parametrize(
    "packet",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Type: a\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}",
    ],
)
def test_the_usual_answer_is_taken(packet: bytes) -> None:
    assert plain_answer(packet) == (b"{}", {})
    assert plain_answer(packet[:-1]) is None
    assert plain_answer(packet + b"H") is None
    assert plain_answer(packet.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive, close\r\n\r\n")) is None


def test_headers_are_read_where_there_are_limits_among_them() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-RateLimit-Limit-Requests: 500\r\ncontent-length: 2\r\n\r\n"
    said = {"x-ratelimit-limit-requests": "500", "content-length": "2"}
    assert plain_answer(head + b"{}") == (b"{}", said)
    assert with_limits(head + b"{}") == said
    assert with_limits(b'HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n"x-ratelimit"') == {}


def test_a_length_of_thousands_of_digits_is_the_parsers_affair() -> None:
    """Python refuses to read it as a number, which ended the connection with a stack trace."""
    for length in (b"9" * 5000, b"0" * 5000 + b"2"):
        assert plain_answer(b"HTTP/1.1 200 OK\r\ncontent-length: " + length + b"\r\n\r\nok") is None


def test_what_follows_an_answer_is_none_of_its_headers() -> None:
    trailers = b"HTTP/1.1 429 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nretry-after: 5\r\n\r\n"
    assert headers_of(trailers) == {"transfer-encoding": "chunked"}
    another = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 0\r\n\r\n"
    first = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 2\r\n\r\nok"
    assert headers_of(first + another)["content-type"] == "text/event-stream"


def test_headers_are_those_of_the_last_head() -> None:
    raw = b"HTTP/1.1 100 Continue\r\nx-a: 1\r\n\r\nHTTP/1.1 429 No\r\nRetry-After: 7\r\ncontent-length: 0\r\n\r\n"
    assert headers_of(raw) == {"retry-after": "7", "content-length": "0"}
    assert headers_of(b"nonsense") == {}
