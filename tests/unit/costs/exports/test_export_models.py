"""Which of our models are which of theirs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.costs.exports.models import groups_of, label_of, stem


def grouped(ours: list[str], theirs: list[str]) -> list[tuple[list[str], list[str]]]:
    return sorted(groups_of(ours, theirs))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022"),
        ("claude-sonnet-4", "claude-sonnet-4@20250514"),
    ],
)
def test_an_alias_is_its_version(ours: str, theirs: str):
    assert grouped([ours], [theirs]) == [([ours], [theirs])]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4o", "gpt-4o-mini-2024-07-18"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06"),
        ("gpt-4", "gpt-4-0613"),
        ("claude-haiku-4", "claude-haiku-4-5-20251001"),
    ],
)
def test_other_models_and_other_versions_are_others(ours: str, theirs: str):
    assert grouped([ours], [theirs]) == [([], [theirs]), ([ours], [])]


def test_what_an_alias_may_have_been_is_summed_as_one():
    ours, theirs = ["gpt-4o", "gpt-4o-2024-05-13"], ["gpt-4o-2024-05-13", "gpt-4o-2024-08-06"]
    assert grouped(ours, theirs) == [(ours, theirs)]
    assert label_of(ours, theirs) == "gpt-4o, gpt-4o-2024-05-13 (gpt-4o-2024-08-06)"


def test_labels():
    assert label_of(["a"], ["a"]) == "a"
    assert label_of(["a"], []) == "a"
    assert label_of([], ["b"]) == "b"
    assert label_of(["a"], ["a-2026-01-01"]) == "a (a-2026-01-01)"
    assert stem("a-2026-01-01-preview") == "a-2026-01-01-preview"


NAMES = st.builds(
    "{}{}".format,
    st.sampled_from(["gpt-4o", "gpt-4o-mini", "claude"]),
    st.sampled_from(["", "-latest", "-2024-05-13", "-2024-08-06", "-20250514"]),
)


@given(st.sets(NAMES), st.sets(NAMES))
def test_every_model_is_in_one_group_and_equal_names_are_together(ours: set[str], theirs: set[str]):
    groups = groups_of(ours, theirs)
    assert sorted(name for mine, _ in groups for name in mine) == sorted(ours)
    assert sorted(name for _, other in groups for name in other) == sorted(theirs)
    for name in ours & theirs:
        assert any(name in mine and name in other for mine, other in groups)
