"""One Delta table on a local disk, and appends to it that happen exactly once. Must never commit a number twice.

delta-rs makes, opens, widens and checkpoints tables; the append itself, one JSON file put into the log, is ours:
delta-rs spends 7 ms on it and 0.5 ms more for every commit since the last checkpoint, and never calls fsync. Here the
entry is on the disk before its name appears, so a power cut cannot leave a torn one.
Source: Delta Transaction Log Protocol, "Delta Log Entries", "Add File", "Transaction Identifiers".
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sekisho.tables.arrow import Table
from sekisho.tables.mending import set_aside_broken_checkpoint
from sekisho.tables.parts import Part, fsync, write_parts
from sekisho.tables.schema import PARTITION, TABLES

if TYPE_CHECKING:
    from deltalake import DeltaTable

CHECKPOINT_EVERY = 32
#: property of a table some of whose files lack later columns
WIDENED = "sekisho.widened"
_LOG = "_delta_log"
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def app_id(spool_id: str) -> str:
    """Under which a table remembers how far it has a spool."""
    return f"sekisho-spool-{spool_id}"


def open_table(path: Path) -> DeltaTable | None:
    """The table as it is now, for reading; None when there is none. Raises OSError when it cannot be read."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        return DeltaTable(str(path))
    except TableNotFoundError:
        return None
    except DeltaError as error:
        raise OSError(f"{path} cannot be read: {error}") from error


class TableChanged(RuntimeError):
    """Somebody else changed what this append stands on; open the table again and look how far it has come."""


class DeltaFolder:
    """The table `name` under `tables_dir`, written for one spool. Not for two threads."""

    def __init__(self, tables_dir: Path, name: str, spool_id: str) -> None:
        self.name = name
        self.path = tables_dir / name
        self.app_id = app_id(spool_id)
        self.schema = TABLES[name]
        #: last sequence number that is in the table, or that the table does not want
        self.done = 0
        self._version = -1
        self._since_checkpoint = 0

    def open(self) -> None:
        """Find the table, or make it; then `done` says how far it has come. Raises OSError or delta-rs's errors."""
        from deltalake import DeltaTable

        set_aside_broken_entry(self.path)
        set_aside_broken_checkpoint(self.path / _LOG)
        if not DeltaTable.is_deltatable(str(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
            DeltaTable.create(str(self.path), schema=self.schema, mode="ignore", partition_by=[PARTITION])
        table = DeltaTable(str(self.path))
        if self._widen(table):
            table = DeltaTable(str(self.path))
        self._fsync_log()
        self._version = table.version()
        self.done = max(self.done, table.transaction_version(self.app_id) or 0)

    def append(self, rows: Table, last_seq: int) -> None:
        """Commit rows up to this sequence number. Raises TableChanged, OSError; then nothing was committed."""
        parts = write_parts(self.path, self.name, rows.select(self.schema.names))
        self._commit(_actions(parts, self.app_id, last_seq))
        self.done = last_seq
        self._since_checkpoint += 1

    def checkpoint_if_due(self) -> None:
        """Sum up the log, so that opening the table stays fast. Raises OSError or delta-rs's errors: nothing is lost
        by a checkpoint that failed."""
        if self._since_checkpoint < CHECKPOINT_EVERY:
            return
        self._since_checkpoint = 0
        from deltalake import DeltaTable

        table = DeltaTable(str(self.path))
        table.create_checkpoint()
        log = self.path / _LOG
        for file in (log / "_last_checkpoint", *log.glob(f"{table.version():020d}.checkpoint*")):
            fsync(file)
        fsync(log)

    def _commit(self, actions: list[dict[str, Any]]) -> None:
        body = b"\n".join(map(msgspec.json.encode, actions)) + b"\n"
        while True:
            version = self._version + 1
            if _put_if_absent(self.path / _LOG, f"{version:020d}.json", body):
                self._version = version
                return
            self._check_compatible(self.path / _LOG / f"{version:020d}.json")
            self._version = version

    def _check_compatible(self, entry: Path) -> None:
        """An append goes with every commit of others, except a change of schema or one for our own spool."""
        for line in entry.read_bytes().splitlines():
            action: dict[str, Any] = msgspec.json.decode(line)
            ours = action.get("txn", {}).get("appId") == self.app_id
            if ours or "metaData" in action or "protocol" in action:
                raise TableChanged(f"{self.name}: version {entry.stem.lstrip('0')} was committed by another writer")

    def _widen(self, table: Any) -> bool:
        """Add the columns that a table made by an earlier version lacks."""
        known = {field.name for field in table.schema().fields}
        from deltalake import Schema

        missing = [field for field in Schema.from_arrow(self.schema).fields if field.name not in known]
        if missing:
            table.alter.add_columns(missing)
            table.alter.set_table_properties({WIDENED: "true"}, raise_if_not_exists=False)
        return bool(missing)

    def _fsync_log(self) -> None:
        """Also what somebody else made and was killed before the sync: from here on it is relied upon, and the spool
        is trimmed. The table's own name stands in its parent, and that one's in its own."""
        log = self.path / _LOG
        for entry in sorted(log.glob("*.json"))[-2:]:
            fsync(entry)
        for folder in (log, self.path, self.path.parent, self.path.parent.parent):
            fsync(folder)


def set_aside_broken_entry(path: Path) -> str | None:
    """Rename a newest log entry that a power cut left empty or torn; returns its name. Its rows are still in the spool:
    segments are trimmed only after the entry is on the disk."""
    newest = max((path / _LOG).glob("*.json"), default=None)
    if newest is None:
        return None
    lines = newest.read_bytes().splitlines()
    try:
        if lines and all(isinstance(msgspec.json.decode(line), dict) for line in lines):
            return None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    newest.rename(newest.with_suffix(".json.broken"))
    fsync(path / _LOG)
    return newest.name


def _actions(parts: list[Part], app_id: str, last_seq: int) -> list[dict[str, Any]]:
    now_ms = time.time_ns() // 1_000_000
    info = {
        "timestamp": now_ms,
        "operation": "WRITE",
        "operationParameters": {"mode": "Append"},
        "engineInfo": "sekisho",
    }
    adds = [
        {
            "path": part.path,
            "partitionValues": {PARTITION: part.day},
            "size": part.size,
            "modificationTime": now_ms,
            "dataChange": True,
            "stats": part.stats,
        }
        for part in parts
    ]
    txn = {"appId": app_id, "version": last_seq, "lastUpdated": now_ms}
    return [{"commitInfo": info}, *({"add": add} for add in adds), {"txn": txn}]


def _put_if_absent(folder: Path, name: str, body: bytes) -> bool:
    """Put a file under a name that must be free, whole and on the disk or not at all; False when the name is taken."""
    temporary = folder / f"_{uuid.uuid4().hex}.tmp"
    try:
        _write_synced(temporary, body)
        try:
            os.link(temporary, folder / name)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            try:
                _write_synced(folder / name, body)
            except FileExistsError:
                return False
    finally:
        temporary.unlink(missing_ok=True)
    fsync(folder)
    return True


def _write_synced(path: Path, body: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        view = memoryview(body)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
