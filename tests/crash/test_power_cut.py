"""Power cuts under load: at `sync` nothing is lost, at `process` at most the stated second, nothing is doubled."""

from __future__ import annotations

from pathlib import Path

from tests.crash.cuts import cut_again_and_again

SEED = 20261127


async def test_three_power_cuts_lose_nothing_that_was_promised(tmp_path: Path) -> None:
    found = await cut_again_and_again(tmp_path, 3, SEED)
    print(found)
    assert found.books.faults == [], f"seed {found.seed}"
    assert found.books.acknowledged > 200
    # a disk that forgets nothing would prove nothing
    assert found.fates["files newer than their sync"] > 0
    assert found.fates["names undone"] > 0
