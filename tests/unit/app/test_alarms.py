"""Warnings about the spool: in time, once a minute, and their end."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from sekisho.app.alarms import SpoolAlarm


class Spool:
    def __init__(self, root: Path) -> None:
        self.age_s = 0.0
        self.waiting = 0
        self.now_s = 100.0
        self.alarm = SpoolAlarm(root, lambda: self.age_s, lambda: self.waiting, monotonic_s=lambda: self.now_s)

    def look(self, seconds: float = 5.0, quota_bytes: int | None = 1000) -> None:
        self.now_s += seconds
        self.alarm.look(quota_bytes)


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    found = [(record.levelname, record.getMessage()) for record in caplog.records]
    caplog.clear()
    return found


@pytest.fixture
def spool(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Spool:
    caplog.set_level(logging.INFO)
    return Spool(tmp_path)


def test_rows_wait_as_long_as_committers_are_told_to_let_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    age_s = [3960.0]
    alarm = SpoolAlarm(tmp_path, lambda: age_s[0], lambda: 0, oldest_s=3960.0)
    alarm.look()
    assert said(caplog) == []
    age_s[0] = 3961.0
    SpoolAlarm(tmp_path, lambda: age_s[0], lambda: 0, oldest_s=3960.0).look()
    assert said(caplog) == [("WARNING", "rows wait long for the tables")]


def test_rows_that_wait_for_more_than_a_minute(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    spool.age_s = 60.0
    spool.look()
    assert said(caplog) == []
    spool.age_s = 60.1
    spool.look()
    assert said(caplog) == [("WARNING", "rows wait long for the tables")]
    for _ in range(11):
        spool.look()
    assert said(caplog) == []
    spool.look()
    assert said(caplog) == [("WARNING", "rows wait long for the tables")]
    spool.age_s = 0.0
    spool.look()
    spool.look()
    assert said(caplog) == [("INFO", "over: rows wait long for the tables")]


def test_rows_that_fill_half_of_the_quota(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    spool.waiting = 500
    spool.look()
    assert said(caplog) == []
    spool.waiting = 501
    spool.look()
    assert caplog.records[0].bytes == 501
    assert caplog.records[0].quota_bytes == 1000
    assert said(caplog) == [("WARNING", "rows that wait for the tables fill the spool")]


def test_without_a_quota_the_disk_is_the_room(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    spool.waiting = 1
    spool.look(quota_bytes=None)
    assert said(caplog) == []
    spool.waiting = 1 << 60
    spool.look(quota_bytes=None)
    assert said(caplog) == [("WARNING", "rows that wait for the tables fill the spool")]


def test_a_disk_with_less_room_than_the_quota_is_the_room(
    spool: Spool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sekisho.app.alarms.shutil.disk_usage", lambda _: SimpleNamespace(free=300))
    spool.waiting = 300
    spool.look()
    assert said(caplog) == []
    spool.waiting = 301
    spool.look()
    assert caplog.records[0].quota_bytes == 601
    assert said(caplog) == [("WARNING", "rows that wait for the tables fill the spool")]


def test_it_looks_every_five_seconds(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    spool.look()
    spool.age_s = 99.0
    spool.look(4.9)
    assert said(caplog) == []
    spool.look(0.1)
    assert len(said(caplog)) == 1
