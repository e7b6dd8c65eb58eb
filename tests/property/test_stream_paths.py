"""A stream is what its bytes say, however they are cut; and bytes that pass say what rebuilt events say."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from sekisho.domain.call import Attempt, Call, Entry, Route, TerminalState
from sekisho.domain.endpoint import Target, Timeouts
from sekisho.domain.errors import UpstreamError
from sekisho.formats.openai import decode_chunk
from sekisho.formats.openai_chunks import assemble
from sekisho.formats.sse import DONE, SseSplitter
from sekisho.gateway.connection import TransportError
from sekisho.gateway.drive import Drive
from sekisho.gateway.edges import PassThrough
from sekisho.gateway.estimates import Estimates
from sekisho.gateway.stream import StreamExchange
from sekisho.providers.dialects.openai_chat import OpenAIChat
from sekisho.providers.quirks import Quirks
from sekisho.wire.openai_chat_stream import StreamRenderer

STEADY = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), max_examples=300)
ROUTE = Route(path="/v1/chat/completions", protocol="openai_chat", operation="chat", api_type="openai/v1/chat")
TIMEOUTS = Timeouts(first_token_s=9, idle_s=9)
TARGET = Target(provider="mock", model="mock-small")
encode = msgspec.json.encode


# -- streams


def chunk(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
    return {**head, "choices": choices, **more}


def piece(index: int, delta: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> dict[str, Any]:
    found = {"index": index, "delta": delta, "finish_reason": finish}
    return found if logprobs is None else {**found, "logprobs": logprobs}


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=6)
USAGE = st.builds(
    lambda read, written, cached, thought: {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": min(read, cached)},
        "completion_tokens_details": {"reasoning_tokens": min(written, thought)},
    },
    *[st.integers(0, 99)] * 4,
)


@st.composite
def deltas(draw: st.DrawFn, index: int) -> list[dict[str, Any]]:
    """The pieces of one choice, its finish reason last."""
    pieces = [piece(index, {"role": "assistant", "content": ""})] if draw(st.booleans()) else []
    kind = draw(st.sampled_from(["text", "text", "refusal", "reasoning", "tools"]))
    if kind == "tools":
        for n in range(draw(st.integers(1, 2))):
            call = {"index": n, "id": f"call_{n}", "type": "function", "function": {"name": f"f{n}", "arguments": ""}}
            pieces.append(piece(index, {"tool_calls": [call]}))
            texts = draw(st.lists(TEXT, max_size=3))
            more = [{"index": n, "function": {"arguments": text}} for text in texts]
            pieces.extend(piece(index, {"tool_calls": [one]}) for one in more)
    else:
        name = {"text": "content", "refusal": "refusal", "reasoning": "reasoning_content"}[kind]
        probable = kind == "text" and draw(st.booleans())
        for text in draw(st.lists(TEXT, min_size=1, max_size=5)):
            logprobs = {"content": [{"token": text, "logprob": -0.5}]} if probable else None
            pieces.append(piece(index, {name: text}, logprobs=logprobs))
    finish = "tool_calls" if kind == "tools" else draw(st.sampled_from(["stop", "length"]))
    return [*pieces, piece(index, {}, finish)]


@st.composite
def chunks(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A whole stream as OpenAI sends it: one or two choices taking turns, perhaps with usage at its end."""
    by_choice = [draw(deltas(index)) for index in range(draw(st.sampled_from([1, 1, 2])))]
    turns = [one for turn in itertools.zip_longest(*by_choice) for one in turn if one is not None]
    found = [chunk([one]) for one in turns]
    where = draw(st.sampled_from(["none", "own", "own", "last", "each"]))
    usage = draw(USAGE)
    if where == "own":
        found.append(chunk([], usage=usage))
    elif where == "last":
        found[-1]["usage"] = usage
    elif where == "each":
        found = [{**one, "usage": usage} for one in found]
    if draw(st.booleans()):
        found[0]["service_tier"] = "default"
    return found


ENDINGS = st.sampled_from(["done", "done", "clean", "done-and-more", "error", "null-error", "broken", "cut", "reset"])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[bytes], str]:
    """Events as bytes, with the freedoms of the format, and how the body ends."""
    found = draw(chunks())
    ending = draw(ENDINGS)
    if ending in ("error", "broken", "cut", "reset"):
        found = found[: draw(st.integers(0, len(found)))]
    line_end = draw(st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"]))
    events = [event(encode(one), draw(st.sampled_from(["one", "one", "no-space", "many"])), line_end) for one in found]
    for place in draw(st.lists(st.integers(0, len(events)), max_size=2)):
        events.insert(place, b": ping" + line_end * 2)
    if ending == "error":
        events.append(event(b'{"error":{"message":"no","type":"server_error"}}', "one", line_end))
    elif ending == "null-error":
        events.append(event(encode({**chunk([]), "error": None}), "one", line_end))
    elif ending == "broken":
        events.append(event(b'{"choices":[{"ind', "one", line_end))
    if ending.startswith("done"):
        events.append(event(DONE, "one", line_end))
    if ending in ("done-and-more", "error", "broken"):
        events.append(event(encode(chunk([piece(0, {"content": "too late"})])), "one", line_end))
    return events, ending


def event(payload: bytes, form: str, line_end: bytes) -> bytes:
    """One event; `many` puts a line end where JSON allows one."""
    if form == "many":
        payload = payload.replace(b',"created"', line_end + b'data: ,"created"', 1)
    return (b"data:" if form == "no-space" else b"data: ") + payload + line_end * 2


# -- one stream through the exchange


class Told:
    """Connection, sink, clock and books at once: everything the exchange says to others."""

    def __init__(self) -> None:
        self.frames = b""
        self.finished = 0
        self.abandoned = 0
        self.paused: list[str] = []
        self.closed: list[tuple[int, TerminalState, str | None]] = []
        self.failure: Exception | None = None
        self.exchange: StreamExchange | None = None
        #: characters that the exchange took for content
        self.seen = 0

    def write(self, frames: bytes) -> None:
        assert frames
        assert not self.finished, "nothing follows the end"
        self.frames += frames

    def finish(self) -> None:
        self.finished += 1

    def abandon(self, exchange: StreamExchange) -> None:
        self.abandoned += 1

    def pause(self, exchange: StreamExchange) -> None:
        self.paused.append("paused")

    def resume(self, exchange: StreamExchange) -> None:
        self.paused.append("resumed")

    def time(self) -> float:
        return 5.0

    def close(self, entry: Entry, status: int, state: TerminalState, code: str | None, detail: str | None) -> None:
        self.closed.append((status, state, code))

    async def serve(self, exchange: StreamExchange) -> None:
        try:
            await exchange.opened
        except (UpstreamError, TransportError) as error:
            self.failure = error
        else:
            exchange.start(self)


def fed(packets: list[bytes], ending: str, *, wants_usage: bool) -> tuple[Told, Entry, Attempt]:
    """What becomes of a stream that comes in these packets."""
    call = Call(ROUTE, {}, b"{}", "req_1", 0, None, now_s=lambda: 1.0, started_s=1.0)
    entry = Entry(call)
    entry.events = []
    attempt = Attempt(TARGET, "primary", 0.5)
    attempt.sent_s = 0.75
    told: Any = Told()
    edge = PassThrough(entry, wants_usage)
    exchange = StreamExchange(told, entry, attempt, edge, told.close, Estimates(), TIMEOUTS, 99)
    exchange.connection = told
    drive = Drive(told.serve(exchange), lambda _: None)
    drive.go_on()
    exchange.on_head(200, {"content-type": "text/event-stream"})
    for packet in packets:
        exchange.on_data(packet)
    if ending == "reset":
        exchange.on_fail(TransportError("cut", "closed inside the body"))
    else:
        exchange.on_end()
    assert drive.finished
    told.seen = exchange._written.chars
    return told, entry, attempt


def facts(told: Told, entry: Entry, attempt: Attempt) -> dict[str, Any]:
    """Everything that must not depend on where the packets end."""
    failure = told.failure
    return {
        "frames": told.frames,
        "finished": told.finished,
        "closed": told.closed,
        "failure": None if failure is None else (type(failure), str(failure), getattr(failure, "detail", "")),
        "finish": entry.finish_reasons,
        "tier": entry.service_tier,
        "seen": told.seen,
        "events": entry.events,
        "usage": (attempt.usage, attempt.usage_source, attempt.error_code),
    }


@st.composite
def cut_bodies(draw: st.DrawFn) -> tuple[list[bytes], list[bytes], str]:
    """The same bytes: an event a packet, and cut anywhere."""
    events, ending = draw(bodies())
    whole = b"".join(events)
    if ending in ("cut", "reset") and events:
        keep = draw(st.integers(0, len(events[-1])))
        events[-1] = events[-1][:keep]
        whole = b"".join(events)
    places = sorted(draw(st.sets(st.integers(1, max(1, len(whole) - 1)), max_size=12)))
    if draw(st.integers(0, 9)) == 0:
        places = list(range(1, len(whole)))
    packets = [whole[start:end] for start, end in itertools.pairwise([0, *places, len(whole)])]
    return [one for one in events if one], [packet for packet in packets if packet], ending


@given(body=cut_bodies(), wants_usage=st.booleans())
@example(
    body=([b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', b"data: no\n\n"],) * 2 + ("broken",), wants_usage=False
)
@STEADY
def test_a_stream_is_the_same_however_it_is_cut(body: tuple[list[bytes], list[bytes], str], wants_usage: bool) -> None:
    events, packets, ending = body
    by_event = fed(events, ending, wants_usage=wants_usage)
    assert facts(*fed(packets, ending, wants_usage=wants_usage)) == facts(*by_event)
    assert facts(*fed([b"".join(events)] if events else [], ending, wants_usage=wants_usage)) == facts(*by_event)
    _check_end(*by_event)


def _check_end(told: Told, entry: Entry, attempt: Attempt) -> None:
    """Complete or not, and never something between."""
    if told.failure is not None:
        assert not told.frames, "another target may be tried: nobody has seen a byte"
        assert not told.closed
        return
    payloads = read(told.frames)
    assert told.finished == 1
    [(status, state, code)] = told.closed
    assert status == 200
    if state == "completed":
        assert payloads[-1] == DONE
        assert payloads.count(DONE) == 1
        assert entry.finish_reasons
        assert all(entry.finish_reasons)
        assert not told.abandoned
    else:
        assert DONE not in payloads
        assert msgspec.json.decode(payloads[-1])["error"]["code"] == code == attempt.error_code
        assert state == ("truncated" if code == "stream_truncated" else "upstream_error")
    assert b"too late" not in told.frames
    assert entry.events is not None
    assert b"\n" not in b"".join(entry.events), "one line an event: the books join them with line ends"


def read(frames: bytes) -> list[bytes]:
    """Payloads of frames that must each be one line of data and an empty line."""
    assert frames.endswith(b"\n\n")
    found: list[bytes] = []
    for frame in frames[:-2].split(b"\n\n"):
        assert frame.startswith(b"data: ")
        assert b"\n" not in frame
        found.append(frame[6:])
    splitter = SseSplitter()
    assert splitter.feed(frames) == found
    return found


# -- two ways, one answer


def merged(payloads: Iterator[bytes] | list[bytes]) -> dict[str, Any]:
    """What a client that adds up deltas has in its hands at the end. Written without the house's own readers."""
    out: dict[str, Any] = {"choices": {}, "usage": None, "id": None, "model": None, "created": None}
    for payload in payloads:
        if payload == DONE:
            continue
        found = msgspec.json.decode(payload)
        for name in ("id", "model", "created"):
            out[name] = out[name] or found[name]
        if found.get("usage"):
            out["usage"] = found["usage"]
        for choice in found["choices"]:
            _merge(out["choices"].setdefault(choice["index"], {"logprobs": [], "finish": None, "tools": {}}), choice)
    return out


def _merge(into: dict[str, Any], choice: dict[str, Any]) -> None:
    delta = choice["delta"]
    for name in ("content", "refusal", "reasoning_content"):
        if delta.get(name):
            into[name] = into.get(name, "") + delta[name]
    for call in delta.get("tool_calls") or ():
        own = into["tools"].setdefault(call["index"], {"id": None, "name": None, "arguments": ""})
        own["id"] = own["id"] or call.get("id")
        own["name"] = own["name"] or call["function"].get("name")
        own["arguments"] += call["function"].get("arguments", "")
    into["logprobs"] += (choice.get("logprobs") or {}).get("content") or []
    into["finish"] = choice.get("finish_reason") or into["finish"]


def passed(events: list[bytes], *, wants_usage: bool) -> list[bytes]:
    edge = PassThrough(Entry(Call(ROUTE, {}, b"{}", "req_1", 0, None)), wants_usage)
    return read(b"".join(edge.frames(payload, decode_chunk(payload)) for payload in events) + edge.end())


def rebuilt(events: list[bytes], *, wants_usage: bool) -> list[bytes]:
    decoder = OpenAIChat(Quirks()).decoder()
    renderer = StreamRenderer(wants_usage)
    found = decoder.feed(b"".join(b"data: %b\n\n" % payload for payload in events) + b"data: [DONE]\n\n")
    assert decoder.complete
    payloads = [payload for one in found for payload in renderer.render(one)]
    return [*payloads, *renderer.finish(), DONE]


@given(stream=chunks(), wants_usage=st.booleans())
@STEADY
def test_bytes_that_pass_and_events_rebuilt_say_the_same(stream: list[dict[str, Any]], wants_usage: bool) -> None:
    events = [encode(one) for one in stream]
    one_way = passed(events, wants_usage=wants_usage)
    other_way = rebuilt(events, wants_usage=wants_usage)
    assert merged(one_way) == merged(other_way)
    assert (merged(one_way)["usage"] is not None) == (wants_usage and any(one.get("usage") for one in stream))
    everything = [*passed(events, wants_usage=True)[:-1]]
    assert assemble(everything) == assemble(rebuilt(events, wants_usage=True)[:-1]), "and the books read the same"


@given(stream=chunks(), cut=st.integers(0, 40))
@STEADY
def test_a_stream_cut_short_settles_on_what_was_seen(stream: list[dict[str, Any]], cut: int) -> None:
    finishing = next(n for n, one in enumerate(stream) if any(c["finish_reason"] for c in one["choices"]))
    assume(cut <= finishing)
    events = [event(encode(one), "one", b"\n") for one in stream[:cut]]
    told, _, attempt = fed(events, "clean", wants_usage=True)
    if told.failure is not None:
        assert told.seen == 0
        assert attempt.usage_source != "estimated"
        return
    assert told.closed == [(200, "truncated", "stream_truncated")]
    assert told.abandoned == 1
    whole = merged(read(told.frames)[:-1])
    said = sum(
        len(choice.get(name, ""))
        for choice in whole["choices"].values()
        for name in ("content", "refusal", "reasoning_content")
    )
    assert told.seen >= said > 0 or any(choice["tools"] for choice in whole["choices"].values())
    assert attempt.usage is not None
    if attempt.usage_source == "estimated":
        assert 0 < attempt.usage.output_tokens <= len(encode(whole))


def test_a_last_event_without_its_empty_line_counts_if_it_is_whole() -> None:
    first = event(encode(chunk([piece(0, {"content": "a"})])), "one", b"\n")
    last = event(encode(chunk([piece(0, {}, "stop")])), "one", b"\n").rstrip()
    assert fed([first, last], "clean", wants_usage=True)[0].closed == [(200, "completed", None)]
    assert fed([first, last[:-5]], "clean", wants_usage=True)[0].closed == [(200, "truncated", "stream_truncated")]
    assert fed([first, last + b"\n\ndata: [DONE]"], "clean", wants_usage=True)[0].closed == [(200, "completed", None)]


async def test_held_frames_come_out_in_order_when_the_sink_comes_late() -> None:
    """On the ASGI door some rounds of the loop pass between the first content and the sink."""
    told: Any = Told()
    entry = Entry(Call(ROUTE, {}, b"{}", "req_1", 0, None))
    exchange = StreamExchange(
        asyncio.get_running_loop(), entry, Attempt(TARGET, "primary", 0.0), PassThrough(entry, True), told.close,
        Estimates(), TIMEOUTS, 99,
    )  # fmt: skip
    exchange.connection = told
    exchange.on_head(200, {})
    texts = [f"t{n}" for n in range(5)]
    for text in texts:
        exchange.on_data(event(encode(chunk([piece(0, {"content": text})])), "one", b"\n"))
    exchange.on_data(event(encode(chunk([piece(0, {}, "stop")])), "one", b"\n"))
    exchange.on_data(b"data: [DONE]\n\n")
    assert told.closed == [(200, "completed", None)]
    assert not told.frames
    exchange.start(told)
    assert merged(read(told.frames))["choices"][0]["content"] == "".join(texts)
    assert (told.finished, exchange.done.done) == (1, True)
    exchange.leave()
    exchange.interrupt()
    assert len(told.closed) == 1


async def test_the_provider_is_read_to_its_end_though_the_caller_paused_it() -> None:
    """[DONE] came while the caller's buffer was full; what ends the body is still to come, and nobody resumes then."""
    told: Any = Told()
    entry = Entry(Call(ROUTE, {}, b"{}", "req_1", 0, None))
    exchange = StreamExchange(
        told, entry, Attempt(TARGET, "primary", 0.0), PassThrough(entry, True), told.close,
        Estimates(), TIMEOUTS, 99,
    )  # fmt: skip
    exchange.connection = told
    exchange.on_head(200, {})
    exchange.on_data(event(encode(chunk([piece(0, {"content": "a"}, "stop")])), "one", b"\n"))
    exchange.start(told)
    exchange.pause()
    assert exchange.deadline_s == 99, "the caller's silence is not the provider's"
    exchange.on_data(b"data: [DONE]\n\n")
    assert told.paused == ["paused", "resumed"]
    assert exchange.deadline_s == 14
    exchange.pause()
    exchange.resume()
    assert told.paused == ["paused", "resumed"], "a stream that has ended asks nothing of its connection"
