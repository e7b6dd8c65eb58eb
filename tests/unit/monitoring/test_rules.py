"""The files for Prometheus, the same in both languages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sekisho.monitoring.files import monitoring_files
from sekisho.monitoring.words import LANGUAGES, Language

ROOT = Path(__file__).parents[3]
TEMPLATE = re.compile(r"\{\{.*?\}\}")


def loaded(name: str, language: Language = "en", gateway: str = "http://127.0.0.1:4000") -> Any:
    return yaml.safe_load(monitoring_files(language, gateway)[name])


def alerts(language: Language) -> list[dict[str, Any]]:
    groups = loaded("prometheus-rules.yml", language)["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_both_languages_have_the_same_rules() -> None:
    english, japanese = (loaded("prometheus-rules.yml", language)["groups"] for language in LANGUAGES)
    for one, other in zip(alerts("en"), alerts("ja"), strict=True):
        for name in ("summary", "description"):
            assert one["annotations"][name] != other["annotations"][name]
            assert sorted(TEMPLATE.findall(one["annotations"][name])) == sorted(
                TEMPLATE.findall(other["annotations"][name])
            )
    for groups in (english, japanese):
        for group in groups:
            for rule in group["rules"]:
                rule.pop("annotations", None)
    assert english == japanese


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_alert_says_how_bad_it_is_what_to_do_and_where_to_read_on(language: Language) -> None:
    found = alerts(language)
    assert len({rule["alert"] for rule in found}) == len(found)
    for rule in found:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["description"].endswith((".", "。"))
        assert (ROOT / rule["annotations"]["docs"]).is_file()
        assert "http" not in "".join(rule["annotations"].values())


@pytest.mark.parametrize(
    ("gateway", "job"),
    [
        ("http://127.0.0.1:4000", {"static_configs": [{"targets": ["127.0.0.1:4000"]}]}),
        ("https://llm.example", {"scheme": "https", "static_configs": [{"targets": ["llm.example"]}]}),
        ("http://a:b@[::1]:9464/", {"static_configs": [{"targets": ["[::1]:9464"]}]}),
        ("http://h/llm/", {"metrics_path": "/llm/metrics", "static_configs": [{"targets": ["h"]}]}),
    ],
)
def test_the_gateway_is_what_prometheus_scrapes(gateway: str, job: dict[str, Any]) -> None:
    whole = loaded("prometheus.yml", gateway=gateway)
    assert whole["rule_files"] == ["prometheus-rules.yml"]
    assert whole["scrape_configs"] == [{"job_name": "sekisho", **job}]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_names_every_alert_and_how_bad_it_is(language: Language) -> None:
    page = (ROOT / "docs" / "how-to" / f"watch-with-prometheus{'.ja' if language == 'ja' else ''}.md").read_text(
        "utf-8"
    )
    told = re.findall(r"^\| `(Sekisho\w+)` \| (\w+) \| .+ \|$", page, re.MULTILINE)
    assert sorted(told) == sorted((rule["alert"], rule["labels"]["severity"]) for rule in alerts(language))
