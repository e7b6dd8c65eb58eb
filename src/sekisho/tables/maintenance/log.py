"""The Delta log kept short: a checkpoint, and no entries older than the history. Must never lose how far a spool is.

Those `txn` numbers are what keeps rows from being doubled. So nothing goes that is not summed up in a checkpoint that
was read back just now, and whose numbers are not below those of any entry that goes.
Source: Delta Transaction Log Protocol, "Metadata Cleanup".
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from sekisho.tables.arrow import pq
from sekisho.tables.delta import HISTORY_HOURS, checkpoint
from sekisho.tables.files import LOG
from sekisho.tables.maintenance.snapshot import settle, told_as_os_error
from sekisho.tables.maintenance.transaction import ENGINE, OPERATIONS
from sekisho.tables.sync import fsync

_CHECKPOINT = ".checkpoint.parquet"


class LogUnsafe(RuntimeError):
    """The checkpoint does not hold what the entries before it say; nothing was deleted."""


def checkpoint_own(folder: Path) -> bool:
    """Sum up the log as of the last commit of maintenance, unless a later checkpoint does. Raises OSError.

    Of that version and no other: the committer makes those of its own, and two that write the same checkpoint at a time
    could leave a broken one (delta-rs#4433, 2026-05).
    """
    settle(folder)
    log = folder / LOG
    since = max(_versions(log, _CHECKPOINT), default=-1)
    for version in reversed(_versions(log, ".json")):
        if version <= since:
            return False
        if _is_own(_file(log, version, ".json")):
            with told_as_os_error(folder):
                checkpoint(folder, version)
            return True
    return False


def _is_own(entry: Path) -> bool:
    try:
        info = msgspec.json.decode(entry.read_bytes().partition(b"\n")[0], type=_Line).commitInfo or {}
    except (FileNotFoundError, msgspec.MsgspecError):
        return False
    return info.get("engineInfo") == ENGINE and info.get("operation") in OPERATIONS


def shorten(folder: Path, keep_hours: float = HISTORY_HOURS, *, dry_run: bool = False) -> int:
    """Delete log entries and checkpoints that nobody needs to read any version of the last hours; how many.

    Raises OSError, LogUnsafe.
    """
    log = folder / LOG
    before_s = time.time() - keep_hours * 3600
    checkpoints = _versions(log, _CHECKPOINT)
    expired = [version for version in checkpoints if _file(log, version, _CHECKPOINT).stat().st_mtime < before_s]
    if not expired or expired[-1] > _pointed_at(log):
        return 0
    # Every version since this checkpoint can be read from it on; the ones before it are past.
    base = expired[-1]
    entries = [version for version in _versions(log, ".json") if version < base]
    older = [version for version in expired if version < base]
    with told_as_os_error(_file(log, base, _CHECKPOINT)):
        _prove(log, base, entries)
    if not dry_run:
        # In ascending order: what a kill in between leaves is a shorter past, not one with holes.
        for name in [*(f"{version:020d}.json" for version in entries), *(_name(v, _CHECKPOINT) for v in older)]:
            with suppress(FileNotFoundError):
                (log / name).unlink()
        fsync(log)
    return len(entries) + len(older)


def _prove(log: Path, base: int, entries: list[int]) -> None:
    """Read the checkpoint back and hold it against the entries. Raises LogUnsafe."""
    found: Any = pq.read_table(_file(log, base, _CHECKPOINT), columns=["txn", "metaData", "protocol"])
    for name in ("metaData", "protocol"):
        if len(found[name]) == found[name].null_count:
            raise LogUnsafe(f"checkpoint {base} of {log.parent.name} has no {name}")
    known = {txn["appId"]: txn["version"] for txn in found["txn"].to_pylist() if txn is not None}
    for version in entries:
        for line in _file(log, version, ".json").read_bytes().splitlines():
            txn = msgspec.json.decode(line, type=_Line).txn
            if txn is not None and known.get(txn.appId, -1) < txn.version:
                raise LogUnsafe(f"checkpoint {base} of {log.parent.name} has lost the position of {txn.appId}")


class _Txn(msgspec.Struct):
    appId: str  # noqa: N815  as the protocol writes it
    version: int


class _Line(msgspec.Struct):
    txn: _Txn | None = None
    commitInfo: dict[str, Any] | None = None  # noqa: N815


def _pointed_at(log: Path) -> int:
    """Version of the checkpoint that readers begin with; -1 when there is none, or it comes in several parts."""
    try:
        last: dict[str, Any] = msgspec.json.decode((log / "_last_checkpoint").read_bytes())
    except (OSError, msgspec.MsgspecError):
        return -1
    return -1 if last.get("parts") else int(last.get("version", -1))


def _versions(log: Path, suffix: str) -> list[int]:
    names = (path.name.removesuffix(suffix) for path in log.glob(f"*{suffix}"))
    return sorted(int(name) for name in names if len(name) == 20 and name.isdecimal())


def _name(version: int, suffix: str) -> str:
    return f"{version:020d}{suffix}"


def _file(log: Path, version: int, suffix: str) -> Path:
    return log / _name(version, suffix)
