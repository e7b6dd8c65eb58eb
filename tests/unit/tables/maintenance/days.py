"""Tables with many small files on several days, for the tests of maintenance."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars
from tests.unit.tables.rows import NOON_US, a_row, record_of

from sekisho.tables.columns import Batch
from sekisho.tables.delta import DeltaFolder
from sekisho.tables.layout import encode_record

DAY_US = 86_400_000_000
#: the day of `rows.a_row`, 2026-11-20, at its end and ten minutes
NEXT_DAY_US = NOON_US // DAY_US * DAY_US + DAY_US


Clock = Callable[[], float]


def rows(count: int, start: int = 0, *, day: int = 0, **changes: Any) -> Any:
    """Rows `start` and following, `day` days after 2026-11-20."""
    batch = Batch()
    made = (a_row(n, event_time_us=NOON_US + day * DAY_US + n, **changes) for n in range(start, start + count))
    batch.add([encode_record(record_of(row)) for row in made])
    return batch.table()


def opened(tables_dir: Path, name: str = "usage", spool: str = "s", clock_s: Clock = time.time) -> DeltaFolder:
    folder = DeltaFolder(tables_dir, name, spool, clock_s=clock_s)
    folder.open()
    return folder


def filled(
    tables_dir: Path,
    name: str = "usage",
    *,
    days: int = 1,
    files: int = 10,
    each: int = 5,
    clock_s: Clock = time.time,
) -> DeltaFolder:
    """`files` files of `each` rows on each of some days; ids count on."""
    folder = opened(tables_dir, name, clock_s=clock_s)
    n = 0
    for day in range(days):
        for _ in range(files):
            folder.append(rows(each, n, day=day), n + each)
            n += each
    return folder


def contents(table: Path) -> Any:
    """Everything in a table, in the order of ids."""
    return polars.read_delta(str(table)).sort("request_id")


def ids(table: Path) -> list[str]:
    return sorted(polars.read_delta(str(table), columns=["request_id"])["request_id"].to_list())


def want(count: int) -> list[str]:
    return [f"req_{n:032x}" for n in range(count)]


def data_files(table: Path) -> list[Path]:
    return sorted(table.glob("request_date=*/*.parquet"))
