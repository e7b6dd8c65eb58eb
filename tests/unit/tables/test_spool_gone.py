"""A spool that is moved or deleted under a running gateway: it is said, and no row goes where nobody finds it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from tests.unit.tables.rows import a_row, record_of

from sekisho.tables.segments import SpoolReader
from sekisho.tables.spool import SpoolWriter


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        self.now_s += 10
        return self.now_s


def stored(root: Path) -> int:
    reader = SpoolReader(root)
    count = sum(len(chunk.payloads) for chunk in reader.chunks(0, None))
    reader.close()
    return count


def test_rows_wait_while_the_spool_is_away_and_none_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    root = tmp_path / "data" / "spool"
    writer = SpoolWriter(root, fails_open=False, monotonic_s=Clock())
    writer.append(record_of(a_row(1)))
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    writer.append(record_of(a_row(2)))
    writer.look()
    assert not writer.takes_calls
    writer.append(record_of(a_row(3)))
    writer.look()
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "the spool was moved or deleted: rows wait in memory"
    ]
    (tmp_path / "elsewhere").rename(tmp_path / "data")
    writer.look()
    assert writer.takes_calls
    writer.append(record_of(a_row(4)))
    writer.close()
    assert (stored(root), writer.failed) == (4, 0)


def test_the_folder_of_another_gateway_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    root = tmp_path / "spool"
    writer = SpoolWriter(root, monotonic_s=Clock())
    writer.append(record_of(a_row(1)))
    shutil.rmtree(root)
    other = SpoolWriter(root)
    writer.look()
    writer.append(record_of(a_row(2)))
    writer.look()
    writer.close()
    other.append(record_of(a_row(3)))
    other.close()
    assert (stored(root), writer.failed) == (1, 1)
    assert "rows could not be stored and are lost" in caplog.text
