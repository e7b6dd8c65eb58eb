"""Threads for stores that block. Must not let the event loop wait, nor the end of the process.

They are daemons: one that a dead disk or a silent server holds cannot keep the process from ending, which a thread of
`concurrent.futures.ThreadPoolExecutor` would.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from sekisho.stores.ports import StoreUnavailable

T = TypeVar("T")
_Job = tuple["Future[Any]", Callable[[], Any]]


class Workers:
    """A few threads that are started when the first work comes. Each calls `last` at its end."""

    def __init__(self, name: str, count: int, timeout_s: float, last: Callable[[], None]) -> None:
        self._name = name
        self._count = count
        self._timeout_s = timeout_s
        self._last = last
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def run(self, work: Callable[[], T], late: Callable[[T], None] | None = None) -> T:
        """The result of `work`. Raises what it raises, or StoreUnavailable when the time is over.

        `late` is given, in the thread, a result that came when nobody waited any more.
        """
        future = self._put(work)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.wrap_future(future)
        except BaseException as error:
            if not future.cancel() and late is not None:
                future.add_done_callback(lambda done: _hand(done, late))
            if isinstance(error, TimeoutError):
                raise StoreUnavailable(f"no answer within {self._timeout_s:g} s") from None
            raise

    def soon(self, work: Callable[[], Any]) -> None:
        """Do it when a thread is free; nobody waits, and its failure is nobody's."""
        self._put(work)

    async def close(self) -> None:
        """Take no more, and wait for what was asked, but not for a thread that is held."""
        for _ in self._threads:
            self._jobs.put(None)
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        ends_s = time.monotonic() + self._timeout_s
        for thread in self._threads:
            thread.join(max(0.0, ends_s - time.monotonic()))

    def _put(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._jobs.put((future, work))
        if len(self._threads) < self._count:
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, work = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)
            del job, future, work  # not to be kept until the next one comes
        self._last()


def _hand(done: Future[T], late: Callable[[T], None]) -> None:
    if not done.cancelled() and done.exception() is None:
        late(done.result())
