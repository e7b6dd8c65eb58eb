"""The two jobs of a schedule, run as `python -m sekisho.tables maintenance night --data-dir DIR`.

`light`: today's small files. `night`: retention, compaction of days that are over, the log, and what can be deleted.
A short-lived process of its own. Must leave one table's trouble to that table, and the tables whole when it is killed.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from sekisho.tables.arrow import pa
from sekisho.tables.delta import HISTORY_HOURS
from sekisho.tables.features import UnknownFeatures
from sekisho.tables.files import LOG
from sekisho.tables.maintenance.compact import compact
from sekisho.tables.maintenance.expire import expire
from sekisho.tables.maintenance.log import checkpoint_own, shorten
from sekisho.tables.maintenance.policy import Policy, decode
from sekisho.tables.maintenance.snapshot import take_snapshot
from sekisho.tables.maintenance.state import Busy, Run, TableSize, alone, now_us, read_state, write_state
from sekisho.tables.maintenance.vacuum import vacuum
from sekisho.tables.schema import TABLES
from sekisho.tables.standard_error import standard_error

JOBS = ("light", "night")
_NICE = 15
#: exit status of a run in which something failed, and of one that found another at work
_FAILED, _BUSY = 1, 3


def run(
    data_dir: Path, job: str, policy: Policy, *, tables_dir: Path | None = None, now: Callable[[], int] = now_us
) -> str | None:
    """Do the job on every table in `tables_dir`, by default the folder `tables` of data_dir; what failed, None when
    nothing did. Raises Busy, and OSError for the state alone."""
    folder = tables_dir or data_dir / "tables"
    with alone(data_dir, folder):
        began_us = now()
        # On a full disk what follows may make room; should it not, the end cannot be written down either.
        with suppress(OSError):
            note(data_dir, folder, job, Run(began_us=began_us))
        errors: list[str] = []
        for name in TABLES:
            try:
                one(folder / name, job, policy, began_us)
            except Exception as error:  # a full disk, a table of another program: the other table is still served
                errors.append(f"{name}: {type(error).__name__}: {error}")
        failed = "; ".join(errors) or None
        note(data_dir, folder, job, Run(began_us=began_us, ended_us=now(), error=failed))
        return failed


def one(folder: Path, job: str, policy: Policy, at_us: int, keep_hours: float = HISTORY_HOURS) -> None:
    """The job on one table; `keep_hours` of its log stay. A step that fails keeps none of the others from being done;
    then raises the first error: OSError, RuntimeError, or one of delta-rs's."""
    if not (folder / LOG).is_dir():
        return
    night = job == "night"
    steps: list[Callable[[], object]] = [
        lambda: compact(folder, at_us, closed=night),
        lambda: checkpoint_own(folder),
        lambda: shorten(folder, keep_hours),
    ]
    if night:
        steps.insert(0, lambda: expire(folder, at_us, policy.retention_days[folder.name]))
        # First of all: the others need room, and on a full disk only this makes some.
        steps.insert(0, lambda: vacuum(folder, policy.vacuum_days * 24))
    first: Exception | None = None
    for step in steps:
        try:
            step()
        except UnknownFeatures:
            raise
        except Exception as error:
            first = first or error
    if first is not None:
        raise first


def note(data_dir: Path, tables_dir: Path, job: str, done: Run) -> None:
    """Write down how a job went, and how large the tables are now. Only under the lock. Raises OSError."""
    before = read_state(data_dir)
    last = before.jobs.get(job)
    well_us = done.ended_us if done.error is None else 0
    done = msgspec.structs.replace(done, well_us=well_us or (last.well_us if last is not None else 0))
    tables = dict(before.tables)
    if done.ended_us:
        for name in TABLES:
            with suppress(OSError):
                tables[name] = measure(tables_dir / name) or tables.get(name) or _NOTHING
    write_state(data_dir, msgspec.structs.replace(before, tables=tables, jobs={**before.jobs, job: done}))


def measure(folder: Path) -> TableSize | None:
    """How large a table is; None when there is none. Raises OSError."""
    snapshot = take_snapshot(folder)
    if snapshot is None:
        return None
    files = snapshot.files
    return TableSize(
        files=len(files),
        rows=sum(file.rows or 0 for file in files),
        bytes=sum(file.size for file in files),
        days=len({file.day for file in files}),
    )


_NOTHING = TableSize(files=0, rows=0, bytes=0, days=0)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sekisho.tables maintenance", description=__doc__)
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--tables-dir", type=Path, help="by default the folder tables of the data folder")
    parser.add_argument("--policy", type=decode, default=Policy(), help="JSON")
    parser.add_argument("--parent", type=int, help="process id; end when it is no longer the parent")
    options = parser.parse_args(arguments)
    modest()
    if options.parent is not None:
        threading.Thread(target=_end_with, args=(options.parent,), daemon=True).start()
    try:
        failed = run(options.data_dir, options.job, options.policy, tables_dir=options.tables_dir)
    except Busy:
        return _BUSY
    except OSError as error:
        failed = str(error)
    if failed is None:
        return 0
    line = {"level": "error", "event": "maintenance failed; it is tried again", "job": options.job, "error": failed}
    standard_error().line(json.dumps(line))
    return _FAILED


def _end_with(parent: int) -> None:
    """A kill is as good as an end: nothing has to be put in order."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(_FAILED)


def modest() -> None:
    """Take what nobody else wants: calls come first."""
    with suppress(OSError):
        os.nice(_NICE)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    pa.set_memory_pool(pa.system_memory_pool())
    os.environ.setdefault("TOKIO_WORKER_THREADS", "1")
