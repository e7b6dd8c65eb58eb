"""Dashboards as Grafana's classic JSON, which version 10 and later import. Must not know what a dashboard is about.

The shape follows Grafana's documentation of the JSON model; the data source and the model are variables of the
dashboard, so a file can be imported by hand and provisioned as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from sekisho.monitoring.panels import Dashboard, Panel, Section
from sekisho.monitoring.words import Language, Words

#: that of Grafana 10.4 and 11.0; later ones raise it by themselves
SCHEMA_VERSION: Final = 39
_COLUMNS = 24
_HEIGHTS: Final = {"timeseries": 8, "bargauge": 8, "stat": 5}
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_MODELS = "label_values(llm_requests_total, model)"
_MODEL: Final = Words("Model", "モデル")
_OTHER: Final = Words("Sekisho dashboards", "Sekisho のダッシュボード")


def grafana_json(dashboard: Dashboard, language: Language) -> str:
    """The text of a file."""
    whole: dict[str, Any] = {
        "id": None,
        "uid": dashboard.uid,
        "title": dashboard.title.of(language),
        "description": dashboard.about.of(language),
        "tags": ["sekisho"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": dashboard.since, "to": "now"},
        "timepicker": {},
        "annotations": {"list": []},
        "links": [_links(language)],
        "templating": {"list": [_data_source(), _model(language)]},
        "panels": list(_panels(dashboard, language)),
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode() + "\n"


def _links(language: Language) -> dict[str, Any]:
    return {
        "type": "dashboards",
        "title": _OTHER.of(language),
        "tags": ["sekisho"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
    }


def _data_source() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "regex": "",
        "options": [],
        "current": {},
    }


def _model(language: Language) -> dict[str, Any]:
    return {
        "name": "model",
        "label": _MODEL.of(language),
        "type": "query",
        "datasource": _SOURCE,
        "definition": _MODELS,
        "query": {"qryType": 1, "query": _MODELS, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "regex": "",
        "options": [],
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _panels(dashboard: Dashboard, language: Language) -> Iterator[dict[str, Any]]:
    """Each section under its heading, its panels from left to right."""
    number = top = 0
    for section in dashboard.sections:
        number += 1
        yield _heading(number, section, top, language)
        top += 1
        left = height = 0
        for panel in section.panels:
            if left + panel.width > _COLUMNS:
                left, top, height = 0, top + height, 0
            number += 1
            place = {"x": left, "y": top, "w": panel.width, "h": _HEIGHTS[panel.look]}
            yield {"id": number, "gridPos": place, **_panel(panel, language)}
            left, height = left + panel.width, max(height, place["h"])
        top += height


def _heading(number: int, section: Section, top: int, language: Language) -> dict[str, Any]:
    place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
    title = section.title.of(language)
    return {"id": number, "type": "row", "title": title, "gridPos": place, "collapsed": False, "panels": []}


def _panel(panel: Panel, language: Language) -> dict[str, Any]:
    return {
        "type": panel.look,
        "title": panel.title.of(language),
        "description": panel.about.of(language),
        "datasource": _SOURCE,
        "targets": list(_targets(panel, language)),
        "fieldConfig": {"defaults": _defaults(panel, language), "overrides": []},
        "options": _options(panel),
        **({"timeFrom": panel.since} if panel.since is not None else {}),
    }


def _targets(panel: Panel, language: Language) -> Iterator[dict[str, Any]]:
    over_time = panel.look == "timeseries"
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        legend = query.legend
        yield {
            "refId": letter,
            "datasource": _SOURCE,
            "expr": query.expr,
            "legendFormat": legend.of(language) if isinstance(legend, Words) else legend,
            "range": over_time,
            "instant": not over_time,
        }


def _defaults(panel: Panel, language: Language) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": colour, "value": value} for value, colour in panel.steps]
    names = {
        str(value): {"text": words.of(language), "color": colour, "index": n}
        for n, (value, words, colour) in enumerate(panel.named)
    }
    return {
        "unit": panel.unit,
        "min": 0,
        **({"max": panel.most} if panel.most is not None else {}),
        "color": {"mode": "palette-classic" if panel.look == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": [{"type": "value", "options": names}] if names else [],
        **({"custom": _lines(panel)} if panel.look == "timeseries" else {}),
    }


def _lines(panel: Panel) -> dict[str, Any]:
    return {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 25 if panel.stacked else 0,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if panel.steps else "off"},
    }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.look == "timeseries":
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    reduced = {"values": False, "calcs": ["lastNotNull"], "fields": ""}
    if panel.look == "bargauge":
        return {"reduceOptions": reduced, "orientation": "horizontal", "displayMode": "basic", "showUnfilled": True}
    return {
        "reduceOptions": reduced,
        "orientation": "auto",
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "textMode": "auto",
    }
