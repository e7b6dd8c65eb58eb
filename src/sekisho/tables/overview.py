"""What is in the tables and what still waits in the spools. Must only look."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sekisho.tables.delta import app_id, files_of, open_in
from sekisho.tables.files import LOG
from sekisho.tables.layout import ended_us
from sekisho.tables.schema import PARTITION, TABLES
from sekisho.tables.segments import SpoolReader, segment_numbers
from sekisho.tables.spools import held_spools, spool_ids, spool_roots
from sekisho.tables.storage import Storage


class TableOverview(msgspec.Struct, frozen=True, kw_only=True):
    """One table as committed. `last_commit_us` is microseconds since 1970, UTC; `done` sequence numbers."""

    name: str
    rows: int = 0
    files: int = 0
    bytes: int = 0
    commits: int = 0
    days: int = 0
    #: entries of the Delta log that are still there; of a bucket they are not counted
    log_entries: int | None = 0
    last_commit_us: int | None = None
    #: of each spool, by its id
    done: dict[str, int] = {}


class SpoolOverview(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that the `usage` table does not have yet, their bytes, the age of the oldest one in seconds, and the files
    of the spools."""

    rows: int
    bytes: int
    age_s: float | None = None
    segments: int = 0


def overview(data_dir: Path, storage: Storage | None = None) -> tuple[list[TableOverview], SpoolOverview]:
    """Everything as of now. Raises OSError."""
    place = storage or Storage.folder(data_dir / "tables")
    spools = held_spools(data_dir)
    try:
        tables = [_table(place, name, spool_ids(spools)) for name in TABLES]
        seen = [_waiting(spool, tables[0].done) for spool in spools]
        ages_s = [age_s for _, _, age_s in seen if age_s is not None]
        return tables, SpoolOverview(
            rows=sum(rows for rows, _, _ in seen),
            bytes=sum(size for _, size, _ in seen),
            age_s=max(ages_s, default=None),
            segments=sum(len(segment_numbers(root)) for root in spool_roots(data_dir)),
        )
    finally:
        for spool in spools:
            spool.close()


def _waiting(spool: SpoolReader, done: Mapping[str, int]) -> tuple[int, int, float | None]:
    """Rows after these positions, their bytes, and the age of the first."""
    rows = size = 0
    age_s = None
    for chunk in spool.unread(done):
        if not rows and chunk.payloads:
            age_s = round(max(0.0, time.time() - ended_us(chunk.payloads[0]) / 1e6), 1)
        rows += len(chunk.payloads)
        size += sum(map(len, chunk.payloads))
    return rows, size, age_s


def _table(storage: Storage, name: str, spools: tuple[str, ...]) -> TableOverview:
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
        done={spool_id: table.transaction_version(app_id(spool_id)) or 0 for spool_id in spools},
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
