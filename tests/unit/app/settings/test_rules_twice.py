"""Rules that stand twice in a file: both hold, and whoever reads the second believes it alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sekisho.app.settings import Settings

Parse = Callable[..., Settings]

BASE = 'providers: {a: {type: openai, base_url: "https://a.example/v1"}}\n'


def section(name: str, *rules: str) -> str:
    return f"{name}:\n" + "".join(f"  - {{{rule}}}\n" for rule in rules)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("budgets", "scope: {team: a}, usd: 5", "scope: {team: a}, usd: 6"),
        ("budgets", "scope: {team: a}, usd: 5", "scope: {group: ａ}, usd: 6, period: month, strict: true"),
        ("budgets", "scope: {organisation: x}, usd: 5", "scope: {organisation: y}, usd: 5"),
        ("budgets", "scope: {team: a, user: '*'}, usd: 5", "scope: {user: '*', team: a}, usd: 6"),
        ("limits", "scope: {team: a}, qpm: 5", "scope: {team: a}, qpm: 6"),
        ("limits", "scope: {team: a}, qpm: 5, tpm: 9", "scope: {team: a}, tpm: 6, concurrency: 2"),
    ],
)
def test_the_same_rule_twice_is_a_warning(read: Parse, name: str, first: str, second: str) -> None:
    (warning,) = read(BASE + section(name, first, second)).warnings
    assert (warning.path, warning.line, warning.code) == (f"{name}[1]", 4, "duplicate_rule")
    assert "line 3" in warning.message


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("budgets", "scope: {team: a}, usd: 5", "scope: {team: b}, usd: 6"),
        ("budgets", "scope: {team: a}, usd: 5", "scope: {team: '*'}, usd: 6"),
        ("budgets", "scope: {team: a}, usd: 5", "scope: {team: a}, usd: 4, on_exceed: warn"),
        ("budgets", "scope: {team: a}, usd: 5", "scope: {team: a}, usd: 4, period: day"),
        ("limits", "scope: {team: a}, qpm: 5", "scope: {team: a}, tpm: 6"),
        ("limits", "scope: {team: a}, qpm: 5", "scope: {team: a, user: u}, qpm: 6"),
    ],
)
def test_rules_that_go_together_are_none(read: Parse, name: str, first: str, second: str) -> None:
    assert read(BASE + section(name, first, second)).warnings == ()
