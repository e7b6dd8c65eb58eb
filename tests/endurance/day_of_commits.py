"""A day of small commits: does a commit stay as fast as it was, and the number of files as small?

    .venv/bin/python -m tests.endurance.day_of_commits --commits 17280

One commit every 5 seconds of a simulated day, a few rows each, into both tables, by the code the committer uses; a
light job of maintenance after every 100, the night job at the end. Log entries get the times of that day. Prints one
JSON object; exit status 1 when a bound is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from tests.unit.tables.rows import a_row, record_of

from sekisho.tables.columns import Batch
from sekisho.tables.delta import CHECKPOINT_EVERY, HISTORY_HOURS, DeltaFolder, open_table
from sekisho.tables.layout import encode_record
from sekisho.tables.maintenance import jobs
from sekisho.tables.maintenance.compact import SETTLED_US
from sekisho.tables.maintenance.policy import Policy
from sekisho.tables.maintenance.schedule import CROWD
from sekisho.tables.schema import TABLES

COMMITS, EVERY_S, ROWS = 17_280, 5.0, 4
#: of four size classes, and what came since the last pass
MOST_FILES = 7 * 4 + CROWD + 1
#: the last tenth of the commits against the first, in CPU time: the wall clock of a shared machine says nothing
FLAT = 1.5


class Day(msgspec.Struct, kw_only=True):
    """What was found. Times are of one commit into both tables, without maintenance."""

    commits: int
    rows: int
    #: medians of the first and of the last tenth, and the 99th percentile of all
    first_cpu_ms: float
    last_cpu_ms: float
    first_ms: float
    last_ms: float
    p99_ms: float
    #: checkpoints included, a commit
    checkpoint_ms: float
    most_files: int
    most_log_files: int
    files_after_night: int
    open_ms: float
    maintenance_cpu_ms_a_commit: float
    lost: int = 0
    doubled: int = 0

    def broken(self, flat: float = FLAT) -> list[str]:
        """Bounds that did not hold; `flat` is what a late commit may cost against an early one."""
        held = {
            "rows are lost or doubled": self.lost == self.doubled == 0,
            f"a commit costs more than {flat} x as much at the end": self.last_cpu_ms <= flat * self.first_cpu_ms,
            f"more than {MOST_FILES} files": self.most_files <= MOST_FILES,
            "more than one file after the night": self.files_after_night == 1,
            "the log grows": self.most_log_files <= _log_bound(self.commits),
        }
        return [what for what, holds in held.items() if not holds]


def _log_bound(commits: int) -> int:
    """Entries of the history, of the pass that has not come yet and of the one whose entries have one date, checkpoints
    every CHECKPOINT_EVERY, the jobs' own, a few."""
    history = min(commits, HISTORY_HOURS * 3600 / EVERY_S)
    return round((history + 2 * CROWD + CHECKPOINT_EVERY) * (1 + 1 / CHECKPOINT_EVERY + 3 / CROWD)) + 20


def run(data_dir: Path, commits: int = COMMITS) -> Day:
    """Live the day. The clock of the day ends now, so that every log entry is from the past."""
    tables = [DeltaFolder(data_dir / "tables", name, "endurance") for name in TABLES]
    for table in tables:
        table.open()
    day = _Simulated(data_dir, commits)
    wall: list[float] = []
    cpu: list[float] = []
    checkpoints_s = maintenance_cpu_s = 0.0
    most_files = most_log = 0
    for n in range(commits):
        rows = day.rows(n)
        began, began_cpu = time.perf_counter(), time.process_time()
        for table in tables:
            table.append(rows, n + 1)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
        began = time.perf_counter()
        for table in tables:
            table.checkpoint_if_due()
        checkpoints_s += time.perf_counter() - began
        if n % CROWD == CROWD - 1:
            day.date_log(n)
            most_files = max(most_files, *(day.files(table.name) for table in tables))
            most_log = max(most_log, *(len(os.listdir(data_dir / "tables" / name / "_delta_log")) for name in TABLES))
            began_cpu = time.process_time()
            day.maintain("light", n)
            maintenance_cpu_s += time.process_time() - began_cpu
            last = _median_ms(wall[-CROWD:]), _median_ms(cpu[-CROWD:])
            sys.stderr.write(f"{n + 1} commits, the last {CROWD}: {last[0]} ms, {last[1]} ms of CPU\n")
    day.date_log(commits - 1)
    began_cpu = time.process_time()
    day.maintain("night", commits - 1)
    maintenance_cpu_s += time.process_time() - began_cpu
    tenth = max(1, commits // 10)
    return Day(
        commits=commits,
        rows=commits * ROWS,
        first_cpu_ms=_median_ms(cpu[:tenth]),
        last_cpu_ms=_median_ms(cpu[-tenth:]),
        first_ms=_median_ms(wall[:tenth]),
        last_ms=_median_ms(wall[-tenth:]),
        p99_ms=round(sorted(wall)[int(commits * 0.99)] * 1e3, 2),
        checkpoint_ms=round(checkpoints_s / commits * 1e3, 2),
        most_files=most_files,
        most_log_files=most_log,
        files_after_night=max(day.files(name) for name in TABLES),
        open_ms=_open_ms(data_dir),
        maintenance_cpu_ms_a_commit=round(maintenance_cpu_s / commits * 1e3, 2),
        **_missing(data_dir, commits * ROWS),
    )


class _Simulated:
    """Where in the day we are. All rows are of one UTC day, which is over when the night job comes."""

    def __init__(self, data_dir: Path, commits: int) -> None:
        self._data_dir = data_dir
        self._began_s = time.time() - commits * EVERY_S
        self._midnight_us = (int(self._began_s) // 86_400 - 1) * 86_400_000_000
        self._dated = 0

    def rows(self, n: int) -> Any:
        batch = Batch()
        at_us = self._midnight_us + round(n * EVERY_S * 1e6) % 86_400_000_000
        made = [a_row(n * ROWS + k, event_time_us=at_us + k, request=_body(n), latency_us=n) for k in range(ROWS)]
        batch.add([encode_record(record_of(row)) for row in made])
        return batch.table()

    def date_log(self, n: int) -> None:
        """Give the log files since the last time the moment of the day they were written at."""
        then_s = self._began_s + n * EVERY_S
        for name in TABLES:
            for file in os.scandir(self._data_dir / "tables" / name / "_delta_log"):
                if file.stat().st_mtime > self._began_s + (n + 1) * EVERY_S:
                    os.utime(file.path, (then_s, then_s))

    def maintain(self, job: str, n: int) -> None:
        at_us = self._midnight_us + (86_400_000_000 + SETTLED_US if job == "night" else 1)
        behind_hours = (time.time() - self._began_s - n * EVERY_S) / 3600
        for name in TABLES:
            folder = self._data_dir / "tables" / name
            jobs.one(folder, job, Policy(), at_us, HISTORY_HOURS + behind_hours)

    def files(self, name: str) -> int:
        table = open_table(self._data_dir / "tables" / name)
        assert table is not None
        return len(table.file_uris())


def _body(n: int) -> bytes:
    return b'{"model":"chat","messages":[{"role":"user","content":"question %d"}]}' % n


def _median_ms(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1e3, 2)


def _open_ms(data_dir: Path) -> float:
    times: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        open_table(data_dir / "tables" / "usage")
        times.append(time.perf_counter() - began)
    return _median_ms(times)


def _missing(data_dir: Path, count: int) -> dict[str, int]:
    import polars

    found: list[list[str]] = [
        polars.read_delta(str(data_dir / "tables" / name), columns=["request_id"])["request_id"].to_list()
        for name in TABLES
    ]
    want = {f"req_{n:032x}" for n in range(count)}
    return {
        "lost": max(len(want - set(ids)) for ids in found),
        "doubled": max(len(ids) - len(set(ids)) for ids in found),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--commits", type=int, default=COMMITS)
    parser.add_argument("--data-dir", type=Path, help="kept afterwards; by default a temporary folder")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        day = run(options.data_dir or Path(temporary), options.commits)
    broken = day.broken()
    print(json.dumps({**msgspec.structs.asdict(day), "broken": broken}, indent=2))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
