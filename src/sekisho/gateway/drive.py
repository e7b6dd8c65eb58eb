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

    __slots__ = ("_error", "_result", "done", "drive")

    def __init__(self) -> None:
        self.done = False
        self._result: T | None = None
        self._error: BaseException | None = None
        #: what waits for it
        self.drive: Drive[Any] | None = None

    def resolve(self, result: T) -> None:
        if not self.done:
            self.done = True
            self._result = result
            if self.drive is not None:
                self.drive.go_on()

    def fail(self, error: BaseException) -> None:
        if not self.done:
            self.done = True
            self._error = error
            if self.drive is not None:
                self.drive.go_on()

    def __await__(self) -> Generator[Any, Any, T]:
        if not self.done:
            yield self
        if self._error is not None:
            raise self._error
        return self._result  # pyright: ignore[reportReturnType]


class Drive(Generic[T]):
    """One coroutine on its way. `ended(result)` is called at its end, with None when it was cancelled.

    An exception goes to `failed`, or else to the event loop's handler and `ended(None)`: whoever resolved the waiter
    (a connection, the sweep over deadlines) has no part in it and must go on.
    """

    __slots__ = ("_coroutine", "_ended", "_failed", "_waiting", "finished")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        ended: Callable[[T | None], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._coroutine = coroutine
        self._ended = ended
        self._failed = failed
        self._waiting: Waiter[Any] | asyncio.Future[Any] | asyncio.Handle | None = None
        self.finished = False

    def go_on(self) -> None:
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
        except Exception as error:
            self._fail(error)
            return
        if isinstance(waiting, Waiter):
            self._waiting = waiting
            waiting.drive = self
        else:
            self._suspend(waiting)

    def cancel(self, msg: str | None = None) -> bool:
        """Raise CancelledError where the coroutine waits; it runs on from there before this returns."""
        if self.finished:
            return False
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return False  # it is running: a coroutine cannot cancel itself
        if isinstance(waiting, Waiter):
            waiting.drive = None
        else:
            waiting.cancel()
        try:
            again = self._coroutine.throw(asyncio.CancelledError())
        except StopIteration as stop:
            self.finished = True
            self._ended(stop.value)
        except asyncio.CancelledError:
            self.finished = True
            self._ended(None)
        except Exception as error:
            self._fail(error)
        else:
            self._suspend(again)
        return True

    def _suspend(self, waiting: Any) -> None:
        self._waiting = waiting
        if isinstance(waiting, Waiter):
            waiting.drive = self
        elif waiting is None:  # a bare yield, as asyncio.sleep(0) makes
            self._waiting = asyncio.get_running_loop().call_soon(self.go_on)
        else:
            waiting._asyncio_future_blocking = False  # what a task does: the future asks that somebody took it
            waiting.add_done_callback(self._woken)

    def _woken(self, future: asyncio.Future[Any]) -> None:
        """A future calls a moment after it is done: by then the coroutine may have been cancelled out of it."""
        if self._waiting is future:
            self.go_on()

    def _fail(self, error: Exception) -> None:
        self.finished = True
        if self._failed is not None:
            self._failed(error)
            return
        context = {"message": "a driven coroutine failed", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
        self._ended(None)


async def own_task(work: Awaitable[T], unwanted: Callable[[T], None] | None = None) -> T:
    """Await in a task of its own what needs one; cancelled with the caller.

    `unwanted` gets a result that came all the same, since the task may have ended just before the caller was
    cancelled.
    """
    task = asyncio.ensure_future(work)
    try:
        return await task
    except BaseException:
        task.cancel()
        task.add_done_callback(lambda done: _dispose(done, unwanted))
        raise


def _dispose(done: asyncio.Future[T], unwanted: Callable[[T], None] | None) -> None:
    if not done.cancelled() and done.exception() is None and unwanted is not None:
        unwanted(done.result())


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

    def failed(error: Exception) -> None:
        if not result.done():
            result.set_exception(error)

    drive = Drive(coroutine, ended, failed)
    drive.go_on()
    try:
        return await asyncio.shield(result)
    except asyncio.CancelledError:
        drive.cancel()
        if result.done() and not result.cancelled():
            return result.result()
        raise
