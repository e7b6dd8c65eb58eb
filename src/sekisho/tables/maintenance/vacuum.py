"""Deletes files that no version worth keeping refers to. Must never delete one that the table has.

delta-rs finds them; the deleting is ours, because its own writes two log entries that are not on the disk when their
names appear (see `transaction`), and because other things may lie in the folder.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import msgspec

from sekisho.tables.delta import open_table
from sekisho.tables.files import LOG
from sekisho.tables.maintenance.snapshot import take_snapshot, told_as_os_error
from sekisho.tables.schema import PARTITION

#: unfinished files of a process that was killed; one at work finishes its own within minutes
_ABANDONED_S = 24 * 3600.0


class Vacuumed(msgspec.Struct, kw_only=True):
    """Files deleted, or with `dry_run` to be deleted, and their bytes."""

    files: int = 0
    bytes: int = 0


def vacuum(folder: Path, keep_hours: int, *, dry_run: bool = False) -> Vacuumed:
    """Delete what left the table, or never came into it, more than so many hours ago; and what was written before then
    and left it longer ago than the table remembers (`HISTORY_HOURS`). Raises OSError."""
    done = Vacuumed()
    if take_snapshot(folder) is None or (table := open_table(folder)) is None:
        return done
    with told_as_os_error(folder):
        found = table.vacuum(retention_hours=keep_hours, dry_run=True, enforce_retention_duration=False, full=True)
    # What is live now: a name that came back between the two looks stays.
    table = open_table(folder)
    live = {Path(unquote(uri)).name for uri in table.file_uris()} if table is not None else set[str]()
    files = [folder / unquote(path) for path in found]
    files = [file for file in files if file.name not in live and file.parent.name.startswith(f"{PARTITION}=")]
    for file in (*files, *_abandoned(folder)):
        _delete(file, done, dry_run)
    if not dry_run:
        _remove_empty_days(folder)
    return done


def _abandoned(folder: Path) -> list[Path]:
    before_s = time.time() - _ABANDONED_S
    found: list[Path] = []
    log = folder / LOG
    # with a number behind `#`: what delta-rs has not given its name yet, a checkpoint for instance
    for file in (*folder.glob(f"{PARTITION}=*/_*.tmp"), *log.glob("_*.tmp"), *log.glob("*#[0-9]*")):
        # the committer beside us may have given it its name since
        with suppress(FileNotFoundError):
            if file.stat().st_mtime < before_s:
                found.append(file)
    return found


def _delete(file: Path, done: Vacuumed, dry_run: bool) -> None:
    with suppress(FileNotFoundError):
        size = file.stat().st_size
        if not dry_run:
            file.unlink()
        done.files += 1
        done.bytes += size


def _remove_empty_days(folder: Path) -> None:
    """Folders of days that are gone. A young one may be empty because its first file is just being written."""
    before_s = time.time() - _ABANDONED_S
    for day in folder.glob(f"{PARTITION}=*"):
        if day.stat().st_mtime < before_s:
            with suppress(OSError):
                day.rmdir()
