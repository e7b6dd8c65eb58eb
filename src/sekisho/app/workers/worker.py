"""One of several serving processes, as far as it differs from the only one: where its rows go, and what it tells its
supervisor. Must not outlive the supervisor.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sekisho.app.workers.line import Answer, Ask, Failed, Gauges, Line, Opened, Report, State, Tell, plain, shown
from sekisho.ledger.tally_sums import sums_of
from sekisho.tables.spools import note_reported, spool_of

if TYPE_CHECKING:
    from sekisho.app.installation import Installation

log = logging.getLogger("sekisho.app")

#: for the supervisor, which waits for others but half a second
PATIENCE_S = 2.0
_LAST_WORDS_S = 2.0
#: beyond the time for running calls: rows are flushed and sockets closed by then, or something hangs
_HANGS_S = 20


class Worker:
    """A worker's end of the line. `number` counts from 1, `of` is how many there are."""

    def __init__(self, line: Line, number: int, of: int) -> None:
        self.line = line
        self.number = number
        self.of = of
        self._running: Installation | None = None
        self._spool = Path()
        self._asks = itertools.count(1)
        self._asked: dict[int, asyncio.Future[State]] = {}
        self._writing = self._failing = False

    def spool(self, data_dir: Path) -> Path:
        """Its own: a spool has one owner."""
        return spool_of(data_dir, self.number)

    def share(self, max_mb: int) -> int:
        """Of what the spools may hold together."""
        return max(1, max_mb // self.of)

    def join(self, running: Installation) -> None:
        """Begin to talk, before the first call is taken: from here on no row leaves the spool that was not told of."""
        self._running = running
        self._spool = running.sink.root
        self._note(running.sink.position)
        asyncio.get_running_loop().add_reader(self.line.fileno(), self._heard)
        self.report()

    def opened(self) -> None:
        """Calls are taken."""
        self._send(Opened())

    def report(self) -> None:
        """Tell the supervisor what was counted; about once a second."""
        if self._running is not None and not self.line.ended:
            self._report(0)

    def leave(self) -> None:
        """Say what was counted last, when the last call has ended."""
        if self._running is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self.line.fileno())
        if self._writing:
            loop.remove_writer(self.line.fileno())
        if not self.line.ended:
            self._report(0)
            self.line.drain(_LAST_WORDS_S)
        self._running = None

    async def metrics(self) -> bytes:
        """/metrics of all workers. Raises TimeoutError when the supervisor does not answer: the counts of one worker
        would look like counters that began anew."""
        from sekisho.entrypoints.http.metrics import rendered

        state = await self._all()
        return await asyncio.to_thread(rendered, state.tally, shown(state.gauges))

    async def ready(self) -> dict[str, Any]:
        """/health/ready of all workers, or of this one when the supervisor does not answer."""
        try:
            return (await self._all()).ready
        except TimeoutError:
            log.warning("the supervisor does not answer; one worker speaks for itself")
            return self._state().ready

    async def _all(self) -> State:
        """The state of all workers. Raises TimeoutError."""
        number = next(self._asks)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(Ask(self._state(), number))
            async with asyncio.timeout(PATIENCE_S):
                return await future
        finally:
            self._asked.pop(number, None)

    def _state(self) -> State:
        running = self._running
        assert running is not None
        # first, because they may find that a row which counts as appended was lost
        gauges: Gauges = running.gauges()
        return State(
            seq=running.sink.position,
            last_seq=running.sink.last_seq,
            tally=sums_of(running.tally),
            gauges=plain(gauges),
            ready=running.ready(),
        )

    def _report(self, ask: int) -> None:
        state = self._state()
        if self._send(Report(state, ask)):
            self._note(state.seq)

    def _note(self, seq: int) -> None:
        try:
            note_reported(self._spool, seq)
        except OSError as error:
            if not self._failing:
                log.warning("how far rows were counted cannot be noted: %s", error)
            self._failing = True
        else:
            self._failing = False

    def _send(self, message: Report | Ask | Opened) -> bool:
        sent = self.line.send(message)
        if not sent and not self._writing and not self.line.ended:
            self._writing = True
            asyncio.get_running_loop().add_writer(self.line.fileno(), self._flush)
        return sent

    def _flush(self) -> None:
        if self.line.flush() or self.line.ended:
            self._writing = False
            asyncio.get_running_loop().remove_writer(self.line.fileno())

    def _heard(self) -> None:
        for message in self.line.receive():
            if isinstance(message, Tell):
                self._report(message.ask)
            elif isinstance(message, Answer):
                future = self._asked.get(message.number)
                if future is not None and not future.done():
                    future.set_result(message.state)
        if self.line.ended:
            asyncio.get_running_loop().remove_reader(self.line.fileno())
            self._orphaned()

    def _orphaned(self) -> None:
        """The supervisor is dead: end as on SIGTERM, and for certain."""
        running = self._running
        log.warning("the supervisor is gone; running calls end, and then this worker")
        wait_s = 0 if running is None else round(running.settings.server.shutdown_s)
        with suppress(OSError, ValueError, AttributeError):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(wait_s + _HANGS_S)
        os.kill(os.getpid(), signal.SIGTERM)


def run(worker: Worker, serve: Callable[[], None]) -> int:
    """Serve until told to stop; the exit status. What keeps it from starting is told to the supervisor."""
    from sekisho.app.running import in_the_way, what_is_wrong

    try:
        serve()
    except in_the_way() as error:
        worker.line.send(Failed(what_is_wrong(error)))
        worker.line.drain(_LAST_WORDS_S)
        return 2
    return 0
