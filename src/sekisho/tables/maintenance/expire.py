"""Retention: whole days leave a table by one log entry. Must read no row, and take no day before its time."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import msgspec

from sekisho.tables.maintenance.snapshot import take_snapshot, today
from sekisho.tables.maintenance.transaction import Conflict, replace

_ATTEMPTS = 3


class Expired(msgspec.Struct, frozen=True, kw_only=True):
    """What left the table, or with `dry_run` would."""

    days: tuple[str, ...] = ()
    files: int = 0
    rows: int = 0
    bytes: int = 0


def first_kept(now_us: int, keep_days: int) -> date:
    """The oldest day that stays: today and the `keep_days` whole days before it, in UTC."""
    return today(now_us) - timedelta(days=keep_days)


def expire(folder: Path, now_us: int, keep_days: int, *, dry_run: bool = False) -> Expired:
    """Drop the days before `first_kept`. Raises OSError, or Conflict when another writer is at those days too."""
    before = first_kept(now_us, keep_days)
    for attempt in range(_ATTEMPTS):
        snapshot = take_snapshot(folder)
        gone = [file for file in snapshot.files if date.fromisoformat(file.day) < before] if snapshot else []
        if snapshot is not None and gone and not dry_run:
            try:
                replace(snapshot, gone, [], operation="DELETE", data_change=True)
            except Conflict:
                if attempt + 1 == _ATTEMPTS:
                    raise
                continue
        return Expired(
            days=tuple(sorted({file.day for file in gone})),
            files=len(gone),
            rows=sum(file.rows or 0 for file in gone),
            bytes=sum(file.size for file in gone),
        )
    return Expired()
