"""What was found, as a file of figures and as a page of the documentation. Must keep the last run of every part."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FIGURES = HERE / "figures.json"
PAGE = ROOT / "docs" / "explanation" / "endurance.md"

#: title and what happens, in the order of the page
TITLES = {
    "kills": (
        "kill -9",
        "Ten clients send plain calls and streams, some that fail, fall back or are refused, some that they leave. At "
        + "random moments the gateway, its committer, or both are killed, also while starting and while stopping, and "
        + "started again. The mock provider lives on, and knows what was dispatched.",
    ),
    "cuts": (
        "Power cuts",
        "The same load on a disk that remembers what was synced. At a cut every process ends at once; the disk keeps "
        + "what was synced, and of the rest a random part: names come back or vanish, files are old, new, empty, torn, "
        + "or old in one page and new in the next. Then everything starts again on what is left.",
    ),
    "folder": ("Tables' folder gone", "A file stands where the tables are: nobody can write there."),
    "room": ("Disk full", "Every call that asks the system for room on the disk is refused."),
    "stores": (
        "Redis and PostgreSQL gone",
        "Four workers, budgets in Redis and keys in PostgreSQL. Redis stands still, is killed and comes back empty; "
        + "then PostgreSQL is killed and comes back.",
    ),
    "machines": (
        "Two machines, and whatever can fail fails",
        "Two workers on each, budgets in Redis, keys in PostgreSQL, tables in a bucket. What fails when is drawn, two "
        + "things at once now and then, and every 20 seconds callers have another budget. At the end Redis is emptied "
        + "once more, and `sekisho reconcile` has to find on both machines that rows and budgets agree.",
    ),
    "bucket": ("S3 endpoint gone", "The tables are in a bucket, and nobody answers there."),
    "commits": ("A day of small commits", "One commit every five seconds of a simulated day, and its maintenance."),
    "budgets": (
        "Races for a budget",
        "64 clients at once on one small budget, with calls of random sizes, until the last one is refused. "
        + "The counters are tried by themselves; `races` tries them through gateways.",
    ),
    "races": (
        "Races through gateways",
        "The same over HTTP, with one worker and with four that share a Redis: what was spent is read from the rows, "
        + "and what was refused from theirs. At the end a worker is killed, and what it had reserved is waited for.",
    ),
    "calls": ("Many mixed calls", "Calls accepted, rows, metrics and money agree, to the nano-dollar."),
}

_INTRO = """# Endurance

*Written by `make endurance`; do not edit.*

No row that was acknowledged is ever lost or doubled: that is the promise, and this is how it is tried. A row is
acknowledged when the last byte of its answer has come to the client; the answer's `x-request-id` is the row's
`request_id`. `make test` runs a few rounds of the first trials, here are the long ones. Each draws its moments from a
seed: `make endurance ENDURANCE="--only kills --seed N"` repeats one, as far as an operating system repeats itself.

What a power cut may take is stated for each level: at `sync` nothing, at `process` rows of the last second. A simulated
cut is harsher than most disks: it honours what was synced, in files and in folders, and nothing else.
"""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one part."""

    part: str
    amount: int
    seed: int
    took_s: int
    #: of the code that ran; with a plus when it had changes of its own
    commit: str
    date: str
    machine: str
    figures: dict[str, Any]
    #: promises that were not kept
    broken: list[str]


def provenance() -> dict[str, str]:
    """Commit, date, machine."""
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, check=True, text=True)
        dirty = subprocess.run([*git, "status", "--porcelain", "src"], capture_output=True, check=True, text=True)
        name = commit.stdout.strip() + ("+" if dirty.stdout.strip() else "")
    except (OSError, subprocess.CalledProcessError):
        name = "unknown"
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return {"commit": name, "date": datetime.now(UTC).date().isoformat(), "machine": machine}


def text(found: Found) -> str:
    """For the terminal."""
    verdict = "kept" if not found.broken else "BROKEN: " + "; ".join(found.broken)
    lines = [f"{found.part}: seed {found.seed}, {found.took_s} s, {verdict}"]
    return "\n".join([*lines, *(f"  {name}: {_cell(value)}" for name, value in found.figures.items())])


def write(found: Found) -> None:
    """Into the figures, and the page anew."""
    runs = {**{one.part: one for one in known()}, found.part: found}
    ordered = [runs[part] for part in TITLES if part in runs]
    FIGURES.write_bytes(msgspec.json.format(msgspec.json.encode(ordered), indent=1) + b"\n")
    PAGE.write_text(page(ordered), "utf-8")


def page(runs: list[Found]) -> str:
    return "\n".join([_INTRO, *(_section(one) for one in runs)])


def known() -> list[Found]:
    """The last run of every part."""
    return msgspec.json.decode(FIGURES.read_bytes(), type=list[Found]) if FIGURES.exists() else []


def _section(found: Found) -> str:
    title, what = TITLES[found.part]
    rows = [f"| {name} | {_cell(value)} |" for name, value in found.figures.items()]
    broken = ["", *(f"**Not kept:** {one}" for one in found.broken)] if found.broken else []
    run = f"{found.date}, commit `{found.commit}`, seed {found.seed}, {found.took_s} s; {found.machine}."
    return "\n".join([f"## {title}", "", what, "", run, "", "| | |", "|---|---|", *rows, *broken, ""])


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(one)}" for name, one in value.items())
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
