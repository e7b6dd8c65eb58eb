"""One Delta table, on a disk or in a bucket, and appends to it that happen exactly once. Must never commit a number
twice.

delta-rs makes, opens, widens and checkpoints tables; the append itself, one JSON file put into the log under a name
that must be free, is ours: delta-rs spends 7 ms on it and 0.5 ms more for every commit since the last checkpoint, and
never calls fsync. Here the entry is on the disk before its name appears, so a power cut cannot leave a torn one.
Source: Delta Transaction Log Protocol, "Delta Log Entries", "Add File", "Transaction Identifiers".
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sekisho.tables.arrow import Table
from sekisho.tables.disk import DiskFiles
from sekisho.tables.features import check_append
from sekisho.tables.files import TableFiles, entry_path
from sekisho.tables.meanings import TABLE_MEANINGS, described
from sekisho.tables.parts import Part, add_action, write_parts
from sekisho.tables.schema import PARTITION, TABLES
from sekisho.tables.storage import Storage, TableUnreadable, forget_aws_variables

if TYPE_CHECKING:
    from deltalake import DeltaTable

CHECKPOINT_EVERY = 32
#: how long the log remembers: every entry and every removed file is kept at least so long. Longer would let a table
#: that gets a commit a second carry some 100,000 of both through every checkpoint
HISTORY_HOURS = 6
#: a writer that has not looked at the log for so long looks again before it appends; far below the above
_STALE_S = HISTORY_HOURS * 3600 / 6
PROPERTIES = {
    "delta.logRetentionDuration": f"interval {HISTORY_HOURS} hours",
    "delta.deletedFileRetentionDuration": f"interval {HISTORY_HOURS} hours",
}
#: property of a table some of whose files lack later columns
WIDENED = "sekisho.widened"
_LONGEST_PAUSE_S = 1.0


def app_id(spool_id: str) -> str:
    """Under which a table remembers how far it has a spool."""
    return f"sekisho-spool-{spool_id}"


def open_table(path: Path) -> DeltaTable | None:
    """The table in this folder; see `open_in`."""
    return open_in(Storage.folder(path.parent), path.name)


def open_in(storage: Storage, name: str, version: int | None = None) -> DeltaTable | None:
    """The table as it is now, or was at a version; None when there is none. Raises TableUnreadable."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    if storage.s3 is not None:
        forget_aws_variables()
    try:
        return DeltaTable(storage.table(name), version=version, storage_options=storage.options())
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise TableUnreadable(storage.table(name), storage.told(error)) from None


def files_of(storage: Storage, name: str) -> TableFiles:
    """The files of one table. obstore is imported only for a bucket."""
    if storage.path is not None:
        return DiskFiles(storage.path / name)
    from sekisho.tables.bucket import BucketFiles

    forget_aws_variables()
    return BucketFiles(storage, name)


def checkpoint(path: Path, version: int | None = None) -> int:
    """Sum up the log of the table in a folder up to a version, or all of it; the version. It is on the disk when this
    returns. Raises OSError or delta-rs's errors."""
    table = _existing(Storage.folder(path.parent), path.name, version)
    table.create_checkpoint()
    DiskFiles(path).settle(table.version())
    return table.version()


def _existing(storage: Storage, name: str, version: int | None = None) -> DeltaTable:
    table = open_in(storage, name, version)
    if table is None:
        raise FileNotFoundError(f"{storage.table(name)} is gone")
    return table


class TableChanged(RuntimeError):
    """Somebody else changed what this append stands on; open the table again and look how far it has come."""


class DeltaFolder:
    """The table `name` in a storage, written for one spool. Not for two threads; other processes may write as well."""

    def __init__(
        self,
        storage: Storage | Path,
        name: str,
        spool_id: str,
        *,
        files: TableFiles | None = None,
        pause: Callable[[float], None] = time.sleep,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.storage = Storage.folder(storage) if isinstance(storage, Path) else storage
        self.app_id = app_id(spool_id)
        self.schema = TABLES[name]
        #: last sequence number that is in the table, or that the table does not want
        self.done = 0
        self._files = files or files_of(self.storage, name)
        self._pause = pause
        self._clock_s = clock_s
        self._version = -1
        #: when the newest log entry was known
        self._known_at_s = 0.0
        self._checkpoint_at: int | None = None

    def open(self) -> None:
        """Find the table, or make it; then `done` says how far it has come. Raises OSError or delta-rs's errors."""
        looked_at_s = self._clock_s()
        self._files.prepare()
        table = open_in(self.storage, self.name) or self._created()
        check_append(table, self.name)
        if self._widen(table) or self._configure(table):
            table = _existing(self.storage, self.name)
        # Also what somebody else made and was killed before its sync: from here on it is relied upon.
        self._files.settle()
        self._version, self._known_at_s = table.version(), looked_at_s
        self.done = max(self.done, table.transaction_version(self.app_id) or 0)

    def append(self, rows: Table, last_seq: int) -> None:
        """Commit rows up to this sequence number. Raises TableChanged, OSError; then nothing was committed, or `open`
        will tell that it was."""
        # Clean-up may have taken the entries after the one that we know: one put into such a hole would never be read.
        if abs(self._clock_s() - self._known_at_s) > _STALE_S:
            before = self.done
            self.open()
            if self.done != before:
                raise TableChanged(f"{self.name}: another writer has committed rows of this spool")
        parts = write_parts(self._files, self.name, rows.select(self.schema.names))
        self._commit(_actions(parts, self.app_id, last_seq))
        self.done = last_seq
        if self._version % CHECKPOINT_EVERY == 0:
            self._checkpoint_at = self._version

    def checkpoint_if_due(self) -> None:
        """Sum up the log, so that opening the table stays fast. Raises OSError or delta-rs's errors: nothing is lost
        by a checkpoint that failed.

        A checkpoint is of the version that called for it, and one committer alone has committed that: two that wrote
        the same checkpoint at a time could leave a broken one (delta-rs#4433, 2026-05).
        """
        version, self._checkpoint_at = self._checkpoint_at, None
        if version is None:
            return
        _existing(self.storage, self.name, version).create_checkpoint()
        self._files.settle(version)

    def _commit(self, actions: list[dict[str, Any]]) -> None:
        body = b"\n".join(map(msgspec.json.encode, actions)) + b"\n"
        conflicts = 0
        now_s = self._clock_s()
        while not self._files.put_new(entry_path(self._version + 1), body):
            for version, entry in self._files.entries(self._version):
                self._check_compatible(version, entry)
                self._version = version
            conflicts, now_s = conflicts + 1, self._clock_s()
            if conflicts > 1:
                self._pause(random.uniform(0, min(_LONGEST_PAUSE_S, 0.01 * 2 ** min(conflicts, 10))))
        self._version, self._known_at_s = self._version + 1, now_s

    def _check_compatible(self, version: int, entry: bytes) -> None:
        """An append goes with every commit of others, except a change of schema or one for our own spool."""
        for line in entry.splitlines():
            action: dict[str, Any] = msgspec.json.decode(line)
            ours = action.get("txn", {}).get("appId") == self.app_id
            if ours or "metaData" in action or "protocol" in action:
                raise TableChanged(f"{self.name}: version {version} was committed by another writer")

    def _created(self) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            DeltaTable.create(
                self.storage.table(self.name),
                schema=described(self.schema),
                mode="ignore",
                partition_by=[PARTITION],
                description=TABLE_MEANINGS[self.name],
                configuration=PROPERTIES,
                storage_options=self.storage.options(),
            )
        except (DeltaError, OSError) as error:
            # Several committers start together, and one of them was first.
            if (table := open_in(self.storage, self.name)) is not None:
                return table
            raise OSError(f"{self.storage.table(self.name)} cannot be made: {self.storage.told(error)}") from None
        self._files.settle()
        return _existing(self.storage, self.name)

    def _widen(self, table: Any) -> bool:
        """Add the columns that a table made by an earlier version lacks."""
        known = {field.name for field in table.schema().fields}
        from deltalake import Schema

        missing = [field for field in Schema.from_arrow(described(self.schema)).fields if field.name not in known]
        if missing:
            # First what readers go by: killed in between, a table with the columns and without it could not be read.
            table.alter.set_table_properties({WIDENED: "true"}, raise_if_not_exists=False)
            table.alter.add_columns(missing)
        return bool(missing)

    def _configure(self, table: Any) -> bool:
        """Give a table made by an earlier version the properties that it lacks; one that somebody set stays."""
        found = table.metadata().configuration
        missing = {name: value for name, value in PROPERTIES.items() if name not in found}
        if missing:
            table.alter.set_table_properties(missing, raise_if_not_exists=False)
        return bool(missing)


def _actions(parts: list[Part], app_id: str, last_seq: int) -> list[dict[str, Any]]:
    now_ms = time.time_ns() // 1_000_000
    info = {
        "timestamp": now_ms,
        "operation": "WRITE",
        "operationParameters": {"mode": "Append"},
        "engineInfo": "sekisho",
    }
    adds = [add_action(part, now_ms, data_change=True) for part in parts]
    txn = {"appId": app_id, "version": last_seq, "lastUpdated": now_ms}
    return [{"commitInfo": info}, *({"add": add} for add in adds), {"txn": txn}]
