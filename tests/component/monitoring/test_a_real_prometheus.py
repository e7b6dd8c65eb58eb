"""A real Prometheus takes the files as they are, scrapes a gateway, and answers every question of the dashboards."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.component.monitoring.conftest import Watched
from tests.component.monitoring.expressions import EXPRESSIONS, PANELS
from tests.docs.workspace import free_port, until
from tests.support.prometheus_server import PrometheusServer, needs_prometheus, promtool

from sekisho.monitoring.files import monitoring_files
from sekisho.monitoring.words import LANGUAGES, Language

pytestmark = needs_prometheus
#: what Grafana puts in their place
VARIABLES = {"$model": ".*", "$__rate_interval": "1m", "$__range": "1h"}


def write(folder: Path, language: Language, gateway: str) -> None:
    for name, text in monitoring_files(language, gateway).items():
        (folder / name).write_text(text, "utf-8")


@pytest.mark.parametrize("language", LANGUAGES)
def test_promtool_finds_nothing_wrong(language: Language, tmp_path: Path) -> None:
    write(tmp_path, language, "https://gateway.example:4000")
    promtool("check", "config", "prometheus.yml", cwd=tmp_path)
    promtool("check", "rules", "--lint=all", "--lint-fatal", "prometheus-rules.yml", cwd=tmp_path)


@pytest.fixture(scope="session")
def prometheus(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """With the files as they are, but that it looks more often. It begins to scrape five seconds after its start."""
    folder = tmp_path_factory.mktemp("prometheus")
    write(folder, "ja", f"http://127.0.0.1:{port}")
    config = folder / "prometheus.yml"
    config.write_text(config.read_text("utf-8").replace("15s", "250ms"), "utf-8")
    with PrometheusServer(config, free_port()) as server:
        yield server


def test_every_expression_of_a_dashboard_has_an_answer(prometheus: PrometheusServer, watched: Watched) -> None:
    _scraped(prometheus, watched)
    watched.traffic()
    _scraped(prometheus, watched)

    for one in PANELS:
        expr = re.sub(r"\$\w+", lambda found: VARIABLES[found[0]], one.text)
        answer = prometheus.query(expr)
        values = [float(series["value"][1]) for series in answer]
        assert any(math.isfinite(value) for value in values), f"{one.place}: {expr}: {values}"
        # grouping by a label that is not there gives an answer too
        assert all(one.by - {"le"} <= series["metric"].keys() for series in answer), f"{one.place}: {expr}"
    for one in EXPRESSIONS:
        for metric, label in one.selected:
            assert prometheus.query(f'{metric}{{{label}!=""}}'), f"{one.place}: {metric} has no {label}"

    _rules_are_well(prometheus)


def _scraped(prometheus: PrometheusServer, watched: Watched) -> None:
    """Prometheus has what the gateway counts now, and one sample more."""
    counted = re.findall(r"^llm_requests_total\{.*\} (\S+)$", watched.metrics(), re.MULTILINE)
    has = "sum(llm_requests_total) >= {} and min(count_over_time(sekisho_calls_in_flight[1m])) >= 2"
    until(lambda: prometheus.query(has.format(sum(map(float, counted)))))


def _rules_are_well(prometheus: PrometheusServer) -> None:
    """Each was evaluated without an error, and what has to be told is told, in the language that was asked for."""
    until(lambda: "SekishoCallsUnpriced" in _firing(prometheus))
    rules = [rule for group in prometheus.get("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]
    assert len(rules) == len(EXPRESSIONS) - len(PANELS)
    assert {rule["health"] for rule in rules} == {"ok"}
    assert "の呼び出しの価格がわかりません" in _firing(prometheus)["SekishoCallsUnpriced"]


def _firing(prometheus: PrometheusServer) -> dict[str, str]:
    found = prometheus.get("/api/v1/alerts")["data"]["alerts"]
    return {one["labels"]["alertname"]: one["annotations"]["summary"] for one in found if one["state"] == "firing"}
