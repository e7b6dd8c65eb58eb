"""What a dashboard is made of, as data. Must not know how Grafana writes it."""

from __future__ import annotations

from typing import Literal

import msgspec

from sekisho.monitoring.words import Words

Look = Literal["timeseries", "stat", "bargauge"]
#: Grafana's names of units
Unit = Literal["s", "short", "reqps", "currencyUSD", "percentunit", "bytes"]
Colour = Literal["green", "yellow", "orange", "red"]


class Query(msgspec.Struct, frozen=True):
    """An expression, and how its series are called; `{{label}}` is the value of a label."""

    expr: str
    legend: Words | str = "__auto"


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One panel. `steps`: from which value on it has which colour, beside green. A dashboard is 24 columns wide."""

    title: Words
    about: Words
    queries: tuple[Query, ...]
    unit: Unit
    look: Look = "timeseries"
    width: int = 8
    steps: tuple[tuple[float, Colour], ...] = ()
    #: the end of the scale, where it has one
    most: float | None = None
    stacked: bool = False
    #: a time of its own, whatever the dashboard shows; Grafana's notation
    since: str | None = None
    #: what values are called, where they are not numbers for people
    named: tuple[tuple[int, Words, Colour], ...] = ()


class Section(msgspec.Struct, frozen=True):
    """Panels under a heading."""

    title: Words
    panels: tuple[Panel, ...]


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """One dashboard. `uid` must never change: links and later imports go by it."""

    uid: str
    title: Words
    about: Words
    since: str
    sections: tuple[Section, ...]
