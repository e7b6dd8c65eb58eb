"""The way of one call. Each policy has its own file; only their order lives here.

Must close every entry it opens, exactly once: by an answer, a refusal, the caller's leaving or our own stopping.
"""

from __future__ import annotations

import asyncio
import functools
import logging

import msgspec

from sekisho.domain.call import CLIENT_LEFT_STATUS, Call, Entry, Language, TerminalState
from sekisho.domain.chat import ChatRequest
from sekisho.domain.embeddings import EmbeddingRequest
from sekisho.domain.endpoint import Endpoint
from sekisho.domain.errors import Refusal, UpstreamError
from sekisho.gateway.drive import Waiter
from sekisho.gateway.edges import edge_for
from sekisho.gateway.estimates import Estimates
from sekisho.gateway.outbox import Outbox
from sekisho.gateway.policies.idempotency import HEADER as IDEMPOTENCY_KEY
from sekisho.gateway.policies.idempotency import Idempotency, KeptAnswer
from sekisho.gateway.policies.spending import Spending
from sekisho.gateway.policies.stops import Stops
from sekisho.gateway.policies.stops import refusal as stopped
from sekisho.gateway.protocols import named_model, read
from sekisho.gateway.refusals import refusal_of
from sekisho.gateway.snapshot import Snapshot
from sekisho.gateway.stream import StreamExchange, WhenDurable
from sekisho.gateway.transport import Transport
from sekisho.gateway.upstream import PlainExchange, Upstream
from sekisho.ledger.book import Ledger
from sekisho.ledger.recorder import RateAt
from sekisho.ledger.refusals import rows_unavailable
from sekisho.ledger.tally import Tally
from sekisho.wire.messages import language_of

log = logging.getLogger("sekisho.gateway")

Request = ChatRequest | EmbeddingRequest


class Reply(msgspec.Struct, eq=False):
    """What goes back: a body, or a stream whose first content is known, or a refusal."""

    entry: Entry
    status: int
    body: bytes | None = None
    stream: StreamExchange | None = None
    refusal: Refusal | None = None
    #: what is replayed
    kept: KeptAnswer | None = None

    def __repr__(self) -> str:
        return f"Reply({self.entry.call.request_id!r}, {self.status})"  # never the body


class Pipeline:
    """One per process. `snapshot` is swapped whole by a reload; a call keeps the one it began with."""

    def __init__(
        self,
        snapshot: Snapshot,
        ledger: Ledger,
        upstream: Upstream,
        transport: Transport,
        estimates: Estimates,
        spending: Spending | None = None,
    ) -> None:
        self.snapshot = snapshot
        self._ledger = ledger
        self._upstream = upstream
        self._estimates = estimates
        self._spending = spending
        self._transport = transport
        self.outbox: Outbox = transport.outbox
        #: what an operator has stopped
        self.stops = Stops()
        self._live: dict[str, StreamExchange] = {}
        #: set before the first call, where keys are kept
        self.idempotency: Idempotency | None = None

    def convert(self, rate_at: RateAt) -> None:
        """Which rate of exchange rows keep from now on."""
        self._ledger.convert(rate_at)

    async def run(self, call: Call) -> Reply:
        """Answer a call. Never raises but for cancellation, and then the entry is closed."""
        entry = self._ledger.open(call)  # from here on exactly one row, whatever happens
        snapshot = self.snapshot
        try:
            entry.config_hash = snapshot.config_hash
            entry.language = _language(call, snapshot)
            entry.caller = caller = snapshot.keyring.identify(call)  # 401
            entry.keep_request = True
            request = read(call, entry, snapshot.default_model)  # 400
            endpoint = snapshot.named(entry, caller, request.model)  # 403
            self._send_to(entry, endpoint or await snapshot.direct(caller, request.model), snapshot)  # 400, 403, 404
            kept = await self._claim(entry) if IDEMPOTENCY_KEY in call.headers else None  # 400, 409, 422, 503
            if snapshot.planner is not None and self._spending is not None and kept is None:
                decision = self._spending.first(entry, request, snapshot)  # 429: of all scopes, all or none
                if decision is not None and (cheaper := await decision) is not None:
                    self._send_to(entry, snapshot.endpoints[cheaper], snapshot)  # 400, 403
                    await self._spending.diverted(entry, request, snapshot)  # 429
            if kept is None and entry.streaming:
                return await self._stream(entry, request, snapshot)
            body = await self._upstream.plain(entry, request, snapshot) if kept is None else kept.body
        except Refusal as refusal:
            if refusal.status == 400 and entry.endpoint is None:
                _place(entry, snapshot)
            return self._refuse(entry, refusal, "refused")
        except UpstreamError as error:
            return self._failed(entry, error)
        except asyncio.CancelledError:
            return self._cancelled(entry)
        except Exception as error:
            return self._mistaken(entry, error)
        entry.first_byte_s = call.now_s()
        self._ledger.close(entry, 200, "completed")
        if entry.claim is not None and self.idempotency is not None:
            await self.idempotency.keep(entry, body)
        reply = Reply(entry, 200, body=body, kept=kept)
        return await self._durable(reply) if _waits_for_disk(entry) else reply

    def _send_to(self, entry: Entry, endpoint: Endpoint, snapshot: Snapshot) -> None:
        """HOT. Where the call goes: once to the endpoint it names, and again where an exceeded budget sends it on. What
        must hold at an endpoint, however a call came to it, is asked here and nowhere else; whether the key may use it
        is not, which is asked of what the caller named.

        Raises Refusal: 400 of a target without a price where those are blocked, 403 of what an operator has stopped.
        """
        entry.endpoint = endpoint
        if snapshot.block_unpriced:
            _require_prices(endpoint)
        choice = snapshot.choice(endpoint)
        entry.targets, entry.reason = choice.order(), choice.first_reason
        if self.stops.active:
            self.stops.check(entry)  # or a target less

    async def _claim(self, entry: Entry) -> KeptAnswer | None:
        return None if self.idempotency is None else await self.idempotency.claim(entry)

    async def _durable(self, reply: Reply) -> Reply:
        """The reply, once its row is on the disk. A caller who leaves meanwhile changes nothing: the row is written.
        Where the disk refuses and no call is taken then, the caller is told so instead."""
        written: Waiter[bool] = Waiter()
        self._ledger.when_durable(written.resolve)
        if await written:
            return reply
        refusal = rows_unavailable()
        return Reply(reply.entry, refusal.status, refusal=refusal)

    def refuse(self, call: Call, refusal: Refusal) -> Reply:
        """A call that ends at the door: too large, wrong method, unreadable. It is a row all the same."""
        entry = self._ledger.open(call)
        entry.language = _language(call, self.snapshot)
        return self._refuse(entry, refusal, "refused")

    def gone(self, call: Call) -> None:
        """A caller who left before the body was whole."""
        entry = self._ledger.open(call)
        self._ledger.close(entry, CLIENT_LEFT_STATUS, "client_left", "client_left")

    def left(self, reply: Reply) -> None:
        """The caller of a stream has gone, or the gateway stops: whichever the call says."""
        stream = reply.stream
        if stream is None:
            return
        if reply.entry.call.left:
            stream.leave()
        else:
            stream.interrupt()

    def tick(self, now_s: float) -> None:
        """About once a second, `now_s` by the event loop's clock: keep-alive comments on silent streams, connections
        to providers that were idle too long."""
        after_s = self.snapshot.keepalive_s
        for stream in list(self._live.values()):
            stream.ping(now_s, after_s)
        self._transport.trim()
        if self.idempotency is not None:
            self.idempotency.tick(now_s)
        if self.stops.active:
            self._end_stopped()

    def obey(self, stops: Stops) -> None:
        """What is stopped from now on. Running calls for which that holds end now, and those that slip through with
        the next `tick`."""
        self.stops = stops
        self._end_stopped()

    def _end_stopped(self) -> None:
        ends = self.stops.ends
        self._upstream.waiting.end(ends)
        for exchange in self._transport.exchanges():
            if isinstance(exchange, PlainExchange | StreamExchange) and ends(exchange.entry):
                exchange.halt()

    def close(self) -> None:
        """Let the connections to providers go."""
        self._transport.close()

    @property
    def tally(self) -> Tally:
        return self._ledger.tally

    @property
    def live_streams(self) -> int:
        return len(self._live)

    async def _stream(self, entry: Entry, request: Request, snapshot: Snapshot) -> Reply:
        assert isinstance(request, ChatRequest)
        if entry.endpoint is not None and entry.endpoint.log == "full":
            entry.events = []
        edge_of = edge_for(entry, request)
        if entry.claim is not None and self.idempotency is not None:
            edge_of = self.idempotency.recording(entry, edge_of)
        close = functools.partial(self._close_stream, snapshot)
        stream = await self._upstream.stream(entry, request, snapshot, edge_of, close)
        if not entry.closed:
            self._live[entry.call.request_id] = stream
        return Reply(entry, 200, stream=stream)

    def _close_stream(
        self, began: Snapshot, entry: Entry, status: int, state: TerminalState, code: str | None, detail: str | None
    ) -> WhenDurable | None:
        self._live.pop(entry.call.request_id, None)
        if detail is not None and entry.attempts:
            # of what the call began with: its credentials may have been replaced since
            detail = began.providers[entry.attempts[-1].target.provider].hide(detail)
        self._ledger.close(entry, status, state, code, detail)
        durable = self._ledger.when_durable if _waits_for_disk(entry) else None
        if entry.claim is None or self.idempotency is None:
            return durable
        return self.idempotency.ended(entry, state, durable)

    def _refuse(self, entry: Entry, refusal: Refusal, state: TerminalState) -> Reply:
        self._ledger.close(entry, refusal.status, state, refusal.code, refusal.detail or refusal.code)
        self._release(entry)
        if refusal.status >= 500:
            log.warning(
                "call failed",
                extra={"request_id": entry.call.request_id, "code": refusal.code, "status": refusal.status},
            )
        return Reply(entry, refusal.status, refusal=refusal)

    def _failed(self, entry: Entry, error: UpstreamError) -> Reply:
        """The chain is used up."""
        state: TerminalState = "timed_out" if error.code == "upstream_timeout" else "upstream_error"
        return self._refuse(entry, refusal_of(error, entry), state)

    def _mistaken(self, entry: Entry, error: Exception) -> Reply:
        """What nobody foresaw."""
        log.error("our own mistake", exc_info=error, extra={"request_id": entry.call.request_id})
        return self._refuse(entry, Refusal(500, "internal_error", type="server_error"), "refused")

    def _release(self, entry: Entry) -> None:
        if entry.claim is not None and self.idempotency is not None:
            self.idempotency.release(entry)

    def _cancelled(self, entry: Entry) -> Reply:
        """The caller left, or the gateway stops. What the provider may have begun is charged as estimated."""
        self._estimate(entry)
        if entry.call.left:
            self._ledger.close(entry, CLIENT_LEFT_STATUS, "client_left", "client_left")
            self._release(entry)
            raise asyncio.CancelledError
        if self.stops.active and self.stops.ends(entry):
            return self._refuse(entry, stopped(), "interrupted")
        refusal = Refusal(503, "shutting_down", type="server_error", retry_after_s=1)
        return self._refuse(entry, refusal, "interrupted")

    def _estimate(self, entry: Entry) -> None:
        """An attempt that was cut off without the provider's own count is charged on its request, and says so."""
        if not entry.attempts:
            return
        attempt = entry.attempts[-1]
        if attempt.usage is not None or attempt.sent_s is None or (attempt.status or 200) != 200:
            return
        attempt.usage = self._estimates.usage_of(entry, attempt.target, None)
        attempt.usage_source = "estimated"
        if attempt.ended_s is None:
            attempt.ended_s = entry.call.now_s()


def _language(call: Call, snapshot: Snapshot) -> Language:
    wanted = call.headers.get(b"accept-language")
    return snapshot.language if wanted is None else language_of(wanted, snapshot.language)


def _place(entry: Entry, snapshot: Snapshot) -> None:
    """A body that was refused before it was known where it goes says so all the same: its row stands with those of
    that endpoint, and has the body where they do. Not with a forbidden field, which may hold a credential."""
    named = named_model(entry.call, snapshot.default_model)
    if named is None or entry.caller is None:
        return
    entry.request_model, entry.keep_request = named
    entry.endpoint = snapshot.meant(entry.caller, entry.request_model)


def _waits_for_disk(entry: Entry) -> bool:
    """Whether the last byte of the answer waits: asked at the end, when it is known which endpoint has answered."""
    return entry.endpoint is not None and entry.endpoint.durability == "sync"


def _require_prices(endpoint: Endpoint) -> None:
    for target in (*endpoint.targets, *endpoint.fallbacks):
        if target.rates is None:
            raise Refusal(400, "price_unknown", param="model", model=f"{target.provider}/{target.model}")
