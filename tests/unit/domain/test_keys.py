"""Keys as text: form, id, digest, names and durations."""

from __future__ import annotations

import hashlib
import hmac
import random
import re
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.domain.keys import (
    declared_key_id,
    digest_of,
    duration_s,
    key_id_of,
    name_problem,
    new_key,
    normal_name,
    visible_name,
)

PEPPER = bytes(range(32))
FORM = re.compile(r"sk-seki-[0-9A-Za-z]{12}-[0-9A-Za-z]{48}")


def test_a_key_is_a_prefix_an_id_and_a_secret() -> None:
    key = new_key(secrets.randbelow)
    assert FORM.fullmatch(key)
    assert key_id_of(key) == "key_" + key.removeprefix("sk-seki-")[:12]


def test_the_randomness_is_the_callers() -> None:
    assert new_key(lambda _: 0) == "sk-seki-" + "0" * 12 + "-" + "0" * 48
    assert new_key(lambda limit: limit - 1) == "sk-seki-" + "z" * 12 + "-" + "z" * 48


def test_all_sixty_two_letters_are_used_alike() -> None:
    source = random.Random(7)
    letters = "".join(new_key(source.randrange).removeprefix("sk-seki-").replace("-", "") for _ in range(2_000))
    counts = {letter: letters.count(letter) for letter in set(letters)}
    assert len(counts) == 62
    assert min(counts.values()) > 0.85 * len(letters) / 62


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sk-seki-",
        "sk-proj-abcdefghijkl-" + "a" * 48,
        "sk-seki-abcdefghijkl-" + "a" * 47,
        "sk-seki-abcdefghijkl-" + "a" * 48 + "\n",
        "sk-seki-abcdefghijk-l" + "a" * 48,
        "sk-seki-abcdefghijk１-" + "a" * 48,
        "SK-SEKI-abcdefghijkl-" + "a" * 48,
    ],
)
def test_a_text_of_another_form_has_no_id(text: str) -> None:
    assert key_id_of(text) is None


def test_a_digest_is_hmac_sha256_of_the_whole_text() -> None:
    expected = hmac.new(PEPPER, b"my declared key, any form", hashlib.sha256).digest()
    assert digest_of("my declared key, any form", PEPPER) == expected
    assert len(expected) == 32
    assert digest_of("my declared key, any form", bytes(32)) != expected


def test_the_id_of_a_declared_key_holds_nothing_of_its_text() -> None:
    digest = digest_of("0123456789abcdef", PEPPER)
    assert declared_key_id(digest) == "key_" + digest.hex()[:12]


@given(st.text())
def test_any_text_has_a_digest(text: str) -> None:
    assert len(digest_of(text, PEPPER)) == 32
    assert key_id_of(text) is None


@pytest.mark.parametrize(
    "name", ["bench", "経理アプリ", "山田 太郎", "a" * 64, "émile", "🚀 rocket", "ให้", "*a", "a/b"]
)
def test_a_name_may_be_in_any_script(name: str) -> None:
    assert name_problem(normal_name(name)) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "empty"),
        (" \u3000 ", "empty"),
        ("a" * 65, "long"),
        ("a\nb", "characters"),
        ("a\x1b[31mb", "characters"),
        ("a\u200bb", "characters"),
        ("a\u202eb", "characters"),
        ("\ufeffa", "characters"),
        ("a\ufe0f", "characters"),
        ("\u3164", "characters"),
        ("a\u00adb", "characters"),
        ("a\ud800", "characters"),
        ("*", "reserved"),
        ("key_abc", "reserved"),
        ("sk-seki-abc", "reserved"),
    ],
)
def test_a_name_that_cannot_be_seen_or_would_be_mistaken_is_refused(name: str, problem: str) -> None:
    assert name_problem(normal_name(name)) == problem


def test_full_width_and_half_width_are_one_name() -> None:
    assert normal_name(" Ｂｅｎｃｈ－１\u3000") == "Bench-1"
    assert normal_name("ｶﾞ") == "ガ"


@given(st.text())
def test_a_normal_name_stays_as_it_is(text: str) -> None:
    assert normal_name(normal_name(text)) == normal_name(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("要約（社内）\u3000", "要約(社内)"),
        ("要約\u200b", "要約"),
        ("か\u200b\u3099", "が"),
        ("a\u3164 \ufe0f", "a"),
        ("sum\nmary\x00", "summary"),
        ("\u200b\u2800", ""),
        ("a" * 65, "a" * 65),
        ("*", "*"),
    ],
)
def test_what_cannot_be_seen_is_taken_out_of_a_name_that_must_not_be_refused(text: str, name: str) -> None:
    assert visible_name(text) == name


@given(st.text())
def test_a_visible_name_can_be_seen_and_stays_as_it_is(text: str) -> None:
    name = visible_name(text)
    assert name_problem(name) != "characters"
    assert visible_name(name) == name
    if name_problem(normal_name(text)) is None:
        assert name == normal_name(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30d", 2_592_000), ("24h", 86_400), ("15m", 900), ("45s", 45), ("0s", 0), ("３０ｄ", 2_592_000), (" 1H ", 3_600)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "d", "-1d", "1.5h", "1w", "1d12h", "1 d", "1e3s", "٣d", "99999999999999999999d", "36501d"]
)
def test_other_durations_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        duration_s(text)
