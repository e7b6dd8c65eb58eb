"""A call's coroutine without a task: it must run on, stop and fail as one in a task would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sekisho.gateway.drive import Drive, Waiter, driven, own_task


class Ends:
    """What a drive says at its end."""

    def __init__(self) -> None:
        self.results: list[Any] = []

    def __call__(self, result: Any) -> None:
        self.results.append(result)


async def waits(waiter: Waiter[str]) -> str:
    return f"got {await waiter}"


async def test_a_waiter_resolved_before_it_is_awaited_needs_no_round_of_the_loop() -> None:
    ends, waiter = Ends(), Waiter[str]()
    waiter.resolve("early")
    drive = Drive(waits(waiter), ends)
    drive.go_on()
    assert (ends.results, drive.finished) == (["got early"], True)


async def test_a_drive_goes_on_inside_the_callback_that_resolves() -> None:
    ends, waiter = Ends(), Waiter[str]()
    Drive(waits(waiter), ends).go_on()
    assert ends.results == []
    waiter.resolve("late")
    assert ends.results == ["got late"]


async def test_only_the_first_word_to_a_waiter_counts() -> None:
    ends, waiter = Ends(), Waiter[str]()
    Drive(waits(waiter), ends).go_on()
    waiter.resolve("first")
    waiter.resolve("second")
    waiter.fail(OSError("third"))
    assert ends.results == ["got first"]


@pytest.mark.parametrize("before", [True, False], ids=["failed-before", "failed-while-waiting"])
async def test_a_failed_waiter_raises_where_it_is_awaited(before: bool) -> None:
    async def catches(waiter: Waiter[str]) -> str:
        try:
            return await waiter
        except OSError as error:
            return f"caught {error}"

    ends, waiter = Ends(), Waiter[str]()
    if before:
        waiter.fail(OSError("reset"))
    Drive(catches(waiter), ends).go_on()
    waiter.fail(OSError("reset"))
    assert ends.results == ["caught reset"]


async def test_cancel_raises_where_the_coroutine_waits_and_runs_its_finally() -> None:
    steps: list[str] = []

    async def work(waiter: Waiter[str]) -> str:
        try:
            return await waiter
        finally:
            steps.append("finally")

    ends, waiter = Ends(), Waiter[str]()
    drive = Drive(work(waiter), ends)
    drive.go_on()
    assert drive.cancel()
    assert (steps, ends.results, drive.finished) == (["finally"], [None], True)
    waiter.resolve("nobody waits any more")
    assert ends.results == [None]


async def test_cancelling_twice_or_after_the_end_does_nothing() -> None:
    ends, waiter = Ends(), Waiter[str]()
    drive = Drive(waits(waiter), ends)
    drive.go_on()
    assert drive.cancel("the first")
    assert not drive.cancel("the second")
    assert ends.results == [None]


async def test_a_coroutine_that_catches_its_cancellation_ends_with_its_own_result() -> None:
    async def answers_all_the_same(waiter: Waiter[str]) -> str:
        try:
            return await waiter
        except asyncio.CancelledError:
            return "interrupted"

    ends = Ends()
    drive = Drive(answers_all_the_same(Waiter()), ends)
    drive.go_on()
    assert drive.cancel()
    assert ends.results == ["interrupted"]


async def test_a_coroutine_that_waits_again_after_its_cancellation_goes_on_by_that_wait_alone() -> None:
    async def cleans_up(first: Waiter[str], second: Waiter[str]) -> str:
        try:
            return await first
        except asyncio.CancelledError:
            return f"after {await second}"

    ends = Ends()
    first, second = Waiter[str](), Waiter[str]()
    drive = Drive(cleans_up(first, second), ends)
    drive.go_on()
    drive.cancel()
    first.resolve("stale")
    assert ends.results == []
    second.resolve("cleaning")
    assert ends.results == ["after cleaning"]


async def test_cancel_from_inside_is_no_cancel() -> None:
    """A coroutine cannot throw into itself; whoever ends the call from inside says so by returning."""
    drives: list[Drive[Any]] = []

    async def cancels_itself() -> bool:
        return drives[0].cancel()

    ends = Ends()
    drives.append(Drive(cancels_itself(), ends))
    drives[0].go_on()
    assert ends.results == [False]


async def test_futures_and_tasks_can_be_awaited_too() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def one() -> int:
        await asyncio.sleep(0)
        return 1

    async def work() -> int:
        return await future + await own_task(one()) + await asyncio.ensure_future(one())

    ends = Ends()
    drive = Drive(work(), ends)
    drive.go_on()
    future.set_result(40)
    while not drive.finished:
        await asyncio.sleep(0)
    assert ends.results == [42]


async def test_a_bare_yield_gives_the_loop_a_round_and_can_be_cancelled_there() -> None:
    async def polite(rounds: int) -> str:
        for _ in range(rounds):
            await asyncio.sleep(0)
        return "done"

    ends = Ends()
    Drive(polite(2), ends).go_on()
    assert ends.results == []
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ends.results == ["done"]
    drive = Drive(polite(1), ends)
    drive.go_on()
    assert drive.cancel()
    await asyncio.sleep(0)
    assert ends.results == ["done", None]


async def test_a_future_that_was_done_in_the_round_of_the_cancel_does_not_wake_what_ended() -> None:
    """Its callback is on its way already. It once ran on into a coroutine that was over."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    trouble: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: trouble.append(context))

    async def work() -> str:
        return await future

    ends = Ends()
    drive = Drive(work(), ends)
    drive.go_on()
    future.set_result("too late")
    assert drive.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (ends.results, trouble) == ([None], [])


async def test_a_future_that_was_done_in_the_round_of_the_cancel_does_not_end_the_next_wait() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    waiter = Waiter[str]()

    async def work() -> str:
        try:
            return await future
        except asyncio.CancelledError:
            return await waiter

    ends = Ends()
    drive = Drive(work(), ends)
    drive.go_on()
    future.set_result("too late")
    drive.cancel()
    await asyncio.sleep(0)
    assert not drive.finished
    waiter.resolve("cleaned up")
    assert ends.results == ["cleaned up"]


async def test_cancel_reaches_the_task_that_is_awaited() -> None:
    cancelled = asyncio.Event()

    async def long() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    drive = Drive(own_task(long()), Ends())
    drive.go_on()
    await asyncio.sleep(0)
    drive.cancel()
    await asyncio.wait_for(cancelled.wait(), 1)


@pytest.mark.parametrize("raises", [ValueError("a mistake"), OSError("no route")])
async def test_a_result_that_nobody_wants_any_more_is_handed_back(raises: Exception) -> None:
    """The task ended, and in the same round its caller was cancelled: a connection would stay open for ever."""

    async def makes() -> str:
        return "a connection"

    async def breaks() -> str:
        raise raises

    unwanted: list[str] = []
    for work, expected in ((makes(), ["a connection"]), (breaks(), ["a connection"])):
        drive = Drive(own_task(work, unwanted.append), Ends())
        drive.go_on()
        asyncio.get_running_loop().call_soon(drive.cancel)  # behind the task's only step, before its waking
        for _ in range(4):
            await asyncio.sleep(0)
        assert drive.finished
        assert unwanted == expected


async def test_a_wanted_result_is_not_handed_back() -> None:
    async def makes() -> str:
        return "a connection"

    unwanted: list[str] = []
    assert await own_task(makes(), unwanted.append) == "a connection"
    assert unwanted == []


@pytest.mark.parametrize("way", ["at once", "by a waiter", "by cancel"])
async def test_an_exception_does_not_reach_whoever_resolved(way: str) -> None:
    """The connection that brought the bytes, and the sweep over everybody's deadlines, have no part in it."""
    loop = asyncio.get_running_loop()
    reported: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    waiter = Waiter[str]()

    async def work() -> str:
        try:
            if way != "at once":
                await waiter
        finally:
            raise ZeroDivisionError("a mistake of ours")

    ends = Ends()
    drive = Drive(work(), ends)
    drive.go_on()
    (drive.cancel if way == "by cancel" else lambda: waiter.resolve("x"))()
    assert (ends.results, drive.finished) == ([None], True)
    assert isinstance(reported[0]["exception"], ZeroDivisionError)


async def test_whoever_asks_gets_the_exception_instead_of_the_loop() -> None:
    errors: list[Exception] = []

    async def work() -> str:
        raise ZeroDivisionError

    ends = Ends()
    Drive(work(), ends, errors.append).go_on()
    assert (ends.results, len(errors)) == ([], 1)


# -- from a task


async def _soon(action: Callable[[], object]) -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    action()


async def test_driven_gives_a_task_the_result() -> None:
    waiter = Waiter[str]()
    result, _ = await asyncio.gather(driven(waits(waiter)), _soon(lambda: waiter.resolve("it")))
    assert result == "got it"


async def test_driven_raises_what_the_coroutine_raised() -> None:
    waiter = Waiter[str]()
    task = asyncio.ensure_future(driven(waits(waiter)))
    await _soon(lambda: waiter.fail(OSError("reset")))
    with pytest.raises(OSError, match="reset"):
        await task


async def test_cancelling_the_task_cancels_the_driven_coroutine() -> None:
    steps: list[str] = []

    async def work() -> None:
        try:
            await Waiter[str]()
        except asyncio.CancelledError:
            steps.append("cancelled")
            raise

    task = asyncio.ensure_future(driven(work()))
    await _soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["cancelled"]


async def test_a_task_that_is_cancelled_still_gets_the_answer_its_coroutine_gives() -> None:
    async def says_goodbye() -> str:
        try:
            return await Waiter[str]()
        except asyncio.CancelledError:
            return "503"

    task = asyncio.ensure_future(driven(says_goodbye()))
    await _soon(task.cancel)
    assert await task == "503"


async def test_a_driven_coroutine_that_is_cancelled_by_itself_cancels_its_task() -> None:
    async def gives_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await driven(gives_up())
