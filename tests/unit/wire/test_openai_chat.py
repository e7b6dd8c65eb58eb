"""Chat bodies of clients: what is taken, what is refused and how."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.domain.errors import Refusal
from sekisho.formats.json import decode_fields
from sekisho.wire import chat_stream, openai_chat, openai_embeddings

GOOD: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}


def refused(body: bytes | dict[str, Any]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        openai_chat.parse(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert caught.value.status == 400
    return caught.value


def test_a_body_is_read_only_as_deep_as_the_way_of_a_call_needs() -> None:
    body = json.dumps(GOOD | {"stream": True, "stream_options": {"include_usage": True}, "n": 2}).encode()
    request = openai_chat.parse(body)
    assert (request.model, request.stream, request.include_usage) == ("chat", True, True)
    assert request.fields is not None
    assert list(request.fields) == ["model", "messages", "stream", "stream_options", "n"]


@pytest.mark.parametrize("value", [None, False])
def test_a_stream_of_null_or_false_is_none(value: bool | None) -> None:
    assert not openai_chat.parse(
        json.dumps(GOOD | {"stream": value, "stream_options": None, "n": None}).encode()
    ).stream


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"[]",
        b"null",
        b'"x"',
        b'{"model":',
        b'{"model" 1}',
        b'{"a":tru}',
        b'{"model":"m","messages":[{"content":"\xff"}]}',
        b'{"model":"m","messages":[{"content":"\xed\xa0\x80"}]}',
        b'{"model":"m","messages":[{"content":"\\ud800"}]}',
        b'{"model":"m","messages":[{}]} x',
        b'{"messages":' + b"[" * 100_000,
        b'{"messages":' + b'{"a":' * 100_000,
    ],
)
def test_what_is_no_json_object_in_utf8_is_invalid_json(body: bytes) -> None:
    assert refused(body).code == "invalid_json"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 1}, "model"),
        ({"model": "x" * 257}, "model"),
        ({"model": "a\r\nx: y"}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": {"role": "user"}}, "messages"),
        ({"stream": "true"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options"),
        ({"stream_options": []}, "stream_options"),
        ({"n": 0}, "n"),
        ({"n": 16_385}, "n"),
        ({"n": 10**400}, "n"),
        ({"n": 1.5}, "n"),
        ({"n": "2"}, "n"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(change: dict[str, Any], param: str) -> None:
    refusal = refused(GOOD | change)
    assert (refusal.code, refusal.param) == ("invalid_value", param)


def test_missing_fields_are_named() -> None:
    assert refused({"messages": GOOD["messages"]}).param == "model"
    assert refused({"model": "chat"}).param == "messages"


@pytest.mark.parametrize("text", [b"[ ]", b"[\n\n]", b"[" + b" " * 200 + b"]"])
def test_an_empty_array_is_empty_however_it_is_written(text: bytes) -> None:
    assert refused(b'{"model":"m","messages":%b}' % text).param == "messages"


@pytest.mark.parametrize("text", [b"[{}]", b"[ {}]", b"[" + b"\n" * 200 + b"{}]"])
def test_a_filled_array_is_filled_however_it_is_written(text: bytes) -> None:
    assert openai_chat.parse(b'{"model":"m","messages":%b}' % text).model == "m"


@pytest.mark.parametrize(
    "name",
    [
        "base_url", "api_base", "api_key", "api_version", "organization", "custom_llm_provider", "extra_headers",
        "API-Key", "ApiBase", "BASE_URL", "aws_secret_access_key", "vertex_credentials", "proxy", "api_\u212aey",
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["top", "extra_body", "Extra-Body", "extra_body.extra_body"])
def test_a_field_that_could_lead_the_call_or_the_keys_elsewhere_is_refused(name: str, where: str) -> None:
    inside: dict[str, Any] = {name: "http://example.com"}
    for outer in reversed([] if where == "top" else where.split(".")):
        inside = {outer: inside}
    refusal = refused(GOOD | inside)
    assert refusal.code == "forbidden_field"
    assert refusal.param == (name if where == "top" else f"{where}.{name}")


@pytest.mark.parametrize("extra", [{"a": 1}, [], "x", None, {"note": {"api_key": "of a tool"}}])
def test_other_extra_bodies_pass(extra: Any) -> None:
    assert openai_chat.parse(json.dumps(GOOD | {"extra_body": extra}).encode()).fields


def test_every_extra_body_inside_another_is_looked_at() -> None:
    inside = {"extra_body": {"api_key": "x"}, "extraBody": {}}
    assert refused(GOOD | {"extra_body": inside}).param == "extra_body.extra_body.api_key"


def test_how_often_a_body_is_read_has_an_end() -> None:
    """Each was read once for every one around it: 32 MB within 900 of them stopped the gateway for half a minute."""
    deep = {"api_key": "x"}
    for _ in range(900):
        deep = {"extra_body": deep}
    assert refused(GOOD | deep).code == "invalid_json"


def test_of_a_repeated_field_the_last_one_counts() -> None:
    request = openai_chat.parse(b'{"model":"a","messages":[{}],"model":"b"}')
    assert request.model == "b"
    assert request.fields is not None
    assert bytes(request.fields["model"]) == b'"b"'


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_refused_and_nothing_else_is_raised(body: bytes) -> None:
    for parse in (openai_chat.parse, openai_embeddings.parse, chat_stream.parse):
        with pytest.raises(Refusal):
            parse(body)


@given(st.data())
def test_a_damaged_body_is_read_or_refused_and_nothing_else_is_raised(data: st.DataObject) -> None:
    good = json.dumps(GOOD | {"stream": True, "n": 1, "metadata": {"a": "b"}, "extra_body": {}}).encode()
    at = data.draw(st.integers(0, len(good)))
    body = good[:at] + data.draw(st.binary(max_size=4)) + good[at + data.draw(st.integers(0, 4)) :]
    with contextlib.suppress(Refusal):
        request = openai_chat.parse(body)
        openai_chat.conversation(request)
        openai_chat.metadata(request.fields or {})
        openai_chat.end_user(request.fields or {})


def test_a_shape_that_has_to_be_understood_and_is_not_is_named() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": 7}]}]
    request = openai_chat.parse(json.dumps(GOOD | {"messages": messages}).encode())
    with pytest.raises(Refusal) as caught:
        openai_chat.conversation(request)
    assert (caught.value.status, caught.value.param) == (400, "messages[1].content[0].type")


def test_a_body_nested_too_deeply_to_be_understood_is_refused() -> None:
    body = b'{"model":"m","messages":[{"role":"user","x":%b%b}]}' % (b"[" * 800, b"]" * 800)
    request = openai_chat.parse(body)

    def from_far_below(depth: int) -> None:
        if depth:
            from_far_below(depth - 1)
        else:
            openai_chat.conversation(request)

    if sys.version_info >= (3, 12):
        # The depth of our own calls is counted apart there, and what could be read is understood.
        from_far_below(300)
        return
    with pytest.raises(Refusal) as caught:
        from_far_below(300)
    assert caught.value.code == "invalid_json"


def test_a_number_beyond_any_float_is_refused_where_it_has_to_be_understood() -> None:
    request = openai_chat.parse(b'{"model":"m","messages":[{"role":"user"}],"temperature":1e999}')
    with pytest.raises(Refusal):
        openai_chat.conversation(request)


def of(value: Any, name: str = "metadata") -> Any:
    return decode_fields(json.dumps({name: value}).encode())


def test_tags_are_pairs_of_text() -> None:
    assert openai_chat.metadata({}) is None
    assert openai_chat.metadata(of(None)) is None
    assert openai_chat.metadata(of({})) is None
    assert openai_chat.metadata(of({"feature": "要約"})) == {"feature": "要約"}


@pytest.mark.parametrize(
    "value", [[], "x", {"a": 1}, {"a": None}, {str(n): "" for n in range(17)}, {"k" * 65: ""}, {"k": "v" * 513}]
)
def test_tags_of_another_kind_or_size_are_refused(value: Any) -> None:
    with pytest.raises(Refusal) as caught:
        openai_chat.metadata(of(value))
    assert (caught.value.status, caught.value.param) == (400, "metadata")


def test_the_end_user_is_user_or_its_successor() -> None:
    assert openai_chat.end_user({}) is None
    assert openai_chat.end_user(of("taro", "user")) == "taro"
    assert openai_chat.end_user(of("hana", "safety_identifier")) == "hana"
    assert openai_chat.end_user(decode_fields(b'{"user":null,"safety_identifier":"hana"}')) == "hana"
    assert openai_chat.end_user(decode_fields(b'{"safety_identifier":"hana","user":"taro"}')) == "taro"


@pytest.mark.parametrize("value", [1, ["x"], "x" * 257])
def test_an_end_user_of_another_kind_is_refused(value: Any) -> None:
    with pytest.raises(Refusal) as caught:
        openai_chat.end_user(of(value, "user"))
    assert caught.value.param == "user"
