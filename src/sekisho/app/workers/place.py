"""The place of one worker: who has it now, how it went before, and how a process comes to have it. Must leave nothing
of the supervisor's open in the child, or the supervisor's death would not be seen.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from typing import Literal, NoReturn

from sekisho.app.workers.line import FromWorker, Line, State

log = logging.getLogger("sekisho.app")

_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.5, 10.0
#: alive for so long, a worker's death is not held against the next one, which starts at once
_HEALTHY_S = 10.0
#: without a word for so long, a worker is said to be silent
_SILENT_S = 5.0
#: looks, a second apart, without a word: from the first on it is asked, and after the last it hangs
_ASK_AFTER, _HANGS_AFTER = 5, 60


class Place:
    """One worker's place, with the socket on which it takes connections."""

    def __init__(self, sock: socket.socket) -> None:
        #: of its spool, from 1; 0: none yet
        self.number = 0
        self.sock = sock
        self.address: tuple[str, int] = sock.getsockname()[:2]
        self.pid = 0
        self.line: Line | None = None
        #: as the worker told it last
        self.state: State | None = None
        self.open = False
        #: why it could not start
        self.reason = ""
        self.heard_s = 0.0
        self.retry_at_s = 0.0
        self.restarts = 0
        self._looks = 0
        self._began_s = self._backoff_s = 0.0
        self._selector: selectors.BaseSelector | None = None

    @property
    def listening(self) -> bool:
        """Whether anything may still come from the worker."""
        return self._selector is not None

    def begin(self, now_s: float) -> None:
        """Forget the one before."""
        self._began_s = self.heard_s = now_s
        self._looks = 0
        self.retry_at_s = 0.0
        self.open, self.state, self.reason = False, None, ""

    def connect(self, pid: int, sock: socket.socket, selector: selectors.BaseSelector) -> None:
        """A process has the place, and this is the line to it."""
        self.pid, self.line = pid, Line(sock, FromWorker)
        selector.register(self.line, selectors.EVENT_READ, self)
        self._selector = selector

    def heard(self, now_s: float) -> None:
        """The worker said something."""
        self.heard_s = now_s
        self._looks = 0

    def silence(self) -> Literal["ask", "hangs"] | None:
        """What to do about a worker that takes calls and says nothing; to be asked about once a second. Not by the
        clock: whoever asks may have been stopped itself, together with the worker."""
        self._looks += self.open
        if self._looks == _HANGS_AFTER:
            return "hangs"
        return "ask" if _ASK_AFTER <= self._looks < _HANGS_AFTER else None

    def wait_to_write(self, *, wanted: bool) -> None:
        if self._selector is not None and self.line is not None:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
            self._selector.modify(self.line, events, self)

    def hang_up(self) -> None:
        """Nothing comes any more, and the selector would say so again and again."""
        if self._selector is not None and self.line is not None:
            self._selector.unregister(self.line)
            self._selector = None

    def vacate(self) -> State | None:
        """The process is gone; what it told last."""
        self.hang_up()
        if self.line is not None:
            self.line.close()
        last, self.state = self.state, None
        self.pid, self.line, self.open = 0, None, False
        return last

    def put_off(self, now_s: float) -> None:
        """Say when the next begins: at once, or later each time where they die young."""
        lived_s = now_s - self._began_s
        longer_s = min(max(self._backoff_s * 2, _FIRST_BACKOFF_S), _LONGEST_BACKOFF_S)
        self._backoff_s = 0.0 if lived_s >= _HEALTHY_S else longer_s
        self.retry_at_s = now_s + self._backoff_s

    def not_started(self, now_s: float, error: OSError) -> None:
        log.error("a worker cannot be started: %s", error)
        self.retry_at_s = now_s + _LONGEST_BACKOFF_S

    def described(self, now_s: float) -> dict[str, object]:
        """For /health/ready."""
        told = self.state.ready.get("status", "ok") if self.state is not None else "ok"
        state = "silent" if now_s - self.heard_s > _SILENT_S else told if self.open else "starting"
        return {
            "worker": self.number,
            "pid": self.pid or None,
            "state": state if self.pid else "restarting",
            "restarts": self.restarts,
        }


def fork(work: Callable[[], int], close: Callable[[], None]) -> int:
    """A child that closes what is not its own and works; its process id. Raises OSError."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # A signal in the moment between must reach the child as its own, not as a copy of ours.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    try:
        return os.fork() or _be_child(work, close)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _be_child(work: Callable[[], int], close: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # for good: see `serving.Server.led`
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the loop takes it
        close()
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        code = work()
    except BaseException:
        log.exception("a worker failed")
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        # No clean-up of the supervisor's: it is not ours to do.
        os._exit(code)
