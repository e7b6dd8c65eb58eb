"""What is printed and what goes into FIGURES.md: the tables, the product's limits, and what to know before believing.

The limits stand here and nowhere else; a change of one is a change of what the product promises.
"""

import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import needs
from results import Results, Spread, cell, serving_us, spread, table, tree_us
from targets import Target
from visits import Plan

SATURATED = 0.90  # the least share of its core nginx must want for its figure to be one of saturation
QUIET = 0.10  # the largest share of its core that other work may take from nginx
TITLES = {
    "plain": "CPU of one answer at saturation, x nginx in the same run",
    "stream": "CPU of one stream of 53 events 2 ms apart, x nginx in the same run",
    "large": "CPU of one answer to a prompt of 300 KB",
    "start": "Start and memory",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. Those of `this_machine` mean little elsewhere and are printed, not kept."""

    head: str
    figure: Callable[[Results, Target], Spread | None]
    digits: int = 2
    this_machine: bool = False
    for_rows: bool = False  # only of targets that keep rows


@dataclass(frozen=True, slots=True)
class Limit:
    """One promise, and what came out; `found` None when it was not measured."""

    what: str
    limit: float
    unit: str
    found: Spread | None

    @property
    def holds(self) -> bool:
        """Whether the median keeps the promise; what was not measured breaks none."""
        return self.found is None or self.found.median <= self.limit

    def row(self) -> list[str]:
        """The promise as a row of a table."""
        digits = 0 if self.unit in {"MB", "us"} else 2
        return [
            self.what,
            cell(self.found, digits),
            f"<= {self.limit:g} {self.unit}",
            "holds" if self.holds else "OVER",
        ]


def limits(results: Results) -> list[Limit]:
    """The promises of the product, each with what this run says."""
    ours = "metadata"
    starts = [visit for log in (ours, "full") for visit in results.of(log)]
    found = [
        Limit("serving process, log: metadata", 2.0, "x nginx", results.ratio(ours, "plain", serving_us)),
        Limit("serving process, limits and budgets", 2.0, "x nginx", results.ratio("limits", "plain", serving_us)),
        Limit("whole tree, log: metadata", 2.5, "x nginx", results.ratio(ours, "plain", tree_us)),
        Limit("whole tree, log: full", 4.0, "x nginx", results.ratio("full", "plain", tree_us)),
        Limit("stream of 53 events, whole tree, log: metadata", 1.5, "x nginx", results.ratio(ours, "stream", tree_us)),
        Limit("300 KB prompt, more than the relay, log: metadata", 300, "us", results.more_than_relay(ours)),
        Limit("first answer, data there", 1.0, "s", spread([visit.existing_s for visit in starts])),
        Limit("first answer, data created", 3.0, "s", spread([visit.created_s for visit in starts])),
    ]
    for log in (ours, "full"):
        serving = results.memory(log, lambda one: one.reading.serving_mb)
        writer = results.memory(log, lambda one: one.reading.largest_child_mb)
        found.append(Limit(f"memory of the serving process, log: {log}", 100, "MB", serving))
        found.append(Limit(f"memory of the writer, log: {log}", 200, "MB", writer))
    return [limit for limit in found if limit.found]


def _load_columns(phase: str) -> list[Column]:
    return [
        Column("serving process", lambda r, t: r.ratio(t.name, phase, serving_us)),
        Column("whole tree", lambda r, t: r.ratio(t.name, phase, tree_us)),
        Column("last row after, s", lambda r, t: r.values(t.name, phase, lambda one: one.commit_s), 1, for_rows=True),
        Column("us, whole tree", lambda r, t: r.values(t.name, phase, tree_us), 1, this_machine=True),
        Column(
            "answers/s", lambda r, t: r.values(t.name, phase, lambda one: one.load.per_second), 0, this_machine=True
        ),
        Column("had its core", lambda r, t: r.values(t.name, phase, lambda one: one.ran), this_machine=True),
        Column("wanted it", lambda r, t: r.values(t.name, phase, lambda one: one.ran + one.waited), this_machine=True),
    ]


COLUMNS = {
    "plain": _load_columns("plain"),
    "stream": _load_columns("stream"),
    "large": [
        Column("whole tree, x nginx", lambda r, t: r.ratio(t.name, "large", tree_us)),
        Column("more than the relay, us", lambda r, t: r.more_than_relay(t.name), 0),
        Column("last row after, s", lambda r, t: r.values(t.name, "large", lambda one: one.commit_s), 1, for_rows=True),
        Column("us, serving process", lambda r, t: r.values(t.name, "large", serving_us), 0, this_machine=True),
        Column("us, whole tree", lambda r, t: r.values(t.name, "large", tree_us), 0, this_machine=True),
    ],
    "start": [
        Column("first answer, data created, s", lambda r, t: spread([visit.created_s for visit in r.of(t.name)])),
        Column("data there, s", lambda r, t: spread([visit.existing_s for visit in r.of(t.name)]), for_rows=True),
        Column("serving MB", lambda r, t: r.memory(t.name, lambda one: one.reading.serving_mb), 0),
        Column("its peak", lambda r, t: r.memory(t.name, lambda one: one.reading.serving_peak_mb), 0),
        Column("writer MB", lambda r, t: r.memory(t.name, lambda one: one.reading.largest_child_mb), 0, for_rows=True),
        Column(
            "its peak", lambda r, t: r.memory(t.name, lambda one: one.reading.largest_child_peak_mb), 0, for_rows=True
        ),
    ],
}


def tables(results: Results, phases: Sequence[str], *, this_machine: bool) -> list[str]:
    """A table for each phase, as lines. The last, with the memory, is always there."""
    lines: list[str] = []
    for phase in [name for name in COLUMNS if name in phases or name == "start"]:
        columns = [column for column in COLUMNS[phase] if this_machine or not column.this_machine]
        rows = [_row(results, target, phase, columns) for target in results.targets]
        lines += ["", f"## {TITLES[phase]}", "", *table(["", *(column.head for column in columns)], rows)]
    return lines


def _row(results: Results, target: Target, phase: str, columns: Sequence[Column]) -> list[str]:
    visits = results.of(target.name)
    doubtful = any(visit.fault or (phase in visit.samples and visit.samples[phase].faults) for visit in visits)
    cells = [
        "-" if c.for_rows and not target.keeps_rows else cell(c.figure(results, target), c.digits) for c in columns
    ]
    return [f"{target.title} (!)" if doubtful else target.title, *cells]


def limit_lines(promises: Sequence[Limit]) -> list[str]:
    """The limits as a table; nothing when none was measured."""
    rows = [promise.row() for promise in promises]
    return ["", "## Limits", "", *table(["", "measured", "limit", ""], rows)] if rows else []


def warnings(results: Results) -> list[str]:
    """What a reader must know before believing a figure."""
    found: list[str] = []
    wanted = results.values("nginx", "plain", lambda one: one.ran + one.waited)
    waited = results.values("nginx", "plain", lambda one: one.waited)
    if wanted and wanted.median < SATURATED:
        found.append(
            f"not saturated: nginx wanted its core {wanted.median:.1%} of the time, and {SATURATED:.0%} is needed; "
            "its figure is too high, and ours look better than they are"
        )
    if waited and waited.median > QUIET:
        found.append(f"other work had nginx's core {waited.median:.0%} of the time: run again on a quiet machine")
    for target in results.targets:
        for visit in results.of(target.name):
            found += [f"(!) {target.title}, run {visit.run + 1}: {fault.splitlines()[0]}" for fault in visit.faults]
    return found


def machine() -> dict[str, str]:
    """What the figures depend on, without names of machines or people."""
    nginx = subprocess.run([needs.find("nginx") or "nginx", "-v"], check=False, capture_output=True, text=True)
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": f"{models[0]}, {len(models)} cores" if models else platform.machine(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "nginx": nginx.stderr.strip().partition("/")[2],
        "python": platform.python_version(),
    }


def figures(results: Results, plan: Plan, promises: Sequence[Limit]) -> str:
    """The text of FIGURES.md."""
    here = machine()
    when = f"{datetime.now(UTC):%Y-%m-%d}, {plan.runs} runs of {plan.seconds:g} s, medians (least..greatest)"
    lines = [
        "# Last figures",
        "",
        'Written by `make bench BENCH="--write-figures"`; [README.md](README.md) says what they mean. Do not edit.',
        "",
        f"{when}. {here['cpu']}; {here['system']}; nginx {here['nginx']}; Python {here['python']}.",
        *tables(results, plan.phases, this_machine=False),
        *limit_lines(promises),
        "",
        *(f"- warning: {warning}" for warning in warnings(results)),
    ]
    return "\n".join(lines).rstrip() + "\n"
