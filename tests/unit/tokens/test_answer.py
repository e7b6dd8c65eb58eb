"""Output tokens without a provider's count: streams fed piece by piece, and whole answers."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.tokens.counted import error, mean, of_kind
from tests.unit.tokens.texts import CODE, ENGLISH, JAPANESE

from sekisho.tokens.answer import Written, estimate_answer
from sekisho.tokens.text import estimate, measure

#: a busy machine is not a failure
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def fed(text: str, seed: int = 1, longest: int = 8) -> Written:
    chance, written, place = random.Random(seed), Written(), 0
    while place < len(text):
        size = chance.randint(1, longest)
        written.feed(text[place : place + size])
        place += size
    return written


@pytest.mark.parametrize("kind", ["japanese", "english", "code", "json"])
def test_a_stream_has_the_tokens_of_its_text(kind: str) -> None:
    assert mean([error(fed(piece.text).measure().tokens, piece.tokens["o200k"]) for piece in of_kind(kind)]) <= 0.06


@STEADY
@given(st.lists(st.text(max_size=12), max_size=60))
def test_how_a_short_text_was_cut_does_not_matter(pieces: list[str]) -> None:
    written = Written()
    for piece in pieces:
        written.feed(piece)
    assert written.chars == len("".join(pieces))
    assert written.measure() == measure("".join(pieces))


@pytest.mark.parametrize("text", ["".join(JAPANESE) * 40, " ".join(ENGLISH) * 40, "\n".join(CODE) * 60])
def test_a_long_stream_is_estimated_from_a_part_of_it(text: str) -> None:
    written = fed(text)
    assert written.chars == len(text)
    assert error(written.measure().tokens, estimate(text)) <= 0.08


def test_both_halves_of_a_long_stream_count() -> None:
    text = "".join(JAPANESE) * 30 + "\n".join(CODE) * 30
    assert error(fed(text).measure().tokens, estimate(text)) <= 0.1


def test_what_is_held_does_not_grow_with_the_stream() -> None:
    written = Written()
    for _ in range(40_000):
        written.feed("こんにちは、")
    held = sum(len(block) for block in written._blocks) + sum(len(piece) for piece in written._block)
    assert written.chars == 240_000
    assert held < 40_000


def test_one_huge_piece_is_not_held() -> None:
    written = Written()
    written.feed("word " * 1_000_000)
    assert sum(len(block) for block in written._blocks) <= 4_096
    assert error(written.measure().tokens, 1_000_000) < 0.2


def test_nothing_written_is_nothing() -> None:
    assert Written().measure().tokens == 0


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "TEXT"}, "finish_reason": "stop"}]},
        {
            "choices": [
                {
                    "message": {
                        "content": None,
                        "tool_calls": [{"id": "c", "function": {"name": "", "arguments": "TEXT"}}],
                    }
                }
            ]
        },
        {"output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "TEXT"}]}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": "TEXT"}],
            "stop_reason": "end_turn",
        },
        {"candidates": [{"content": {"parts": [{"text": "TEXT"}], "role": "model"}, "finishReason": "STOP"}]},
    ],
)
def test_a_whole_answer_has_the_tokens_of_what_the_model_wrote(answer: dict[str, object]) -> None:
    body = json.dumps({"id": "x" * 40, "model": "m" * 40, **answer}).replace("TEXT", JAPANESE[0])
    assert estimate_answer(body.encode()).tokens == pytest.approx(estimate(JAPANESE[0]), abs=4)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"choices": {"a": 1}}', b"plain text"])
def test_an_answer_that_makes_no_sense_still_has_an_estimate(body: bytes) -> None:
    assert estimate_answer(body).tokens >= 0


@pytest.mark.parametrize("text", ["".join(JAPANESE), 'he said \\ "no" \n 😀 ' * 9, "word " * 40])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_an_answer_that_breaks_off_has_the_tokens_of_what_came(text: str, ascii_only: bool) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": "stop"}
    answer = {"id": "x" * 40, "choices": [choice], "usage": {"prompt_tokens": 12.5, "ok": True}}
    body = json.dumps(answer, ensure_ascii=ascii_only).encode()
    begin = body.index(b'"content": "') + 12
    before = 0
    for end in range(len(body) + 1):
        found = estimate_answer(body[:end]).tokens
        if end <= begin:
            assert found <= 3, body[:end]
        assert found >= before - 4, body[:end]
        before = max(before, found)
    assert before == pytest.approx(estimate(text), abs=4)


@STEADY
@given(st.binary(max_size=60))
def test_any_bytes_that_begin_as_an_answer_have_an_estimate(rest: bytes) -> None:
    assert estimate_answer(b'{"choices":[' + rest).tokens >= 0
