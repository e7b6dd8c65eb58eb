"""Budget events in every control database: each kept once, none lost while it is away."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sekisho.domain.spending import BudgetEvent
from sekisho.stores.budget_events import BudgetEvents, EventTable, PostgresEvents, SqliteEvents
from sekisho.stores.migrate import migrate
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.sql_engine import postgres_engine


@pytest.fixture(params=["sqlite", "postgres"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> EventTable:
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("empty_database"), tmp_path / "control.db")
        return SqliteEvents(tmp_path / "control.db")
    url: str = request.getfixturevalue("postgres")
    with postgres_engine(url).begin() as connection:
        connection.exec_driver_sql("DELETE FROM budget_events")
    return PostgresEvents(url)


def event(n: int, at_s: float = 0.0) -> BudgetEvent:
    return BudgetEvent(
        id=f"team=研究|month|block@1:{n}",
        budget="team=研究|month|block",
        scope="team 研究",
        period="month",
        percent=50,
        spent_nanos=2**62,
        amount_nanos=10**18,
        period_start_s=1_793_458_800.0,
        at_s=1_795_739_811.795524 + at_s,
    )


def test_each_is_kept_once_whoever_tells_it(table: EventTable) -> None:
    one, other = BudgetEvents(table), BudgetEvents(table)
    for events in (one, other):
        events.note(event(1))
        events.note(event(1, at_s=7))
        events.note(event(2, at_s=1))
        events.write()
        assert events.waiting == 0
        events.write()
    newest = table.newest(10)
    assert [row[0][-1] for row in newest] == ["2", "1"]
    assert newest[1][1:] == (
        "team=研究|month|block",
        "team 研究",
        "month",
        50,
        2**62,
        10**18,
        1_793_458_800_000_000,
        1_795_739_811_795_524,
    )
    assert len(table.newest(1)) == 1


def test_events_wait_for_a_database_that_is_away(tmp_path: Path) -> None:
    events = BudgetEvents(SqliteEvents(tmp_path / "control.db"))
    events.note(event(1))
    with pytest.raises(StoreUnavailable):
        events.write()
    assert events.waiting == 1
    migrate(tmp_path / "control.db")
    events.write()
    assert events.waiting == 0
