"""The caller's side of a stream: what passes, and what an event becomes that could not be read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from sekisho.domain.events import ChatEvent, Failed, TextDelta
from sekisho.formats.openai import ChunkFacts, decode_chunk
from sekisho.formats.sse import frame
from sekisho.gateway.edges import PassThrough, Rebuilt
from sekisho.gateway.odd_events import Broken
from sekisho.wire.chat_stream import ContentRenderer


def test_an_event_that_cannot_be_read_ends_a_rebuilt_stream_and_does_not_shorten_it() -> None:
    """A decoder says nothing more after it, so that the rest would be missing from an answer that looks whole."""
    feeds: list[list[ChatEvent]] = [[TextDelta(choice=0, text="hi")], [Failed(detail="an event of an unknown shape")]]
    decoder = SimpleNamespace(feed=lambda _: feeds.pop(0))  # pyright: ignore[reportUnknownLambdaType]
    provider = cast("Any", SimpleNamespace(chat=SimpleNamespace(decoder=lambda: decoder)))
    edge = Rebuilt(cast("Any", None), provider, ContentRenderer())
    assert edge.frames(b"{}", ChunkFacts()) == b'data: {"content":"hi"}\n\n'
    with pytest.raises(Broken) as broken:
        edge.frames(b"{}", ChunkFacts())
    assert (broken.value.code, broken.value.detail) == ("upstream_error", "an event of an unknown shape")


@pytest.mark.parametrize("wanted", [True, False])
def test_usage_passes_to_those_who_asked_for_it_alone(wanted: bool) -> None:
    """A chunk that has nothing else goes whole: naive clients look at the first choice of every chunk."""
    edge = PassThrough(cast("Any", None), wanted)

    def passed(payload: bytes) -> bytes:
        return edge.frames(payload, decode_chunk(payload))

    alone = b'{"id":"1","choices":[],"usage":{"prompt_tokens":1}}'
    beside = b'{"id":"1","choices":[{"index":0,"delta":{"content":"hi"}}],"usage":{"prompt_tokens":1}}'
    if wanted:
        assert (passed(alone), passed(beside)) == (frame(alone), frame(beside))
        return
    assert passed(alone) == b""
    assert passed(beside) == frame(b'{"id":"1","choices":[{"index":0,"delta":{"content":"hi"}}]}')
