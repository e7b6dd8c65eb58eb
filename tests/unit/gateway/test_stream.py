"""A streamed attempt by itself: until when it may take, and how much it keeps."""

from __future__ import annotations

from typing import Any

import pytest

from sekisho.domain.call import Attempt, Call, Entry, Route
from sekisho.domain.endpoint import Target, Timeouts
from sekisho.gateway import stream
from sekisho.gateway.edges import PassThrough
from sekisho.gateway.estimates import Estimates
from sekisho.gateway.stream import StreamExchange

ROUTE = Route(path="/v1/chat/completions", protocol="openai_chat", operation="chat", api_type="openai/v1/chat")
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
SILENT = b'data: {"choices":[{"index":0,"delta":{}}]}\n\n'


class Around:
    """Clock, connection and sink of an exchange."""

    def __init__(self) -> None:
        self.now_s = 5.0
        self.frames: list[bytes] = []
        self.write = self.frames.append
        self.entry = Entry(Call(ROUTE, {}, b"{}", "req_1", 0, None, now_s=self.time))
        self.entry.events = []
        around: Any = self
        self.exchange = StreamExchange(
            around, self.entry, Attempt(Target(provider="mock", model="m"), "primary", 0.0),
            PassThrough(self.entry, True), lambda *_: None, Estimates(), Timeouts(first_token_s=9, idle_s=10), 99.0,
        )  # fmt: skip
        self.exchange.connection = around
        self.exchange.on_head(200, {})

    def time(self) -> float:
        return self.now_s

    def pause(self, exchange: StreamExchange) -> None: ...
    def resume(self, exchange: StreamExchange) -> None: ...


def begun() -> Around:
    around = Around()
    around.exchange.on_data(WORD)
    around.exchange.start(around)  # type: ignore[arg-type]
    return around


def test_every_event_gives_a_stream_its_time_anew_and_no_more_than_there_is() -> None:
    around = begun()
    for now_s, until_s in ((6.0, 16.0), (20.0, 30.0), (95.0, 99.0)):
        around.now_s = now_s
        around.exchange.on_data(WORD)
        assert around.exchange.deadline_s == until_s


def test_what_still_comes_while_the_caller_does_not_read_starts_no_time_of_the_provider() -> None:
    around = begun()
    around.exchange.pause()
    around.exchange.on_data(WORD)
    assert around.exchange.deadline_s == 99.0
    around.exchange.resume()
    assert around.exchange.deadline_s == 15.0


def test_a_stream_without_content_is_held_up_to_a_bound() -> None:
    around = Around()
    for _ in range(stream._HELD_EVENTS):
        around.exchange.on_data(SILENT)
    assert not around.exchange.opened.done
    around.exchange.on_data(SILENT)
    assert around.exchange.opened.done
    around.exchange.start(around)  # type: ignore[arg-type]
    assert b"".join(around.frames).count(b"data:") == stream._HELD_EVENTS + 1


def test_of_a_stream_beyond_the_bound_of_a_row_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_BODY_BYTES", 1_000)
    around = begun()
    around.entry.logging_errors = ["MAX_REQUEST_SIZE_EXCEEDED"]
    for _ in range(50):
        around.exchange.on_data(WORD)
    assert around.entry.events is None
    assert around.entry.logging_errors == ["MAX_REQUEST_SIZE_EXCEEDED", "MAX_RESPONSE_SIZE_EXCEEDED"]
    assert len(around.frames) == 51, "the caller has it all"


def test_a_stream_that_is_silent_and_has_not_ended_is_kept_alive() -> None:
    around = begun()
    around.now_s = 14.0
    around.exchange.on_data(WORD)
    around.exchange.ping(around.now_s + 9, 10)
    assert len(around.frames) == 2
    around.exchange.ping(around.now_s + 10, 10)
    assert around.frames[2].startswith(b":")
    around.exchange._ended = True
    around.exchange.ping(around.now_s + 100, 10)
    assert len(around.frames) == 3
