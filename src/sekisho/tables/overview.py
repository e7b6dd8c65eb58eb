"""What is in the tables and what still waits in the spool. Must only look."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from sekisho.tables.delta import app_id, files_of, open_in
from sekisho.tables.files import LOG
from sekisho.tables.layout import arrived_us
from sekisho.tables.schema import PARTITION, TABLES
from sekisho.tables.segments import SpoolReader, segment_numbers
from sekisho.tables.storage import Storage


class TableOverview(msgspec.Struct, frozen=True, kw_only=True):
    """One table as committed. `last_commit_us` is microseconds since 1970, UTC; `done` a sequence number."""

    name: str
    rows: int = 0
    files: int = 0
    bytes: int = 0
    commits: int = 0
    days: int = 0
    #: entries of the Delta log that are still there; of a bucket they are not counted
    log_entries: int | None = 0
    last_commit_us: int | None = None
    done: int = 0


class SpoolOverview(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that the `usage` table does not have yet, their bytes, the age of the oldest one in seconds, and the files
    of the spool."""

    rows: int
    bytes: int
    age_s: float | None = None
    segments: int = 0


def overview(data_dir: Path, storage: Storage | None = None) -> tuple[list[TableOverview], SpoolOverview]:
    """Everything as of now. Raises OSError."""
    place = storage or Storage.folder(data_dir / "tables")
    spool = SpoolReader(data_dir / "spool")
    try:
        spool.hold()
        spool_id = spool.spool_id()
        tables = [_table(place, name, spool_id) for name in TABLES]
        rows = size = 0
        age_s = None
        for chunk in spool.chunks(tables[0].done):
            if not rows and chunk.payloads:
                age_s = round(max(0.0, time.time() - arrived_us(chunk.payloads[0]) / 1e6), 1)
            rows += len(chunk.payloads)
            size += sum(map(len, chunk.payloads))
        segments = len(segment_numbers(data_dir / "spool"))
        return tables, SpoolOverview(rows=rows, bytes=size, age_s=age_s, segments=segments)
    finally:
        spool.close()


def _table(storage: Storage, name: str, spool_id: str | None) -> TableOverview:
    if (table := open_in(storage, name)) is None:
        return TableOverview(name=name)
    adds = table.get_add_actions(flatten=True)
    rows, sizes = (adds.column(column).to_pylist() for column in ("num_records", "size_bytes"))
    return TableOverview(
        name=name,
        rows=sum(count or 0 for count in rows),
        files=len(sizes),
        bytes=sum(sizes),
        days=len(set(adds.column(f"partition.{PARTITION}").to_pylist())) if sizes else 0,
        log_entries=None if storage.path is None else sum(1 for _ in (storage.path / name / LOG).glob("*.json")),
        commits=table.version() + 1,
        last_commit_us=_committed_us(storage, name, table.version()),
        done=(table.transaction_version(app_id(spool_id)) or 0) if spool_id is not None else 0,
    )


def _committed_us(storage: Storage, name: str, version: int) -> int | None:
    """When a version was committed, from its log entry; None when that is gone. delta-rs's own `history` lists the
    whole log and keeps Python's lock while it waits for the network (1.6)."""
    _, entry = next(files_of(storage, name).entries(version - 1), (version, b""))
    for line in entry.splitlines():
        committed_ms = msgspec.json.decode(line).get("commitInfo", {}).get("timestamp")
        if committed_ms is not None:
            return committed_ms * 1000
    return None
