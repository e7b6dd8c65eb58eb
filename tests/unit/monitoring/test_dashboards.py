"""Dashboards in Grafana's shape, the same in both languages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from sekisho.monitoring.files import GRAFANA, monitoring_files
from sekisho.monitoring.words import LANGUAGES, Language

BOARDS = list(GRAFANA)
#: what a reader reads; everything else is the same in both languages
WORDED = {"title", "description", "label", "legendFormat", "text"}


def board(name: str, language: Language) -> dict[str, Any]:
    return json.loads(monitoring_files(language, "http://127.0.0.1:4000")[name])


def panels(whole: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in whole["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("name", BOARDS)
def test_both_languages_have_the_same_panels_expressions_and_numbers(name: str) -> None:
    english, japanese = (board(name, language) for language in LANGUAGES)
    assert without_words(english) == without_words(japanese)
    for one, other in zip(panels(english), panels(japanese), strict=True):
        assert one["description"] != other["description"]


def without_words(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: None if key in WORDED else without_words(value) for key, value in node.items()}
    return [without_words(one) for one in node] if isinstance(node, list) else node


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_says_what_it_shows_in_which_unit_and_from_where(name: str, language: Language) -> None:
    for panel in panels(board(name, language)):
        assert panel["title"]
        assert panel["description"].endswith((".", "。"))
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0] == {"color": "green", "value": None}
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert target["instant"] is (panel["type"] != "timeseries")


@pytest.mark.parametrize("name", BOARDS)
def test_titles_and_ids_are_unique_and_panels_lie_beside_each_other(name: str) -> None:
    whole = board(name, "en")
    ids = [panel["id"] for panel in whole["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in panels(whole)]
    assert len(set(titles)) == len(titles)
    for one, other in combinations(list(cells(whole)), 2):
        assert one.isdisjoint(other)


def cells(whole: dict[str, Any]) -> Iterator[set[tuple[int, int]]]:
    for panel in whole["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        yield {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}


def test_uids_stay_as_they_are() -> None:
    """Links, and imports over an older version, go by them."""
    found = {name: board(name, "en")["uid"] for name in BOARDS}
    assert found == {"grafana-operations.json": "sekisho-operations", "grafana-costs.json": "sekisho-costs"}


@pytest.mark.parametrize("name", BOARDS)
def test_the_source_and_the_models_are_variables(name: str) -> None:
    source, model = board(name, "en")["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert (model["name"], model["multi"], model["definition"]) == (
        "model",
        True,
        "label_values(llm_requests_total, model)",
    )


def test_a_budget_changes_its_colour_where_it_is_told() -> None:
    [panel] = [one for one in panels(board("grafana-costs.json", "en")) if one["title"] == "Budgets"]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["value"] for step in steps] == [None, 0.5, 0.8, 1.0]
