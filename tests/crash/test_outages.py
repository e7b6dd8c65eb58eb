"""A full disk, a tables' folder that is gone: calls are answered, nothing acknowledged is lost, all comes in later."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.tables.reader import ask
from tests.crash.outages import Outage, disk_filled, folder_gone, room_gone, small_disk, spool_full

SEED = 20261128


def check(found: Outage) -> None:
    """The outage was one, was survived, and cost nothing."""
    print(found)
    assert found.books.faults == [], f"seed {found.seed}"
    assert found.during[200] > 20
    assert found.during[503] == 0
    assert found.failed_commits > 0, "nothing was felt"
    assert found.shed == 0


async def test_a_full_spool_sheds_bodies_and_no_row(tmp_path: Path) -> None:
    found = await spool_full(tmp_path, SEED + 3, 1.5, "shed_bodies")
    assert found.books.faults == [], f"seed {found.seed}"
    assert found.during[503] == 0
    assert found.shed > 0


async def test_a_full_spool_refuses_calls_rather_than_shed(tmp_path: Path) -> None:
    found = await spool_full(tmp_path, SEED + 4, 1.5, "refuse")
    assert found.books.faults == [], f"seed {found.seed}"
    assert found.during[503] > 0
    assert found.shed == 0
    refused = "error_code = 'rows_unavailable'"
    (row,) = ask(tmp_path / "data", f"SELECT count(*), count(request) FROM inference_log WHERE {refused}").rows()
    assert row[0] > 0
    assert row[1] == 0, "of those that are refused no body is stored"


async def test_without_the_tables_folder_calls_go_on_and_their_rows_come_in_later(tmp_path: Path) -> None:
    check(await folder_gone(tmp_path, SEED, lasting_s=1.5))


async def test_while_the_disk_gives_no_room_rows_go_where_there_is_room_already(tmp_path: Path) -> None:
    check(await room_gone(tmp_path, SEED + 1, lasting_s=1.5))


async def test_a_real_disk_filled_by_somebody_else_costs_no_row(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as mounted:
        if not mounted:
            pytest.skip("this process may not mount a disk; the test before this one refuses room without one")
        check(await disk_filled(tmp_path, SEED + 2, 1.5, tmp_path / "disk"))
