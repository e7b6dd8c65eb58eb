"""One commit that replaces files. Must never take away a file that somebody else took away meanwhile, nor an append.

Of our own making, not delta-rs's: its log entry is not on the disk when its name appears. A power cut could leave it
empty while the committer's next entry is whole, and a log with a hole in it cannot be read at all.
Source: Delta Transaction Log Protocol, "Add File and Remove File", "Action Reconciliation".
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from sekisho.tables.disk import DiskFiles
from sekisho.tables.features import UnknownFeatures
from sekisho.tables.files import entry_path
from sekisho.tables.maintenance.snapshot import LiveFile, Snapshot
from sekisho.tables.parts import Part, add_action
from sekisho.tables.schema import PARTITION
from sekisho.tables.sync import fsync

Operation = Literal["OPTIMIZE", "DELETE"]
#: how the log tells the commits of maintenance from those of committers and of other programs
ENGINE = "sekisho"
OPERATIONS: tuple[Operation, ...] = ("OPTIMIZE", "DELETE")
_READ_S = 1.0


class Conflict(RuntimeError):
    """Another writer changed what this commit stands on; nothing was committed."""


def replace(
    snapshot: Snapshot, gone: Iterable[LiveFile], made: Sequence[Part], *, operation: Operation, data_change: bool
) -> int:
    """Commit that the files in `made` stand for those in `gone`; the version. Raises Conflict, OSError.

    `data_change` false promises the same rows, so that readers of changes pass over it.
    """
    if data_change and snapshot.append_only:
        raise UnknownFeatures(f"{snapshot.name} has the property delta.appendOnly: no row may leave it")
    removed = {file.path for file in gone}
    actions = _actions([file for file in snapshot.files if file.path in removed], made, operation, data_change)
    body = b"\n".join(map(msgspec.json.encode, actions)) + b"\n"
    log = DiskFiles(snapshot.folder)
    version = snapshot.version + 1
    while not log.put_new(entry_path(version), body):
        entry = snapshot.folder / entry_path(version)
        for action in _read(entry):
            if "metaData" in action or "protocol" in action or action.get("remove", {}).get("path") in removed:
                raise Conflict(f"{snapshot.name}: version {version} was committed by another writer")
        # Ours must not survive a power cut that theirs does not.
        fsync(entry)
        version += 1
    return version


def _read(entry: Path) -> list[dict[str, Any]]:
    """Actions of an entry that another writer may not have finished where the disk knows no links."""
    deadline_s = time.monotonic() + _READ_S
    while True:
        try:
            return [msgspec.json.decode(line) for line in entry.read_bytes().splitlines()]
        except msgspec.MsgspecError:
            if time.monotonic() > deadline_s:
                raise Conflict(f"{entry.name} is not readable") from None
            time.sleep(0.01)


def _actions(
    gone: list[LiveFile], made: Sequence[Part], operation: Operation, data_change: bool
) -> list[dict[str, Any]]:
    now_ms = time.time_ns() // 1_000_000
    info = {
        "timestamp": now_ms,
        "operation": operation,
        "operationParameters": {},
        "operationMetrics": {"numRemovedFiles": str(len(gone)), "numAddedFiles": str(len(made))},
        "engineInfo": ENGINE,
    }
    removes = [
        {
            "path": file.path,
            "deletionTimestamp": now_ms,
            "dataChange": data_change,
            "extendedFileMetadata": True,
            "partitionValues": {PARTITION: file.day},
            "size": file.size,
        }
        for file in gone
    ]
    adds = [add_action(part, now_ms, data_change=data_change) for part in made]
    return [{"commitInfo": info}, *({"remove": remove} for remove in removes), *({"add": add} for add in adds)]
