"""The parts of `make endurance`. A part runs for an amount with a seed, and gives its figures and what was broken."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash.books import Books
from tests.crash.cuts import cut_again_and_again
from tests.crash.kills import kill_again_and_again
from tests.crash.outages import Outage, folder_gone, room_gone
from tests.endurance.bar import Show

Figures = dict[str, Any]
Run = Callable[[Path, int, int, Show], tuple[Figures, list[str]]]
_POLL_S = 0.5


@dataclass(frozen=True)
class Part:
    """One trial: what it is called, how much of what by default, and how to run it."""

    name: str
    amount: int
    unit: str
    run: Run
    #: whether this version has what is tried
    there: bool = True


def _kills(folder: Path, kills: int, seed: int, show: Show) -> tuple[Figures, list[str]]:
    found = asyncio.run(kill_again_and_again(folder, kills, seed, progress=lambda done: show(done, kills)))
    figures = {"kills": dict(found.kills), "looks at SQL while nobody lived": found.looks}
    return {**figures, **_of(found.books), "answers": found.calls}, found.books.faults


def _cuts(folder: Path, cuts: int, seed: int, show: Show) -> tuple[Figures, list[str]]:
    found = asyncio.run(cut_again_and_again(folder, cuts, seed, progress=lambda done: show(done, cuts)))
    books = found.books
    figures = {
        **_of(books),
        "at level `process`, lost to cuts": books.lost_to_cuts,
        "the oldest of them, seconds before its cut": round(books.oldest_lost_s, 3),
        "what the disk made of it": dict(found.fates),
        "answers": found.calls,
    }
    return figures, books.faults


def _outage(trial: Callable[[Path, int, float], Awaitable[Outage]]) -> Run:
    def run(folder: Path, lasting_s: int, seed: int, show: Show) -> tuple[Figures, list[str]]:
        found = asyncio.run(_timed(trial(folder, seed, lasting_s), lasting_s, show))
        figures = {
            "seconds without": round(found.lasted_s, 1),
            "answers meanwhile, by status": {str(status): n for status, n in sorted(found.during.items())},
            "commits that failed": found.failed_commits,
            "rows without their bodies for want of room": found.shed,
            **_of(found.books),
        }
        return figures, found.books.faults

    return run


async def _timed(trial: Awaitable[Outage], lasting_s: float, show: Show) -> Outage:
    running = asyncio.ensure_future(trial)
    began_s = asyncio.get_running_loop().time()
    while not (await asyncio.wait({running}, timeout=_POLL_S))[0]:
        show(min(round(asyncio.get_running_loop().time() - began_s), lasting_s), lasting_s)
    return await running


def _program(name: str, option: str, *, seeded: bool = False) -> tuple[Run, bool]:
    """A program beside this one that prints its figures, and whether it is there."""
    module = f"tests.endurance.{name}"

    def run(folder: Path, amount: int, seed: int, show: Show) -> tuple[Figures, list[str]]:
        seeding = ["--seed", str(seed)] if seeded else []
        command = [sys.executable, "-m", module, option, str(amount), *seeding]
        with (folder / "figures").open("w+") as output, subprocess.Popen(command, stdout=output) as program:
            while program.poll() is None:
                show(0, amount)
                try:
                    program.wait(_POLL_S)
                except subprocess.TimeoutExpired:
                    continue
            output.seek(0)
            text = output.read()
        figures, broken = _read(text)
        return figures, broken or ([] if program.returncode == 0 else [f"{module} ended with {program.returncode}"])

    return run, importlib.util.find_spec(module) is not None


def _read(text: str) -> tuple[Figures, list[str]]:
    """Figures and what is broken: from a JSON object with `broken` in it, else from lines, `DIFFERS: …` among them."""
    try:
        figures: Figures = json.loads(text)
        return figures, [str(what) for what in figures.pop("broken", [])]
    except (ValueError, AttributeError):
        lines = [line for line in text.splitlines() if line.strip()]
        told = [line for line in lines if not line.startswith("DIFFERS")]
        return {f"line {n}": line for n, line in enumerate(told, 1)}, [line for line in lines if line not in told]


def _of(books: Books) -> Mapping[str, Any]:
    return {
        "acknowledged": books.acknowledged,
        "acknowledged and lost": books.lost,
        "doubled": books.doubled,
        "rows in usage": books.rows,
        "rows in inference_log": books.log_rows,
        "dispatched, and the client was told nothing": books.cut_short,
        "of these `interrupted`": books.interrupted,
    }


PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        Part("kills", 100, "kill -9", _kills),
        Part("cuts", 20, "power cuts", _cuts),
        Part("folder", 60, "seconds without the tables' folder", _outage(folder_gone)),
        Part("room", 60, "seconds without room on the disk", _outage(room_gone)),
        Part("bucket", 60, "seconds without the S3 endpoint", *_program("bucket_gone", "--seconds")),
        Part("stores", 30, "seconds without Redis, and without PostgreSQL", *_program("stores_gone", "--seconds")),
        Part(
            "machines",
            300,
            "seconds of two machines and random faults",
            *_program("two_machines", "--seconds", seeded=True),
        ),
        Part("commits", 17_280, "small commits", *_program("day_of_commits", "--commits")),
        Part("budgets", 100, "pairs of races for a budget", *_program("budget_race", "--runs", seeded=True)),
        Part("races", 100, "pairs of races through gateways", *_program("gateway_race", "--runs", seeded=True)),
        Part("calls", 100_000, "mixed calls", *_program("mixed_calls", "--calls", seeded=True)),
    )
}
