"""A spool that was copied, or set back to an older state, loses no row and doubles none: every start has an id of its
own in the tables."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from itertools import count
from pathlib import Path

import polars
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.unit.tables.rows import a_row, record_of, records

from sekisho.tables.committer import Committer
from sekisho.tables.reader import ask
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.storage import Storage

SMALL = 64 * 1024


def drain(data_dir: Path, storage: Storage) -> None:
    committer = Committer(data_dir, storage)
    while committer.step():
        pass
    committer.stopped()


def ids(storage: Storage, table: str = "usage") -> list[str]:
    return sorted(polars.read_delta(storage.table(table), columns=["request_id"])["request_id"].to_list())


def want(rows: int) -> list[str]:
    return [f"req_{n:032x}" for n in range(rows)]


def append(data_dir: Path, start: int, rows: int) -> None:
    with contextlib.closing(SpoolWriter(data_dir / "spool", SMALL)) as writer:
        for record in records(rows, start):
            writer.append(record)


def test_a_spool_that_was_set_back_loses_no_row(tmp_path: Path) -> None:
    """As from last night's backup, while the tables are in a bucket."""
    storage, data, backup = Storage.folder(tmp_path / "tables"), tmp_path / "data", tmp_path / "backup"
    append(data, 0, 5)
    drain(data, storage)
    shutil.copytree(data, backup)
    append(data, 5, 5)
    drain(data, storage)
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    append(data, 10, 3)
    drain(data, storage)
    assert ids(storage) == ids(storage, "inference_log") == want(13)


def test_two_gateways_from_one_image_have_their_own_rows(tmp_path: Path) -> None:
    storage, one, other = Storage.folder(tmp_path / "tables"), tmp_path / "one", tmp_path / "other"
    append(one, 0, 5)  # not in the tables yet: each of both brings them there
    shutil.copytree(one, other)
    with (
        contextlib.closing(SpoolWriter(one / "spool", SMALL)) as first,
        contextlib.closing(SpoolWriter(other / "spool", SMALL)) as second,
    ):
        committers = Committer(one, storage), Committer(other, storage)
        for n in range(5, 25):
            (first if n % 2 else second).append(record_of(a_row(n)))
            committers[n % 3 == 0].step()
        for _ in range(10):
            for committer in committers:
                with contextlib.suppress(RuntimeError):  # the other one was faster
                    committer.step()
                    continue
                committer.reopen()
        assert ids(storage) == ids(storage, "inference_log") == want(25)


class Spools(RuleBasedStateMachine):
    """Gateways that start, die, are copied and set back, and committers that come and go at any step."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.storage = Storage.folder(self.folder / "tables")
        self.next = count()
        self.rows = 0
        self.writers: dict[str, SpoolWriter] = {}
        self.committers: dict[str, Committer] = {}
        self.backups = 0
        self._start("a")

    def teardown(self) -> None:
        for name in list(self.writers):
            self._die(name)
        for name in ("a", "b"):
            if (self.folder / name).exists():
                for _ in range(2):
                    drain(self.folder / name, self.storage)
        try:
            if self.rows:
                assert ids(self.storage) == ids(self.storage, "inference_log") == want(self.rows)
                for name in ("a", "b"):
                    if (self.folder / name).exists():
                        assert list(
                            ask(
                                self.folder / name,
                                "SELECT count(*), count(DISTINCT request_id) FROM usage",
                                self.storage,
                            ).rows()
                        ) == [(self.rows, self.rows)]
        finally:
            shutil.rmtree(self.folder)

    def _start(self, name: str) -> None:
        self.writers[name] = SpoolWriter(self.folder / name / "spool", SMALL)

    def _die(self, name: str) -> None:
        self.writers.pop(name).close()

    @rule(name=st.sampled_from(["a", "b"]), rows=st.integers(1, 4))
    def append(self, name: str, rows: int) -> None:
        if name in self.writers:
            for record in records(rows, self.rows):
                self.writers[name].append(record)
            self.rows += rows

    @rule(name=st.sampled_from(["a", "b"]))
    def start_again(self, name: str) -> None:
        if name in self.writers:
            self._die(name)
            self._start(name)

    @rule(name=st.sampled_from(["a", "b"]), fresh=st.booleans())
    def commit(self, name: str, fresh: bool) -> None:
        if name in self.writers:
            committer = self.committers.get(name)
            if committer is None or fresh:
                committer = self.committers[name] = Committer(self.folder / name, self.storage)
            try:
                committer.step()
            except RuntimeError:
                committer.reopen()

    @precondition(lambda self: "b" not in self.writers)
    @rule()
    def copy(self) -> None:
        """As it is on the disk, while its owner goes on."""
        shutil.copytree(self.folder / "a", self.folder / "b")
        self._start("b")

    @precondition(lambda self: not (self.folder / "backup").exists())
    @rule()
    def back_up(self) -> None:
        shutil.copytree(self.folder / "a", self.folder / "backup")

    @precondition(lambda self: (self.folder / "backup").exists())
    @rule()
    def set_back(self) -> None:
        """What has not reached the tables meanwhile would be gone with the disk; here nothing is left there."""
        self._die("a")
        self.committers.pop("a", None)
        drain(self.folder / "a", self.storage)
        shutil.rmtree(self.folder / "a")
        (self.folder / "backup").rename(self.folder / "a")
        self._start("a")


TestSpools = Spools.TestCase
TestSpools.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
