"""The estimate of a text against exact counts, its bounds and its speed."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.tokens.counted import counted, error, mean, of_kind
from tests.unit.tokens.texts import CODE, ENGLISH, JAPANESE, OTHER_SCRIPTS

from sekisho.tokens.text import NOTHING, SAMPLED_CHARS, Parts, estimate, measure, rough

#: a busy machine is not a failure
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("kind", ["japanese", "english", "code", "json"])
def test_the_mean_error_on_everyday_texts_is_at_most_6_percent(kind: str) -> None:
    pieces = of_kind(kind)
    assert len(pieces) >= 40
    assert mean([error(estimate(piece.text), piece.tokens["o200k"]) for piece in pieces]) <= 0.06


@pytest.mark.parametrize(
    "kind", ["korean", "chinese", "russian", "base64", "digits", "half-width kana", "full-width", "mixed"]
)
def test_the_mean_error_on_other_kinds_is_at_most_20_percent(kind: str) -> None:
    pieces = of_kind(kind)
    assert pieces
    assert mean([error(estimate(piece.text), piece.tokens["o200k"]) for piece in pieces]) <= 0.20


@pytest.mark.parametrize("script", OTHER_SCRIPTS)
def test_no_script_is_forgotten(script: str) -> None:
    (piece,) = of_kind(script)
    assert error(estimate(piece.text), piece.tokens["o200k"]) <= 0.30


def test_a_quarter_of_the_characters_would_be_far_off_in_japanese() -> None:
    """The rule that this replaces, so that nobody takes it up again."""
    pieces = of_kind("japanese")
    assert mean([error((len(piece.text) + 1) // 4, piece.tokens["o200k"]) for piece in pieces]) > 0.5


@pytest.mark.parametrize("text", ["".join(JAPANESE), "\n".join(CODE), " ".join(ENGLISH), "0123456789 " * 9])
def test_windows_stand_for_a_long_text(text: str) -> None:
    # the same text over and over: its tokens grow with its length
    times = SAMPLED_CHARS // len(text) + 3
    long = text * times
    assert len(long) > SAMPLED_CHARS
    assert error(estimate(long), estimate(text) * times) <= 0.06


def test_windows_see_both_halves_of_a_mixed_text() -> None:
    japanese, code = "".join(JAPANESE) * 20, "\n".join(CODE) * 20
    assert error(estimate(japanese + code), estimate(japanese) + estimate(code)) <= 0.06


def test_nothing_is_nothing_and_anything_is_something() -> None:
    assert measure("") == NOTHING
    assert estimate("") == 0
    assert all(estimate(text) >= 1 for text in ("a", " ", "\n", "0", ".", "あ", "😀", "\x00"))


@STEADY
@given(st.text(max_size=300))
def test_no_text_has_fewer_tokens_than_one_or_more_than_bytes(text: str) -> None:
    parts = measure(text)
    assert min(parts) >= 0
    size = len(text.encode("utf-8", "replace"))
    assert (1 if text else 0) <= parts.tokens <= max(size, 1)


@STEADY
@given(st.text(alphabet=st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF), min_size=1, max_size=9))
def test_halves_of_characters_do_not_matter(text: str) -> None:
    assert estimate(text) >= 1


def test_kinds_are_told_apart() -> None:
    parts = measure("Order 12345: 注文を受け付けました, спасибо!")
    assert all(part > 0 for part in (parts.words, parts.signs, parts.digits, parts.cjk, parts.other))
    assert parts.tools == parts.images == 0


def test_parts_add_up() -> None:
    assert Parts(1, 2, 3) + Parts(words=4, images=5) == Parts(5, 2, 3, images=5)
    assert Parts(1.4, 2.4).tokens == 4
    assert Parts(1, 2).scaled(2) == Parts(2, 4)


def test_the_rough_look_is_within_a_factor_of_two() -> None:
    for piece in counted():
        if piece.kind in ("japanese", "english", "code", "json", "korean", "chinese", "mixed"):
            assert 0.5 <= rough(piece.text.encode()) / piece.tokens["o200k"] <= 2, piece


def test_the_rough_look_at_a_large_body_takes_both_ends() -> None:
    body = ("".join(JAPANESE) * 60).encode() + (" ".join(ENGLISH) * 60).encode()
    assert len(body) > 200_000
    assert 0.5 <= rough(body) / estimate(body.decode()) <= 2


def test_a_long_text_costs_no_more_than_its_windows() -> None:
    """20 MB of Japanese: whole passes over it would take the better part of a second, windows take a millisecond."""
    text = "".join(JAPANESE) * 5_000
    started = time.process_time()
    assert measure(text).tokens > 1_000_000
    assert time.process_time() - started < 0.5
