"""Attempts: the first target by weight, then the fallbacks in order, until the first content.

Must return only with a whole answer or with the first content of a stream, so that no switch can happen silently
after a byte was seen. A failed chain raises the Refusal of its first failure: that is the target the caller named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from sekisho.domain.call import Attempt, Entry
from sekisho.domain.chat import ChatRequest
from sekisho.domain.embeddings import EmbeddingRequest
from sekisho.domain.endpoint import Target, Timeouts
from sekisho.domain.errors import UpstreamError
from sekisho.domain.http import Headers
from sekisho.formats.halves import in_utf8, with_whole_characters
from sekisho.formats.json import UNREADABLE
from sekisho.formats.odd_counts import answer_despite_counts
from sekisho.formats.openai import BROKE_OFF, NO_ERROR, USUAL_REASONS, AnswerChoice, AnswerFacts, decode_answer
from sekisho.gateway.charges import charge_body, charge_part
from sekisho.gateway.connection import Connection, TransportError
from sekisho.gateway.drive import Waiter
from sekisho.gateway.estimates import Estimates
from sekisho.gateway.policies.spending import Spending
from sekisho.gateway.snapshot import Provider, Snapshot
from sekisho.gateway.stream import Close, Edge, NotAStream, StreamExchange, note_wait
from sekisho.gateway.transport import Pool, Transport
from sekisho.gateway.waiting import Waiting
from sekisho.ledger.book import Ledger
from sekisho.providers.dialect import Dialect, EmbeddingsDialect

MAX_ANSWER_BYTES = 64 * 1024 * 1024
#: makes a fresh edge for an attempt, since each provider may need another reading
EdgeOf = Callable[[Provider], Edge]


class PlainExchange(Waiter[None]):
    """Collects a whole answer; awaited until its end."""

    __slots__ = ("_parts", "_size", "body", "connection", "deadline_s", "entry", "headers", "status")
    reads_headers: ClassVar[bool] = False

    def __init__(self, deadline_s: float, entry: Entry) -> None:
        self.entry = entry
        self.done = False
        self._result = self._error = self.drive = None
        self.deadline_s = deadline_s
        self.status = 0
        self.headers: Headers = {}
        self.connection: Connection | None = None
        self.body = b""
        self._parts: list[bytes] | None = None
        self._size = 0

    def on_head(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers

    def on_data(self, packet: bytes) -> None:
        self._size += len(packet)
        if not self.body:
            self.body = packet
            return
        if self._parts is None:
            self._parts = []
        self._parts.append(packet)
        if self._size > MAX_ANSWER_BYTES and self.connection is not None:
            self.connection.abandon(self)
            self.on_fail(TransportError("bad_http", f"an answer larger than {MAX_ANSWER_BYTES} bytes"))

    def on_end(self) -> None:
        if self._parts is not None:
            self.body = self.came()
        self.resolve(None)

    def came(self) -> bytes:
        """What there is of an answer that has not ended."""
        return self.body if self._parts is None else b"".join((self.body, *self._parts))

    def on_fail(self, error: TransportError) -> None:
        self.fail(error)

    def halt(self) -> None:
        """The call is ended from outside, as if it had been cancelled where it waits."""
        self.fail(asyncio.CancelledError())


class Upstream:
    """Opens answers. One per process; the snapshot comes with each call."""

    def __init__(
        self,
        transport: Transport,
        loop: asyncio.AbstractEventLoop,
        ledger: Ledger,
        estimates: Estimates,
        spending: Spending | None = None,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._ledger = ledger
        self._begin = ledger.begin
        self._estimates = estimates
        self._spending = spending
        self.waiting = Waiting() if spending is None else spending.waiting

    async def plain(self, entry: Entry, request: ChatRequest | EmbeddingRequest, snapshot: Snapshot) -> bytes:
        """The body of the first whole answer. Raises UpstreamError of the first failure when the chain is used up."""
        failure: UpstreamError | None = None
        endpoint = entry.endpoint
        assert endpoint is not None
        for target in entry.targets:
            if entry.attempts and not await self._let_in(entry, request, snapshot, target):
                continue
            attempt = _attempt(entry, target)
            provider = snapshot.providers[target.provider]
            dialect = provider.chat if type(request) is ChatRequest else provider.embeddings
            try:
                exchange = await self._answered(entry, attempt, provider, dialect, request, endpoint.timeouts)
                return self._taken(entry, attempt, exchange, dialect, type(request) is ChatRequest)
            except UpstreamError as error:
                self._note(entry, attempt, error, snapshot.providers[target.provider])
                failure = failure or error
                if not error.fallback:
                    break
        assert failure is not None
        raise failure

    async def stream(
        self, entry: Entry, request: ChatRequest, snapshot: Snapshot, edge_of: EdgeOf, close: Close
    ) -> StreamExchange:
        """A stream whose first content is known. Raises UpstreamError as `plain` does."""
        failure: UpstreamError | None = None
        endpoint = entry.endpoint
        assert endpoint is not None
        keep = entry.events is not None
        for target in entry.targets:
            if entry.attempts and not await self._let_in(entry, request, snapshot, target):
                continue
            attempt = _attempt(entry, target)
            entry.events = [] if keep else None
            entry.first_byte_s = None
            opening = _Opening(entry, attempt, edge_of, close, self._estimates, endpoint.timeouts)
            try:
                return await self._stream(opening, request, snapshot)
            except UpstreamError as error:
                self._note(entry, attempt, error, snapshot.providers[target.provider])
                failure = failure or error
                if not error.fallback:
                    break
        entry.events = None  # what a failed attempt began was nobody's answer
        assert failure is not None
        raise failure

    def _note(self, entry: Entry, attempt: Attempt, error: UpstreamError, provider: Provider) -> None:
        """An attempt that failed. What stands in the row of it, or in our answer, holds nothing secret."""
        attempt.error_code, attempt.status = error.code, error.status
        error.detail = provider.hide(error.detail)
        error.param = error.param and provider.hide(error.param)
        self._ledger.failed(entry, attempt)

    async def _let_in(
        self, entry: Entry, request: ChatRequest | EmbeddingRequest, snapshot: Snapshot, target: Target
    ) -> bool:
        """Whether a fallback may be tried."""
        return self._spending is None or await self._spending.later(entry, request, snapshot, target)

    def _sent(self, entry: Entry, attempt: Attempt) -> None:
        """The request goes out now."""
        attempt.sent_s = entry.call.now_s()
        if attempt.held is not None and self._spending is not None:
            self._spending.dispatched(attempt.held)

    def _pool(self, provider: Provider) -> Pool:
        pool = provider.pool = self._transport.pool(provider.origin)
        return pool

    async def _dialled(self, entry: Entry, pool: Pool, timeouts: Timeouts, deadline_s: float) -> Connection:
        """A new connection, in time for the exchange that wants it. Raises TransportError."""
        rest_s = max(0.0, deadline_s - self._loop.time())
        return await self.waiting.own_task(entry, pool.dial(min(timeouts.connect_s, rest_s)), Connection.close)

    def _broken(
        self, entry: Entry, attempt: Attempt, exchange: PlainExchange | StreamExchange, error: TransportError
    ) -> UpstreamError:
        """What an exchange means that did not come to its end."""
        charge_part(self._estimates, entry, attempt, exchange)
        code = "upstream_timeout" if error.kind in ("timeout", "connect_timeout") else "upstream_error"
        return UpstreamError(code, status=attempt.status, detail=str(error))

    # -- plain

    async def _answered(
        self,
        entry: Entry,
        attempt: Attempt,
        provider: Provider,
        dialect: Dialect | EmbeddingsDialect,
        request: ChatRequest | EmbeddingRequest,
        timeouts: Timeouts,
    ) -> PlainExchange:
        """The ended exchange of one attempt. Raises UpstreamError.

        A pooled connection that turns out to be dead is replaced once: it had answered no byte.
        """
        http = dialect.request(request, attempt.target)  # pyright: ignore[reportArgumentType]
        if not entry.begun:
            self._begin(entry, attempt)
        pool = provider.pool or self._pool(provider)
        exchange = PlainExchange(self._loop.time() + timeouts.total_s, entry)
        pooled = (connection := pool.take()) is not None
        while True:
            try:
                if connection is None:
                    connection = await self._dialled(entry, pool, timeouts, exchange.deadline_s)
                exchange.connection = connection
                self._sent(entry, attempt)
                connection.send(exchange, provider.head(http), http.body)
                await exchange
                return exchange
            except TransportError as error:
                if error.kind != "stale" or not pooled:
                    raise self._broken(entry, attempt, exchange, error) from None
                pooled, connection = False, None
                exchange = PlainExchange(exchange.deadline_s, entry)
            except BaseException:
                if exchange.connection is not None:
                    exchange.connection.abandon(exchange)
                charge_part(self._estimates, entry, attempt, exchange)
                raise
            finally:
                note_wait(entry, attempt)

    def _taken(
        self, entry: Entry, attempt: Attempt, exchange: PlainExchange, dialect: Dialect | EmbeddingsDialect, chat: bool
    ) -> bytes:
        """The body of an answer that is one, noted for the books. Raises UpstreamError."""
        status, body = exchange.status, exchange.body
        attempt.status = status
        if exchange.headers:
            entry.provider_headers = exchange.headers
        if status != 200:
            raise dialect.error(status, exchange.headers, body)
        try:
            try:
                facts = decode_answer(body)
            except UNREADABLE as error:
                body, facts = _another_look(body, error)
            body = in_utf8(body)
            if facts.error is not None and bytes(facts.error) not in NO_ERROR:
                raise dialect.error(status, exchange.headers, body)
            self._observe(entry, attempt, facts, chat, body)
        except UpstreamError:
            charge_body(self._estimates, entry, attempt, body)
            raise
        return body

    def _observe(self, entry: Entry, attempt: Attempt, facts: AnswerFacts, chat: bool, body: bytes) -> None:
        """Usage, finish reasons and the body for the books. Raises UpstreamError for an answer that answers nothing."""
        choices = facts.choices
        if choices is not None and len(choices) == 1:
            reason = choices[0].finish_reason
            entry.finish_reasons = USUAL_REASONS.get(reason) or _reasons(choices)  # pyright: ignore[reportArgumentType]
        elif choices:
            entry.finish_reasons = _reasons(choices)
        elif chat or facts.data is None:
            raise UpstreamError("upstream_error", status=200, detail="an answer without choices or data")
        usage = facts.usage.normalised() if facts.usage is not None else None
        if usage is not None and usage.total_tokens:  # zeros alone are no count
            attempt.usage_source = "provider"
            self._estimates.learn(entry, attempt, usage)
        else:
            usage = self._estimates.usage_of(entry, attempt.target, body)
            attempt.usage_source = "estimated"
        attempt.usage = usage
        entry.service_tier = facts.service_tier
        entry.response = body

    # -- stream

    async def _stream(self, opening: _Opening, request: ChatRequest, snapshot: Snapshot) -> StreamExchange:
        entry, attempt, timeouts = opening.entry, opening.attempt, opening.timeouts
        provider = snapshot.providers[attempt.target.provider]
        http = provider.chat.request(request, attempt.target)
        if not entry.begun:
            self._begin(entry, attempt)
        pool = provider.pool or self._pool(provider)
        total = self._loop.time() + timeouts.total_s
        fresh = False
        while True:
            exchange = opening.exchange(self._loop, provider, total)
            try:
                connection = None if fresh else pool.take()
                if connection is None:
                    connection = await self._dialled(entry, pool, timeouts, exchange.deadline_s)
                exchange.connection = connection
                self._sent(entry, attempt)
                connection.send(exchange, provider.head(http), http.body)
                await exchange.opened
                entry.provider_headers = exchange.headers
                return exchange
            except TransportError as error:
                if error.kind != "stale" or fresh:
                    raise self._broken(entry, attempt, exchange, error) from None
                fresh = True
            except NotAStream:
                raise self._refused(entry, attempt, exchange, provider.chat) from None
            except UpstreamError:
                if attempt.error_code == "stream_failed":  # the provider said that it failed, and so bills nothing
                    raise provider.chat.error(200, exchange.headers, exchange.failure) from None
                charge_part(self._estimates, entry, attempt, exchange)
                raise
            except BaseException:
                if exchange.connection is not None:
                    exchange.connection.abandon(exchange)
                raise
            finally:
                if not entry.closed:
                    note_wait(entry, attempt)

    def _refused(self, entry: Entry, attempt: Attempt, exchange: StreamExchange, dialect: Dialect) -> UpstreamError:
        """What a body means that came instead of a stream."""
        entry.provider_headers = exchange.headers
        body = exchange.came()
        assert isinstance(body, bytes)
        if exchange.status == 200:
            charge_body(self._estimates, entry, attempt, body)
        return dialect.error(exchange.status, exchange.headers, body)


class _Opening:
    """What every exchange of one streamed attempt is made from."""

    __slots__ = ("attempt", "close", "edge_of", "entry", "estimates", "timeouts")

    def __init__(
        self,
        entry: Entry,
        attempt: Attempt,
        edge_of: EdgeOf,
        close: Close,
        estimates: Estimates,
        timeouts: Timeouts,
    ) -> None:
        self.entry = entry
        self.attempt = attempt
        self.edge_of = edge_of
        self.close = close
        self.estimates = estimates
        self.timeouts = timeouts

    def exchange(self, loop: asyncio.AbstractEventLoop, provider: Provider, total_deadline_s: float) -> StreamExchange:
        return StreamExchange(
            loop,
            self.entry,
            self.attempt,
            self.edge_of(provider),
            self.close,
            self.estimates,
            self.timeouts,
            total_deadline_s,
        )


def _attempt(entry: Entry, target: Target) -> Attempt:
    """The next attempt, which holds what was reserved for it."""
    attempts = entry.attempts
    reason = entry.reason
    if attempts:
        reason = "fallback"
        entry.service_tier = None  # what the one before was served
    attempt = Attempt(target, reason, entry.call.now_s(), entry.held)
    entry.held = None
    attempts.append(attempt)
    return attempt


def _reasons(choices: list[AnswerChoice]) -> list[str] | None:
    """For the row. Raises UpstreamError where one says that its answer broke off."""
    reasons = [choice.finish_reason for choice in choices if choice.finish_reason]
    for reason in BROKE_OFF.intersection(reasons):
        raise UpstreamError("upstream_error", status=200, detail=f"an answer that broke off: {reason}")
    return reasons or None


def _another_look(body: bytes, error: Exception) -> tuple[bytes, AnswerFacts]:
    """At an answer that could not be read: as one that can be, and what it says. Raises UpstreamError."""
    if (facts := answer_despite_counts(body)) is not None:
        return body, facts
    whole = with_whole_characters(body)
    if (facts := answer_despite_counts(whole)) is not None:
        return whole, facts
    raise UpstreamError("upstream_error", status=200, detail=f"not valid JSON: {error}") from None
