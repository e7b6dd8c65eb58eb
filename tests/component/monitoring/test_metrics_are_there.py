"""What the files name a running gateway has at /metrics, and what it has is shown, or left out for a reason."""

from __future__ import annotations

import re

from tests.component.monitoring.conftest import Watched
from tests.component.monitoring.expressions import EXPRESSIONS, PANELS

#: metric -> why no panel shows it
NOT_SHOWN = {
    "gen_ai_server_request_duration_seconds": "llm_latency_seconds is the same time, by model alone",
    "gen_ai_client_operation_duration_seconds": "the same once more, under the client's name",
    "gen_ai_client_token_usage": "llm_tokens_used_total has the sums; sizes of calls are a question for the rows",
}
_FAMILY = re.compile(r"_(?:bucket|count|sum)$")


def test_every_metric_and_label_is_one_that_a_gateway_has(watched: Watched) -> None:
    samples: dict[str, set[str]] = {}
    for name, pairs in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", watched.metrics(), re.MULTILINE):
        samples.setdefault(name, set()).update(re.findall(r'(\w+)="', pairs))
    for one in EXPRESSIONS:
        assert one.metrics <= samples.keys(), one
        labels = {label for name in one.metrics for label in samples[name]}
        assert one.labels <= labels, one


def test_every_metric_has_a_panel_or_a_reason(watched: Watched) -> None:
    served = set(re.findall(r"^# TYPE (\S+) ", watched.metrics(), re.MULTILINE))
    shown = {
        _FAMILY.sub("", name) if _FAMILY.sub("", name) in served else name for one in PANELS for name in one.metrics
    }
    assert served - shown == NOT_SHOWN.keys()
    assert all(NOT_SHOWN.values())
