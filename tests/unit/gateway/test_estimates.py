"""What is estimated before a call and where a provider says nothing, and what its counts teach."""

from __future__ import annotations

import base64
import os

import msgspec
import pytest

from sekisho.domain.call import Attempt, Call, Entry, Route
from sekisho.domain.endpoint import Target
from sekisho.domain.usage import Usage
from sekisho.gateway.estimates import Estimates
from sekisho.tokens.answer import Written

CHAT = Route(path="/v1/chat/completions", protocol="openai_chat", operation="chat", api_type="chat")
EMBED = Route(path="/v1/embeddings", protocol="openai_embeddings", operation="embeddings", api_type="embeddings")
PAGE = Route(path="/chat/stream", protocol="chat_stream", operation="chat", api_type="sekisho/chat/stream")
TARGET = Target(provider="mock", model="m")
#: some 40 tokens of a common tokenizer
JAPANESE = "関所では、通る人と荷物をすべて帳面に書きとめ、通行料を受け取っていました。"


def entry(content: object, route: Route = CHAT) -> Entry:
    member = "messages" if route is CHAT else "input"
    value = [{"role": "user", "content": content}] if route is CHAT else content
    return Entry(Call(route, {}, msgspec.json.encode({"model": "m", member: value}), "req_1", 0, None))


def attempt() -> Attempt:
    return Attempt(TARGET, "primary", 0.0)


def test_a_text_is_measured_by_its_script_and_not_by_its_bytes() -> None:
    estimates = Estimates()
    japanese = estimates.measured_input_tokens(entry(JAPANESE), TARGET)
    assert 0.6 * len(JAPANESE) < japanese < 1.5 * len(JAPANESE)
    rough = estimates.input_tokens(entry(JAPANESE), TARGET)
    assert 0.5 * japanese < rough < 2 * japanese
    assert estimates.measured_input_tokens(entry(JAPANESE, EMBED), TARGET) < japanese


def test_the_plain_chat_of_a_web_page_is_measured_like_the_same_conversation() -> None:
    """Its members have names of their own: message and history were taken for nothing."""
    turns = [{"role": "user", "content": JAPANESE}, {"role": "assistant", "content": "hello"}]
    page = {"system": JAPANESE, "history": turns, "message": JAPANESE * 100}
    messages = [
        {"role": "system", "content": JAPANESE}, *turns, {"role": "user", "content": JAPANESE * 100},
    ]  # fmt: skip
    measured, same = (
        Estimates().measured_input_tokens(Entry(Call(route, {}, msgspec.json.encode(body), "req_1", 0, None)), TARGET)
        for route, body in ((PAGE, page), (CHAT, {"messages": messages}))
    )
    assert measured == pytest.approx(same, rel=0.01)


def test_what_a_stream_brought_is_charged_by_its_text() -> None:
    written = Written()
    for character in JAPANESE * 10:
        written.feed(character)
    usage = Estimates().usage_of(entry("hello"), TARGET, written)
    assert 0.6 * written.chars < usage.output_tokens < 1.5 * written.chars
    assert usage.input_tokens > 0
    assert Estimates().usage_of(entry("hello"), TARGET, Written()).output_tokens == 0
    assert Estimates().usage_of(entry("hello"), TARGET, None).output_tokens == 0


def test_a_whole_answer_is_charged_by_what_the_model_wrote_in_it() -> None:
    body = msgspec.json.encode({"id": "x" * 500, "choices": [{"message": {"role": "assistant", "content": JAPANESE}}]})
    usage = Estimates().usage_of(entry("hello"), TARGET, body)
    assert 0.6 * len(JAPANESE) < usage.output_tokens < 1.5 * len(JAPANESE)
    assert Estimates().usage_of(entry("hello", EMBED), TARGET, body).output_tokens == 0


def test_counts_of_a_provider_teach_its_tokenizer() -> None:
    estimates = Estimates()
    one = entry("the quick brown fox jumps over the lazy dog " * 20)
    true = 1.6 * estimates.measured_input_tokens(one, TARGET)
    for _ in range(20):
        estimates.learn(one, attempt(), Usage(input_tokens=round(true)))
    assert estimates.measured_input_tokens(one, TARGET) == pytest.approx(true, rel=0.06)
    assert estimates.input_tokens(one, TARGET) == pytest.approx(true, rel=0.06)
    other = Target(provider="mock", model="another")
    assert estimates.measured_input_tokens(one, other) == pytest.approx(true / 1.6, rel=0.01)


def test_later_calls_teach_only_now_and_then() -> None:
    estimates = Estimates()
    one = entry("hello " * 50)
    for _ in range(64):
        estimates.learn(one, attempt(), Usage(input_tokens=60))
    before = estimates.input_tokens(one, TARGET)
    for _ in range(31):
        estimates.learn(one, attempt(), Usage(input_tokens=120))
    assert estimates.input_tokens(one, TARGET) == before
    estimates.learn(one, attempt(), Usage(input_tokens=120))
    assert estimates.input_tokens(one, TARGET) > before


def test_a_picture_is_not_taken_for_text() -> None:
    picture = "data:image/png;base64," + base64.b64encode(os.urandom(300_000)).decode()
    one = entry([{"type": "image_url", "image_url": {"url": picture}}])
    estimates = Estimates()
    assert estimates.input_tokens(one, TARGET) < 10_000
    estimates.learn(one, attempt(), Usage(input_tokens=800))
    assert estimates.input_tokens(entry("hello " * 50), TARGET) == Estimates().input_tokens(
        entry("hello " * 50), TARGET
    )


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages": 7}', b"\xff\xfe", b'{"input": [[1, 2], "x"]}'])
@pytest.mark.parametrize("route", [CHAT, EMBED])
def test_no_body_is_too_odd(body: bytes, route: Route) -> None:
    one = Entry(Call(route, {}, body, "req_1", 0, None))
    estimates = Estimates()
    assert estimates.input_tokens(one, TARGET) >= 0
    assert estimates.usage_of(one, TARGET, body).input_tokens >= 0
    estimates.learn(one, attempt(), Usage(input_tokens=10**12, output_tokens=0))
    assert estimates.input_tokens(one, TARGET) >= 0


def test_models_that_callers_invent_are_forgotten() -> None:
    estimates = Estimates()
    one = entry("hello")
    for n in range(1_500):
        estimates.input_tokens(one, Target(provider="mock", model=f"m{n}"))
    assert len(estimates._models) <= 1_000  # pyright: ignore[reportPrivateUsage]
