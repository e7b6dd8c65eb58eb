"""Retention: whole days go, by one log entry, and none too early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from tests.unit.tables.maintenance.days import DAY_US, data_files, filled, ids, rows, want
from tests.unit.tables.rows import NOON_US

from sekisho.tables.features import UnknownFeatures
from sekisho.tables.maintenance.compact import compact
from sekisho.tables.maintenance.expire import Expired, expire, first_kept
from sekisho.tables.maintenance.transaction import Conflict, replace


def test_days_before_the_retention_go_and_no_file_is_touched(tmp_path: Path):
    filled(tmp_path, days=4, files=2)
    table = tmp_path / "usage"
    # On 2026-11-23 two whole days before it are kept: the 21st and the 22nd.
    at_us = NOON_US + 3 * DAY_US
    would = expire(table, at_us, 2, dry_run=True)
    assert (would.days, would.files, would.rows) == (("2026-11-20",), 2, 10)
    assert ids(table) == want(40)
    assert expire(table, at_us, 2) == would
    assert ids(table) == want(40)[10:]
    assert len(data_files(table)) == 8
    assert expire(table, at_us, 2) == Expired()
    assert DeltaTable(str(table)).history(1)[0]["operation"] == "DELETE"


def test_the_last_moment_of_a_day_is_kept_for_the_days_promised(tmp_path: Path):
    filled(tmp_path, files=1)
    midnight_us = NOON_US // DAY_US * DAY_US
    assert str(first_kept(midnight_us + 31 * DAY_US - 1, 30)) == "2026-11-20"
    assert expire(tmp_path / "usage", midnight_us + 31 * DAY_US - 1, 30) == Expired()
    assert expire(tmp_path / "usage", midnight_us + 31 * DAY_US, 30).days == ("2026-11-20",)


def test_appends_go_on_and_a_late_row_of_a_dropped_day_goes_the_next_time(tmp_path: Path):
    folder = filled(tmp_path, days=2, files=1)
    at_us = NOON_US + 10 * DAY_US
    assert len(expire(tmp_path / "usage", at_us, 9).days) == 1
    folder.append(rows(1, 10), 11)
    assert ids(tmp_path / "usage") == want(11)[5:]
    assert expire(tmp_path / "usage", at_us, 9).rows == 1
    assert ids(tmp_path / "usage") == want(11)[5:10]


def test_a_table_that_only_grows_is_left_to_who_said_so(tmp_path: Path):
    filled(tmp_path, days=2, files=2)
    table = tmp_path / "usage"
    DeltaTable(str(table)).alter.set_table_properties({"delta.appendOnly": "true"})
    with pytest.raises(UnknownFeatures, match="appendOnly"):
        expire(table, NOON_US + 10 * DAY_US, 9)
    assert compact(table, NOON_US + 10 * DAY_US, closed=True).files_after == 2
    assert ids(table) == want(20)


@pytest.mark.parametrize("conflicts", [1, 2, 3])
def test_days_that_another_writer_is_at_go_at_the_second_or_third_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conflicts: int
):
    filled(tmp_path, days=2, files=1)
    left = [Conflict("usage: version 3 was committed by another writer")] * conflicts

    def taken(*given: Any, **named: Any) -> int:
        if left:
            raise left.pop()
        return replace(*given, **named)

    monkeypatch.setattr("sekisho.tables.maintenance.expire.replace", taken)
    if conflicts == 3:
        with pytest.raises(Conflict):
            expire(tmp_path / "usage", NOON_US + 10 * DAY_US, 9)
        assert ids(tmp_path / "usage") == want(10)
    else:
        assert expire(tmp_path / "usage", NOON_US + 10 * DAY_US, 9).rows == 5
        assert ids(tmp_path / "usage") == want(10)[5:]


def test_nothing_to_drop_where_there_is_no_table(tmp_path: Path):
    assert expire(tmp_path / "usage", NOON_US, 1) == Expired()
