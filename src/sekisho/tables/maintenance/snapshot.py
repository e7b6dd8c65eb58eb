"""A table's files as of one version. Must refuse a table whose features it does not know: it would undo them."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec

from sekisho.tables.arrow import Schema, pa
from sekisho.tables.delta import open_table
from sekisho.tables.disk import set_aside_broken_checkpoint, set_aside_broken_entry
from sekisho.tables.features import UnknownFeatures
from sekisho.tables.files import LOG
from sekisho.tables.schema import PARTITION

#: as delta-rs makes our tables; above them lie deletion vectors, column mapping and the like
_READER, _WRITER = 1, 2
#: so long somebody may still be writing the newest log entry
_WRITING_S = 60.0


class LiveFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the table. `path` as the log has it, `first_us` its earliest event_time where that is known."""

    path: str
    day: str
    size: int
    rows: int | None
    first_us: int = 0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """`schema` is that of the files: the table's without the partition column."""

    folder: Path
    name: str
    version: int
    files: tuple[LiveFile, ...]
    schema: Schema
    #: somebody has forbidden that rows leave the table
    append_only: bool = False

    def days(self) -> dict[str, list[LiveFile]]:
        """Files by day, both in order of arrival."""
        found: dict[str, list[LiveFile]] = {}
        for file in sorted(self.files, key=lambda file: (file.day, file.first_us, file.path)):
            found.setdefault(file.day, []).append(file)
        return found


def take_snapshot(folder: Path) -> Snapshot | None:
    """The table as it is now; None when there is none. Raises OSError."""
    settle(folder)
    table = open_table(folder)
    if table is None:
        return None
    protocol = table.protocol()
    if protocol.min_reader_version > _READER or protocol.min_writer_version > _WRITER:
        versions = f"reader {protocol.min_reader_version}, writer {protocol.min_writer_version}"
        raise UnknownFeatures(f"{folder.name} has features of {versions}; maintenance leaves it alone")
    found = pa.table(table.get_add_actions(flatten=True))
    schema = pa.schema(table.schema().to_arrow())
    return Snapshot(
        folder=folder,
        name=folder.name,
        version=table.version(),
        files=tuple(_files(found)),
        # without what they mean, or every file would say it again
        schema=pa.schema([field.remove_metadata() for field in schema if field.name != PARTITION]),
        append_only=table.metadata().configuration.get("delta.appendOnly", "").lower() == "true",
    )


@contextmanager
def told_as_os_error(what: Path) -> Generator[None]:
    """Turn what Arrow and delta-rs raise about a file or a table into an OSError that names it."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except (pa.ArrowException, DeltaError) as error:
        raise OSError(f"{what}: {error}") from error


def settle(folder: Path) -> None:
    """Set aside what a power cut left half-written at the end of the log, as the committer does at its start; never
    what somebody may be writing this moment."""
    set_aside_broken_checkpoint(folder)
    newest = max((folder / LOG).glob("*.json"), default=None)
    if newest is not None and abs(time.time() - newest.stat().st_mtime) > _WRITING_S:
        set_aside_broken_entry(folder)


def today(now_us: int) -> date:
    """The day in UTC of microseconds since 1970."""
    return date(1970, 1, 1) + timedelta(days=now_us // 86_400_000_000)


def _files(found: Any) -> list[LiveFile]:
    wanted = ("path", "size_bytes", "num_records", f"partition.{PARTITION}", "min.event_time")
    columns: dict[str, list[Any]] = {}
    for name in wanted:
        if name not in found.column_names:
            columns[name] = [None] * found.num_rows
            continue
        column = found[name]
        columns[name] = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
    return [
        LiveFile(path=path, size=size, rows=rows, day=str(day), first_us=first_us or 0)
        for path, size, rows, day, first_us in zip(*columns.values(), strict=True)
        # a file of no day is somebody else's, and no job's business
        if day is not None
    ]
