"""Ten thousand looks while rows stream in and a committer commits: each row once, and never fewer than before.

What is polled is the snapshot that `sekisho sql` takes, without DuckDB, which would only count what it is given; every
five-hundredth is the whole query.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pyarrow.parquet
import pytest
from tests.unit.tables.rows import records

from sekisho.domain.row import OWN_FIELDS
from sekisho.tables import reader
from sekisho.tables.layout import CURRENT
from sekisho.tables.segments import SpoolReader
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.spools import spool_ids
from sekisho.tables.storage import Cadence, Storage
from sekisho.tables.supervise import Committer

POLLS = 10_000
WHOLE_QUERY_EVERY = 500
PATIENCE_S = 60.0
COUNTS = "SELECT count(*), count(DISTINCT request_id) FROM usage"
#: a record is [shape, caller, *own]; the id is a msgpack string of 36 bytes
ID_BYTES = b"\xd9\x24req_"


class Writer:
    """Rows from another thread, some at a time, until told to stop. `stored` counts those acknowledged."""

    def __init__(self, spool: SpoolWriter) -> None:
        self.stored = 0
        self._spool = spool
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        for start in count(0, 10):
            for record in records(10, start):
                self._spool.append(record)
                self.stored += 1
            if self._stop.wait(0.01):
                return

    def end(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)


class Eye:
    """Takes the reader's snapshots and counts ids. Files of a table never change, so each is read once."""

    def __init__(self, data_dir: Path, table: str) -> None:
        self.data_dir = data_dir
        self._table = table
        self._storage = Storage.folder(data_dir / "tables")
        self._ids: dict[str, list[str]] = {}
        self._files: tuple[str, ...] = ()
        self._committed: set[str] = set()
        self._rows = 0
        self.changes = 0

    def look(self) -> tuple[int, int]:
        """Rows, and distinct ids."""
        spool = SpoolReader(self.data_dir / "spool")
        try:
            spool.hold()
            committed = reader._snapshot(self._storage, self._table, spool_ids([spool]), "files")
            tail = [_id_of(payload) for chunk in spool.unread(committed.done) for payload in chunk.payloads]
        finally:
            spool.close()
        if committed.files != self._files:
            self._read(committed.files)
        waiting = set(tail)
        return self._rows + len(tail), len(self._committed) + len(waiting - self._committed)

    def _read(self, files: tuple[str, ...]) -> None:
        self.changes += 1
        for file in set(files) - self._ids.keys():
            self._ids[file] = pyarrow.parquet.read_table(file, columns=["request_id"])["request_id"].to_pylist()
        self._files = files
        self._rows = sum(len(self._ids[file]) for file in files)
        self._committed = {one for file in files for one in self._ids[file]}


def _id_of(payload: bytes) -> str:
    at = payload.index(ID_BYTES)
    return payload[at + 2 : at + 38].decode()


@pytest.fixture
def committer(tmp_path: Path) -> Iterator[Committer]:
    committer = Committer(tmp_path, cadence=Cadence(every_s=0.2))
    committer.start()
    yield committer
    committer.stop(PATIENCE_S)


def test_ten_thousand_looks_see_each_row_once_and_never_fewer(tmp_path: Path, committer: Committer):
    assert "request_id" in OWN_FIELDS
    assert "request_id" in CURRENT.own
    spool = SpoolWriter(tmp_path / "spool", 256 * 1024)
    eyes = [Eye(tmp_path, "usage"), Eye(tmp_path, "inference_log")]
    writer = Writer(spool)
    before = [0, 0]
    try:
        for turn in range(POLLS):
            which = turn % 2
            stored = writer.stored
            rows, distinct = eyes[which].look()
            assert rows == distinct, "a row is there twice"
            assert rows >= max(before), "a row that was there is gone"
            assert rows >= stored, "a row that was acknowledged is not there at once"
            before[which] = rows
            if turn % WHOLE_QUERY_EVERY == 0:
                [(rows, distinct)] = reader.ask(tmp_path, COUNTS).rows()
                assert rows == distinct
                assert rows >= max(before)
                before[which] = rows
    finally:
        writer.end()
    assert min(eye.changes for eye in eyes) >= 10, "hardly a commit happened meanwhile: the test saw nothing"
    deadline_s = time.monotonic() + PATIENCE_S
    while committer.committed_rows < writer.stored:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert [eye.look() for eye in eyes] == [(writer.stored, writer.stored)] * 2
    spool.close()
