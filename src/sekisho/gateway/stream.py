"""One streamed answer, from the provider's packets to the caller's frames. Must never look complete when it is not.

1. Until the first content, events are held: another target may still be tried, and nobody has seen a byte.
2. `opened` resolves with the first content; from then on frames go to the sink as packets come, without a task.
3. It ends once: completed (every choice has a finish reason and the body ended cleanly or with [DONE]), or with an
   error frame and no [DONE]. The entry is closed before the last frame leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar, Protocol

from sekisho.domain.call import CLIENT_LEFT_STATUS, Attempt, Entry, TerminalState
from sekisho.domain.endpoint import Timeouts
from sekisho.domain.errors import UpstreamError
from sekisho.domain.http import Headers
from sekisho.formats.json import UNREADABLE
from sekisho.formats.openai import BROKE_OFF, NO_ERROR, ChunkFacts, decode_chunk
from sekisho.formats.sse import DONE, EventTooLarge, SseSplitter
from sekisho.gateway.connection import Connection, TransportError
from sekisho.gateway.drive import Waiter
from sekisho.gateway.estimates import Estimates
from sekisho.gateway.odd_events import Broken, another_look, is_whole, tells_of_failure
from sekisho.ledger.recorder import MAX_BODY_BYTES
from sekisho.tokens.answer import Written

#: held events before the first content: beyond this the stream opens, content or not
_HELD_EVENTS, _HELD_BYTES = 256, 1024 * 1024
#: a whole answer may be as long as a stream's, a page or an error says enough at its beginning
_ANSWER_BODY_BYTES, _OTHER_BODY_BYTES = 16 * 1024 * 1024, 256 * 1024
#: as a number, which is cheaper to look for (see `formats.sse`)
_LF = 0x0A


class Sink(Protocol):
    """The caller's side of a stream."""

    def write(self, frames: bytes) -> None: ...
    def finish(self) -> None: ...


class Edge(Protocol):
    """Turns payloads of the provider into frames in the caller's protocol."""

    def frames(self, payload: bytes, facts: ChunkFacts) -> bytes: ...
    def end(self) -> bytes: ...
    def error(self, code: str) -> bytes: ...
    def ping(self) -> bytes: ...


#: calls back, with whether the rows so far survive a power cut
WhenDurable = Callable[[Callable[[bool], None]], None]
#: (entry, status, terminal state, error code, detail for the row); gives what the last frame has to wait for
Close = Callable[[Entry, int, TerminalState, "str | None", "str | None"], "WhenDurable | None"]


class StreamExchange:
    """The exchange of a streamed attempt, and the answer it becomes."""

    __slots__ = (
        "_body", "_close", "_ended", "_estimates", "_finished", "_held", "_held_bytes", "_idle_s", "_loop", "_paused",
        "_pending", "_saw_done", "_splitter", "_written", "attempt", "connection", "deadline_s", "done", "edge",
        "entry", "failure", "headers", "last_write_s", "opened", "sink", "status", "total_deadline_s",
    )  # fmt: skip

    reads_headers: ClassVar[bool] = True
    #: the event by which the provider said that it failed, once it has
    failure: bytes

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        entry: Entry,
        attempt: Attempt,
        edge: Edge,
        close: Close,
        estimates: Estimates,
        timeouts: Timeouts,
        total_deadline_s: float,
    ) -> None:
        self._loop = loop
        self._close = close
        self._estimates = estimates
        self._written = Written()
        self.entry = entry
        self.attempt = attempt
        self.edge = edge
        self._idle_s = timeouts.idle_s
        self.total_deadline_s = total_deadline_s
        now = loop.time()
        self.deadline_s = min(now + timeouts.first_token_s, total_deadline_s)
        self.last_write_s = now
        self.opened: Waiter[None] = Waiter()
        self.done: Waiter[None] = Waiter()
        self.connection: Connection | None = None
        self.sink: Sink | None = None
        self.status = 0
        self.headers: Headers = {}
        self._splitter = SseSplitter()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._body: list[bytes] | None = None
        #: choice index -> finish reason, None while it is running
        self._finished: dict[int, str | None] = {}
        self._saw_done = False
        self._paused = False
        #: the last frames wait for the disk
        self._pending = False
        self._ended = False

    # -- the connection tells

    def on_head(self, status: int, headers: Headers) -> None:
        self.status = self.attempt.status = status
        self.headers = headers
        kind = headers.get("content-type", "text/event-stream")
        if status != 200 or not kind.lower().startswith("text/event-stream"):
            self._body = []

    def on_data(self, packet: bytes) -> None:
        if self._ended:
            return
        if self._body is not None:
            answer = self.status == 200 and "json" in self.headers.get("content-type", "").lower()
            if self._held_bytes < (_ANSWER_BODY_BYTES if answer else _OTHER_BODY_BYTES):
                self._held_bytes += len(packet)
                self._body.append(packet)
            return
        try:
            payloads = self._splitter.feed(packet)
        except EventTooLarge:
            self._break("upstream_error", "an event larger than 16 MiB")
            return
        now = self._loop.time()
        self._take(payloads, now)

    def on_end(self) -> None:
        if self._ended:
            return
        if self._body is not None:
            self._refuse_open()
            return
        rest = self._splitter.rest()
        if rest is not None and is_whole(rest):
            self._take([rest], self._loop.time())
        self._end()

    def on_fail(self, error: TransportError) -> None:
        if self._ended:
            return
        if self.opened.done:
            timeout = error.kind == "timeout"
            self._break("upstream_timeout" if timeout else "stream_truncated", str(error))
            return
        self._ended = True
        self.opened.fail(error)

    # -- events

    def _take(self, payloads: list[bytes], now: float) -> None:
        """Events of one packet. What came before [DONE] or a mistake goes out first, as if each had come alone."""
        out = b""
        broken: Broken | None = None
        for payload in payloads:
            if payload == DONE:
                self._saw_done = True
                break
            try:
                out += self._event(payload)
            except Broken as error:
                if payload.startswith(DONE):  # with a space behind it, say; official SDKs look no further either
                    self._saw_done = True
                else:
                    broken = error
                break
        if (sink := self.sink) is None:
            self._hold(out)
        else:
            self.deadline_s = self.total_deadline_s if self._paused else min(now + self._idle_s, self.total_deadline_s)
            if out:
                self.last_write_s = now
                sink.write(out)
        if broken is not None:
            self._break(broken.code, broken.detail)
        elif self._saw_done:
            self._end()

    def _event(self, payload: bytes) -> bytes:
        """The frames of one event. Raises Broken."""
        try:
            facts = decode_chunk(payload)
        except UNREADABLE as error:
            payload, facts = another_look(payload, error)
        choices = facts.choices
        if (facts.error is not None and bytes(facts.error) not in NO_ERROR) or (
            choices is None and facts.usage is None and tells_of_failure(payload)
        ):
            self.failure = payload
            raise Broken("stream_failed", payload[:500].decode("utf-8", "replace"))
        if _LF in payload:
            # Several data lines, legal between two tokens of JSON: in our frames and in the books an event is a line.
            payload = payload.replace(b"\n", b" ")
        entry = self.entry
        # zeros: nobody has counted yet
        if facts.usage is not None and (usage := facts.usage.normalised()) is not None and usage.total_tokens:
            self.attempt.usage, self.attempt.usage_source = usage, "provider"
        if facts.service_tier is not None:
            entry.service_tier = facts.service_tier
        content = False
        finished = self._finished
        for choice in choices or ():
            index, delta = choice.index, choice.delta
            if choice.finish_reason:
                finished[index] = choice.finish_reason
            elif index not in finished:
                finished[index] = None
            if delta is None:
                continue
            if text := delta.text():
                content = True
                self._written.feed(text)
        if entry.events is not None:
            self._keep(entry, payload)
        if content and entry.first_byte_s is None:
            entry.first_byte_s = entry.call.now_s()
        return self.edge.frames(payload, facts)

    def _keep(self, entry: Entry, payload: bytes) -> None:
        self._held_bytes += len(payload)
        if self._held_bytes > MAX_BODY_BYTES:
            entry.events = None
            entry.logging_errors = [*(entry.logging_errors or ()), "MAX_RESPONSE_SIZE_EXCEEDED"]
        elif entry.events is not None:
            entry.events.append(payload)

    def _hold(self, frames: bytes) -> None:
        if frames:
            self._held.append(frames)
        if self.opened.done:
            return
        full = len(self._held) > _HELD_EVENTS or sum(map(len, self._held)) > _HELD_BYTES
        if self.entry.first_byte_s is not None or full:
            self.opened.resolve(None)
            self.deadline_s = min(self._loop.time() + self._idle_s, self.total_deadline_s)

    def came(self) -> bytes | Written:
        """What there is of an answer: of a body that is no stream its bytes."""
        return self._written if self._body is None else b"".join(self._body)

    # -- the caller's side

    def start(self, sink: Sink) -> None:
        """The headers are out: write what was held and go on. `done` resolves with the end of the stream."""
        self.sink = sink
        held, self._held = b"".join(self._held), []
        if held:
            sink.write(held)
        self.last_write_s = self._loop.time()
        if self._ended and not self._pending:
            sink.finish()
            self.done.resolve(None)

    def ping(self, now: float, after_s: float) -> None:
        """A comment for load balancers that close silent connections; SDKs skip it."""
        if self.sink is not None and not self._ended and now - self.last_write_s >= after_s:
            self.last_write_s = now
            self.sink.write(self.edge.ping())

    def pause(self) -> None:
        """The caller does not read: the provider is not read either, and its silence is no fault of its own."""
        if self.connection is not None and not self._ended:
            self._paused = True
            self.deadline_s = self.total_deadline_s
            self.connection.pause(self)

    def resume(self) -> None:
        if self._paused and self.connection is not None:
            self._paused = False
            self.deadline_s = min(self._loop.time() + self._idle_s, self.total_deadline_s)
            self.connection.resume(self)

    def leave(self) -> None:
        """The caller has gone: stop the provider, charge what was seen."""
        if not self._ended:
            self._ended = True
            self._drop()
            self._settle(CLIENT_LEFT_STATUS, "client_left", "client_left", None)

    def interrupt(self) -> None:
        """The gateway stops: say so instead of falling silent."""
        if not self._ended:
            self._stop("stream_interrupted", "interrupted", None)

    def halt(self) -> None:
        """The call is ended from outside: by an error frame, or, before the first content, as if it were cancelled."""
        if self._ended:
            return
        if self.opened.done:
            self._stop("stopped", "interrupted", None)
        else:
            self._ended = True
            self.opened.fail(asyncio.CancelledError())

    # -- ends

    def _end(self) -> None:
        if self._ended:
            return
        finished = bool(self._finished) and all(reason is not None for reason in self._finished.values())
        if not finished:
            self._break("stream_truncated", "the body ended before every choice had a finish reason")
            return
        for reason in BROKE_OFF.intersection(self._finished.values()):
            self._break("stream_truncated", f"an answer that broke off: {reason}")
            return
        self._ended = True
        self.resume()
        self.entry.finish_reasons = [reason or "" for _, reason in sorted(self._finished.items())]
        if self.entry.first_byte_s is None:
            self.entry.first_byte_s = self.entry.call.now_s()
        self._last(self.edge.end(), self._settle(200, "completed", None, None))
        if not self.opened.done:
            self.opened.resolve(None)

    def _break(self, code: str, detail: str) -> None:
        """The provider failed. Before the first content that is an attempt's failure, after it an error frame."""
        if self._ended:
            return
        if not self.opened.done:
            self._ended = True
            self._drop()
            self.attempt.error_code = code
            kind = "upstream_timeout" if code == "upstream_timeout" else "upstream_error"
            self.opened.fail(UpstreamError(kind, status=self.status or None, detail=detail))
            return
        state: TerminalState = "upstream_error"
        if code == "stream_truncated":
            state = "truncated"
        elif code == "upstream_timeout":
            state = "timed_out"
        self._stop(code, state, detail)

    def _stop(self, code: str, state: TerminalState, detail: str | None) -> None:
        self._ended = True
        self._drop()
        self.attempt.error_code = code
        self._last(self.edge.error(code), self._settle(200, state, code, detail))

    def _refuse_open(self) -> None:
        """A whole body that is no event stream: an error answer, or a provider that ignored `stream`."""
        self._ended = True
        if not self.opened.done:
            self.opened.fail(NotAStream())

    def _settle(self, status: int, state: TerminalState, code: str | None, detail: str | None) -> WhenDurable | None:
        attempt = self.attempt
        note_wait(self.entry, attempt)
        if attempt.usage is not None:
            self._estimates.learn(self.entry, attempt, attempt.usage)
        else:
            attempt.usage = self._estimates.usage_of(self.entry, attempt.target, self._written)
            attempt.usage_source = "estimated"
        return self._close(self.entry, status, state, code, detail)

    def _last(self, frames: bytes, when_durable: WhenDurable | None) -> None:
        if when_durable is None:
            self._finish(frames)
            return
        self._pending = True
        when_durable(lambda done: self._finish(frames if done else self.edge.error("rows_unavailable")))

    def _finish(self, frames: bytes) -> None:
        self._pending = False
        if self.sink is None:
            self._held.append(frames)
            return
        self.sink.write(frames)
        self.sink.finish()
        self.done.resolve(None)

    def _drop(self) -> None:
        if self.connection is not None:
            self.connection.abandon(self)


def note_wait(entry: Entry, attempt: Attempt) -> None:
    """What has passed since the request went out, or since this was last asked, was the provider's time."""
    now = entry.call.now_s()
    entry.waited_s += now - (attempt.ended_s or attempt.sent_s or attempt.started_s)
    attempt.ended_s = now


class NotAStream(Exception):
    """The provider answered a streamed request with one body, which the exchange has."""
