"""Sums of what calls cost, from rows in the table and in the spool."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tables.maintenance.days import filled
from tests.unit.tables.rows import NOON_US, a_row, record_of

from sekisho.domain.row import AttemptRow
from sekisho.tables.spent import SpentUnknown, spent_rows, sums
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.spools import spool_of as spool_of_worker
from sekisho.tables.storage import Storage

HOUR_US = 3_600_000_000


def attempt(n: int, model: str, cost_nanos: int | None) -> AttemptRow:
    return AttemptRow(n, "mock", model, 200, 5, None, "primary", 1, 1, cost_nanos, "provider")


def spool_of(data_dir: Path, *wanted: dict[str, Any]) -> None:
    writer = SpoolWriter(data_dir / "spool", 1 << 20)
    for n, changes in enumerate(wanted):
        writer.append(record_of(a_row(n, **changes)))
    writer.close()


def summed(data_dir: Path, since_us: int, until_us: int) -> dict[tuple[Any, ...], int]:
    found: dict[tuple[Any, ...], int] = {}
    for one in next(sums(data_dir, Storage.folder(data_dir / "tables"), [since_us], until_us)):
        key = (one.facts["team"], one.facts["user"], one.facts["model"])
        assert key not in found
        found[key] = one.cost_nanos
    return found


def test_every_attempt_counts_under_its_own_model_and_an_unknown_price_not_at_all(tmp_path: Path) -> None:
    spool_of(
        tmp_path,
        {"attempts": [attempt(1, "a", 7), attempt(2, "b", 1_000_000_001)], "team": "rd", "requester": "太郎"},
        {"attempts": [attempt(1, "a", 5)], "team": "rd", "requester": "太郎"},
        {"attempts": [attempt(1, "c", None), attempt(2, "a", 1)], "team": None, "requester": "app"},
        {"attempts": [], "team": "rd", "requester": "太郎"},
    )
    assert summed(tmp_path, NOON_US, NOON_US + HOUR_US) == {
        ("rd", "太郎", "mock/a"): 12,
        ("rd", "太郎", "mock/b"): 1_000_000_001,
        (None, "app", "mock/a"): 1,
    }


def test_calls_count_that_began_in_time_and_have_ended(tmp_path: Path) -> None:
    one = [attempt(1, "a", 1)]
    spool_of(
        tmp_path,
        {"event_time_us": NOON_US - 1, "attempts": one},
        {"event_time_us": NOON_US, "attempts": one},
        {"event_time_us": NOON_US + 1_000_000, "latency_us": 10_000_000, "attempts": one},
    )
    assert sum(summed(tmp_path, NOON_US, NOON_US + 5_000_000).values()) == 1
    assert sum(summed(tmp_path, NOON_US, NOON_US + 20_000_000).values()) == 2
    assert sum(summed(tmp_path, NOON_US - 1, NOON_US + 20_000_000).values()) == 3


def test_calls_that_died_with_their_gateway_of_late_are_told_one_by_one(tmp_path: Path) -> None:
    """Who lets calls in may have counted them. Others that were interrupted saw their end; and of what died longer ago
    than any call runs nobody asks."""
    died = {"error_code": "interrupted", "terminal_state": "interrupted", "latency_us": 0}
    spool_of(
        tmp_path,
        {"attempts": [attempt(1, "a", 7)]},
        {"attempts": [attempt(1, "a", 30)], **died},
        {"attempts": [attempt(1, "a", 500)], **died},
        {"attempts": [attempt(1, "a", 20)], **died, "error_code": "stopped"},
        {"attempts": [attempt(1, "a", 9_000)], **died, "event_time_us": NOON_US - 24 * HOUR_US},
    )
    [found] = spent_rows(tmp_path, Storage.folder(tmp_path / "tables"), [0.0], (NOON_US + HOUR_US) / 1e6)
    assert {(one.died, one.cost_nanos) for one in found} == {
        (None, 9_027),
        (a_row(1).request_id, 30),
        (a_row(2).request_id, 500),
    }


def test_rows_of_the_table_count_too_in_a_process_of_its_own(tmp_path: Path) -> None:
    filled(tmp_path / "tables", "usage", days=1, files=1)
    spool_of(tmp_path, {"attempts": [attempt(1, "a", 5)], "event_time_us": NOON_US + 10})
    storage = Storage.folder(tmp_path / "tables")
    since_s = [(NOON_US - HOUR_US) / 1e6, (NOON_US + 5) / 1e6]
    found, later = spent_rows(tmp_path, storage, since_s, (NOON_US + HOUR_US) / 1e6)
    assert sum(one.cost_nanos for one in found) == 5 * 27_000 + 5
    assert 5 <= sum(one.cost_nanos for one in later) < 5 * 27_000 + 5
    assert set(found[0].facts) == {"department", "team", "key", "user", "endpoint", "feature", "model"}


def test_where_nothing_was_ever_recorded_no_process_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a process")

    monkeypatch.setattr("sekisho.tables.spent.subprocess.run", started)
    storage = Storage.folder(tmp_path / "tables")
    assert spent_rows(tmp_path, storage, [0.0, 1.0], 9e9) == [[], []]
    spool_of(tmp_path, {"attempts": [attempt(1, "a", 5)]})
    with pytest.raises(AssertionError, match="a process"):
        spent_rows(tmp_path, storage, [0.0], 9e9)


def test_rows_that_only_one_of_several_workers_left_are_there(tmp_path: Path) -> None:
    writer = SpoolWriter(spool_of_worker(tmp_path, 2), 1 << 20)
    writer.append(record_of(a_row(1, attempts=[attempt(1, "a", 5)])))
    writer.close()
    [found] = spent_rows(tmp_path, Storage.folder(tmp_path / "tables"), [NOON_US / 1e6], (NOON_US + HOUR_US) / 1e6)
    assert [one.cost_nanos for one in found] == [5]


def test_who_takes_too_long_is_given_up_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*_: object, **options: float) -> None:
        raise subprocess.TimeoutExpired("spent", options["timeout"])

    spool_of(tmp_path, {"attempts": [attempt(1, "a", 5)]})
    monkeypatch.setattr("sekisho.tables.spent.subprocess.run", hangs)
    with pytest.raises(SpentUnknown, match="timed out after 120"):
        spent_rows(tmp_path, Storage.folder(tmp_path / "tables"), [0.0], 9e9)


def test_a_folder_that_cannot_be_looked_into_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    def started(*_: object, **__: object) -> None:
        raise AssertionError("a process")

    monkeypatch.setattr(Path, "exists", closed)
    monkeypatch.setattr("sekisho.tables.spent.subprocess.run", started)
    with pytest.raises(AssertionError, match="a process"):
        spent_rows(tmp_path, Storage.folder(tmp_path / "tables"), [0.0], 9e9)


def test_rows_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    (tmp_path / "tables" / "usage" / "_delta_log").mkdir(parents=True)
    (tmp_path / "tables" / "usage" / "_delta_log" / "00000000000000000000.json").write_text("{}{")
    with pytest.raises(SpentUnknown, match="what was spent cannot be read from the rows"):
        spent_rows(tmp_path, Storage.folder(tmp_path / "tables"), [0.0], 9e9)


def test_a_process_that_would_abort_while_it_is_torn_down_has_done_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a thread of DuckDB makes it do now and then: `terminate called without an active exception`."""
    spool_of(tmp_path, {"attempts": [attempt(1, "a", 7)]})
    (tmp_path / "sitecustomize.py").write_text("import atexit, os\natexit.register(os.abort)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    storage = Storage.folder(tmp_path / "tables")
    ((one,),) = spent_rows(tmp_path, storage, [NOON_US / 1e6], (NOON_US + HOUR_US) / 1e6)
    assert one.cost_nanos == 7
