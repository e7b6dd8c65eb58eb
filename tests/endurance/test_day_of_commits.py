"""The beginning of a day of small commits; the whole of it is run by hand, see the module beside this one."""

from __future__ import annotations

from pathlib import Path

from tests.endurance.day_of_commits import ROWS, run


def test_200_small_commits_leave_few_files_and_a_flat_commit(tmp_path: Path):
    day = run(tmp_path, 200)
    # twenty commits at each end are few, and the machine may be busy: a cost that grows with the log is ten times this
    assert day.broken(flat=4) == []
    assert day.rows == 200 * ROWS
    # without maintenance there would be 200
    assert day.most_files <= 100 + 7
