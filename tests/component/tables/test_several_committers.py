"""Several committers, each with a spool of its own, write to one table at a time: no row lost, none doubled."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars
import pytest
from tests.support.s3 import S3Server, storage_at
from tests.unit.tables.rows import records

from sekisho.tables import delta
from sekisho.tables.delta import app_id, files_of, open_in
from sekisho.tables.reader import ask
from sekisho.tables.segments import SpoolReader
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.storage import Cadence, Storage
from sekisho.tables.supervise import Committer

PATIENCE_S = 120.0
COMMITS, ROWS = 36, 12


class Machine:
    """A data folder with its spool and its committer process."""

    def __init__(self, data_dir: Path, storage: Storage) -> None:
        self.data_dir = data_dir
        self.spool = SpoolWriter(data_dir / "spool", 64 * 1024)
        cadence = Cadence(every_s=0.01)
        self.committer = Committer(data_dir, last_seq=lambda: self.spool.last_seq, storage=storage, cadence=cadence)

    def caught_up(self) -> bool:
        self.committer.poll()
        return self.committer.status().committed_seq >= self.spool.last_seq


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.02)


def request_ids(storage: Storage, table: str) -> list[str]:
    options = {name: value for name, value in (storage.options() or {}).items() if name.startswith("aws_")} or None
    frame = polars.read_delta(storage.table(table), storage_options=options, columns=["request_id"])
    return sorted(frame["request_id"].to_list())


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return Storage.folder(tmp_path / "shared")
    server: S3Server = request.getfixturevalue("s3_server")
    return storage_at(server.port, server.bucket())


def test_no_row_is_lost_or_doubled_and_every_commit_is_in(tmp_path: Path, storage: Storage):
    machines = [Machine(tmp_path / f"machine-{n}", storage) for n in range(3 if storage.s3 else 4)]
    for machine in machines:
        machine.committer.start()
    until(lambda: all(machine.committer.status().state == "running" for machine in machines))
    count, killed = 0, False
    end_s = time.monotonic() + PATIENCE_S
    while (done := sum(machine.committer.status().commits for machine in machines)) < COMMITS or not killed:
        assert time.monotonic() < end_s, f"{done} commits"
        for machine in machines:
            for record in records(ROWS, count):
                machine.spool.append(record)
            count += ROWS
        if done > COMMITS // 2 and not killed:
            killed = True
            os.kill(machines[0].committer.status().pid, signal.SIGKILL)
        time.sleep(0.1)
        machines[0].committer.poll()
    until(lambda: all(machine.caught_up() for machine in machines))
    assert machines[0].committer.restarts == 1
    for machine in machines:
        assert machine.committer.stop(PATIENCE_S)
        machine.spool.close()
    want = [f"req_{n:032x}" for n in range(count)]
    for table in ("usage", "inference_log"):
        assert request_ids(storage, table) == want
        # The first entry is none, and one commit of the killed may have been the other table's alone.
        assert _commits(storage, table) >= COMMITS, "each commit is there"
        _every_spool_is_known(storage, table, machines)
    for machine in machines:
        assert list(ask(machine.data_dir, "SELECT count(*) FROM usage", storage).rows()) == [(count,)]


def _commits(storage: Storage, table: str) -> int:
    found = open_in(storage, table)
    assert found is not None
    versions = [version for version, _ in files_of(storage, table).entries(-1)]
    assert versions == list(range(found.version() + 1)), "one entry a version"
    # One checkpoint may be missing: that of the committer that was killed.
    if found.version() >= 2 * delta.CHECKPOINT_EVERY and storage.path is not None:
        assert list((storage.path / table / "_delta_log").glob("*.checkpoint.parquet"))
    return len(versions)


def _every_spool_is_known(storage: Storage, table: str, machines: list[Any]) -> None:
    found = open_in(storage, table)
    assert found is not None
    for machine in machines:
        with contextlib.closing(SpoolReader(machine.data_dir / "spool")) as reader:
            spool_id = reader.spool_id()
        assert spool_id is not None
        assert found.transaction_version(app_id(spool_id)) == machine.spool.last_seq
