"""The expressions of all files, and which metrics and labels they name. Must not ask Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import yaml

from sekisho.monitoring.files import GRAFANA, RULES, monitoring_files

FILES = monitoring_files("en", "http://127.0.0.1:4000")
_METRIC = re.compile(r"\b(?:llm|gen_ai|sekisho)_\w+")
_SELECTOR = re.compile(r"(\w+)\{([^}]*)\}")
_BY = re.compile(r"\bby \(([^)]*)\)")
#: what Prometheus itself adds to every series
TARGET = {"job", "instance"}


class Expression(NamedTuple):
    place: str
    text: str

    @property
    def metrics(self) -> set[str]:
        return set(_METRIC.findall(self.text)) - self.by - {label for _, label in self.selected}

    @property
    def by(self) -> set[str]:
        """The labels that it groups by."""
        return {label for labels in _BY.findall(self.text) for label in re.split(r",\s*", labels)}

    @property
    def selected(self) -> set[tuple[str, str]]:
        """The labels that it selects by, each with its metric."""
        return {
            (metric, label)
            for metric, pairs in _SELECTOR.findall(self.text)
            for label in re.findall(r"(\w+)[=!]", pairs)
        }

    @property
    def labels(self) -> set[str]:
        """Those it groups by or selects by, as the gateway calls them."""
        named = (self.by | {label for _, label in self.selected}) - TARGET
        # Prometheus renames a label of ours that it has itself
        return {label.removeprefix("exported_") for label in named}


def of_panels() -> Iterator[Expression]:
    for name in GRAFANA:
        for panel in json.loads(FILES[name])["panels"]:
            for target in panel.get("targets", []):
                yield Expression(f"{name}: {panel['title']} {target['refId']}", target["expr"])


def of_rules() -> Iterator[Expression]:
    for group in yaml.safe_load(FILES[RULES])["groups"]:
        for rule in group["rules"]:
            yield Expression(f"{RULES}: {rule.get('alert') or rule.get('record')}", rule["expr"])


PANELS, RULED = list(of_panels()), list(of_rules())
EXPRESSIONS = [*PANELS, *RULED]
