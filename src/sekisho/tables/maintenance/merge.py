"""Files of one day -> fewer files with the same rows, sorted by arrival. Must hold two row groups in memory, no more.

Files come in order of their first row, and each is nearly sorted, so a window that slides over them sorts all but what
is further from its place than a row group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from sekisho.tables.arrow import Schema, Table, pa, pc, pq
from sekisho.tables.maintenance.snapshot import LiveFile, told_as_os_error
from sekisho.tables.parts import ROW_GROUP, Part, PartWriter

#: a file that has grown to this is finished and left alone
TARGET_BYTES = 128 * 1024 * 1024
#: of a row group in memory, where rows are so large that their usual number would not fit
_GROUP_BYTES = 64 * 1024 * 1024

#: rows to rows: which of them stay, and as what
Change = Callable[[Table], Table]
#: called with the rows of each file that has been read
Progress = Callable[[int], None]


class RowsMissing(RuntimeError):
    """A file does not hold the rows that the log says it holds; nothing was changed."""


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """New files, and how many rows were read."""

    parts: tuple[Part, ...]
    read: int


def merge(
    folder: Path,
    name: str,
    schema: Schema,
    files: Sequence[LiveFile],
    *,
    change: Change | None = None,
    progress: Progress | None = None,
    target_bytes: int = TARGET_BYTES,
) -> Merged:
    """Write the rows of these files, all of one day, into as few files as the target allows. They are on the disk when
    this returns, and no part of the table until somebody commits them. Raises OSError, RowsMissing; then nothing stays.
    """
    out = _Out(folder, name, files[0].day, schema, target_bytes)
    window = _Window(ROW_GROUP[name])
    read = 0
    try:
        for file in files:
            rows = 0
            for piece in _pieces(folder / file.path, schema, ROW_GROUP[name]):
                rows += piece.num_rows
                for group in window.add(change(piece) if change is not None else piece):
                    out.write(group)
            if file.rows is not None and rows != file.rows:
                raise RowsMissing(f"{file.path} holds {rows} rows, the log says {file.rows}")
            read += rows
            if progress is not None:
                progress(rows)
        for group in window.rest():
            out.write(group)
        return Merged(parts=out.finish(), read=read)
    except BaseException:
        out.abandon(folder)
        raise


class _Window:
    """Sorts rows that are at most a row group away from their place."""

    def __init__(self, group_rows: int) -> None:
        self._group_rows = group_rows
        self._held: list[Table] = []
        self._rows = self._bytes = 0

    def add(self, rows: Table) -> Iterator[Table]:
        self._held.append(rows)
        self._rows += rows.num_rows
        self._bytes += rows.nbytes
        while self._rows >= 2 * self._group_rows or (self._bytes >= 2 * _GROUP_BYTES and self._rows > 1):
            yield self._next()

    def rest(self) -> Iterator[Table]:
        while self._rows:
            yield self._next()

    def _next(self) -> Table:
        """The next row group."""
        rows = sorted_by_arrival(pa.concat_tables(self._held))
        count = min(self._group_rows, max(1, self._rows * _GROUP_BYTES // max(self._bytes, 1)))
        group, rest = rows.slice(0, count), rows.slice(count)
        self._held, self._rows, self._bytes = [rest], rest.num_rows, rest.nbytes
        return group


class _Out:
    """The files that are written, one after the other."""

    def __init__(self, folder: Path, name: str, day: str, schema: Schema, target_bytes: int) -> None:
        self._new = lambda: PartWriter(folder, name, day, schema)
        self._target_bytes = target_bytes
        self._writer: PartWriter | None = None
        self._parts: list[Part] = []

    def write(self, group: Table) -> None:
        if not group.num_rows:
            return
        if self._writer is None:
            self._writer = self._new()
        self._writer.write(group)
        if self._writer.size() >= self._target_bytes:
            self._close()

    def finish(self) -> tuple[Part, ...]:
        if self._writer is not None:
            self._close()
        return tuple(self._parts)

    def abandon(self, folder: Path) -> None:
        if self._writer is not None:
            self._writer.abandon()
        discard(folder, self._parts)

    def _close(self) -> None:
        assert self._writer is not None
        self._parts.append(self._writer.finish())
        self._writer = None


def discard(folder: Path, parts: Sequence[Part]) -> None:
    """Delete files that were written and not committed. What cannot be deleted now is found by `vacuum` later."""
    for part in parts:
        with suppress(OSError):
            (folder / part.path).unlink()


def sorted_by_arrival(rows: Table) -> Table:
    times = rows["event_time"].cast(pa.int64()).combine_chunks()
    if len(times) < 2 or not pc.any(pc.less(times[1:], times[:-1])).as_py():
        return rows
    keys = pa.table({"event_time": times, "request_id": rows["request_id"].combine_chunks()})
    return rows.take(pc.sort_indices(keys, sort_keys=[("event_time", "ascending"), ("request_id", "ascending")]))


def _pieces(file: Path, schema: Schema, group_rows: int) -> Iterator[Table]:
    """The rows of a file under the table's schema; columns that came after it are NULL."""
    with told_as_os_error(file), pq.ParquetFile(file) as opened:
        if opened.metadata.num_row_groups <= 1:
            # the small files of a day in progress: half the time of reading them in batches
            pieces = [opened.read(use_threads=False)]
        else:
            pieces = (pa.Table.from_batches([batch]) for batch in opened.iter_batches(group_rows, use_threads=False))
        for rows in pieces:
            yield rows if rows.schema.equals(schema) else _fitted(rows, schema)


def _fitted(rows: Table, schema: Schema) -> Table:
    known = set(rows.column_names)
    columns = [
        rows[field.name].cast(field.type) if field.name in known else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
