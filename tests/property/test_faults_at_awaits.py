"""A fault at every await of the call path, one after another: cancelled there, or an exception nobody expected.

The n-th place where the call has to wait gets the fault, for n = 1, 2, … until the call ends without meeting it. Each
time: one row, one end, an answer for whoever still listens, and nothing left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Literal

import pytest
from starlette.types import Send
from tests.property.house import PRICED, House, Seen, ask, request, running_house
from tests.support.gateway import DOORS, Door

from sekisho.domain.call import Call
from sekisho.domain.endpoint import Target, Timeouts
from sekisho.entrypoints.http import asgi, hot
from sekisho.gateway import drive, transport
from sekisho.gateway.drive import Drive, Waiter
from sekisho.gateway.transport import Pool

Fault = Literal["cancel", "raise"]
TIMEOUTS = Timeouts(connect_s=1, first_token_s=1, idle_s=1, total_s=2)
FIRST_OK = (Target(provider="mock", model="mock?chunks=3", rates=PRICED),)
FALLBACK = (
    Target(provider="dead", model="nobody", rates=PRICED),
    Target(provider="mock", model="mock?status=503", rates=PRICED),
    Target(provider="mock", model="mock?chunks=3&chunk_ms=1", rates=PRICED),
)
CUT = (Target(provider="mock", model="mock?chunks=3&cut_after=2&chunk_ms=1", rates=PRICED),)
SCENES = {"ok": FIRST_OK, "fallback": FALLBACK, "cut": CUT}


class Unexpected(Exception):
    """No code of ours knows it."""


class Injector:
    """Counts the waits it is told of and says at which one the fault is due."""

    def __init__(self) -> None:
        self.fault: Fault = "cancel"
        self.due = 0
        self.count = 0
        self.met = False

    def arm(self, fault: Fault, due: int) -> None:
        self.fault, self.due, self.count, self.met = fault, due, 0, False

    def here(self) -> bool:
        self.count += 1
        if self.count == self.due:
            self.met = True
            return True
        return False


def _faulty_drive(injector: Injector) -> type[Drive[Any]]:
    """A Drive that meets the fault where its coroutine begins to wait."""

    class FaultyDrive(Drive[Any]):
        def go_on(self) -> None:
            super().go_on()
            self._look()

        def cancel(self, msg: str | None = None) -> bool:
            cancelled = super().cancel(msg)
            self._look()
            return cancelled

        def _look(self) -> None:
            waiting = self._waiting
            if waiting is not None and injector.here():
                asyncio.get_running_loop().call_soon(self._meet, waiting)

        def _meet(self, waiting: Any) -> None:
            if self._waiting is not waiting:
                return  # it had been answered in this very round
            if injector.fault == "cancel":
                self.cancel()
            elif isinstance(waiting, Waiter):
                waiting.fail(Unexpected("injected"))
            else:
                self._waiting = None
                self._throw(Unexpected("injected"))

        def _throw(self, error: Exception) -> None:
            coroutine = self._coroutine

            async def thrown() -> Any:
                return await _Throwing(coroutine, error)

            self._coroutine = thrown()
            self.go_on()

    return FaultyDrive


class _Throwing:
    """Goes on with a coroutine by an exception."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], error: BaseException) -> None:
        self._coroutine = coroutine
        self._error = error

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            waiting = self._coroutine.throw(self._error)
            while True:
                yield waiting
                waiting = self._coroutine.send(None)
        except StopIteration as stop:
            return stop.value


def _stepped(injector: Injector, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The coroutine function, its task cancelled at its n-th wait."""

    @types.coroutine
    def steps(coroutine: Any) -> Generator[Any, Any, Any]:
        try:
            waiting = coroutine.send(None)
            while True:
                if injector.here() and (task := asyncio.current_task()) is not None:
                    asyncio.get_running_loop().call_soon(task.cancel)
                try:
                    value = yield waiting
                except BaseException as error:
                    waiting = coroutine.throw(error)
                else:
                    waiting = coroutine.send(value)
        except StopIteration as stop:
            return stop.value

    async def stepped(*arguments: Any, **more: Any) -> Any:
        return await steps(function(*arguments, **more))

    return stepped


def _raising(injector: Injector, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The coroutine function, whose n-th use raises what nobody expects."""

    async def raising(*arguments: Any, **more: Any) -> Any:
        if injector.here():
            raise Unexpected("injected")
        return await function(*arguments, **more)

    return raising


async def _every_fault(house: House, injector: Injector, targets: tuple[Target, ...], fault: Fault) -> int:
    """How many places a fault was put at. Each is tried with a fresh connection and with a pooled one."""
    tried = 0
    for stream in (False, True):
        for pooled in (False, True):
            for due in range(1, 40):
                if not pooled:
                    house.transport.close()
                injector.arm(fault, due)
                await _one(house, targets, stream=stream)
                if not injector.met:
                    break
                tried += 1
            else:
                pytest.fail("more waits than a call can have")
    return tried


async def _one(house: House, targets: tuple[Target, ...], *, stream: bool) -> Seen:
    tasks, recorded = asyncio.all_tasks(), house.recorded
    model = house.endpoint(list(targets), TIMEOUTS)
    seen = await ask(house.port, request(model, stream=stream, request_id="one"))
    await house.calm(recorded + 1, tasks)
    house.check_metrics()
    row = house.sink.rows[-1]
    assert (row.status_code == 499) == (row.terminal_state == "client_left")
    assert (row.terminal_state == "completed") == (row.error_code is None)
    if seen.whole:
        assert (row.status_code, row.request_id) == (seen.status, seen.headers["x-request-id"])
        assert row.error_code == seen.error_code
    return seen


@pytest.mark.parametrize("fault", ["cancel", "raise"])
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("door", DOORS)
async def test_fault_at_every_wait_of_the_call(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, door: Door, scene: str, fault: Fault
) -> None:
    injector = Injector()
    faulty = _faulty_drive(injector)
    monkeypatch.setattr(hot, "Drive", faulty)
    monkeypatch.setattr(drive, "Drive", faulty)
    async with running_house(door) as house:
        assert await _every_fault(house, injector, SCENES[scene], fault) >= 4
        injector.arm(fault, 0)
        assert (await _one(house, FIRST_OK, stream=True)).status == 200
    assert ("our own mistake" in caplog.text) == (fault == "raise")


@pytest.mark.parametrize("fault", ["cancel", "raise"])
@pytest.mark.parametrize("place", ["dial", "resolve"])
async def test_fault_at_every_wait_for_a_connection(monkeypatch: pytest.MonkeyPatch, place: str, fault: Fault) -> None:
    injector = Injector()
    inject = _stepped if fault == "cancel" else _raising
    if place == "dial":
        monkeypatch.setattr(Pool, "dial", inject(injector, Pool.dial))
    else:
        monkeypatch.setattr(transport, "resolve", inject(injector, transport.resolve))
    async with running_house("hot", dead="http://localhost:9/v1") as house:
        assert await _every_fault(house, injector, FALLBACK, fault) >= 2


@pytest.mark.parametrize("place", ["__call__", "_serve", "_run"])
async def test_fault_at_every_wait_of_the_asgi_tasks(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    injector = Injector()
    monkeypatch.setattr(asgi.ModelRoute, place, _stepped(injector, getattr(asgi.ModelRoute, place)))
    async with running_house("asgi") as house:
        assert await _every_fault(house, injector, FALLBACK, "cancel") >= 4


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("a header it does not like")], ids=["gone", "refused"])
async def test_fault_at_every_word_to_an_asgi_server(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The server may refuse any part of a stream; the provider must not go on talking to nobody."""
    run = asgi.ModelRoute._run
    injector = Injector()

    async def run_refused(route: asgi.ModelRoute, call: Call, send: Send) -> None:
        async def refusing(message: Any) -> None:
            if injector.here():
                raise error
            await send(message)

        await run(route, call, refusing)

    monkeypatch.setattr(asgi.ModelRoute, "_run", run_refused)
    long = (Target(provider="mock", model="mock?chunks=200&chunk_ms=5", rates=PRICED),)
    async with running_house("asgi") as house:
        for due in range(1, 5):
            injector.arm("raise", due)
            tasks, recorded = asyncio.all_tasks(), house.recorded
            model = house.endpoint(list(long), TIMEOUTS)
            await ask(house.port, request(model, stream=True, request_id="one"))
            await house.calm(recorded + 1, tasks, within_s=0.5)
            assert house.sink.rows[-1].terminal_state in ("client_left", "interrupted")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("door", DOORS)
async def test_client_leaves_in_the_round_in_which_its_connection_is_dialled(
    monkeypatch: pytest.MonkeyPatch, door: Door, stream: bool
) -> None:
    """The dial is done, its task not yet looked at, and the call is cancelled: nobody would own that connection."""
    async with running_house(door) as house:
        dial = Pool.dial

        async def dial_and_leave(pool: Pool, timeout_s: float) -> Any:
            connection = await dial(pool, timeout_s)
            house.stop_calls()
            return connection

        monkeypatch.setattr(Pool, "dial", dial_and_leave)
        seen = await _one(house, FIRST_OK, stream=stream)
        assert (seen.status, seen.error_code) == (503, "shutting_down")


@pytest.mark.parametrize("left", [True, False], ids=["client-leaves", "gateway-stops"])
async def test_the_moment_between_the_first_content_and_the_first_byte(
    monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    """On the ASGI door the reply waits a round of the loop for its task; a cancel in that round once got lost."""
    driven = asgi.driven

    async def driven_and_cancelled(run: Coroutine[Any, Any, Any]) -> Any:
        reply = await driven(run)
        task = asyncio.current_task()
        assert task is not None
        reply.entry.call.left = left
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return reply

    monkeypatch.setattr(asgi, "driven", driven_and_cancelled)
    long = (Target(provider="mock", model="mock?chunks=200&chunk_ms=5", rates=PRICED),)
    async with running_house("asgi") as house:
        tasks, recorded = asyncio.all_tasks(), house.recorded
        model = house.endpoint(list(long), TIMEOUTS)
        seen = await ask(house.port, request(model, stream=True, request_id="one"))
        await house.calm(recorded + 1, tasks, within_s=0.5)
        row = house.sink.rows[-1]
        if left:
            assert (row.status_code, row.terminal_state) == (499, "client_left")
        else:
            assert (row.status_code, row.error_code, seen.error_code) == (200, *["stream_interrupted"] * 2)
