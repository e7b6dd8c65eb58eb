"""One person out of the tables: bodies go, costs stay without a name. Must say what it could not reach yet.

In `inference_log` the person's rows are dropped. In `usage` they stay, so that sums of money and tokens stay true, but
nothing in them leads to the person any more.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from sekisho.domain.keys import visible_name
from sekisho.tables.arrow import Table, pa, pc, pq
from sekisho.tables.columns import Batch
from sekisho.tables.delta import app_id, open_table
from sekisho.tables.files import LOG
from sekisho.tables.maintenance.merge import Progress, merge
from sekisho.tables.maintenance.snapshot import LiveFile, Snapshot, take_snapshot, told_as_os_error
from sekisho.tables.maintenance.transaction import Conflict, replace
from sekisho.tables.schema import PARTITION
from sekisho.tables.spools import held_spools
from sekisho.tables.sync import fsync

#: columns that name a person
_NAMES = ("requester", "end_user")
#: columns that could lead to one; NULL afterwards
_TRACES = (
    "client_request_id",
    "trace_id",
    "span_id",
    "conversation_id",
    "requester_type",
    "api_key_id",
    "end_user",
    "tags",
    "user_agent",
    "client_ip_prefix",
    "input_hash",
)
ERASED = "erased"
#: while rows keep coming, files that hold the person may come too
_ROUNDS = 5
#: a file that no entry names may be on its way into the table
_ON_ITS_WAY_S = 600.0


class Erased(msgspec.Struct, kw_only=True):
    """Rows dropped or made nameless, files written again, and old files deleted. `left` files were being changed by
    another writer at every try."""

    rows: int = 0
    files: int = 0
    deleted: int = 0
    left: int = 0


def erase(
    folder: Path, user: str, *, purge: bool = False, dry_run: bool = False, progress: Progress | None = None
) -> Erased:
    """Take a person out of a table. With `purge` the old files are deleted at once, which a query that is reading them
    will notice; else `vacuum` deletes them. Raises OSError, RowsMissing."""
    done = Erased()
    clean: set[str] = set()
    for _ in range(_ROUNDS):
        snapshot = take_snapshot(folder)
        if snapshot is None:
            return done
        held = _search(snapshot, user, clean, done, progress)
        done.left = sum(map(len, held.values()))
        if not held or dry_run:
            break
        for files in held.values():
            _rewrite(snapshot, files, user, done)
    if purge and not dry_run:
        _purge(folder, user, done)
    return done


def waiting(data_dir: Path, tables_dir: Path, user: str) -> int:
    """Rows of the person that are still in a spool of data_dir and not in the tables: nothing can be taken out of it.
    Raises OSError."""
    spools = held_spools(data_dir)
    count = 0
    try:
        table = open_table(tables_dir / "usage")
        for spool in spools:
            known: dict[str, int] = {}
            if table is not None:
                known = {one: table.transaction_version(app_id(one)) or 0 for one in spool.writers()}
            for chunk in spool.unread(known):
                batch = Batch()
                batch.add(chunk.payloads)
                if batch.rows:
                    count += pc.sum(_of(batch.table(), user)).as_py() or 0
    finally:
        for spool in spools:
            spool.close()
    return count


def files_of(folder: Path) -> int:
    """How many files `erase` will look into; for a progress bar."""
    snapshot = take_snapshot(folder)
    return 0 if snapshot is None else len(snapshot.files)


def _search(
    snapshot: Snapshot, user: str, clean: set[str], done: Erased, progress: Progress | None
) -> dict[str, list[LiveFile]]:
    """Files that hold the person, by day; only two columns of each are read. Others are added to `clean`."""
    held: dict[str, list[LiveFile]] = {}
    for day, files in snapshot.days().items():
        for file in files:
            if file.path in clean:
                continue
            count = _count(snapshot.folder / file.path, user)
            if count:
                held.setdefault(day, []).append(file)
                done.rows += count
            else:
                clean.add(file.path)
            if progress is not None:
                progress(1)
    return held


def _rewrite(snapshot: Snapshot, files: list[LiveFile], user: str, done: Erased) -> None:
    def change(rows: Table) -> Table:
        return _without(rows, user) if snapshot.name == "inference_log" else _nameless(rows, user)

    counted = sum(_count(snapshot.folder / file.path, user) for file in files)
    merged = merge(snapshot.folder, snapshot.name, snapshot.schema, files, change=change)
    try:
        replace(snapshot, files, merged.parts, operation="DELETE", data_change=True)
    except Conflict:
        # counted again in the next round
        done.rows -= counted
        return
    done.files += len(files)
    done.left -= len(files)


def _purge(folder: Path, user: str, done: Erased) -> None:
    """Delete every file that holds the person and is not in the table: those just replaced, and older ones."""
    table = open_table(folder)
    live = {Path(uri).name for uri in table.file_uris()} if table is not None else set[str]()
    before_s = time.time() - _ON_ITS_WAY_S
    gone = _tombstones(folder)
    touched: set[Path] = set()
    for file in folder.glob(f"{PARTITION}=*/*.parquet"):
        if file.name in live or (file.name not in gone and file.stat().st_mtime > before_s):
            continue
        if _count(file, user):
            file.unlink(missing_ok=True)
            touched.add(file.parent)
            done.deleted += 1
    for day in touched:
        fsync(day)


def _tombstones(folder: Path) -> set[str]:
    """Names of files that entries of the log remove: whatever their age, they are not on their way in."""
    removed: set[str] = set()
    for entry in (folder / LOG).glob("*.json"):
        for line in entry.read_bytes().splitlines():
            action: dict[str, Any] = msgspec.json.decode(line)
            if "remove" in action:
                removed.add(Path(action["remove"]["path"]).name)
    return removed


def _count(file: Path, user: str) -> int:
    with told_as_os_error(file), pq.ParquetFile(file) as opened:
        names = [name for name in _NAMES if name in opened.schema_arrow.names]
        return pc.sum(_of(opened.read(columns=names, use_threads=False), user)).as_py() or 0 if names else 0


def _of(rows: Table, user: str) -> Any:
    """Whether each row is the person's; never NULL. Names are one where the gateway takes them for one: requesters are
    in the normal form, end users as callers wrote them, and `user` as somebody typed it."""
    normal = visible_name(user)
    mine = pa.array([False] * rows.num_rows)
    for name in _NAMES:
        if name in rows.column_names:
            column = rows[name].cast(pa.string())
            written = [one for one in pc.unique(column).to_pylist() if one is not None]
            spellings = [one for one in written if one == user or (normal and visible_name(one) == normal)]
            mine = pc.or_(mine, pc.is_in(column, value_set=pa.array(spellings, pa.string())))
    return mine


def _without(rows: Table, user: str) -> Table:
    return rows.filter(pc.invert(_of(rows, user)))


def _nameless(rows: Table, user: str) -> Table:
    mine = _of(rows, user)
    # if_else knows no maps; taking from nowhere gives NULL for any type
    kept = pc.if_else(mine, pa.scalar(None, pa.int64()), pa.array(range(rows.num_rows), pa.int64()))
    for at, field in enumerate(rows.schema):
        if field.name == "requester":
            rows = rows.set_column(at, field, pc.if_else(mine, pa.scalar(ERASED), rows[field.name]))
        elif field.name in _TRACES:
            rows = rows.set_column(at, field, rows[field.name].take(kept))
    return rows
