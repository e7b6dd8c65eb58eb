"""What happens about once a second in a gateway while something that it asks is away."""

from __future__ import annotations

import asyncio
import errno
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from sekisho.app import opening
from sekisho.stores.ports import StoreUnavailable
from sekisho.tables.spent import SpentUnknown


class _Reloader:
    """Fails as it is told; counts its looks."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.of_rules: Exception | None = None
        self.of_database: Exception | None = None
        self.looks = 0

    async def look(self) -> None:
        self.looks += 1
        if (fault := self.of_database or self.of_rules) is not None:
            raise fault

    def obey(self) -> None:
        if self.of_database is not None:
            raise self.of_database


def _nothing(*_: object) -> None:
    pass


async def _kept(reloader: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The gateway after some seconds, which take no time."""
    monkeypatch.setattr(opening, "_TICK_S", 0.001)
    quiet: Any = SimpleNamespace(tick=_nothing, look=_nothing)
    running: Any = SimpleNamespace(
        pipeline=quiet,
        limits=quiet,
        sink=quiet,
        committer=None,
        upkeep=None,
        settled=True,
        database_up=True,
        unmarked=None,
    )
    tasks = [
        asyncio.ensure_future(opening._obey(running, reloader)),  # pyright: ignore[reportPrivateUsage]
        asyncio.ensure_future(opening._keep(running, reloader, None)),  # pyright: ignore[reportPrivateUsage]
    ]
    while reloader.looks < 5:
        await asyncio.sleep(0.001)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return running


@pytest.mark.parametrize("fault", [StoreUnavailable("the counters' server does not answer"), SpentUnknown("no rows")])
async def test_budgets_that_wait_say_nothing_of_the_database(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reloader = _Reloader()
    reloader.of_rules = fault
    with caplog.at_level(logging.WARNING, "sekisho.app"):
        running = await _kept(reloader, monkeypatch)
    assert running.database_up
    assert {record.getMessage() for record in caplog.records} == {
        f"new limits and budgets wait, and the old ones go on: {fault}"
    }


async def test_a_database_that_is_away_is_said_to_be(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reloader = _Reloader()
    reloader.of_database = StoreUnavailable("no database")
    with caplog.at_level(logging.WARNING, "sekisho.app"):
        running = await _kept(reloader, monkeypatch)
    assert not running.database_up
    assert [record.getMessage() for record in caplog.records] == [
        "the control database does not answer; the keys known last stay in force: no database"
    ]


async def test_a_database_that_stays_away_is_said_to_be_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(opening, "_REMIND_S", 0.0)
    reloader = _Reloader()
    reloader.of_database = StoreUnavailable("no database")
    with caplog.at_level(logging.WARNING, "sekisho.app"):
        await _kept(reloader, monkeypatch)
    assert len(caplog.records) > 1


async def test_a_database_that_is_back_is_said_to_be_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    running = SimpleNamespace(database_up=False)
    monkeypatch.setattr(opening, "_TICK_S", 0.001)
    task = asyncio.ensure_future(opening._obey(running, _Reloader()))  # pyright: ignore[reportPrivateUsage, reportArgumentType]
    with caplog.at_level(logging.INFO, "sekisho.app"):
        while not running.database_up:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert [record.getMessage() for record in caplog.records] == ["the control database answers again"]


async def test_files_that_cannot_be_opened_are_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not a stack trace in each second in which callers hold the last of them."""
    reloader = _Reloader()
    reloader.of_rules = OSError(errno.EMFILE, "Too many open files", "spool")
    with caplog.at_level(logging.WARNING, "sekisho.app"):
        await _kept(reloader, monkeypatch)
    assert [(record.getMessage(), record.exc_info) for record in caplog.records] == [
        (f"housekeeping waits, because no more files can be opened: raise `ulimit -n`: {reloader.of_rules}", None)
    ]


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), ValueError("a mistake")])
async def test_another_mistake_of_housekeeping_is_told_whole(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reloader = _Reloader()
    reloader.of_rules = fault
    with caplog.at_level(logging.WARNING, "sekisho.app"):
        await _kept(reloader, monkeypatch)
    assert len(caplog.records) > 1
    assert all(record.exc_info and record.exc_info[1] is fault for record in caplog.records)
