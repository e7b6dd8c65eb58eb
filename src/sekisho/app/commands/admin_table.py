"""What the `/admin` API answers as a table, CSV or JSON. Must show amounts as they are: never through a float."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import typer

from sekisho.app.commands import admin_messages as messages
from sekisho.app.commands.admin_door import Door, Format
from sekisho.costs.currency import UsdJpy, whole_yen
from sekisho.domain.money import NANOS_PER_USD
from sekisho.domain.spending import scope_of, scope_text
from sekisho.wire.messages import nouns_in_japanese

_WIDEST_CELLS = 100_000
_NUMBERS = frozenset({
    "keys", "limit_usd", "spent_usd", "reserved_usd", "remaining_usd", "percent", "limit_jpy", "spent_jpy",
    "remaining_jpy", "qpm", "remaining_requests", "tpm", "remaining_tokens", "concurrency", "running", "burst_s",
    "wait_s",
})  # fmt: skip
_TIMES = frozenset({"resets_at", "at"})
#: columns whose values are words of ours
_WORDS = frozenset({"stopped", "source", "kind"})
#: columns that name a team, a user, a model …
_NOUNS = frozenset({"scope", "source", "kind"})

Row = dict[str, Any]


class Listing(NamedTuple):
    """Columns by name, and rows that may lack some of them."""

    columns: Sequence[str]
    rows: list[Row]


def show(door: Door, listing: Listing, data: object, output: Format) -> None:
    """Print it on stdout; `data` is what machines get. An empty table is a word on stderr."""
    if output == "json":
        typer.echo(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())
    elif output == "csv":
        typer.echo(_csv(listing), nl=False)
    elif listing.rows:
        typer.echo(_table(door, listing))
    else:
        door.tell(messages.NOTHING)


def budget_columns(door: Door) -> list[str]:
    """The state of a budget, in US dollars and in yen where that is the company's currency."""
    yen = ["limit_jpy", "spent_jpy", "remaining_jpy"] if _rates(door) is not None else []
    return ["limit_usd", "spent_usd", "reserved_usd", "remaining_usd", "percent", *yen, "resets_at"]


def budget_state(door: Door, state: Mapping[str, Any]) -> Row:
    """The cells of one budget's state, or of a budget that nobody has spent from yet: `{"limit_usd": …}`."""
    row: Row = {name: state.get(name) for name in budget_columns(door)}
    rates = _rates(door)
    if rates is not None:
        for name in ("limit", "spent", "remaining"):
            row[f"{name}_jpy"] = _yen(door, rates, state.get(f"{name}_usd"))
    return row


def scope_cell(scope: Mapping[str, str]) -> str:
    """`team research, user *`."""
    return scope_text(scope_of(scope))


def source_cell(item: Mapping[str, Any]) -> str:
    """Where an object was made: in the file, by an admin, or by the owner of a team."""
    if item["declared"]:
        return "file"
    of_team = item.get("of_team")
    return "database" if of_team is None else f"team {of_team}"


def _rates(door: Door) -> UsdJpy | None:
    settings = door.settings
    return (
        None if settings is None or settings.currency != "JPY" or not settings.fx_rates else UsdJpy(settings.fx_rates)
    )


def _yen(door: Door, rates: UsdJpy, usd: object) -> int | None:
    if usd is None or door.settings is None:
        return None
    today = datetime.now(ZoneInfo(door.settings.timezone)).date()
    yen = rates.yen(int(Decimal(str(usd)) * NANOS_PER_USD), today)
    return None if yen is None else whole_yen(yen)


def _csv(listing: Listing) -> str:
    """RFC 4180 with line feeds; names and words are English, times UTC, nothing known is an empty field."""
    import csv

    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(listing.columns)
    for row in listing.rows:
        writer.writerow(["" if (value := row.get(name)) is None else value for name in listing.columns])
    return written.getvalue()


def _table(door: Door, listing: Listing) -> str:
    """Columns that line up whatever the script: rich counts full-width characters as two cells. Nothing is cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    zone = "UTC" if door.settings is None else door.settings.timezone
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for name in listing.columns:
        heading = messages.HEADINGS[name].message(door.language, zone=zone)
        table.add_column(Text(heading), no_wrap=True, justify="right" if name in _NUMBERS else "left")
    for row in listing.rows:
        # Text, because a name with [brackets] is no markup
        table.add_row(*(Text(_cell(door, zone, name, row.get(name))) for name in listing.columns))
    written = io.StringIO()
    Console(file=written, width=_WIDEST_CELLS, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def _cell(door: Door, zone: str, name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in _WORDS and (say := messages.WORDS.get(value)) is not None:
        return say.message(door.language)
    if name in _NOUNS and door.language == "ja":
        return nouns_in_japanese(value)
    if name in _TIMES:
        return _local(value, ZoneInfo(zone))
    if name.endswith("_usd"):
        return f"{Decimal(value):,f}"
    return f"{value:,}" if isinstance(value, int) and name in _NUMBERS else str(value)


def _local(text: str, zone: ZoneInfo) -> str:
    """Minutes are enough for people."""
    moment = datetime.fromisoformat(text).astimezone(UTC)
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def yes(value: bool) -> str:
    return "yes" if value else "no"


def states_by(budgets: Iterable[Mapping[str, Any]], name: str) -> dict[str, list[Mapping[str, Any]]]:
    """By team or user, the states of the budgets that hold for exactly this one."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for budget in budgets:
        for state in known_states(budget):
            if list(state["scope"]) == [name]:
                found.setdefault(state["scope"][name], []).append(state)
    return found


def known_states(budget: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """At least what may be spent, where nothing was spent yet or nobody can say what."""
    return budget["states"] or [{"scope": budget["scope"], "limit_usd": budget["usd"]}]
