"""The caller's side of a stream: what an event becomes that could not be read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from sekisho.domain.events import ChatEvent, Failed, TextDelta
from sekisho.formats.openai import ChunkFacts
from sekisho.gateway.edges import Rebuilt
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
