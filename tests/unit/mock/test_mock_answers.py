from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.mock.answers import Question, Tokens, ToolSpec, compose
from sekisho.mock.openai_embeddings import vector
from sekisho.mock.samples import sample
from sekisho.mock.script import Script, parse

_QUESTION = Question(seed=7, text_bytes=100, last_user_text="the last word")


def _text(model: str, question: Question = _QUESTION) -> str:
    return "".join(compose(parse(model), question).choices[0].text)


def test_a_plain_model_says_twenty_chunks_and_counts_four_bytes_as_a_token() -> None:
    answer = compose(Script(), _QUESTION)
    assert len(answer.choices[0].text) == 20
    assert answer.tokens == Tokens(input=25, output=20)


def test_no_text_is_still_one_token() -> None:
    assert compose(Script(), Question(seed=1, text_bytes=0)).tokens.input == 1


@given(st.text(), st.none() | st.integers(0, 50))
def test_the_chunks_of_a_text_are_the_text(text: str, chunks: int | None) -> None:
    pieces = compose(Script(answer=text, chunks=chunks), _QUESTION).choices[0].text
    assert all(pieces)
    if chunks == 0:
        assert pieces == []
    else:
        assert "".join(pieces) == text
    if chunks is not None:
        assert len(pieces) == min(chunks, len(text))


def test_an_echo_is_the_last_user_message() -> None:
    assert _text("mock?echo=1") == "the last word"


def test_the_answer_of_the_script_goes_before_all_others() -> None:
    question = Question(seed=1, text_bytes=1, last_user_text="no", schema={"type": "object"})
    assert _text("mock?echo=1&answer=yes", question) == "yes"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ("100", Tokens(input=100, output=24, reasoning=4)),
        ("100,20", Tokens(input=100, output=20, reasoning=4)),
        ("100,2,60", Tokens(input=100, output=2, cached=60, reasoning=2)),
    ],
)
def test_usage_of_the_script_replaces_what_is_counted(usage: str, tokens: Tokens) -> None:
    assert compose(parse(f"mock?usage={usage}&reasoning=1"), _QUESTION).tokens == tokens


def test_all_choices_are_counted() -> None:
    answer = compose(Script(chunks=3), Question(seed=1, text_bytes=1, choices=4))
    assert answer.tokens.output == 12
    assert len({tuple(choice.text) for choice in answer.choices}) == 4


def test_parallel_calls_go_through_the_tools_and_their_arguments_fit() -> None:
    tools = [
        ToolSpec(name="first", parameters={"type": "object", "properties": {"a": {"type": "integer"}}}),
        ToolSpec(name="second", parameters={}),
    ]
    answer = compose(parse("mock?tools=1&parallel=3"), Question(seed=1, text_bytes=1, tools=tools))
    calls = answer.choices[0].calls
    assert [(call.name, json.loads("".join(call.arguments))) for call in calls] == [
        ("first", {"a": 1}),
        ("second", {}),
        ("first", {"a": 1}),
    ]
    assert answer.choices[0].finish == "tool_calls"
    assert answer.tokens.output == sum(1 + len(call.arguments) for call in calls)


def test_the_result_of_a_tool_is_answered_with_text() -> None:
    choice = compose(parse("mock?tools=1"), Question(seed=1, text_bytes=1, after_tool=True)).choices[0]
    assert choice.text
    assert not choice.calls
    assert choice.finish == "stop"


_scalars = st.sampled_from(["string", "integer", "number", "boolean", "null", "array"]).map(lambda kind: {"type": kind})
_schemas = st.recursive(
    _scalars | st.lists(st.text(max_size=3) | st.integers(), min_size=1, max_size=3).map(lambda all_: {"enum": all_}),
    lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=4).map(
        lambda properties: {"type": "object", "properties": properties, "required": list(properties)}
    ),
    max_leaves=12,
)
_TYPES = {"string": str, "integer": int, "number": float, "boolean": bool, "null": type(None), "array": list}


def _fits(value: object, schema: dict) -> bool:
    if "enum" in schema:
        return value == schema["enum"][0]
    if schema["type"] == "object":
        inner = schema["properties"]
        return (
            isinstance(value, dict) and value.keys() == inner.keys() and all(_fits(value[k], inner[k]) for k in inner)
        )
    return type(value) is _TYPES[schema["type"]]


@given(_schemas)
def test_a_sample_fits_its_schema(schema: dict) -> None:
    assert _fits(sample(schema), schema)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": "x"}, "x"),
        ({"type": ["string", "null"]}, "text"),
        ({"anyOf": [{"type": "integer", "minimum": 5}, {"type": "null"}]}, 5),
        ({"type": "number", "maximum": 0.5}, 0.5),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [True, True]),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"$defs": {"A": {"enum": ["a"]}}, "properties": {"x": {"$ref": "#/$defs/A"}}}, {"x": "a"}),
    ],
)
def test_a_sample_of_what_sdks_write(schema: dict, value: object) -> None:
    assert sample(schema) == value


def test_a_schema_that_refers_to_itself_has_an_end() -> None:
    node = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}
    assert '{"next": null}' in json.dumps(sample(node))
    assert sample({"$ref": "#"}) is None


@given(st.lists(st.binary(max_size=8)), st.integers(1, 300))
def test_a_vector_has_unit_length(features: list[bytes], dimensions: int) -> None:
    numbers = vector(features, dimensions)
    assert len(numbers) == dimensions
    assert sum(number * number for number in numbers) == pytest.approx(1, abs=1e-5)
