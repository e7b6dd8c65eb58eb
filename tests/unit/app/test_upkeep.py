"""Which tables the serving process has maintained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sekisho.app.upkeep import Upkeep
from sekisho.domain.http import Secret
from sekisho.tables.maintenance.policy import Plan
from sekisho.tables.maintenance.state import Run, State, TableSize, alone, write_state
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.storage import S3, Cadence, Storage
from sekisho.tables.supervise import Committer

KEYS = S3(endpoint="http://127.0.0.1:9", region="r", access_key_id=Secret("k"), secret_access_key=Secret("s"))


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[SpoolWriter]:
    writer = SpoolWriter(tmp_path / "spool", 64 * 1024)
    yield writer
    writer.close()


def upkeep(tmp_path: Path, storage: Storage, sink: SpoolWriter, monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """What a second of it looks at; the state of a folder lies there."""
    with alone(tmp_path, tmp_path / "tables"):
        size = TableSize(files=1, rows=2, bytes=3, days=1)
        write_state(
            tmp_path, State(tables={"usage": size}, jobs={"night": Run(began_us=3, error="full", well_us=2_000_000)})
        )
    made = Upkeep(tmp_path, storage, Cadence(), sink, Committer(tmp_path))
    looked: list[Plan] = []
    monkeypatch.setattr(made.schedule, "look", looked.append)
    made.look(Plan())
    shown = {name: dict(gauge.values) for name, (_, gauge) in made.gauges().items()}
    assert shown["sekisho_table_files"] == ({"usage": 1.0} if storage.path is not None else {})
    ended = shown["sekisho_maintenance_last_success_timestamp_seconds"]
    assert ended == ({"night": 2.0} if storage.path is not None else {}), "also while a later run fails"
    made.stop()
    return looked


def test_tables_in_a_folder(tmp_path: Path, sink: SpoolWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    assert upkeep(tmp_path, Storage.folder(tmp_path / "tables"), sink, monkeypatch) == [Plan()]


def test_a_bucket_is_left_alone_whatever_a_reloaded_file_says(
    tmp_path: Path, sink: SpoolWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert upkeep(tmp_path, Storage(url="s3://rows", s3=KEYS), sink, monkeypatch) == []
