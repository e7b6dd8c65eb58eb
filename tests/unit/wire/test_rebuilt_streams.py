"""A stream that passes and one rebuilt from its events mean the same, however the provider cut it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.domain.events import ChatEvent, UsageReported
from sekisho.formats.openai_chunks import ChunkReader, assemble, read_stream
from sekisho.providers.dialects.openai_chat import OpenAIChat
from sekisho.providers.quirks import Quirks
from sekisho.wire.openai_chat import render_answer
from sekisho.wire.openai_chat_stream import StreamRenderer

#: a busy machine is no failure
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(max_size=6)
LOGPROBS = st.none() | st.lists(st.text(max_size=2), max_size=2).map(
    lambda tokens: {"content": [{"token": token, "logprob": -0.5, "bytes": None} for token in tokens], "refusal": None}
)
Piece = tuple[dict[str, Any], dict[str, Any]]


@st.composite
def pieces(draw: st.DrawFn) -> Piece:
    """(what stands in the delta, what beside it) of one chunk; a text as `tool_calls` is a piece of arguments."""
    match draw(st.sampled_from(["content", "refusal", "reasoning", "delta", "beside", "next call", "arguments"])):
        case "content" | "refusal" as name:
            return {name: draw(TEXT)}, {"logprobs": draw(LOGPROBS)}
        case "reasoning":
            return {draw(st.sampled_from(["reasoning_content", "reasoning"])): draw(TEXT)}, {}
        case "delta":
            return {"x_delta": draw(TEXT)}, {}
        case "beside":
            return {}, {"x_beside": draw(TEXT)}
        case "next call":
            return {"tool_calls": None}, {}
        case _:
            return {"tool_calls": draw(TEXT)}, {}


USAGE = st.none() | st.fixed_dictionaries(
    {"prompt_tokens": st.integers(0, 99), "completion_tokens": st.integers(0, 99), "total_tokens": st.integers(0, 999)},
    optional={"prompt_tokens_details": st.just({"cached_tokens": 1, "audio_tokens": 0}), "x_cost": st.floats(0, 1)},
)


@st.composite
def streams(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Chunks as OpenAI and its likes send them: several choices at once, calls in parallel, usage where they like."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1760000000, "model": "m"}
    head |= draw(st.fixed_dictionaries({}, optional={"system_fingerprint": TEXT, "service_tier": st.just("default")}))
    chunks: list[dict[str, Any]] = []

    def add(choice: int, delta: dict[str, Any], beside: dict[str, Any], finish: str | None = None) -> None:
        full = {"index": choice, "delta": delta, "finish_reason": finish} | beside
        chunks.append(head | {"choices": [full]} | draw(st.sampled_from([{}, {"usage": None}])))

    count = draw(st.integers(1, 3))
    calls = [0] * count
    for choice in draw(st.lists(st.integers(0, count - 1), max_size=12)):
        delta, beside = draw(pieces())
        if "tool_calls" in delta:
            delta = {"tool_calls": [_call(delta["tool_calls"], choice, calls, draw)]}
        add(choice, draw(st.sampled_from([{}, {"role": "assistant"}])) | delta, beside)
    for choice in draw(st.permutations(range(count))):
        add(choice, draw(st.sampled_from([{}, {"content": ""}])), {}, draw(st.sampled_from(["stop", "tool_calls"])))
    usage = draw(USAGE)
    if usage is not None and draw(st.booleans()):
        chunks[-1]["usage"] = usage
    elif usage is not None:
        chunks.append(head | {"choices": [], "usage": usage})
    return chunks


def _call(piece: str | None, choice: int, calls: list[int], draw: st.DrawFn) -> dict[str, Any]:
    kind, argument = draw(st.sampled_from([("function", "arguments"), ("custom", "input")]))
    if piece is None or not calls[choice]:
        calls[choice] += 1
        index = calls[choice] - 1
        inner = {"name": f"f{index}", argument: draw(TEXT)}
        return {"index": index, "id": f"call_{choice}_{index}", "type": kind, kind: inner}
    return {"index": draw(st.integers(0, calls[choice] - 1)), "function": {"arguments": piece}}


def payloads_of(chunks: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(chunk, ensure_ascii=False).encode() for chunk in chunks]


def events_of(payloads: list[bytes]) -> list[ChatEvent]:
    reader = ChunkReader()
    events = [event for payload in payloads for event in reader.read(payload)]
    assert reader.complete
    return events


def rebuilt_from(events: list[ChatEvent]) -> list[bytes]:
    renderer = StreamRenderer(include_usage=True)
    return [payload for event in events for payload in renderer.render(event)] + renderer.finish()


def without_usage(events: list[ChatEvent]) -> list[ChatEvent]:
    return [event for event in events if not isinstance(event, UsageReported)]


@STEADY
@given(streams())
def test_a_rebuilt_stream_gives_the_same_events_and_the_same_answer(chunks: list[dict[str, Any]]) -> None:
    payloads = payloads_of(chunks)
    events = events_of(payloads)
    rebuilt = rebuilt_from(events)
    again = events_of(rebuilt)
    assert without_usage(again) == without_usage(events)
    assert read_stream(rebuilt) == read_stream(payloads)
    assert assemble(rebuilt) == assemble(payloads) == render_answer(events)


@STEADY
@given(streams())
def test_usage_is_shown_in_a_chunk_of_its_own_and_only_when_asked(chunks: list[dict[str, Any]]) -> None:
    events = events_of(payloads_of(chunks))
    asked = [json.loads(payload) for payload in rebuilt_from(events)]
    reported = [event for event in events if isinstance(event, UsageReported)]
    assert [chunk["usage"] for chunk in asked if not chunk["choices"]] == [event.as_sent for event in reported]
    assert all(chunk["usage"] is None for chunk in asked if chunk["choices"])
    renderer = StreamRenderer()
    silent = [json.loads(payload) for event in events for payload in renderer.render(event)]
    assert renderer.finish() == []
    assert all("usage" not in chunk and chunk["choices"] for chunk in silent)


@STEADY
@given(streams(), st.lists(st.integers(1, 40)), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())
def test_any_cut_and_any_line_end_gives_the_same_events(
    chunks: list[dict[str, Any]], sizes: list[int], line_end: bytes, data: st.DataObject
) -> None:
    payloads = payloads_of(chunks)
    noise = st.sampled_from([b"", b": ping" + line_end * 2, b"event: message" + line_end, b"id: 7" + line_end])
    stream = b"".join(
        data.draw(noise) + b"data:" + data.draw(st.sampled_from([b"", b" "])) + payload + line_end * 2
        for payload in [*payloads, b"[DONE]"]
    )
    decoder = OpenAIChat(Quirks()).decoder()
    events: list[ChatEvent] = []
    for size in sizes:
        events += decoder.feed(stream[:size])
        stream = stream[size:]
    events += decoder.feed(stream) + decoder.end()
    assert events == events_of(payloads)
    assert decoder.complete
    assert decoder.feed(b"data: {}\n\n") == []


@STEADY
@given(streams(), st.data())
def test_a_payload_over_several_data_lines_is_one_payload(chunks: list[dict[str, Any]], data: st.DataObject) -> None:
    lines = json.dumps(chunks[0], indent=1).splitlines()
    stream = b"".join(b"data: " + line.encode() + b"\n" for line in lines) + b"\n"
    assert OpenAIChat(Quirks()).decoder().feed(stream) == ChunkReader().read(json.dumps(chunks[0]).encode())


@STEADY
@given(streams())
def test_the_answer_is_what_the_pieces_say(chunks: list[dict[str, Any]]) -> None:
    """Counted apart from our reader: text by text, so that nothing can be lost on both ways at once."""
    said: dict[tuple[int, str], str] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        delta: dict[str, Any] = choice["delta"]
        for name in ("content", "refusal", "reasoning_content", "reasoning", "x_delta"):
            kind = "reasoning_content" if name == "reasoning" else name
            said[choice["index"], kind] = said.get((choice["index"], kind), "") + delta.get(name, "")
        for call in delta.get("tool_calls", ()):
            piece = call.get("function", {}).get("arguments", "") + call.get("custom", {}).get("input", "")
            place = (choice["index"], f"call {call['index']}")
            said[place] = said.get(place, "") + piece
    for choice in json.loads(assemble(payloads_of(chunks)))["choices"]:
        message = choice["message"]
        for name in ("content", "refusal", "reasoning_content", "x_delta"):
            assert (message.get(name) or "") == said[choice["index"], name]
        for index, call in enumerate(message.get("tool_calls", ())):
            inner = call[call["type"]]
            assert (inner.get("arguments") or inner.get("input") or "") == said[choice["index"], f"call {index}"]
