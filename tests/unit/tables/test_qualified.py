"""Three-part names become plain ones, and nothing else changes."""

from __future__ import annotations

import pytest

from sekisho.tables.qualified import NotAPlace, plain_names, split_place


@pytest.mark.parametrize(
    ("sql", "plain"),
    [
        ("SELECT team FROM main.sekisho.usage", "SELECT team FROM usage"),
        ("SELECT main.sekisho.usage.team FROM sekisho.usage", "SELECT usage.team FROM usage"),
        ('FROM "main" . "Sekisho".INFERENCE_LOG', "FROM INFERENCE_LOG"),
        ("SELECT 1\nFROM main\n\t.sekisho\n\t.usage", "SELECT 1\nFROM usage"),
        ("SELECT `team` FROM `main`.`sekisho`.`usage`", "SELECT `team` FROM `usage`"),
        ("SELECT '日本' FROM main.sekisho.usage, main.sekisho.cost_by_day", "SELECT '日本' FROM usage, cost_by_day"),
    ],
)
def test_the_place_is_taken_away(sql: str, plain: str):
    assert plain_names(sql) == plain


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'main.sekisho.usage' FROM usage -- main.sekisho.usage",
        "SELECT $$ main.sekisho.usage $$ /* main.sekisho.usage */",
        "FROM other.sekisho.usage",
        "FROM a.main.sekisho.usage",
        "SELECT '`main`.`sekisho`.`usage`'",
        "FROM main.sekisho.nothing",
        "FROM main.other.usage",
        "SELECT t.usage FROM inference_table t",
        "SELECT 'not closed main.sekisho.usage",
    ],
)
def test_anything_else_stays(sql: str):
    assert plain_names(sql) == sql


def test_another_place():
    assert plain_names("FROM llm.prod.usage", "llm.prod") == "FROM usage"
    assert plain_names("FROM main.default.usage", "main.default") == "FROM usage"  # a keyword, and a common name
    assert plain_names("FROM main.sekisho.usage", "llm.prod") == "FROM main.sekisho.usage"


@pytest.mark.parametrize("place", ["", "main", "a.b.c", ".b", "a."])
def test_a_place_has_two_parts(place: str):
    with pytest.raises(NotAPlace, match="CATALOG"):
        split_place(place)
