"""Runs the coroutine of a call without an asyncio task: where nothing has to wait, nothing is scheduled.

A task costs a trip through the event loop for every step (measured here, a sixth of a whole call). A `Drive` starts at
once, and goes on inside the very callback that brings what it waits for. What it may await is a `Waiter`, resolved
once by a callback, or an asyncio future; `asyncio.timeout` and the like want a task of their own (see `own_task`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Waiter(Generic[T]):
    """One result to come. `resolve` or `fail` once; later calls change nothing."""

    __slots__ = ("_drive", "_error", "_result", "done")

    def __init__(self) -> None:
        self.done = False
        self._result: T | None = None
        self._error: BaseException | None = None
        self._drive: Drive[Any] | None = None

    def resolve(self, result: T) -> None:
        if not self.done:
            self.done = True
            self._result = result
            if self._drive is not None:
                self._drive.go_on()

    def fail(self, error: BaseException) -> None:
        if not self.done:
            self.done = True
            self._error = error
            if self._drive is not None:
                self._drive.go_on()

    def suspend(self, drive: Drive[Any] | None) -> None:
        self._drive = drive

    def __await__(self) -> Generator[Any, Any, T]:
        if not self.done:
            yield self
        if self._error is not None:
            raise self._error
        return self._result  # pyright: ignore[reportReturnType]


class Drive(Generic[T]):
    """One coroutine on its way. `ended(result)` is called at its end, with None when it was cancelled."""

    __slots__ = ("_coroutine", "_ended", "_waiting", "finished")

    def __init__(self, coroutine: Coroutine[Any, Any, T], ended: Callable[[T | None], None]) -> None:
        self._coroutine = coroutine
        self._ended = ended
        self._waiting: Waiter[Any] | asyncio.Future[Any] | None = None
        self.finished = False

    def go_on(self, _: object = None) -> None:
        """Run until the coroutine has to wait or ends."""
        self._waiting = None
        try:
            waiting = self._coroutine.send(None)
        except StopIteration as stop:
            self.finished = True
            self._ended(stop.value)
            return
        except asyncio.CancelledError:
            self.finished = True
            self._ended(None)
            return
        self._suspend(waiting)

    def cancel(self, msg: str | None = None) -> bool:
        """Raise CancelledError where the coroutine waits; it runs on from there before this returns."""
        if self.finished:
            return False
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return False  # it is running: a coroutine cannot cancel itself
        if isinstance(waiting, Waiter):
            waiting.suspend(None)
        else:
            waiting.remove_done_callback(self.go_on)
            waiting.cancel()
        try:
            again = self._coroutine.throw(asyncio.CancelledError())
        except StopIteration as stop:
            self.finished = True
            self._ended(stop.value)
        except asyncio.CancelledError:
            self.finished = True
            self._ended(None)
        else:
            self._suspend(again)
        return True

    def _suspend(self, waiting: Any) -> None:
        self._waiting = waiting
        if type(waiting) is Waiter:
            waiting.suspend(self)
        elif waiting is None:  # a bare yield, as asyncio.sleep(0) makes
            asyncio.get_running_loop().call_soon(self.go_on)
        else:
            waiting._asyncio_future_blocking = False  # what a task does: the future asks that somebody took it
            waiting.add_done_callback(self.go_on)


async def own_task(work: Awaitable[T]) -> T:
    """Await in a task of its own what needs one; cancelled with the caller."""
    return await asyncio.ensure_future(work)


async def driven(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a driven coroutine, for a caller that is an asyncio task; cancelled with it."""
    result: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def ended(value: T | None) -> None:
        if result.done():
            return
        if value is None:
            result.cancel()
        else:
            result.set_result(value)

    drive = Drive(coroutine, ended)
    drive.go_on()
    try:
        return await asyncio.shield(result)
    except asyncio.CancelledError:
        drive.cancel()
        if result.done() and not result.cancelled():
            return result.result()
        raise
