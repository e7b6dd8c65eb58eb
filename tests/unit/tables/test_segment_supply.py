"""The segments of a spool that are made ahead, and those that nobody writes any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.tables.mapped import Mapped
from sekisho.tables.segment_supply import SegmentSupply

SIZE = 64 * 1024


@pytest.mark.parametrize("sizes", [[2 * SIZE], [SIZE, 2 * SIZE]])
def test_segments_are_let_go_also_where_large_rows_leave_no_time_to_make_one_ahead(tmp_path: Path, sizes: list[int]):
    supply = SegmentSupply(tmp_path, SIZE, b"head")
    taken: list[Mapped] = []
    for number, needed in enumerate(sizes * 10, 1):
        fresh = supply.take(needed, number)
        if taken:
            supply.retire(taken[-1])
        taken.append(fresh)
    assert [segment.map.closed for segment in taken] == [True] * (len(taken) - 2) + [False] * 2
    supply.close(owned=True)
    taken[-1].close()
