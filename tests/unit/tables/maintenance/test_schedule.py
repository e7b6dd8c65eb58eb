"""When maintenance runs, and that its process harms nobody."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tests.unit.tables.maintenance.days import data_files, filled, ids, want
from tests.unit.tables.maintenance.test_vacuum import age
from tests.unit.tables.rows import NOON_US

from sekisho.tables.delta import checkpoint
from sekisho.tables.maintenance import jobs
from sekisho.tables.maintenance.policy import RETENTION_DAYS, Plan, Policy, decode, encode
from sekisho.tables.maintenance.schedule import CROWD, Schedule, night_is_due
from sekisho.tables.maintenance.state import Busy, Run, State, TableSize, alone, read_state, write_state
from sekisho.tables.schema import TABLES

TOKYO = Plan(hour=3, timezone="Asia/Tokyo")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def run_at(text: str, *, ended: bool = True, error: str | None = None) -> Run:
    began_us = int(at(text).timestamp() * 1e6)
    return Run(began_us=began_us, ended_us=began_us + 1 if ended else 0, error=error)


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        (None, "2026-11-26T12:00+09:00", True),
        (run_at("2026-11-25T03:00+09:00"), "2026-11-26T02:59+09:00", False),
        (run_at("2026-11-25T03:00+09:00"), "2026-11-26T03:00+09:00", True),
        (run_at("2026-11-26T03:00+09:00"), "2026-11-26T03:01+09:00", False),
        # a machine that was off at night
        (run_at("2026-11-24T03:00+09:00"), "2026-11-26T09:30+09:00", True),
        # failed, or killed: again after an hour
        (run_at("2026-11-26T03:00+09:00", error="disk"), "2026-11-26T03:59+09:00", False),
        (run_at("2026-11-26T03:00+09:00", error="disk"), "2026-11-26T04:00+09:00", True),
        (run_at("2026-11-26T03:00+09:00", ended=False), "2026-11-26T04:00+09:00", True),
        # while the clock was a year ahead; a moment ahead is none
        (run_at("2027-11-26T03:00+09:00"), "2026-11-26T04:00+09:00", True),
        (run_at("2026-11-26T03:01+09:00"), "2026-11-26T03:00+09:00", False),
    ],
)
def test_the_night_job_is_due_once_a_day_at_its_hour(last: Run | None, now: str, due: bool):
    assert night_is_due(TOKYO, last, at(now)) is due


def test_the_hour_that_summer_time_leaves_out_does_not_stop_it():
    plan = Plan(hour=2, timezone="Europe/Berlin")
    assert night_is_due(plan, run_at("2027-03-27T02:00+01:00"), at("2027-03-28T04:00+02:00"))
    assert not night_is_due(plan, run_at("2027-03-28T04:00+02:00"), at("2027-03-28T05:00+02:00"))


@pytest.mark.parametrize(
    "now", ["02:00+02:00", "02:59+02:00", "02:00+01:00", "02:59+01:00", "03:00+01:00", "12:00+01:00"]
)
def test_an_hour_that_comes_twice_is_one_night(now: str):
    plan = Plan(hour=2, timezone="Europe/Berlin")
    assert night_is_due(plan, run_at("2027-10-30T02:00+02:00"), at(f"2027-10-31T{now}"))
    assert not night_is_due(plan, run_at("2027-10-31T02:00+02:00"), at(f"2027-10-31T{now}"))


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0
        self.now = at("2026-11-26T12:00+09:00")

    def move(self, seconds: float) -> None:
        self.s += seconds
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Jobs that would be started; each ends at once."""
    jobs: list[str] = []

    class Ended:
        pid = 1

        def __init__(self, command: list[str], **_: Any) -> None:
            jobs.append(command[command.index("maintenance") + 1])

        def poll(self) -> int:
            return 0

    monkeypatch.setattr("sekisho.tables.maintenance.schedule.subprocess.Popen", Ended)
    return jobs


def schedule(tmp_path: Path, clock: Clock, commits: Callable[[], int] = lambda: 0) -> Schedule:
    return Schedule(tmp_path, commits, monotonic_s=lambda: clock.s, now=lambda: clock.now)


def test_a_light_job_waits_for_time_and_for_commits(tmp_path: Path, clock: Clock, started: list[str]):
    count = 0
    with alone(tmp_path, tmp_path / "tables"):
        write_state(tmp_path, State(jobs={"night": run_at("2026-11-26T12:00+09:00")}))
    made = schedule(tmp_path, clock, lambda: count)
    plan = Plan(every_s=300)
    count = CROWD
    made.look(plan)
    clock.move(299)
    made.look(plan)
    assert started == []
    clock.move(1)
    made.look(plan)
    made.look(plan)
    assert started == ["light"]
    count += CROWD - 1
    clock.move(299)
    made.look(plan)
    clock.move(1)
    made.look(plan)
    assert started == ["light"]
    count += 1
    made.look(plan)
    assert started == ["light", "light"]


def test_after_a_restart_the_small_files_of_before_are_seen_to(tmp_path: Path, clock: Clock, started: list[str]):
    (tmp_path / "tables").mkdir()
    made = schedule(tmp_path, clock)
    clock.move(300)
    made.look(Plan())
    assert started == ["light"]


def test_a_missed_night_is_made_good_ten_minutes_after_the_start(tmp_path: Path, clock: Clock, started: list[str]):
    made = schedule(tmp_path, clock)
    clock.move(599)
    made.look(TOKYO)
    assert started == []
    clock.move(1)
    made.look(TOKYO)
    assert started == ["night"]


def test_a_clock_that_was_set_ahead_is_believed_a_day_later(
    tmp_path: Path, clock: Clock, started: list[str], caplog: pytest.LogCaptureFixture
):
    made = schedule(tmp_path, clock)
    clock.move(3600)
    clock.now += timedelta(days=500)
    made.look(TOKYO)
    assert [record.reason for record in caplog.records] == ["by 500.0 days"]  # type: ignore[attr-defined]
    clock.move(86_399)
    made.look(TOKYO)
    assert started == [], "every day would have been dropped"
    clock.now -= timedelta(days=500)
    clock.move(1)
    made.look(TOKYO)
    assert started == ["night"]
    assert len(caplog.records) == 1


def test_it_can_be_switched_off(tmp_path: Path, clock: Clock, started: list[str]):
    made = schedule(tmp_path, clock, lambda: 10 * CROWD)
    clock.move(100_000)
    made.look(Plan(enabled=False))
    assert started == []
    made.look(Plan())
    assert started == ["night"]


def test_the_real_process_does_the_job_and_the_state_is_seen(tmp_path: Path, clock: Clock):
    filled(tmp_path / "tables", files=9)
    made = Schedule(tmp_path, lambda: CROWD, monotonic_s=lambda: clock.s)
    clock.move(300)
    made.look(Plan())
    assert made.started == 1
    deadline_s = time.monotonic() + 60
    while made.running and time.monotonic() < deadline_s:
        time.sleep(0.02)
    made.look(Plan(enabled=False))
    assert (made.failed, made.running) == (0, False)
    assert made.state().jobs["light"].error is None
    assert made.state().tables["usage"].files == 1
    assert ids(tmp_path / "tables" / "usage") == want(45)


def test_the_real_process_finds_tables_that_are_elsewhere(tmp_path: Path, clock: Clock):
    filled(tmp_path / "shared", files=9)
    made = Schedule(tmp_path / "own", lambda: CROWD, tables_dir=tmp_path / "shared", monotonic_s=lambda: clock.s)
    clock.move(300)
    made.look(Plan())
    deadline_s = time.monotonic() + 60
    while made.running and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert made.state().tables["usage"].files == 1
    assert ids(tmp_path / "shared" / "usage") == want(45)


def test_a_job_that_dies_is_told_and_the_next_one_is_started(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    made = Schedule(tmp_path, lambda: CROWD, monotonic_s=lambda: clock.s)
    clock.move(300)
    made.look(Plan())
    deadline_s = time.monotonic() + 30
    while made.running and time.monotonic() < deadline_s:
        time.sleep(0.01)
    clock.move(700)
    made.look(Plan())
    assert made.failed == 1
    assert "maintenance failed" in caplog.text
    assert made.started == 2
    made.stop()


# -- the job itself


def test_one_at_a_time(tmp_path: Path):
    with alone(tmp_path, tmp_path / "tables"), pytest.raises(Busy):
        jobs.run(tmp_path, "light", Policy())
    assert jobs.run(tmp_path, "light", Policy()) is None


def test_one_at_a_time_also_for_tables_that_two_gateways_share(tmp_path: Path):
    filled(tmp_path / "shared", files=9)
    with alone(tmp_path / "a", tmp_path / "shared"), pytest.raises(Busy):
        jobs.run(tmp_path / "b", "light", Policy(), tables_dir=tmp_path / "shared")
    assert jobs.run(tmp_path / "b", "light", Policy(), tables_dir=tmp_path / "shared") is None
    assert read_state(tmp_path / "b").tables["usage"].files == 1


def test_the_night_job_does_everything(tmp_path: Path):
    filled(tmp_path / "tables", "inference_log", days=3, files=2)
    filled(tmp_path / "tables", "usage", days=3, files=2)
    now_us = NOON_US + 31 * 86_400_000_000
    assert jobs.run(tmp_path, "night", Policy(), now=lambda: now_us) is None
    # a row is kept for 30 whole days after its own
    assert ids(tmp_path / "tables" / "inference_log") == want(30)[10:]
    assert ids(tmp_path / "tables" / "usage") == want(30)
    state = read_state(tmp_path)
    assert state.tables["usage"].files == state.tables["usage"].days == 3
    assert state.tables["inference_log"].days == 2
    assert state.jobs["night"].ended_us == now_us


def test_trouble_with_one_table_is_not_the_others(tmp_path: Path):
    filled(tmp_path / "tables", "usage", files=3)
    filled(tmp_path / "tables", "inference_log", files=3)
    broken = data_files(tmp_path / "tables" / "usage")[0]
    broken.write_bytes(b"no parquet")
    failed = jobs.run(tmp_path, "night", Policy(), now=lambda: NOON_US + 86_400_000_000)
    assert failed is not None
    assert failed.startswith("usage: ")
    assert read_state(tmp_path).tables["inference_log"].files == 1
    assert read_state(tmp_path).jobs["night"].error == failed


def test_when_a_job_last_ended_well_is_known_through_runs_that_do_not(tmp_path: Path):
    filled(tmp_path / "tables", files=3)
    now_us = NOON_US + 86_400_000_000
    assert jobs.run(tmp_path, "night", Policy(), now=lambda: now_us) is None
    assert read_state(tmp_path).jobs["night"].well_us == now_us
    filled(tmp_path / "tables", files=3)
    for file in data_files(tmp_path / "tables" / "usage"):
        file.write_bytes(b"no parquet")
    assert jobs.run(tmp_path, "night", Policy(), now=lambda: now_us + 5) is not None
    with alone(tmp_path, tmp_path / "tables"):
        jobs.note(tmp_path, tmp_path / "tables", "night", Run(began_us=now_us + 6))
    assert read_state(tmp_path).jobs["night"] == Run(began_us=now_us + 6, well_us=now_us)


def test_what_a_full_disk_stops_does_not_stop_what_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    table = tmp_path / "tables" / "usage"
    filled(tmp_path / "tables", files=5)
    checkpoint(table)
    stray = table / "request_date=2026-11-20" / "part-orphan.zstd.parquet"
    stray.write_bytes(b"a merge that was killed before its commit")
    age(stray, *(table / "_delta_log").iterdir())

    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    for step in ("jobs.expire", "jobs.compact", "jobs.checkpoint_own", "state.os.pwrite"):
        monkeypatch.setattr(f"sekisho.tables.maintenance.{step}", full)
    failed = jobs.run(tmp_path, "night", Policy(), now=lambda: NOON_US + 86_400_000_000)
    assert failed == "usage: OSError: [Errno 28] No space left on device"
    assert not stray.exists()
    assert len(list((table / "_delta_log").glob("*.json"))) == 1


def test_the_state_survives_nonsense(tmp_path: Path):
    assert read_state(tmp_path) == State()
    size = TableSize(files=1, rows=2, bytes=3, days=1)
    with alone(tmp_path, tmp_path / "tables"):
        write_state(tmp_path, State(tables={"usage": size}))
    assert read_state(tmp_path).tables == {"usage": size}
    (tmp_path / "maintenance" / "state.json").write_bytes(b"{")
    assert read_state(tmp_path) == State()


def test_every_table_has_a_retention_and_the_policy_comes_through_a_command_line():
    assert RETENTION_DAYS.keys() == TABLES.keys()
    policy = Policy(retention_days={"usage": 3, "inference_log": 1}, vacuum_days=2)
    assert decode(encode(policy)) == policy
