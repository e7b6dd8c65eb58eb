"""Threads for stores that block: bounded for who waits, told of what came late, no hindrance to the end."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.workers import Workers


def nothing() -> None:
    pass


async def test_results_and_errors_come_back() -> None:
    workers = Workers("test", 2, 20, nothing)
    assert await asyncio.gather(*(workers.run(lambda n=n: n * n) for n in range(10))) == [n * n for n in range(10)]
    with pytest.raises(ZeroDivisionError):
        await workers.run(lambda: 1 // 0)
    await workers.close()


async def test_a_held_thread_costs_each_caller_the_time_limit_and_its_late_result_is_handed_on() -> None:
    held, late, told = threading.Event(), [], threading.Event()
    workers = Workers("test", 1, 0.05, nothing)

    def take(result: int) -> None:
        late.append(result)
        told.set()

    ran = []
    started_s = time.monotonic()
    for work in (lambda: held.wait(60) and 7, lambda: ran.append("in the queue")):
        with pytest.raises(StoreUnavailable):
            await workers.run(work, take)
    assert time.monotonic() - started_s < 5
    held.set()
    assert await asyncio.to_thread(told.wait, 20)
    await workers.close()
    assert late == [7]
    assert ran == [], "work that nobody waits for any more is not begun"


async def test_closing_waits_for_what_was_asked_but_not_for_a_held_thread() -> None:
    held, done = threading.Event(), []
    workers = Workers("test", 1, 0.2, lambda: done.append("last"))
    workers.soon(lambda: done.append("asked"))
    await workers.close()
    assert done == ["asked", "last"]
    workers = Workers("test", 1, 0.05, nothing)
    workers.soon(lambda: held.wait(60))
    await workers.close()
    held.set()


async def test_threads_are_daemons() -> None:
    workers = Workers("test", 1, 20, nothing)
    assert await workers.run(lambda: threading.current_thread().daemon)
    await workers.close()
