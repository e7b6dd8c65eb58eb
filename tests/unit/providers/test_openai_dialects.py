"""What golden files do not show: quirks, broken answers, and bodies that are not touched."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sekisho.domain.chat import ChatRequest, Conversation, Message, Tool
from sekisho.domain.endpoint import Target
from sekisho.domain.errors import UpstreamError
from sekisho.domain.events import Failed, Started, TextDelta
from sekisho.providers.dialects.openai_chat import OpenAIChat
from sekisho.providers.dialects.openai_embeddings import OpenAIEmbeddings
from sekisho.providers.quirks import Quirks
from sekisho.wire import openai_chat, openai_embeddings

TARGET = Target(provider="p", model="served/モデル")
GOOD: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}


def sent(body: dict[str, Any], quirks: Quirks, *, rebuilt: bool = False) -> dict[str, Any]:
    request = openai_chat.parse(json.dumps(body).encode())
    if rebuilt:
        talk = openai_chat.conversation(request)
        request = ChatRequest(model=request.model, stream=request.stream, conversation=talk)
    http = OpenAIChat(quirks).request(request, TARGET)
    assert http.path == "/chat/completions"
    return json.loads(b"".join(http.body))


@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_server_that_rejects_stream_options_gets_none(rebuilt: bool) -> None:
    body = GOOD | {"stream": True, "stream_options": {"include_usage": True}}
    assert "stream_options" not in sent(body, Quirks(stream_options=False), rebuilt=rebuilt)


@pytest.mark.parametrize("rebuilt", [False, True])
@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({}, False),
        ({"store": False}, False),
        ({"store": None}, False),
        ({"store": "true"}, False),
        ({"store": True}, True),
    ],
)
def test_metadata_goes_only_where_it_is_stored(more: dict[str, Any], kept: bool, rebuilt: bool) -> None:
    body = sent(GOOD | {"metadata": {"a": "b"}} | more, Quirks(metadata_needs_store=True), rebuilt=rebuilt)
    assert ("metadata" in body) == kept


@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_member_is_sent_under_its_older_name_once(rebuilt: bool) -> None:
    quirks = Quirks(renames={"max_completion_tokens": "max_tokens"})
    assert sent(GOOD | {"max_completion_tokens": 5}, quirks, rebuilt=rebuilt)["max_tokens"] == 5
    both = sent(GOOD | {"max_completion_tokens": 5, "max_tokens": 7}, quirks, rebuilt=rebuilt)
    assert "max_completion_tokens" not in both
    assert both["max_tokens"] == 7
    # an older one of null is none, and must not take the caller's bound away
    null = sent(GOOD | {"max_completion_tokens": 5, "max_tokens": None}, quirks, rebuilt=rebuilt)
    assert null["max_tokens"] == 5


@pytest.mark.parametrize("rebuilt", [False, True])
def test_members_a_server_rejects_are_left_out(rebuilt: bool) -> None:
    assert "user" not in sent(GOOD | {"user": "taro"}, Quirks(drops=frozenset(("user",))), rebuilt=rebuilt)


def test_a_stream_that_asks_for_usage_passes_byte_for_byte_but_for_its_model() -> None:
    text = (
        '{"messages":[{"role":"user","content":"\\u95a2所 1.50"}],"stream":true,'
        '"stream_options":{"include_usage":true, "x":1e2},"model":"chat"}'
    )
    request = openai_chat.parse(text.encode())
    body = b"".join(OpenAIChat(Quirks()).request(request, TARGET).body).decode()
    assert body == text.replace('"chat"', '"served/モデル"')


def test_a_conversation_of_our_own_is_written_in_full() -> None:
    talk = Conversation(
        messages=(Message(role="user", content="hi"),), tools=(Tool(name="f"),), parameters={"temperature": 0}
    )
    request = ChatRequest(model="chat", stream=True, conversation=talk)
    assert json.loads(b"".join(OpenAIChat(Quirks()).request(request, TARGET).body)) == {
        "model": "served/モデル",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_request_in_another_protocol_needs_its_conversation() -> None:
    with pytest.raises(ValueError, match="needs its conversation"):
        OpenAIChat(Quirks()).request(ChatRequest(model="m", protocol="other", fields={}), TARGET)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"choices":{}}', b'{"choices":[1]}', b'{"choices":[{"message":1}]}', b"\xff"]
)
def test_an_answer_that_is_none_is_a_failure_of_the_provider(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        OpenAIChat(Quirks()).response(body)
    assert (caught.value.code, caught.value.status, caught.value.fallback) == ("upstream_error", 200, True)


def test_an_error_inside_an_answer_is_raised() -> None:
    with pytest.raises(UpstreamError) as caught:
        OpenAIChat(Quirks()).response(b'{"error":{"message":"x","code":"context_length_exceeded"}}')
    assert caught.value.code == "context_length_exceeded"


def test_an_error_inside_a_stream_is_judged_and_ends_it() -> None:
    decoder = OpenAIChat(Quirks()).decoder()
    events = decoder.feed(b'data: {"error":{"message":"busy","code":429}}\n\ndata: {"choices":[]}\n\n')
    assert [(event.code, event.fallback) for event in events if isinstance(event, Failed)] == [
        ("rate_limit_exceeded", True)
    ]
    assert decoder.feed(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n') == []
    assert decoder.end() == []
    assert not decoder.complete


def test_a_last_event_without_its_blank_line_is_read_at_the_end() -> None:
    decoder = OpenAIChat(Quirks()).decoder()
    assert decoder.feed(b'data: {"id":"c","choices":[{"delta":{"content":"a"}}]}') == []
    assert [type(event) for event in decoder.end()] == [Started, TextDelta]


def test_an_event_without_end_is_a_failure() -> None:
    decoder = OpenAIChat(Quirks()).decoder()
    packet = b"data: " + b"x" * (1 << 20)
    events = [event for _ in range(18) for event in decoder.feed(packet)]
    assert [type(event) for event in events] == [Failed]


def test_embeddings_pass_with_their_model_replaced() -> None:
    request = openai_embeddings.parse('{"model":"embed","input":["\\u95a2所"],"dimensions":2}'.encode())
    http = OpenAIEmbeddings(Quirks()).request(request, TARGET)
    assert http.path == "/embeddings"
    assert b"".join(http.body).decode() == '{"model":"served/モデル","input":["\\u95a2所"],"dimensions":2}'
