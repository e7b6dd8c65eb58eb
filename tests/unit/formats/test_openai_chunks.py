"""Chunks of real servers read into events: the departures we know of, and bytes that are no chunk at all."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.domain.events import (
    ChatEvent,
    Failed,
    Finished,
    OtherDelta,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from sekisho.domain.usage import Usage
from sekisho.formats.openai_chunks import ChunkReader, assemble

#: a busy machine is no failure
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
JSON_TEXTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
NAMES = st.sampled_from(
    [
        "id",
        "choices",
        "delta",
        "index",
        "content",
        "tool_calls",
        "function",
        "usage",
        "error",
        "finish_reason",
        "logprobs",
    ]
)
CHUNKISH = st.recursive(
    JSON_TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=15
)


def read(*chunks: dict[str, Any]) -> list[ChatEvent]:
    reader = ChunkReader()
    return [event for chunk in chunks for event in reader.read(json.dumps(chunk).encode())]


def of_delta(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": "c",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    } | more


def calls_of(*deltas: Any) -> list[tuple[int, str | None, str | None, str]]:
    events = read(*(of_delta({"tool_calls": calls}) for calls in deltas))
    return [(e.index, e.id, e.name, e.arguments) for e in events if isinstance(e, ToolCallDelta)]


def test_life_begins_with_the_first_choice_and_keeps_what_stood_before_it() -> None:
    verdict = {"id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    events = read(verdict, of_delta({"role": "assistant", "content": ""}), of_delta({"content": "a"}))
    assert events == [
        Started(id="c", model="m", created=1, extra={"prompt_filter_results": [{"prompt_index": 0}]}),
        TextDelta(choice=0, text=""),
        TextDelta(choice=0, text="a"),
    ]


def test_an_empty_text_counts_only_at_the_beginning() -> None:
    events = read(of_delta({"content": ""}), of_delta({"content": "a"}), of_delta({"content": ""}, "stop"))
    assert events[1:] == [
        TextDelta(choice=0, text=""),
        TextDelta(choice=0, text="a"),
        Finished(choice=0, finish_reason="stop"),
    ]


def test_an_id_and_a_name_repeated_in_every_piece_come_once() -> None:
    piece = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}
    assert calls_of([piece], [piece]) == [(0, "a", "f", "{"), (0, None, None, "{")]


def test_calls_without_an_index_begin_with_their_id() -> None:
    pieces = (
        [{"id": "a", "function": {"name": "f", "arguments": "{"}}],
        [{"function": {"arguments": "}"}}],
        [{"id": "b", "function": {"name": "g", "arguments": "{}"}}],
    )
    assert calls_of(*pieces) == [(0, "a", "f", "{"), (0, None, None, "}"), (1, "b", "g", "{}")]


def test_an_index_that_comes_with_another_id_is_another_call() -> None:
    pieces = [{"index": 0, "id": name, "function": {"name": "f", "arguments": "{}"}} for name in "ab"]
    assert calls_of(pieces) == [(0, "a", "f", "{}"), (1, "b", "f", "{}")]


def test_arguments_sent_as_an_object_become_text() -> None:
    assert calls_of([{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}])[0][3] == '{"x":1}'


def test_both_names_of_reasoning_give_it_once() -> None:
    events = read(of_delta({"content": "", "reasoning": "so", "reasoning_content": "so"}))
    assert events[1:] == [ReasoningDelta(choice=0, text="so"), TextDelta(choice=0, text="")]


def test_thoughts_and_texts_in_a_list_are_told_apart() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    events = read(of_delta({"content": [thought, {"type": "text", "text": "a"}]}))
    assert events[1:] == [ReasoningDelta(choice=0, text="hm"), TextDelta(choice=0, text="a")]


def test_a_list_with_anything_else_in_it_rides_along() -> None:
    content = [{"type": "reference", "reference_ids": [1]}]
    assert read(of_delta({"content": content}))[1:] == [OtherDelta(choice=0, delta={"content": content})]


def test_usage_in_the_last_content_chunk_is_reported() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    events = read(of_delta({"content": "a"}, "stop", usage=usage))
    assert events[-1] == UsageReported(usage=Usage(input_tokens=1, output_tokens=2), as_sent=usage)


def test_after_an_error_nothing_follows() -> None:
    events = read(of_delta({"content": "a"}), {"error": {"message": "no"}}, of_delta({"content": "b"}, "stop"))
    assert [type(event) for event in events] == [Started, TextDelta, Failed]


def test_a_stream_is_complete_when_every_choice_has_its_reason() -> None:
    reader = ChunkReader()
    assert not reader.complete
    for index in (0, 1):
        reader.read(json.dumps({"choices": [{"index": index, "delta": {"content": "a"}}]}).encode())
    reader.read(b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')
    assert not reader.complete
    reader.read(b'{"choices":[{"index":1,"delta":{},"finish_reason":"length"}]}')
    assert reader.complete


def test_unknown_deltas_grow_as_official_sdks_let_them_grow() -> None:
    payloads = [
        of_delta({"audio": {"id": "x", "transcript": "a"}, "tags": [1]}),
        of_delta({"audio": {"transcript": "b", "expires_at": 5}, "tags": [2]}, "stop"),
    ]
    message = json.loads(assemble(json.dumps(payload).encode() for payload in payloads))["choices"][0]["message"]
    assert message["audio"] == {"id": "x", "transcript": "ab", "expires_at": 5}
    assert message["tags"] == [1, 2]


@STEADY
@given(st.lists(st.binary(max_size=30) | CHUNKISH.map(lambda value: json.dumps(value).encode()), max_size=5))
def test_no_bytes_raise(payloads: list[bytes]) -> None:
    assemble(payloads)


def test_a_payload_nested_without_end_is_a_failure() -> None:
    assert isinstance(ChunkReader().read(b'{"a":' + b"[" * 100_000)[0], Failed)
