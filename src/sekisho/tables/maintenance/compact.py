"""Fewer files: all small ones of a day that is over, and of a day in progress enough of them that they stay few.

A day in progress is merged by sizes: eight files of one size class become one of a higher class. Every row is written
again once a class, five times at most, and a day holds at most seven files of each class below the target, beside what
came since the last pass. Must change no row.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import msgspec

from sekisho.tables.maintenance.merge import TARGET_BYTES, Progress, discard, merge
from sekisho.tables.maintenance.snapshot import LiveFile, Snapshot, take_snapshot, today
from sekisho.tables.maintenance.transaction import Conflict, replace

#: after midnight, UTC, before a day counts as over: its last calls may still be on their way
SETTLED_US = 10 * 60 * 1_000_000
_FAN = 8
_SMALLEST = 64 * 1024
#: of what one commit replaces, so that a merge that is interrupted loses minutes, not hours
_COMMIT_BYTES = 1024 * 1024 * 1024


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Files of one day that become one, or as few as the target size allows."""

    day: str
    files: tuple[LiveFile, ...]


class Compacted(msgspec.Struct, kw_only=True):
    """What was done, or with `dry_run` would be."""

    days: int = 0
    files_before: int = 0
    files_after: int = 0
    rows: int = 0
    #: steps given up because another writer changed the same files
    conflicts: int = 0


def plan(snapshot: Snapshot, now_us: int, *, closed: bool) -> list[Step]:
    """What to merge: of days in progress what their sizes ask for; with `closed` also all small files of other days."""
    closed_before = today(now_us - SETTLED_US)
    steps: list[Step] = []
    for day, files in snapshot.days().items():
        over = closed and date.fromisoformat(day) < closed_before
        chosen = _small(files) if over else _crowded(files)
        steps.extend(Step(day=day, files=batch) for batch in _batches(chosen))
    return steps


def compact(
    folder: Path, now_us: int, *, closed: bool, dry_run: bool = False, progress: Progress | None = None
) -> Compacted:
    """Carry the plan out, a commit for each step. Raises OSError, RowsMissing."""
    done = Compacted()
    days: set[str] = set()
    snapshot = take_snapshot(folder)
    steps = [] if snapshot is None else plan(snapshot, now_us, closed=closed)
    for step in steps:
        assert snapshot is not None
        days.add(step.day)
        if dry_run:
            done.files_before += len(step.files)
            done.files_after += -(-sum(file.size for file in step.files) // TARGET_BYTES)
            done.rows += sum(file.rows or 0 for file in step.files)
            continue
        _carry_out(snapshot, step, done, progress)
    done.days = len(days)
    return done


def rows_to_merge(folder: Path, now_us: int) -> int:
    """How many rows `compact` would read; for a progress bar."""
    snapshot = take_snapshot(folder)
    steps = [] if snapshot is None else plan(snapshot, now_us, closed=True)
    return sum(file.rows or 0 for step in steps for file in step.files)


def _carry_out(snapshot: Snapshot, step: Step, done: Compacted, progress: Progress | None) -> None:
    merged = merge(snapshot.folder, snapshot.name, snapshot.schema, step.files, progress=progress)
    try:
        # A snapshot that is some commits old is fine: whoever else took one of the files is found in between.
        # After an OSError nobody knows whether the entry is there, so the new files stay for `vacuum` to judge.
        replace(snapshot, step.files, merged.parts, operation="OPTIMIZE", data_change=False)
    except Conflict:
        discard(snapshot.folder, merged.parts)
        done.conflicts += 1
        return
    done.files_before += len(step.files)
    done.files_after += len(merged.parts)
    done.rows += merged.read


def _small(files: Sequence[LiveFile]) -> list[LiveFile]:
    """All files that are worth merging, none when there is only one."""
    small = [file for file in files if file.size < TARGET_BYTES // 2]
    return small if len(small) > 1 else []


def _crowded(files: Sequence[LiveFile]) -> list[LiveFile]:
    """All files up to the highest size class that has eight, together with those below it."""
    chosen: list[LiveFile] = []
    for level in range(_level(TARGET_BYTES // 2) + 1):
        below = [file for file in files if file.size < TARGET_BYTES // 2 and _level(file.size) <= level]
        # what lies below becomes one file of this class at least
        at = sum(1 for file in below if _level(file.size) == level) + (1 if chosen else 0)
        if at >= _FAN:
            chosen = below
    return chosen


def _level(size: int) -> int:
    level = 0
    while size >= _SMALLEST * _FAN ** (level + 1):
        level += 1
    return level


def _batches(files: Sequence[LiveFile]) -> list[tuple[LiveFile, ...]]:
    """Consecutive files for one commit each, two at least."""
    batches: list[list[LiveFile]] = []
    size = _COMMIT_BYTES
    for file in files:
        if size + file.size > _COMMIT_BYTES and (not batches or len(batches[-1]) > 1):
            batches.append([])
            size = 0
        batches[-1].append(file)
        size += file.size
    return [tuple(batch) for batch in batches if len(batch) > 1]
