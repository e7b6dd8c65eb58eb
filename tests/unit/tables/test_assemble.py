"""Streams put together again: the answer the same call would have had without `stream`."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.tables import assemble as module
from sekisho.tables.assemble import assemble
from sekisho.tables.bodies import assembled, input_preview, output_preview
from sekisho.tables.collapse import collapse

Json = dict[str, Any]


def chunk(delta: Json | None = None, index: int = 0, **more: Any) -> Json:
    finish = more.pop("finish_reason", None)
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish, **more.pop("choice", {})}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [choice], **more}


def joined(*events: Json) -> bytes:
    return b"\n".join(msgspec.json.encode(event) for event in events)


def whole(*events: Json) -> Json:
    answer = assemble(joined(*events))
    assert answer is not None
    return answer


def test_text_usage_and_finish_reason():
    answer = whole(
        chunk({"role": "assistant", "content": ""}, system_fingerprint="fp", service_tier="default"),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk(finish_reason="stop", system_fingerprint=None),
        {"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": {"total_tokens": 3}},
    )
    assert answer == {
        "id": "c1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "system_fingerprint": "fp",
        "service_tier": "default",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"},
        ],
        "usage": {"total_tokens": 3},
    }


def test_tool_calls_merge_by_index():
    def call(index: int, **fields: Any) -> Json:
        return {"tool_calls": [{"index": index, **fields}]}

    answer = whole(
        chunk(call(0, id="a", type="function", function={"name": "f", "arguments": ""})),
        chunk(call(1, id="b", type="function", function={"name": "g", "arguments": "{"})),
        chunk(call(0, function={"arguments": '{"x"'})),
        chunk(call(1, function={"name": "g", "arguments": "}"})),
        chunk(call(0, function={"arguments": ":1}"})),
    )
    message = answer["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def called(*pieces: Json) -> Any:
    """The tool calls of a stream of such pieces, one an event."""
    events = (chunk({"tool_calls": [piece]}) for piece in pieces)
    return whole(*events, chunk(finish_reason="tool_calls"))["choices"][0]["message"]["tool_calls"]


@pytest.mark.parametrize("place", [{}, {"index": 0}, {"index": None}])
def test_calls_without_an_index_of_their_own_stay_apart(place: Json):
    first = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    second = {"id": "b", "type": "function", "function": {"name": "g", "arguments": '{"y":2}'}}
    assert called({**place, **first}, {**place, **second}) == [first, second]
    together = whole(chunk({"tool_calls": [{**place, **first}, {**place, **second}]}))
    assert together["choices"][0]["message"]["tool_calls"] == [first, second]


def test_the_input_of_a_custom_tool_is_whole():
    assert called(
        {"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": ""}},
        {"index": 0, "custom": {"input": "SEL"}},
        {"index": 0, "custom": {"input": "ECT"}},
    ) == [{"id": "a", "type": "custom", "custom": {"name": "sql", "input": "SELECT"}}]


def test_an_id_and_a_name_that_are_sent_once_more_and_empty_stay():
    assert called(
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}},
        {"index": 0, "id": "", "type": "function", "function": {"name": "", "arguments": "}"}},
    ) == [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def test_arguments_that_come_as_an_object_are_text_as_in_a_plain_answer():
    assert called({"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}) == [
        {"id": "a", "function": {"name": "f", "arguments": '{"x":1}'}}
    ]


def test_sound_keeps_its_whole_transcript():
    answer = whole(
        chunk({"audio": {"id": "audio_1", "transcript": "Hel"}}),
        chunk({"audio": {"id": "audio_1", "transcript": "lo"}}),
        chunk({"audio": {"data": "AAAA"}}),
        chunk({"audio": {"data": "BBBB", "expires_at": None}}),
        chunk({"audio": {"expires_at": 12}}, finish_reason="stop"),
    )
    assert answer["choices"][0]["message"]["audio"] == {
        "id": "audio_1",
        "transcript": "Hello",
        "data": "AAAABBBB",
        "expires_at": 12,
    }


def test_thoughts_in_the_content_do_not_push_the_text_out():
    def thought(text: str) -> Json:
        return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}

    answer = whole(
        chunk({"role": "assistant", "content": ""}),
        chunk(thought("Compare ")),
        chunk(thought("the tenths.")),
        chunk({"content": "It is "}),
        chunk({"content": "9.8"}),
        chunk({"content": ""}, finish_reason="stop"),
    )
    assert answer["choices"][0]["message"]["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Compare the tenths."}]},
        {"type": "text", "text": "It is 9.8"},
    ]
    assert output_preview(msgspec.json.encode(answer)) == "It is 9.8"


def test_logprobs_of_no_refusal_are_null_as_in_a_plain_answer():
    answer = whole(chunk({"content": "a"}, choice={"logprobs": {"content": [{"token": "a"}], "refusal": None}}))
    assert answer["choices"][0]["logprobs"] == {"content": [{"token": "a"}], "refusal": None}


def test_choices_reasoning_refusal_logprobs_and_unknown_fields():
    answer = whole(
        chunk({"reasoning_content": "be"}, choice={"logprobs": {"content": [{"token": "a"}]}}),
        chunk({"refusal": "No"}, index=1),
        chunk({"reasoning_content": "cause", "mood": "so"}, choice={"logprobs": {"content": [{"token": "b"}]}}),
        chunk({"refusal": "pe", "score": 1}, index=1),
        chunk({"mood": "ber", "parts": [1]}),
        chunk({"score": 2, "parts": None}, index=1, finish_reason="content_filter"),
        chunk({"parts": [2]}, citations=["u"]),
    )
    first, second = answer["choices"]
    assert first["message"] == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "because",
        "mood": "sober",
        "parts": [1, 2],
    }
    assert first["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}]}
    assert second["message"]["refusal"] == "Nope"
    assert second["message"]["score"] == 2
    assert second["finish_reason"] == "content_filter"
    assert answer["citations"] == ["u"]


def test_the_older_function_call():
    answer = whole(
        chunk({"function_call": {"name": "f", "arguments": "{"}}), chunk({"function_call": {"arguments": "}"}})
    )
    assert answer["choices"][0]["message"]["function_call"] == {"name": "f", "arguments": "{}"}


def test_what_does_not_parse_is_passed_over():
    body = joined(chunk({"content": "a"}), chunk({"content": "b"})) + b'\n[DONE]\n{"id":"c1","choi'
    answer = assemble(body)
    assert answer is not None
    assert answer["choices"][0]["message"]["content"] == "ab"


def test_payloads_over_several_lines():
    body = msgspec.json.format(joined(chunk({"content": "a"})), indent=2) + b"\n" + joined(chunk({"content": "b"}))
    answer = assemble(body)
    assert answer is not None
    assert answer["choices"][0]["message"]["content"] == "ab"


def test_an_error_in_the_stream_is_kept():
    answer = whole(chunk({"content": "a"}), {"error": {"message": "overloaded"}})
    assert answer["error"] == {"message": "overloaded"}
    assert whole({"error": {"message": "x"}}) == {"error": {"message": "x"}}


@pytest.mark.parametrize("body", [b"", b"[DONE]", b"1\n2", b"\xff\xfe", b'{"choices":7}', b'{"choices":[{"delta":3}]}'])
def test_other_streams_stay_as_they_came(body: bytes):
    assert assembled(body) == body


text = st.text(max_size=6) | st.sampled_from(
    ['"', "\\", '\\"', '"}', "\n", '","refusal":"x', "é", "\U0001f600", '"}\\']
)
deltas = st.one_of(
    st.fixed_dictionaries({"content": text}),
    st.fixed_dictionaries({"content": text}, optional={"refusal": text, "reasoning_content": text}),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": text}),
    st.just({}),
)


@st.composite
def events(draw: st.DrawFn) -> Json:
    event = chunk(draw(deltas), index=draw(st.integers(0, 1)))
    if draw(st.booleans()):
        event["choices"][0]["logprobs"] = draw(st.none() | st.just({"content": [{"token": "t"}]}))
    if draw(st.integers(0, 5)) == 0:
        event["choices"].append({"index": 1, "delta": draw(deltas), "finish_reason": None})
    if draw(st.booleans()):
        event["usage"] = draw(st.none() | st.just({"total_tokens": 1}))
    if draw(st.booleans()):
        event["obfuscation"] = draw(st.text("abc", max_size=3))
    return event


@given(st.lists(events(), max_size=12), st.booleans())
def test_collapsing_changes_nothing(stream: list[Json], spaced: bool):
    body = joined(*stream)
    if spaced:
        body = b"\n".join(msgspec.json.format(msgspec.json.encode(event), indent=0) for event in stream)
    answers = [module._merged(module._parsed(one)) for one in (body, collapse(body))]  # pyright: ignore[reportPrivateUsage]
    assert answers[0] == answers[1]


def test_collapsing_leaves_a_handful_of_events():
    stream = [chunk({"role": "assistant"}), *(chunk({"content": f"{n} "}, obfuscation="x" * n) for n in range(99))]
    assert collapse(joined(*stream, chunk(finish_reason="stop"))).count(b"\n") == 2


def test_previews_are_200_characters_of_the_last_user_message():
    parts = [{"type": "text", "text": "見て"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    body = {"messages": [{"role": "user", "content": "old"}, {"role": "user", "content": parts}, {"role": "tool"}]}
    assert input_preview(msgspec.json.encode(body)) == "見て"
    long = {"messages": [{"role": "user", "content": "あ" * 500}]}
    assert input_preview(msgspec.json.encode(long)) == "あ" * 200
    assert input_preview(b'{"input":["first","second"]}') == "first\nsecond"
    assert output_preview(b'{"choices":[{"message":{"content":null}}]}') is None


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"messages":[{"role":"user","content":7}]}', b'{"input":[[1,2]]}', b"\xff"]
)
def test_previews_of_anything_else_are_nothing(body: bytes):
    assert input_preview(body) is None
    assert output_preview(body) is None


def test_a_text_with_bytes_that_are_no_utf8_has_a_preview_all_the_same():
    assert input_preview(b'{"messages":[{"role":"user","content":"a\xffb"}]}') == "a\ufffdb"
    assert input_preview(b'{"messages":[{"role":"user","content":[{"type":"text","text":"a\xe9\x96"}]}]}') == "a\ufffd"
    assert input_preview(b'{"input":"a\xed\xa0\x80"}') == "a\ufffd\ufffd\ufffd"
    assert output_preview(b'{"choices":[{"message":{"content":"\xffb"}}]}') == "\ufffdb"
