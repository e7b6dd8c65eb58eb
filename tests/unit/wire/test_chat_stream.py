"""The plain chat of a web page: one message in, its text out, and no word of how the answer came about."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sekisho.domain.chat import Message
from sekisho.domain.errors import Refusal
from sekisho.domain.events import (
    ChatEvent,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from sekisho.domain.usage import Usage
from sekisho.wire.chat_stream import ContentRenderer, parse


def of(**body: Any):
    return parse(json.dumps(body).encode(), default_model="chat")


def test_a_message_becomes_a_streamed_request_to_the_default_model() -> None:
    request = of(message="こんにちは")
    assert (request.model, request.stream, request.fields) == ("chat", True, None)
    assert request.conversation is not None
    assert request.conversation.messages == (Message(role="user", content="こんにちは"),)


def test_system_comes_first_and_history_before_the_message() -> None:
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    request = of(message="c", model="other", system="s", history=history)
    assert request.model == "other"
    assert request.conversation is not None
    said = [(message.role, message.content) for message in request.conversation.messages]
    assert said == [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c")]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "message"),
        ({"message": ""}, "message"),
        ({"message": 1}, "message"),
        ({"message": "a", "model": ""}, "model"),
        ({"message": "a", "system": []}, "system"),
        ({"message": "a", "history": "x"}, "history"),
        ({"message": "a", "history": [{"role": "system", "content": "x"}]}, "history"),
        ({"message": "a", "history": [{"role": "user"}]}, "history"),
        ({"message": "a", "history": [{"role": "user", "content": "x", "name": "y"}]}, "history"),
        ({"message": "a", "temperature": 1}, "temperature"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(Refusal) as caught:
        of(**body)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "invalid_value", param)


def test_null_is_as_good_as_left_out() -> None:
    request = of(message="a", model=None, system=None, history=None)
    assert request.model == "chat"
    assert request.conversation is not None
    assert request.conversation.messages == (Message(role="user", content="a"),)


def test_without_a_default_the_model_has_to_be_named() -> None:
    with pytest.raises(Refusal) as caught:
        parse(b'{"message":"a"}')
    assert caught.value.param == "model"


def test_only_text_of_the_first_choice_is_shown() -> None:
    events: list[ChatEvent] = [
        Started(id="x", model="secret", created=1),
        ReasoningDelta(choice=0, text="hm"),
        TextDelta(choice=0, text=""),
        TextDelta(choice=0, text="関"),
        TextDelta(choice=1, text="other"),
        ToolCallDelta(choice=0, index=0, id="a", name="f"),
        RefusalDelta(choice=0, text="no"),
        Finished(choice=0, finish_reason="stop"),
        UsageReported(usage=Usage()),
    ]
    renderer = ContentRenderer()
    shown = [payload for event in events for payload in renderer.render(event)] + renderer.finish()
    assert shown == ['{"content":"関"}'.encode(), b'{"content":"no"}']
