"""What the tables say of themselves: each kind of damage is found, with the ids, and nothing else is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tables.rows import NOON_US, a_row, record_of, without_log

from sekisho.domain.row import AttemptRow
from sekisho.tables import books as books_module
from sekisho.tables.arrow import pa, pc
from sekisho.tables.books import Books, Counted, Day, Doubt
from sekisho.tables.committer import Committer
from sekisho.tables.delta import DeltaFolder
from sekisho.tables.maintenance.policy import RETENTION_DAYS
from sekisho.tables.spool import SpoolWriter

#: of `a_row(n)`: this moment
NOW = time.time_ns() // 1000 - NOON_US
DAY_US = 86_400_000_000


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolWriter]:
    writer = SpoolWriter(tmp_path / "spool", 256 * 1024)
    yield writer
    writer.close()


def record(spool: SpoolWriter, *rows: Any) -> None:
    for row in rows:
        spool.append(record_of(row))


def drain(data_dir: Path) -> None:
    committer = Committer(data_dir)
    while committer.step():
        pass


def doubted(data_dir: Path, days: int = 31, **more: Any) -> dict[str, Doubt]:
    books = Books(data_dir, days, **more)
    try:
        return {name: doubt for name, doubt in books.doubts().items() if doubt.count}
    finally:
        books.close()


def damaging(monkeypatch: pytest.MonkeyPatch, table: str, change: Callable[[Any], Any]) -> None:
    """From now on what is committed to this table is changed on the way."""
    append = DeltaFolder.append

    def changed(self: DeltaFolder, rows: Any, last_seq: int) -> None:
        append(self, change(rows) if self.name == table else rows, last_seq)

    monkeypatch.setattr(DeltaFolder, "append", changed)


def test_good_books_leave_no_doubt(tmp_path: Path, spool: SpoolWriter):
    tries = [
        AttemptRow(1, "a", "m", 503, 1, "upstream_error", "primary", None, None, 0, "none"),
        AttemptRow(2, "b", "m", 200, 1, None, "fallback", 1, 1, 7, "provider"),
    ]
    unknown = tries[1]._replace(cost_nanos=None)
    record(spool, a_row(NOW), without_log(NOW + 1), a_row(NOW + 2, attempts=tries, cost_nanos=7))
    record(spool, a_row(NOW + 3, attempts=[tries[0], unknown], cost_nanos=None))
    record(spool, without_log(NOW + 4, attempts=[], cost_nanos=0, status_code=401))
    record(spool, a_row(NOW + 5, request=None, logging_error_codes=["MAX_REQUEST_SIZE_EXCEEDED"]))
    assert doubted(tmp_path) == {}
    drain(tmp_path)
    record(spool, a_row(NOW + 6))
    assert doubted(tmp_path) == {}


def test_doubled_rows(tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch):
    damaging(monkeypatch, "usage", lambda rows: pa.concat_tables([rows, rows.slice(0, 2)]))
    record(spool, *(a_row(NOW + n) for n in range(30)))
    drain(tmp_path)
    assert doubted(tmp_path) == {"usage_doubled": Doubt(2, [a_row(NOW + n).request_id for n in range(2)])}


def test_second_rows_that_a_copy_of_a_folder_makes_are_told_from_others(tmp_path: Path, spool: SpoolWriter):
    """A copy cannot know what became of the calls that were in flight; see decision 0032."""
    died: dict[str, Any] = {"error_code": "interrupted", "terminal_state": "interrupted", "status_code": 500}
    died |= {"latency_us": 0, "input_tokens": 90, "output_tokens": 0}
    doubled = a_row(NOW + 3)
    record(spool, a_row(NOW), a_row(NOW + 1), without_log(NOW + 2), doubled, doubled)
    record(spool, *(a_row(NOW + n, **died) for n in (0, 1, 1, 3)), without_log(NOW + 2, **died))
    # alone, and twice interrupted where the original died too
    record(spool, a_row(NOW + 4, **died), a_row(NOW + 5, **died), a_row(NOW + 5, **died))
    for _ in range(2):
        assert doubted(tmp_path) == {
            "usage_doubled": Doubt(1, [doubled.request_id]),
            "usage_copied": Doubt(4, [a_row(NOW + n).request_id for n in (0, 1, 2, 5)]),
            "log_doubled": Doubt(1, [doubled.request_id]),
            "log_copied": Doubt(3, [a_row(NOW + n).request_id for n in (0, 1, 5)]),
        }
        drain(tmp_path)


def test_what_one_table_says_otherwise_is_found_beside_a_second_row_too(
    tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch
):
    def dearer(rows: Any) -> Any:
        at = rows.schema.get_field_index("status_code")
        return rows.set_column(at, rows.schema.field(at), pc.add(rows.column(at), 1).cast(rows.schema.field(at).type))

    damaging(monkeypatch, "inference_log", dearer)
    died = {"error_code": "interrupted", "terminal_state": "interrupted", "status_code": 500, "latency_us": 0}
    record(spool, a_row(NOW), a_row(NOW, **died))
    drain(tmp_path)
    found = doubted(tmp_path)
    assert found.keys() == {"usage_copied", "log_copied", "tables_differ"}
    assert found["tables_differ"].count == 2


def test_rows_that_one_table_lacks(tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch):
    damaging(monkeypatch, "usage", lambda rows: rows.slice(25))
    record(spool, *(a_row(NOW + n) for n in range(30)))
    drain(tmp_path)
    ids = [a_row(NOW + n).request_id for n in range(25)]
    assert doubted(tmp_path) == {"usage_missing": Doubt(25, ids[: books_module.MOST_IDS])}


def test_bodies_that_are_gone(tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch):
    damaging(monkeypatch, "inference_log", lambda rows: rows.slice(1))
    record(spool, *(a_row(NOW + n) for n in range(3)), without_log(NOW + 3))
    drain(tmp_path)
    assert doubted(tmp_path) == {"log_missing": Doubt(1, [a_row(NOW).request_id])}


def test_bodies_of_a_day_between_others_are_missed(tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch):
    damaging(monkeypatch, "inference_log", lambda rows: pa.concat_tables([rows.slice(0, 1), rows.slice(2)]))
    record(spool, a_row(NOW - 2 * DAY_US), lost := a_row(NOW - DAY_US), a_row(NOW))
    drain(tmp_path)
    assert doubted(tmp_path) == {"log_missing": Doubt(1, [lost.request_id])}


def test_the_first_of_the_days_that_are_looked_at_counts_and_the_one_before_does_not(
    tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch
):
    def twice_without_the_last(rows: Any) -> Any:
        return pa.concat_tables([rows.slice(0, 1), rows.slice(0, rows.num_rows - 1)])

    damaging(monkeypatch, "usage", twice_without_the_last)
    damaging(monkeypatch, "inference_log", lambda rows: pa.concat_tables([rows.slice(0, 1), rows.slice(0, 1)]))
    record(spool, *(a_row(NOW - DAY_US + n, cost_nanos=1) for n in range(3)))
    drain(tmp_path)
    found = doubted(tmp_path)
    assert {"usage_doubled", "log_doubled", "log_missing", "cost_differs"} <= found.keys()
    assert doubted(tmp_path, days=2) == found
    assert doubted(tmp_path, days=1) == {}


def test_bodies_older_than_any_that_are_kept_are_not_missed(
    tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch
):
    damaging(monkeypatch, "inference_log", lambda rows: rows.slice(1))
    record(spool, a_row(NOW - 3 * DAY_US), a_row(NOW))
    drain(tmp_path)
    assert doubted(tmp_path) == {}


@pytest.mark.parametrize(("gone", "found"), [("inference_log", "log_missing"), ("usage", "usage_missing")])
def test_a_table_that_has_dropped_all_its_days_is_not_missed(
    tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch, gone: str, found: str
):
    damaging(monkeypatch, gone, lambda rows: rows.slice(rows.num_rows))
    record(spool, row := a_row(NOW - 3 * DAY_US))
    drain(tmp_path)
    assert doubted(tmp_path, retention_days={**RETENTION_DAYS, gone: 2}) == {}
    should_be_there = {found: Doubt(1, [row.request_id])}
    assert doubted(tmp_path, retention_days={**RETENTION_DAYS, gone: 3}) == should_be_there


def test_money_that_was_changed(tmp_path: Path, spool: SpoolWriter):
    record(spool, a_row(NOW), a_row(NOW + 1, cost_nanos=27_001), a_row(NOW + 2, cost_nanos=None))
    ids = [a_row(NOW + n).request_id for n in (1, 2)]
    assert doubted(tmp_path) == {"cost_differs": Doubt(2, ids)}


def test_tables_that_tell_different_things(tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch):
    def cheaper(rows: Any) -> Any:
        at = rows.schema.get_field_index("status_code")
        return rows.set_column(at, "status_code", pc.add(rows["status_code"], pa.scalar(1, pa.int32())))

    damaging(monkeypatch, "inference_log", cheaper)
    record(spool, a_row(NOW))
    drain(tmp_path)
    assert doubted(tmp_path) == {"tables_differ": Doubt(1, [a_row(NOW).request_id])}


def test_a_row_under_another_day(tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch):
    def tomorrow(rows: Any) -> Any:
        days = pc.add(rows["request_date"].cast(pa.int32()), pa.scalar(-1, pa.int32())).cast(pa.date32())
        return rows.set_column(0, "request_date", days)

    damaging(monkeypatch, "usage", tomorrow)
    damaging(monkeypatch, "inference_log", tomorrow)
    record(spool, a_row(NOW))
    drain(tmp_path)
    assert doubted(tmp_path) == {"wrong_day": Doubt(1, [a_row(NOW).request_id])}


def test_rows_that_came_between_the_two_tables_are_no_doubt(
    tmp_path: Path, spool: SpoolWriter, monkeypatch: pytest.MonkeyPatch
):
    record(spool, a_row(NOW))
    add_table = books_module.open_connection.__globals__["_add_table"]

    def then_another_row(*words: Any) -> Any:
        found = add_table(*words)
        if "usage" in words:
            record(spool, a_row(NOW + spool.appended))
        return found

    monkeypatch.setitem(books_module.open_connection.__globals__, "_add_table", then_another_row)
    assert doubted(tmp_path) == {}
    assert spool.appended >= 2


def test_days_and_what_was_counted_since(tmp_path: Path, spool: SpoolWriter):
    record(spool, a_row(NOW - 40 * DAY_US), a_row(NOW - DAY_US), without_log(NOW, cost_nanos=None))
    record(spool, a_row(NOW + 1, endpoint_name="mock/x"), without_log(NOW + 2, destination_model=None, status_code=401))
    tries = [AttemptRow(1, "a", "m", 200, 1, None, "primary", 5, 6, 27_000, "provider")] * 2
    record(spool, a_row(NOW + 3, attempts=tries))
    books = Books(tmp_path, 31)
    days = books.days()
    assert [(day.usage_rows, day.logged_rows, day.cost_nanos, day.unpriced) for day in days] == [
        (1, 1, 27_000, 0),
        (4, 2, 81_000, 1),
    ]
    assert isinstance(days[0], Day)
    assert sorted(books.since(NOON_US + NOW), key=lambda one: (one.model, one.status)) == [
        Counted("gpt-4o-mini", 200, 2, 27_000, 1, 142),
        Counted("unknown", 200, 1, 27_000, 0, 120),
        Counted("unknown", 401, 1, 27_000, 0, 120),
    ]
    known = a_row(NOW).request_id
    assert books.missing([known, "req_b", "req_a"]) == Doubt(2, ["req_a", "req_b"])
    books.close()


def test_nothing_recorded_yet(tmp_path: Path):
    assert doubted(tmp_path / "none") == {}
    books = Books(tmp_path / "none", 1)
    assert (books.days(), books.since(0), books.missing(["x"])) == ([], [], Doubt(1, ["x"]))
    books.close()
