"""One committer for all spools: every one gets to the tables, whatever becomes of another."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.tables.rows import records
from tests.unit.tables.test_spools import write

from sekisho.tables.all_spools import AllSpools
from sekisho.tables.committer import Committer
from sekisho.tables.overview import overview
from sekisho.tables.reader import ask
from sekisho.tables.segments import segment_numbers
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.spools import note_reported, spool_of
from sekisho.tables.status import read_status
from sekisho.tables.storage import Cadence, Storage


def committer(data_dir: Path) -> AllSpools:
    storage, cadence = Storage.folder(data_dir / "tables"), Cadence()
    (data_dir / "spool").mkdir(parents=True, exist_ok=True)
    return AllSpools(
        data_dir, cadence, lambda spool, tell: Committer(data_dir, storage, cadence, spool=spool, tell=tell)
    )


def rows(data_dir: Path) -> int:
    [(count,)] = ask(data_dir, "SELECT count(*) FROM usage").rows()
    return count


def test_every_spool_gets_to_the_tables_also_one_that_comes_later(tmp_path: Path) -> None:
    for worker, count in ((None, 3), (1, 4), (2, 5)):
        write(spool_of(tmp_path, worker), count, 10 * (worker or 0)).close()
    one = committer(tmp_path)
    assert one.step()
    write(spool_of(tmp_path, 3), 6, 40).close()
    assert one.step()
    assert not one.step()
    status = read_status(tmp_path / "spool")
    assert status is not None
    assert (status.committed_rows, status.commits, status.state) == (18, 4, "running")
    assert sorted(status.seqs) == ["worker-1", "worker-2", "worker-3"]
    assert status.caught_up_us > 0
    assert overview(tmp_path)[1].rows == 0
    assert rows(tmp_path) == 18
    one.stopped()


def test_a_spool_that_fails_does_not_hold_up_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for worker in (1, 2):
        write(spool_of(tmp_path, worker), 4, 10 * worker).close()
    one = committer(tmp_path)
    step, sick = Committer.step, True

    def failing(self: Committer) -> bool:
        if sick and self.spool.name == "worker-1":
            raise OSError("no such luck")
        return step(self)

    reopen, opened_anew = Committer.reopen, list[str]()

    def noting(self: Committer) -> None:
        opened_anew.append(self.spool.name)
        reopen(self)

    monkeypatch.setattr(Committer, "step", failing)
    monkeypatch.setattr(Committer, "reopen", noting)
    assert one.step(), "the other has come on"
    assert opened_anew == ["worker-1"], "it looks how far it has come before it goes on"
    assert (one.status.state, one.status.last_error) == ("failing", "OSError: no such luck")
    with pytest.raises(OSError, match="luck"):
        one.step()
    sick = False
    assert one.step()
    assert (one.status.state, one.status.committed_rows, one.status.errors) == ("running", 8, 2)
    one.stopped()


def test_rows_that_a_worker_has_not_told_of_stay_in_its_spool(tmp_path: Path) -> None:
    root = spool_of(tmp_path, 1)
    writer = SpoolWriter(root, 64 * 1024)
    note_reported(root, writer.position)
    for record in records(400):
        writer.append(record)
    assert len(segment_numbers(root)) > 2
    one = committer(tmp_path)
    assert one.step()
    assert segment_numbers(root)[0] == 1, "all are committed, none may go"
    note_reported(root, writer.position)
    [last] = records(1, 400)
    writer.append(last)
    assert one.step()
    assert len(segment_numbers(root)) == 1
    assert rows(tmp_path) == 401
    one.stopped()
    writer.close()


def test_the_position_lies_before_every_row_to_come_and_behind_every_row_there_is(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, 64 * 1024)
    before = writer.position
    [record] = records(1)
    writer.append(record)
    assert before < writer.last_seq == writer.position
    writer.close()
    again = SpoolWriter(tmp_path, 64 * 1024)
    assert again.position > writer.last_seq
    again.append(record)
    assert again.last_seq > writer.position
    again.close()
