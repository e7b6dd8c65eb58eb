"""What was read of a log is used again only while nothing was added to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.tables.rows import a_row, record_of

from sekisho.tables import reader
from sekisho.tables.committer import Committer
from sekisho.tables.newest import is_newest, newest
from sekisho.tables.spool import SpoolWriter


def test_the_next_entry_another_file_and_no_file_are_noticed(tmp_path: Path):
    log = tmp_path / "_delta_log"
    log.mkdir()
    entry, following = (log / f"{version:020d}.json" for version in (7, 8))
    assert newest(tmp_path, 7) is None
    entry.write_text("{}")
    known = newest(tmp_path, 7)
    assert known is not None
    assert is_newest(tmp_path, known)
    following.write_text("{}")
    assert not is_newest(tmp_path, known)
    following.unlink()
    assert is_newest(tmp_path, known)
    entry.rename(entry.with_suffix(".broken"))
    assert not is_newest(tmp_path, known)
    entry.write_text("{} ")
    assert not is_newest(tmp_path, known)


def test_a_table_is_opened_again_after_a_commit_and_not_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opened: list[str] = []
    open_in = reader.open_in
    monkeypatch.setattr(reader, "open_in", lambda place, name: (opened.append(name), open_in(place, name))[1])
    spool = SpoolWriter(tmp_path / "spool", 64 * 1024)
    committer = Committer(tmp_path)
    for n in range(3):
        spool.append(record_of(a_row(n)))
        committer.step()
        for _ in range(3):
            assert list(reader.ask(tmp_path, "SELECT count(*) FROM usage").rows()) == [(n + 1,)]
    assert len(opened) == 3
    spool.close()
