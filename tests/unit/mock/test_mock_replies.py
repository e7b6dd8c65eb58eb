from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sekisho.mock.replies import SLICE, Ending, Events, Reply, plain_reply, schedule, stream_reply
from sekisho.mock.script import parse

_EVENTS = Events(
    opening=[b"data: role\n\n"],
    chunks=[b'data: {"n":%d}\n\n' % number for number in range(5)],
    closing=[b"data: finish\n\n", b"data: [DONE]\n\n"],
    error=b"data: error\n\n",
)
_LAST = b"0\r\n\r\n"


def _stream(model: str) -> Reply:
    return stream_reply(parse(model), _EVENTS, {})


def _events(reply: Reply) -> bytes:
    """The body as a client sees it, without head and chunk sizes."""
    body = (reply.head + b"".join(reply.frames) + reply.tail).partition(b"\r\n\r\n")[2]
    found = b""
    while body and not body.startswith(_LAST):
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        found, body = found + rest[:length], rest[length + 2 :]
    return found


@given(
    st.binary(max_size=200_000),
    st.lists(st.binary(min_size=1, max_size=100_000), max_size=4),
    st.binary(max_size=10),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([0.0, 0.25]),
)
def test_everything_is_sent_in_order_and_in_slices(
    head: bytes, frames: list[bytes], tail: bytes, first_s: float, every_s: float
) -> None:
    reply = Reply(head=head, frames=frames, tail=tail, delay_s=1.0, first_frame_s=first_s, every_frame_s=every_s)
    steps = schedule(reply)
    assert b"".join(data for _, data in steps) == head + b"".join(frames) + tail
    assert all(len(data) <= SLICE for _, data in steps)
    times = [at for at, _ in steps]
    assert times == sorted(times)
    assert times[0] == 1.0
    assert times[-1] == 1.0 + first_s + every_s * max(0, len(frames) - 1)


def test_without_times_a_stream_is_one_write() -> None:
    assert len(schedule(_stream("mock-small"))) == 1


def test_a_stream_waits_where_its_script_says() -> None:
    steps = schedule(_stream("mock?delay_ms=1000&first_token_ms=500&chunk_ms=250"))
    assert [at for at, _ in steps] == [1.0, 1.5, 1.75, 2.0, 2.25, 2.5]


def test_a_complete_stream_ends_with_the_last_chunk() -> None:
    reply = _stream("mock-small")
    assert reply.tail.endswith(b"data: [DONE]\n\n\r\n" + _LAST)
    assert reply.ending is Ending.KEEP


def test_a_fault_comes_after_n_chunks_and_before_the_finish() -> None:
    for key, ending in [("cut", Ending.CLOSE), ("reset", Ending.RESET), ("hang", Ending.HANG)]:
        for after in (1, 3, 99):
            reply = _stream(f"mock?{key}_after={after}")
            assert (len(reply.frames), reply.tail, reply.ending) == (min(after, 5), b"", ending)


def test_before_any_byte_is_before_any_byte() -> None:
    for model, ending in [
        ("mock?cut_after=0&delay_ms=10", Ending.CLOSE),
        ("mock?reset_after=0&delay_ms=10", Ending.RESET),
        ("mock?hang=1&delay_ms=10", Ending.HANG),
    ]:
        for reply in (_stream(model), plain_reply(parse(model), b"{}", {})):
            assert reply == Reply(ending=ending, delay_s=0.01)
            assert schedule(reply) == [(0.01, memoryview(b""))]


def test_an_error_event_is_the_last_one_and_the_body_ends_well() -> None:
    reply = _stream("mock?error_after=2")
    assert _events(reply).endswith(b'{"n":1}\n\ndata: error\n\n')
    assert reply.tail.endswith(_LAST)
    assert reply.ending is Ending.CLOSE


def test_an_error_under_status_200_is_the_only_event() -> None:
    assert _events(_stream("mock?ok_error=1")) == b"data: error\n\n"


def test_broken_json_is_the_first_chunk_only() -> None:
    assert _events(_stream("mock?bad_json=1")).split(b"\n\n")[:3] == [b"data: role", b"data: {", b'data: {"n":1}']


def test_a_cut_plain_body_promises_more_than_it_holds() -> None:
    reply = plain_reply(parse("mock?cut_after=1"), b"0123456789", {})
    assert b"content-length: 10\r\n" in reply.head
    assert reply.tail == b"01234"
