"""When alerts go off and when they do not, as promtool reckons it from values: nothing is scraped, no time passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from tests.support.prometheus_server import needs_prometheus, promtool

from sekisho.monitoring.files import RULES, monitoring_files
from sekisho.monitoring.words import Language

pytestmark = needs_prometheus
_UP = 'up{job="sekisho",instance="a:4000"}'
_OK = 'llm_requests_total{model="m",status="200"}'
_FAILED = 'llm_requests_total{model="m",status="502"}'
_REFUSED = 'llm_requests_total{model="unknown",status="401"}'
_LEFT = 'llm_requests_total{model="m",status="499"}'
_BUDGET = 'sekisho_budget_ratio{budget="team sales, month, block",instance="%s"}'
_NIGHT = 'sekisho_maintenance_last_success_timestamp_seconds{job="sekisho",exported_job="%s"}'


def _latency(slow: str, fast: str = "0x30") -> dict[str, str]:
    """`slow` calls between 5 and 10 seconds, `fast` ones below 5, and one model of refusals."""
    return {
        'llm_latency_seconds_bucket{model="m",le="5.0"}': fast,
        'llm_latency_seconds_bucket{model="m",le="10.0"}': slow,
        'llm_latency_seconds_bucket{model="m",le="+Inf"}': slow,
        'llm_latency_seconds_count{model="m"}': slow,
        'llm_latency_seconds_bucket{model="unknown",le="5.0"}': "0+100x30",
        'llm_latency_seconds_bucket{model="unknown",le="+Inf"}': "0+100x30",
        'llm_latency_seconds_count{model="unknown"}': "0+100x30",
    }


class Case(NamedTuple):
    """A value for every step, and the names of all alerts that are firing then."""

    name: str
    series: dict[str, str]
    at: str
    firing: str = ""
    step: str = "1m"


CASES = [
    # the gateway
    Case("all is well", {_OK: "0+60x120"}, "1h"),
    Case("no answer", {_UP: "1 0x10"}, "5m", "SekishoGatewayDown"),
    Case("one scrape without an answer", {_UP: "1x5 0 1x5"}, "7m"),
    Case("no target of the name", {_UP: "_x10"}, "5m", "SekishoGatewayDown"),
    Case("slow", _latency("0+10x30"), "20m", "SekishoLatencyHigh"),
    Case("slow, but few calls", _latency("0+1x30"), "20m"),
    Case("4 % slow", _latency("0+100x30", "0+96x30"), "20m"),
    Case("a store is away", {'sekisho_store_up{store="state"}': "1 0x5"}, "3m", "SekishoStoreDown"),
    # the error budget: 99.9 %
    Case("3 % fail", {_OK: "0+97x70", _FAILED: "0+3x70"}, "70m", "ErrorBudgetBurnsFast ErrorBudgetBurns Leaks"),
    Case("1 % fails", {_OK: "0+99x100", _FAILED: "0+1x100"}, "6h", "ErrorBudgetBurns Leaks", "5m"),
    Case("0.2 % fail", {_OK: "0+998x900", _FAILED: "0+2x900"}, "20h", "Leaks", "5m"),
    Case("0.05 % fail", {_OK: "0+1999x900", _FAILED: "0+1x900"}, "20h", step="5m"),
    Case("it is over", {_OK: "0+97x120", _FAILED: "0+3x60 180x60"}, "75m", "ErrorBudgetBurns Leaks"),
    Case("few calls, few failures", {_OK: "0+0.1x70", _FAILED: "0+0.1x70"}, "70m"),
    Case("everything fails", {_FAILED: "0+1x70"}, "70m", "ErrorBudgetBurnsFast ErrorBudgetBurns Leaks"),
    Case("callers' own faults", {_OK: "0+60x70", _REFUSED: "0+600x70", _LEFT: "0+60x70"}, "70m"),
    Case(
        "callers' faults hide nothing",
        {_OK: "0+97x70", _FAILED: "0+3x70", _REFUSED: "0+9000x70"},
        "70m",
        "ErrorBudgetBurnsFast ErrorBudgetBurns Leaks",
    ),
    Case("a restart is no failure", {_OK: "0+60x60 0+60x60", _FAILED: "500x60 0x60"}, "100m"),
    # rows
    Case("rows are lost", {'sekisho_rows_total{state="failed"}': "0x5 3x3"}, "7m", "SekishoRowsLost"),
    Case("rows were lost before", {'sekisho_rows_total{state="failed"}': "3x60"}, "30m"),
    Case("refusals are dropped", {'sekisho_rows_total{state="dropped"}': "0+100x60"}, "30m"),
    Case("rows wait", {"sekisho_spool_oldest_seconds": "0+60x10"}, "5m", "SekishoRowsWait"),
    Case("rows waited for a moment", {"sekisho_spool_oldest_seconds": "5 61 5x10"}, "2m"),
    Case("no committer", {"sekisho_committer_up": "1 0x5"}, "3m", "SekishoCommitterDown"),
    Case("it hung", {'sekisho_committer_restarts_total{reason="hung"}': "0x5 1x60"}, "1h", "SekishoCommitterHung"),
    Case("it died once", {'sekisho_committer_restarts_total{reason="died"}': "0x5 1x60"}, "30m"),
    Case("it dies", {'sekisho_committer_restarts_total{reason="died"}': "0+1x10"}, "10m", "SekishoCommitterDies"),
    Case("a night ago", {_NIGHT % "night": "0x600"}, "24h", step="5m"),
    Case("two nights and more ago", {_NIGHT % "night": "0x600"}, "50h", "SekishoMaintenanceLate", "5m"),
    Case("a command of long ago", {_NIGHT % "vacuum": "0x600"}, "50h", step="5m"),
    # money
    Case("budget at 79 %", {_BUDGET % "a": "0.79x5"}, "5m"),
    Case("budget at 80 %", {_BUDGET % "a": "0.8x5"}, "5m", "SekishoBudgetNearlyUsed"),
    Case("budget used up", {_BUDGET % "a": "1x5"}, "5m", "SekishoBudgetUsedUp"),
    Case("it has room for no call", {_BUDGET % "a": "0.995x5"}, "5m", "SekishoBudgetUsedUp"),
    Case("told twice", {_BUDGET % "a": "0.9x5", _BUDGET % "b": "0.9x5"}, "5m", "SekishoBudgetNearlyUsed"),
    Case("unpriced", {'sekisho_unpriced_total{model="m"}': "0x5 1x100"}, "10m", "SekishoCallsUnpriced"),
    Case("new and unpriced", {'sekisho_unpriced_total{model="m"}': "_x70 1x30"}, "80m", "SekishoCallsUnpriced"),
    Case("unpriced long ago", {'sekisho_unpriced_total{model="m"}': "0x5 1x200"}, "3h"),
    Case("priced after a restart", {'sekisho_unpriced_total{model="m"}': "4x100 0x60"}, "130m"),
]
_SHORT = {"Leaks": "SekishoErrorBudgetLeaks"}


def _names(firing: str) -> list[str]:
    return [_SHORT.get(name, name if name.startswith("Sekisho") else f"Sekisho{name}") for name in firing.split()]


def _test(case: Case) -> dict[str, Any]:
    series = {_UP: "1x1000", **case.series}
    return {
        "interval": case.step,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                # promtool names no test that failed, but quotes its expression
                "expr": f'group by (alertname) (ALERTS{{alertstate="firing"}}) # {case.name}',
                "eval_time": case.at,
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in _names(case.firing)],
            }
        ],
    }


def _run(folder: Path, *tests: dict[str, Any], language: Language = "en") -> None:
    (folder / RULES).write_text(monitoring_files(language, "http://127.0.0.1:4000")[RULES], "utf-8")
    whole = {"rule_files": [RULES], "evaluation_interval": tests[0]["interval"], "tests": tests}
    (folder / "test.yml").write_text(json.dumps(whole), "utf-8")
    promtool("test", "rules", "test.yml", cwd=folder)


def _alerts(language: Language) -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(monitoring_files(language, "http://127.0.0.1:4000")[RULES])["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


@pytest.mark.parametrize("step", ["1m", "5m"])
def test_just_these_alerts_go_off(step: str, tmp_path: Path) -> None:
    """All in one process: it takes longer to start than to reckon."""
    _run(tmp_path, *(_test(case) for case in CASES if case.step == step))


def test_a_case_that_is_wrong_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="one alert too few"):
        _run(tmp_path, _test(Case("one alert too few", {"sekisho_committer_up": "0x5"}, "3m")))
    with pytest.raises(AssertionError, match="one too many"):
        _run(tmp_path, _test(Case("one too many", {}, "3m", "SekishoCommitterDown")))


def test_every_alert_goes_off_in_some_case() -> None:
    assert _alerts("en").keys() == {name for case in CASES for name in _names(case.firing)}


def test_an_alert_says_which_budget_and_how_much(tmp_path: Path) -> None:
    told = _alerts("ja")["SekishoBudgetNearlyUsed"]["annotations"]
    told["summary"] = "予算 `team sales, month, block` の 85% を使いました"
    labels = {"severity": "warning", "budget": "team sales, month, block"}
    test = {
        "interval": "1m",
        "input_series": [{"series": _BUDGET % "a", "values": "0.85x5"}],
        "alert_rule_test": [
            {
                "alertname": "SekishoBudgetNearlyUsed",
                "eval_time": "5m",
                "exp_alerts": [{"exp_labels": labels, "exp_annotations": told}],
            }
        ],
    }
    _run(tmp_path, test, language="ja")
