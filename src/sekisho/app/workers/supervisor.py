"""Keeps the workers of a gateway running, and what there is once for all of them: committer, maintenance, counters.

Must never serve a call itself, wait for a worker, or run a thread: workers are forked from this process at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sekisho.app import opening, running, serving
from sekisho.app.build import price_pairs
from sekisho.app.commands import WRONG_USAGE
from sekisho.app.control import migrated, pepper_of
from sekisho.app.process import Housekeeping
from sekisho.app.reload import FIXED, stamp_in_force, stamp_of
from sekisho.app.settings.model import Settings
from sekisho.app.settings.problem import ConfigError
from sekisho.app.upkeep import Upkeep, committer_gauges, committer_state
from sekisho.app.workers import worker
from sekisho.app.workers.estate import Estate
from sekisho.app.workers.line import Ask, Line, Opened, Report, State, Tell, ToWorker
from sekisho.app.workers.place import Place, fork
from sekisho.app.workers.questions import Questions
from sekisho.app.workers.together import together
from sekisho.costs.prices import PriceBook
from sekisho.stores.private_files import private_directory
from sekisho.tables.segments import segment_numbers
from sekisho.tables.spool_folder import lock
from sekisho.tables.spools import is_free, settle, settle_left, spool_of
from sekisho.tables.supervise import Committer

log = logging.getLogger("sekisho.app")

_TICK_S = 1.0
#: after the time for running calls
_KILL_AFTER_S = 15.0
_MOST_NUMBERS = 10_000


def run(settings: Settings, socks: Sequence[socket.socket], *, path: Path | None, opened: Callable[[], None]) -> int:
    """Serve with a worker on each socket until SIGTERM or SIGINT; the exit code. A second port is shared by all."""
    try:
        return Supervisor(settings, socks, path=path, opened=opened).run()
    except running.in_the_way() as error:
        running.say(error)
        return WRONG_USAGE


class Supervisor:
    """Keeps `len(socks)` workers running, each on its socket. `opened` is called once, when all take calls."""

    def __init__(
        self,
        settings: Settings,
        socks: Sequence[socket.socket],
        *,
        path: Path | None,
        opened: Callable[[], None],
    ) -> None:
        self._settings = settings
        #: shared by all: it is asked now and then
        self._metrics_sock: socket.socket | None = None
        self._path = path
        self._stamp = stamp_in_force(path, settings)
        self._opened: Callable[[], None] | None = opened
        #: since when counters count; microseconds since 1970, UTC
        self.started_us = 0
        #: as Upkeep asks for them, of all spools together
        self.root = spool_of(settings.data_dir)
        self.max_bytes = settings.spool.max_mb * 1024 * 1024
        self.places = [Place(sock) for sock in socks]
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._wakeup: tuple[socket.socket, ...] = ()
        self._estate = Estate()
        self._questions = Questions(self._send, self._all)
        self._spool_id: str | None = None
        self._exit_code = 0
        #: when workers that still run are killed; None: nobody has said stop
        self._kill_at_s: float | None = None
        self._settled = False
        self._housekeeping = Housekeeping()
        self._lock_fd = -1
        storage, cadence = settings.storage, settings.tables.cadence
        self.committer = Committer(settings.data_dir, last_seqs=self._last_seqs, storage=storage, cadence=cadence)
        self._upkeep = Upkeep(settings.data_dir, storage, cadence, self, self.committer)

    def run(self) -> int:
        """Until told to stop, and then until everything is stored; the exit code. Raises what keeps it from starting:
        see `running.in_the_way`."""
        self._prepare()
        self._catch_signals()
        tick_at_s = time.monotonic() + _TICK_S
        try:
            for place in self.places:
                self._start(place)
            self.committer.start()
            while self._kill_at_s is None or any(place.pid for place in self.places):
                self._wait(tick_at_s)
                self._heed_signals()
                self._reap()
                self._questions.look()
                if (now_s := time.monotonic()) >= tick_at_s:
                    tick_at_s = now_s + _TICK_S
                    self._tick(now_s)
        finally:
            self._end()
        return self._exit_code

    def pending_bytes(self) -> int:
        """Bytes of rows in all spools, as last told."""
        gauges = (place.state.gauges.get("sekisho_spool_bytes") for place in self.places if place.state is not None)
        return int(sum(gauge.value for gauge in gauges if gauge is not None))

    def _prepare(self) -> None:
        """What is done once, before the first worker: the database, prices, the pepper, spools that others left."""
        settings = self._settings
        private_directory(settings.data_dir)
        self.root.mkdir(mode=0o700, exist_ok=True)
        if segment_numbers(self.root):
            settle(self.root)
        self._lock_fd = lock(self.root)
        self._settled = settle_left(settings.data_dir, frozenset({self.root}))
        self._metrics_sock = running.metrics_door(settings.server.metrics_port)

        async def once() -> None:
            prices = PriceBook(settings.data_dir / "prices.json")
            await asyncio.gather(migrated(settings), opening.priced(prices, price_pairs(settings)))
            await asyncio.to_thread(pepper_of, settings)

        asyncio.run(once())
        self.started_us = time.time_ns() // 1000
        # What is here already stays, and is not to be copied for each worker because the collector looked at it.
        gc.collect()
        gc.freeze()

    def _end(self) -> None:
        self._close_doors()
        self._upkeep.stop()
        if not self.committer.stop(opening.DRAIN_S):
            log.warning("the committer did not finish in time; its rows stay in the spool and go in at the next start")
        if self._lock_fd >= 0:
            os.close(self._lock_fd)

    def _start(self, place: Place) -> None:
        now_s = time.monotonic()
        place.begin(now_s)
        try:
            if not place.number or not is_free(self._spool_of(place)):
                place.number = self._free_number()
            if place.sock.fileno() < 0:
                place.sock = running.one_more(*place.address)
            ours, theirs = socket.socketpair()
            with theirs:
                pid = fork(lambda: self._work(place, theirs), lambda: self._close_all_but(place, ours))
        except OSError as error:
            place.not_started(now_s, error)
            return
        place.connect(pid, ours, self._selector)

    def _spool_of(self, place: Place) -> Path:
        return spool_of(self._settings.data_dir, place.number)

    def _free_number(self) -> int:
        """The first whose spool nobody owns: a worker of a killed supervisor may still be at its last calls."""
        taken = {place.number for place in self.places}
        for number in range(1, _MOST_NUMBERS):
            if number not in taken and is_free(spool_of(self._settings.data_dir, number)):
                return number
        raise OSError(f"{self.root}: no spool is free")

    def _close_all_but(self, place: Place, ours: socket.socket) -> None:
        """In the child."""
        ours.close()
        self._selector.close()
        for other in self.places:
            if other.line is not None:
                other.line.close()
            if other.sock is not place.sock:
                other.sock.close()
        for end in self._wakeup:
            end.close()
        os.close(self._lock_fd)

    def _work(self, place: Place, sock: socket.socket) -> int:
        """In the child."""
        one = worker.Worker(Line(sock, ToWorker), place.number, len(self.places))

        async def serve(settings: Settings) -> None:
            await serving.serve(
                settings,
                place.sock,
                opened=lambda _: one.opened(),
                reload_from=running.reloader(self._path, settings),
                config_path=self._path,
                worker=one,
                metrics_sock=self._metrics_sock,
            )

        return worker.run(one, lambda: running.on_loop(running.with_mock(self._settings, serve)))

    def _reap(self) -> None:
        now_s = time.monotonic()
        for place in self.places:
            if place.pid:
                pid, status = os.waitpid(place.pid, os.WNOHANG)
                if pid:
                    self._bury(place, os.waitstatus_to_exitcode(status), now_s)
            elif self._kill_at_s is None and now_s >= place.retry_at_s:
                place.restarts += 1
                self._start(place)

    def _bury(self, place: Place, code: int, now_s: float) -> None:
        self._hear(place)
        pid = place.pid
        self._estate.inherit(self._spool_of(place), place.vacate())
        if self._kill_at_s is not None:
            return
        if self._opened is not None:
            # It could not even start: there is something to mend first, and the others could not either.
            print(place.reason or f"a worker ended at its start, exit status {code}", file=sys.stderr)
            self._exit_code = WRONG_USAGE if place.reason else 1
            self._stop()
            return
        facts = {"pid": pid, "exit_status": code, "reason": place.reason or None}
        log.error("a worker died; another takes its place", extra=facts)
        place.put_off(now_s)
        if place.retry_at_s > now_s and sum(other.sock is place.sock for other in self.places) == 1:
            # Or the kernel would give this socket its share of the connections, and nobody would serve them.
            place.sock.close()

    def _wait(self, until_s: float) -> None:
        """Until somebody says something, or something is due."""
        due = [until_s, *self._questions.due_s()]
        if self._kill_at_s is None:
            due += [place.retry_at_s for place in self.places if not place.pid]
        for key, events in self._selector.select(max(0.0, min(due) - time.monotonic())):
            place: Place | None = key.data
            if place is None:
                with contextlib.suppress(BlockingIOError):
                    self._wakeup[0].recv(4096)
            elif place.line is not None and place.listening:
                if events & selectors.EVENT_WRITE and (place.line.flush() or place.line.ended):
                    place.wait_to_write(wanted=False)
                if events & selectors.EVENT_READ:
                    self._hear(place)

    def _hear(self, place: Place) -> None:
        assert place.line is not None
        for message in place.line.receive():
            place.heard(time.monotonic())
            if isinstance(message, Report):
                self._note(place, message.state)
                self._questions.told(place, message.ask)
            elif isinstance(message, Ask):
                self._note(place, message.state)
                self._questions.ask(place, message.number, (other for other in self.places if other is not place))
            elif isinstance(message, Opened):
                place.open = True
                self._open_if_all()
            else:
                place.reason = message.reason
        if place.line.ended:
            place.hang_up()

    def _note(self, place: Place, state: State) -> None:
        place.state = state
        if self._spool_id is None or place is self.places[0]:
            # of one of them, always the same: it tells who asks whether this is the gateway of a folder
            self._spool_id = state.ready.get("spool") or self._spool_id

    def _send(self, place: Place, message: ToWorker) -> None:
        if place.line is not None and place.listening and not place.line.send(message):
            place.wait_to_write(wanted=True)

    def _open_if_all(self) -> None:
        if self._opened is not None and all(place.open for place in self.places):
            opened, self._opened = self._opened, None
            opened()

    def _all(self, asker: Place) -> State:
        """The state of all, for the place that asks."""
        now_s = time.monotonic()
        states = [asker.state, *(place.state for place in self.places if place is not asker)]
        return together(
            [state for state in states if state is not None],
            self._estate.tally,
            self._estate.failed,
            gauges={**self._upkeep.gauges(), **committer_gauges(self.committer)},
            ready={
                **committer_state(self.committer),
                "started_us": self.started_us,
                "spool": self._spool_id,
                "workers": [place.described(now_s) for place in self.places],
            },
        )

    def _last_seqs(self) -> dict[str, int]:
        """How far the rows of each worker go, as last told, those of workers that are gone too."""
        found = dict(self._estate.last_seqs)
        for place in self.places:
            if place.state is not None:
                name = self._spool_of(place).name
                found[name] = max(place.state.last_seq, found.get(name, 0))
        return found

    def _tick(self, now_s: float) -> None:
        """About once a second."""
        try:
            self.committer.poll()
            self._look_at_file(forced=False)
            self._upkeep.look(self._settings.maintenance)
            self._wake_up()
            if not self._settled:
                owned = frozenset({self.root, *map(self._spool_of, self.places)})
                self._settled = settle_left(self._settings.data_dir, owned)
        except Exception as error:
            self._housekeeping.failed(error, now_s)
        if self._kill_at_s is not None and now_s >= self._kill_at_s:
            log.error("workers do not end and are killed")
            self._pass_on(signal.SIGKILL)

    def _wake_up(self) -> None:
        """Ask workers that say nothing, and kill one that hangs: the kernel goes on giving it connections."""
        for place in self.places:
            silence = place.silence()
            if silence == "ask":
                self._send(place, Tell(0))
            elif silence == "hangs" and self._kill_at_s is None:
                log.error("a worker hangs and is killed", extra={"pid": place.pid})
                os.kill(place.pid, signal.SIGKILL)

    def _look_at_file(self, *, forced: bool) -> None:
        """What is done once, and workers that start later, go by the file as it is now. The workers that run read it
        themselves, and say what is wrong with it."""
        stamp = stamp_of(self._path)
        load = running.reloader(self._path, self._settings)
        if load is None or not (forced or stamp != self._stamp):
            return
        self._stamp = stamp
        with contextlib.suppress(ConfigError, OSError):
            kept: dict[str, Any] = {name: getattr(self._settings, name) for name in FIXED}
            self._settings = msgspec.structs.replace(load(), **kept)

    def _catch_signals(self) -> None:
        self._wakeup = reading, writing = socket.socketpair()
        for end in self._wakeup:
            end.setblocking(False)
        self._selector.register(reading, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda caught, _: self._signals.append(caught))

    def _heed_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number == signal.SIGHUP:
                self._look_at_file(forced=True)
                self._pass_on(signal.SIGHUP)
            elif number in (signal.SIGTERM, signal.SIGINT):
                if self._kill_at_s is None:
                    self._stop()
                elif number == signal.SIGINT:
                    # A second Ctrl-C: running calls are cut short, as with one worker.
                    self._pass_on(serving.CUT_SHORT)

    def _stop(self) -> None:
        self._kill_at_s = time.monotonic() + self._settings.server.shutdown_s + _KILL_AFTER_S
        # First: a socket that one process still holds goes on taking connections that nobody serves.
        self._close_doors()
        self._pass_on(signal.SIGTERM)

    def _close_doors(self) -> None:
        for place in self.places:
            place.sock.close()
        if self._metrics_sock is not None:
            self._metrics_sock.close()

    def _pass_on(self, number: int) -> None:
        for place in self.places:
            if place.pid:
                os.kill(place.pid, number)
