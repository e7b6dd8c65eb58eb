"""What a caller says about a call: noted on its row, never trusted, never in the way of the call itself."""

from __future__ import annotations

import msgspec
import pytest

from sekisho.domain.call import Call, Caller, Entry, Route
from sekisho.domain.errors import Refusal
from sekisho.formats.json import decode_fields
from sekisho.gateway import annotations
from sekisho.gateway.annotations import MAX_TAGS_BYTES, annotate

ROUTE = Route(path="/v1/chat/completions", protocol="openai_chat", operation="chat", api_type="openai/v1/chat")


def entry(headers: dict[bytes, bytes] | None = None, caller: Caller | None = None) -> Entry:
    one = Entry(Call(ROUTE, headers or {}, b"", "req_1", 0, None))
    one.caller = caller
    return one


def test_nothing_said_is_nothing_noted() -> None:
    one = entry()
    annotate(one, None, None)
    assert (one.tags, one.feature, one.conversation_id, one.end_user) == (None, None, None, None)


@pytest.mark.parametrize("name", [b"x-sekisho-tags", b"databricks-ai-gateway-request-tags"])
def test_tags_come_from_a_header(name: bytes) -> None:
    one = entry({name: '{"feature":"要約","job":"7"}'.encode()})
    annotate(one, None, None)
    assert one.tags == {"feature": "要約", "job": "7"}
    assert one.feature == "要約"


def test_tags_come_from_the_metadata_of_the_body() -> None:
    one = entry()
    annotate(one, {"feature": "summary"}, None)
    assert (one.tags, one.feature) == ({"feature": "summary"}, "summary")


def test_the_header_wins_over_the_body_name_by_name() -> None:
    metadata = {"feature": "body", "job": "body"}
    one = entry({b"x-sekisho-tags": b'{"feature":"header"}'})
    annotate(one, metadata, None)
    assert one.tags == {"feature": "header", "job": "body"}
    assert metadata == {"feature": "body", "job": "body"}


@pytest.mark.parametrize(
    "raw",
    [
        b"summary",
        b'["summary"]',
        b'{"feature":1}',
        b'{"feature":null}',
        b'{"feature":"a"',
        b"\xff",
        b'{"feature":"\xff"}',
        b"[" * 5_000,
        b'{"feature":"' + b"x" * MAX_TAGS_BYTES + b'"}',
    ],
)
def test_tags_that_are_none_are_refused_with_their_name(raw: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        annotate(entry({b"x-sekisho-tags": raw}), None, None)
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "invalid_value", "x-sekisho-tags")


def test_an_empty_tags_header_says_nothing() -> None:
    one = entry({b"x-sekisho-tags": b""})
    annotate(one, {"job": "7"}, None)
    assert one.tags == {"job": "7"}


def test_a_conversation_is_cleaned_and_bounded() -> None:
    one = entry({b"x-sekisho-conversation": "会話\u202e\x00-1".encode() + b"\xff" + b"x" * 500})
    annotate(one, None, None)
    assert one.conversation_id is not None
    assert one.conversation_id.startswith("会話-1�xxx")
    assert len(one.conversation_id) <= 256


def test_an_end_user_is_recorded_but_is_not_the_requester() -> None:
    caller = Caller(key_id="key_1", key_name="one", user="taro")
    one = entry(caller=caller)
    annotate(one, None, "hanako")
    assert one.end_user == "hanako"
    assert one.caller is caller


def test_a_key_on_behalf_calls_for_the_end_user() -> None:
    caller = Caller(key_id="key_1", key_name="one", user="service", team="research", on_behalf=True)
    one = entry(caller=caller)
    annotate(one, None, "hanako")
    assert one.caller == msgspec.structs.replace(caller, user="hanako")
    assert caller.user == "service"
    silent = entry(caller=caller)
    annotate(silent, None, None)
    assert silent.caller is caller


@pytest.mark.parametrize(
    ("sent", "feature"),
    [
        ("要約（社内）", "要約(社内)"),
        ("ｶﾞ", "ガ"),
        ("Ｓｕｍｍａｒｙ", "Summary"),
        (" summary ", "summary"),
        ("summary\u200b", "summary"),
        ("sum\u3164mary", "summary"),
        ("sum\x00mary", "summary"),
        ("\u200b", ""),
        ("", ""),
        ("x" * 600 + "ｘ", "x" * 601),
    ],
)
def test_a_feature_has_the_name_that_rules_know_and_the_tag_stays_as_sent(sent: str, feature: str) -> None:
    for _ in range(2):
        by_body, by_header = entry(), entry({b"x-sekisho-tags": msgspec.json.encode({"feature": sent})})
        annotate(by_body, {"feature": sent}, None)
        annotate(by_header, None, None)
        assert (by_body.feature, by_body.tags) == (feature, {"feature": sent})
        assert (by_header.feature, by_header.tags) == (feature, {"feature": sent})


def test_features_that_callers_invent_are_not_remembered_without_end() -> None:
    for n in range(2_500):
        one = entry()
        annotate(one, {"feature": f"機能（{n}）"}, None)
        assert one.feature == f"機能({n})"
    assert len(annotations._features) <= 1_000  # pyright: ignore[reportPrivateUsage]


ON_BEHALF = Caller(key_id="key_1", key_name="one", user="service", on_behalf=True)


@pytest.mark.parametrize("sent", ["alice", "ａｌｉｃｅ", " alice "])
def test_who_is_called_for_has_the_name_that_rules_know(sent: str) -> None:
    one = entry(caller=ON_BEHALF)
    annotate(one, None, sent)
    assert one.caller is not None
    assert (one.caller.user, one.end_user) == ("alice", sent)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("ali\u200bce", "U+200B"),
        ("alice\u3164", "U+3164"),
        ("ali\nce", "U+000A"),
        (" \u3000", 64),
        ("x" * 65, 64),
        ("*", 64),
        ("key_abc", 64),
    ],
)
@pytest.mark.parametrize("member", ["user", "safety_identifier"])
def test_nobody_is_called_for_under_a_name_that_nobody_may_have(sent: str, told: object, member: str) -> None:
    one = entry(caller=ON_BEHALF)
    fields = decode_fields(msgspec.json.encode({"user": None, member: sent}))
    with pytest.raises(Refusal) as refused:
        annotate(one, None, sent, fields)
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "invalid_value", member)
    assert told in refused.value.values.values()
    assert (one.caller, one.end_user) == (ON_BEHALF, sent)


def test_an_end_user_of_another_key_is_recorded_as_it_came() -> None:
    caller = Caller(key_id="key_1", key_name="one", user="taro")
    one = entry(caller=caller)
    annotate(one, None, "ali\u200bce")
    assert (one.end_user, one.caller) == ("ali\u200bce", caller)
