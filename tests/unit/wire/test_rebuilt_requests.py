"""A body that passes and a body written from its typed reading are the same request, unknown fields and all."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.domain.chat import ChatRequest
from sekisho.domain.endpoint import Target
from sekisho.providers.dialects.openai_chat import OpenAIChat
from sekisho.providers.quirks import Quirks
from sekisho.wire import openai_chat

#: a busy machine is no failure
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TARGET = Target(provider="p", model="served")
DIALECT = OpenAIChat(Quirks())
NAME = st.text(min_size=1, max_size=8)
TEXT = st.text(max_size=12)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=5,
)
#: names that no API has
UNKNOWN = st.dictionaries(st.sampled_from(["x_one", "x_two", "新しい"]), ANY, max_size=2)


def of(required: dict[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with those members, and unknown ones beside them."""
    known = st.fixed_dictionaries(required, optional=optional)
    return st.tuples(known, UNKNOWN).map(lambda pair: pair[0] | pair[1])


TEXT_PART = of({"type": st.just("text"), "text": TEXT})
IMAGE_PART = of({"type": st.just("image_url"), "image_url": of({"url": TEXT}, detail=st.sampled_from(["low", None]))})
OTHER_PART = of({"type": st.sampled_from(["input_audio", "file", "refusal"])}, input_audio=ANY, refusal=TEXT)
CONTENT = st.none() | TEXT | st.lists(TEXT_PART | IMAGE_PART | OTHER_PART, max_size=3)
FUNCTION_CALL = of({"id": NAME, "type": st.just("function"), "function": of({"name": NAME, "arguments": TEXT})})
CUSTOM_CALL = of({"id": NAME, "type": st.just("custom"), "custom": of({"name": NAME, "input": TEXT})})
OTHER_CALL = of({"type": st.just("computer")}, computer=ANY)
MESSAGE = of(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "critic"])},
    content=CONTENT,
    name=st.none() | TEXT,
    tool_calls=st.lists(FUNCTION_CALL | CUSTOM_CALL | OTHER_CALL, max_size=3),
    tool_call_id=st.none() | TEXT,
    refusal=st.none() | TEXT,
    reasoning_content=TEXT,
    audio=ANY,
)
FUNCTION = of(
    {"name": NAME},
    description=st.none() | TEXT,
    parameters=st.none() | st.dictionaries(TEXT, ANY, max_size=2),
    strict=st.none() | st.booleans(),
)
TOOL = of({"type": st.just("function"), "function": FUNCTION}) | of({"type": st.just("custom")}, custom=ANY)
STREAM_OPTIONS = st.none() | of({}, include_usage=st.booleans(), include_obfuscation=st.booleans())
REQUEST = of(
    {"model": st.just("chat"), "messages": st.lists(MESSAGE, min_size=1, max_size=4)},
    stream=st.booleans(),
    stream_options=STREAM_OPTIONS,
    tools=st.none() | st.lists(TOOL, max_size=3),
    tool_choice=ANY,
    temperature=ANY,
    response_format=ANY,
    n=st.none() | st.integers(1, 9),
    metadata=ANY,
)


def sent(request: ChatRequest) -> Any:
    return json.loads(b"".join(DIALECT.request(request, TARGET).body))


def expected(body: dict[str, Any]) -> dict[str, Any]:
    wanted = body | {"model": "served"}
    if body.get("stream"):
        wanted["stream_options"] = (body.get("stream_options") or {}) | {"include_usage": True}
    return wanted


@STEADY
@given(REQUEST)
def test_a_body_passes_with_nothing_changed_but_model_and_usage(body: dict[str, Any]) -> None:
    passed = sent(openai_chat.parse(json.dumps(body).encode()))
    assert passed == expected(body)
    assert list(passed)[: len(body)] == list(body)


@STEADY
@given(REQUEST)
def test_a_body_rebuilt_from_its_reading_is_the_same_request(body: dict[str, Any]) -> None:
    request = openai_chat.parse(json.dumps(body).encode())
    talk = openai_chat.conversation(request)
    rebuilt = sent(ChatRequest(model=request.model, stream=request.stream, conversation=talk))
    wanted = expected(body)
    if not body.get("stream"):
        wanted.pop("stream", None)  # says what its absence says
    assert rebuilt == wanted
