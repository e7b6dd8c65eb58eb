"""The files of `sekisho monitoring` by name. Must not write them."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import yaml

from sekisho.monitoring.grafana import grafana_json
from sekisho.monitoring.operations import OPERATIONS
from sekisho.monitoring.rules import prometheus_rules
from sekisho.monitoring.spending import SPENDING
from sekisho.monitoring.words import Language, Words

PROMETHEUS, RULES = "prometheus.yml", "prometheus-rules.yml"
GRAFANA: Final = {"grafana-operations.json": OPERATIONS, "grafana-costs.json": SPENDING}

_HEAD: Final = Words(
    "# A whole configuration of Prometheus to start from: `prometheus --config.file=prometheus.yml`. Where there is\n"
    "# one already, add the rule file and the job to it. Where server.metrics_port is set, name that port here.\n",
    "# そのまま使える Prometheus の設定です: `prometheus --config.file=prometheus.yml`\n"
    "# すでに Prometheus があれば、ルールファイルとジョブをその設定に加えてください。\n"
    "# server.metrics_port を設定している場合は、そのポートを書きます。\n",
)


def monitoring_files(language: Language, gateway: str) -> dict[str, str]:
    """Name and text of each. `gateway` is an address as http://127.0.0.1:4000."""
    boards = {name: grafana_json(board, language) for name, board in GRAFANA.items()}
    return {PROMETHEUS: _prometheus(language, gateway), RULES: prometheus_rules(language), **boards}


def _prometheus(language: Language, gateway: str) -> str:
    parts = urlsplit(gateway)
    # a user and a password are no part of a target
    target = parts.netloc.rpartition("@")[2]
    path = parts.path.rstrip("/")
    job = {
        "job_name": "sekisho",
        **({"scheme": "https"} if parts.scheme == "https" else {}),
        **({"metrics_path": f"{path}/metrics"} if path else {}),
        "static_configs": [{"targets": [target]}],
    }
    whole = {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": [RULES],
        "scrape_configs": [job],
    }
    return _HEAD.of(language) + yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)
