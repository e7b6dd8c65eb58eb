"""A full disk, a tables' folder that is gone: calls are answered, nothing acknowledged is lost, all comes in later."""

from __future__ import annotations

from pathlib import Path

from tests.crash.outages import folder_gone

SEED = 20261128


async def test_without_the_tables_folder_calls_go_on_and_their_rows_come_in_later(tmp_path: Path) -> None:
    found = await folder_gone(tmp_path, SEED, lasting_s=2.0)
    print(found)
    assert found.books.faults == [], f"seed {found.seed}"
    assert found.during[200] > 20
    assert found.during[503] == 0
    assert found.shed == 0
