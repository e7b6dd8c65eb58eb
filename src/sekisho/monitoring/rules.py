"""Prometheus' rules as YAML: the alerts, and what those about the error budget record. Must not know a directory.

The error budget follows Google's SRE Workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts" (table 5-8, without its
row for one day): a long window says that it matters, a short one that it still goes on. Calls that the caller spoilt
(4xx) are neither failed nor served: they burn nothing, and a flood of them hides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import yaml

from sekisho.monitoring import alerts
from sekisho.monitoring.alerts import Alert, Severity
from sekisho.monitoring.marks import BURN_ALL, BURN_FAST, BURN_SLOW, ERROR_BUDGET, FEWEST_FAILED
from sekisho.monitoring.words import Language, Words

_FAILED: Final = 'llm_requests_total{status=~"5.."}'
_SERVED: Final = 'llm_requests_total{status!~"4.."}'


class Burn(NamedTuple):
    """One row of the table: how fast, over which windows, and how much of 30 days it uses up in the longer one, which
    is called `time`."""

    name: str
    rate: float
    long: str
    short: str
    severity: Severity
    time: Words
    uses: str


_BURNS: Final = (
    Burn("SekishoErrorBudgetBurnsFast", BURN_FAST, "1h", "5m", "critical", Words("hour", "1 時間"), "2 %"),
    Burn("SekishoErrorBudgetBurns", BURN_SLOW, "6h", "30m", "critical", Words("six hours", "6 時間"), "5 %"),
    Burn("SekishoErrorBudgetLeaks", BURN_ALL, "3d", "6h", "warning", Words("three days", "3 日間"), "10 %"),
)
_WINDOWS: Final = ("5m", "30m", "1h", "6h", "3d")
_HEAD: Final = Words(
    "# Rules for Prometheus, written by `sekisho monitoring`. severity: critical is for a person at once, warning for "
    "the next\n# working day. They expect the job_name `sekisho`. `docs` is a path in Sekisho's repository.\n",
    "# `sekisho monitoring` が書いた Prometheus のルールです。severity の critical はすぐに、warning は次の営業日に"
    "対応するものです。\n# job_name は `sekisho` である必要があります。`docs` は Sekisho のリポジトリ内のパスです。\n",
)


def share(window: str) -> str:
    """The name under which the share of failed calls is recorded."""
    return f"sekisho:error_share:rate{window}"


def prometheus_rules(language: Language) -> str:
    """The text of a file."""
    groups = [
        {"name": "sekisho-error-budget", "rules": [*map(_recorded, _WINDOWS), *_told(_burns(), language)]},
        {"name": "sekisho-gateway", "rules": _told(alerts.GATEWAY, language)},
        {"name": "sekisho-rows", "rules": _told(alerts.ROWS, language)},
        {"name": "sekisho-money", "rules": _told(alerts.MONEY, language)},
    ]
    body = yaml.safe_dump({"groups": groups}, sort_keys=False, allow_unicode=True, width=10_000)
    return _HEAD.of(language) + body


def _recorded(window: str) -> dict[str, Any]:
    # without a failed call there is no series of one, and a share of nothing is no number
    failed = f"(sum(rate({_FAILED}[{window}])) or vector(0))"
    return {"record": share(window), "expr": f"{failed} / sum(rate({_SERVED}[{window}]))"}


def _burns() -> list[Alert]:
    return [_burn(row) for row in _BURNS]


def _burn(row: Burn) -> Alert:
    limit = f"{row.rate:g} * {ERROR_BUDGET}"
    return Alert(
        name=row.name,
        expr=f"{share(row.long)} > {limit} and {share(row.short)} > {limit}"
        f" and sum(increase({_FAILED}[{row.long}])) >= {FEWEST_FAILED}",
        lasts="0m",
        severity=row.severity,
        summary=Words(
            f"{{{{ $value | humanizePercentage }}}} of the calls of the last {row.time.en} failed, and it goes on",
            f"直近 {row.time.ja}の呼び出しの {{{{ $value | humanizePercentage }}}} が失敗し、今も続いています",
        ),
        description=Words(
            f"At least {row.rate:g} times as many as 99.9 % allows: {row.uses} of what 30 days may have. The view "
            "`recent_errors` of `sekisho sql` names them; look at the providers first, and at the fallbacks of the "
            f"endpoint. Below {FEWEST_FAILED} failed calls this stays silent.",
            f"99.9 % で許される数の {row.rate:g} 倍以上で、30 日分のエラーバジェットの {row.uses} にあたります。"
            "内容は `sekisho sql` のビュー `recent_errors` でわかります。まずプロバイダーの状態と、エンドポイントの"
            f"フォールバックを確認してください。失敗が {FEWEST_FAILED} 件未満のときは通知しません。",
        ),
        page=Words("docs/how-to/ready-questions.md", "docs/how-to/ready-questions.ja.md"),
    )


def _told(found: Sequence[Alert], language: Language) -> list[dict[str, Any]]:
    return [
        {
            "alert": one.name,
            "expr": one.expr,
            "for": one.lasts,
            "labels": {"severity": one.severity},
            "annotations": {
                "summary": one.summary.of(language),
                "description": one.description.of(language),
                "docs": one.page.of(language),
            },
        }
        for one in found
    ]
