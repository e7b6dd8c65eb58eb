"""kill -9 of gateway and committer under load: nothing acknowledged is lost, nothing is doubled, at both levels."""

from __future__ import annotations

from pathlib import Path

from tests.crash.kills import VICTIMS, kill_again_and_again

SEED = 20261126


async def test_ten_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    found = await kill_again_and_again(tmp_path, 10, SEED)
    print(found)
    assert found.books.faults == [], f"seed {found.seed}"
    assert found.kills.total() == 10
    assert set(found.kills) == set(VICTIMS)
    assert found.books.acknowledged > 300
    assert found.books.cut_short > 10, "nothing was in flight"
    assert found.books.interrupted > 5
