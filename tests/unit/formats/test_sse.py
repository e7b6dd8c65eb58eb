"""SSE out of bytes: any cut gives the same payloads, and what the standard calls an event is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.formats.sse import EventTooLarge, SseSplitter

TOKENS = st.sampled_from(
    [
        b"data: ",
        b"data:",
        b"data",
        b"x",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b": ping",
        b"event: error",
        b"id: 1",
        "関".encode(),
        b"\xef\xbb\xbf",
        b'data: {"a":1}\n\n',
    ]
)
STREAMS = st.lists(TOKENS, max_size=14).map(b"".join)


def by_the_standard(stream: bytes) -> list[bytes]:
    """The algorithm of the standard, line by line over the whole stream."""
    lines = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    found: list[bytes] = []
    data: list[bytes] = []
    for line in lines[:-1]:
        if not line:
            if b"".join(data) or len(data) > 1:
                found.append(b"\n".join(data))
            data = []
            continue
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
    return found


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    packets: list[bytes] = []
    for size in sizes:
        packets.append(stream[:size])
        stream = stream[size:]
    return [*packets, stream]


@given(STREAMS, st.lists(st.integers(0, 5), max_size=40))
def test_any_cut_gives_the_payloads_of_the_standard(stream: bytes, sizes: list[int]) -> None:
    splitter = SseSplitter()
    assert [payload for packet in cut(stream, sizes) for payload in splitter.feed(packet)] == by_the_standard(stream)


@given(STREAMS)
def test_one_byte_at_a_time_gives_the_same_as_all_at_once(stream: bytes) -> None:
    splitter = SseSplitter()
    single = [payload for byte in stream for payload in splitter.feed(bytes([byte]))]
    assert single == SseSplitter().feed(stream)


def test_a_character_may_lie_across_two_packets() -> None:
    stream = "data: 関所\n\n".encode()
    for at in range(len(stream)):
        splitter = SseSplitter()
        assert splitter.feed(stream[:at]) + splitter.feed(stream[at:]) == ["関所".encode()]


def test_an_event_closed_by_bare_carriage_returns_does_not_wait_for_the_next_one() -> None:
    assert SseSplitter().feed(b"data: a\r\r") == [b"a"]


def test_data_lines_are_joined_and_other_fields_left_out() -> None:
    assert SseSplitter().feed(b"event: x\nid: 1\ndata: a\ndata:b\nretry: 5\n\n") == [b"a\nb"]


def test_pings_are_counted_and_give_nothing() -> None:
    splitter = SseSplitter()
    assert splitter.feed(b": ping\n\n: ping\n\ndata:\n\n\n\n") == []
    assert splitter.silent == 3


def test_rest_gives_what_an_unfinished_last_event_holds() -> None:
    splitter = SseSplitter()
    assert splitter.feed(b"data: a\n\ndata: b") == [b"a"]
    assert splitter.rest() == b"b"
    assert splitter.rest() is None


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n", b": c"])
def test_rest_is_none_where_nothing_was_begun(tail: bytes) -> None:
    splitter = SseSplitter()
    splitter.feed(b"data: a\n\n" + tail)
    assert splitter.rest() is None


def test_an_event_over_the_limit_is_an_error_and_not_a_full_memory() -> None:
    splitter = SseSplitter(limit=100)
    splitter.feed(b"data: " + b"x" * 90)
    with pytest.raises(EventTooLarge):
        splitter.feed(b"x" * 20)
