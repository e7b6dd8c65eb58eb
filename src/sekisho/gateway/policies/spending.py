"""Limits and budgets: an attempt is let in before it goes out, or the call is refused. Must count nothing itself.

What was granted stands on the entry and then on the attempt; the ledger settles it with the row, whatever happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, cast

import msgspec

from sekisho.domain.call import Entry
from sekisho.domain.chat import ChatRequest
from sekisho.domain.embeddings import EmbeddingRequest
from sekisho.domain.endpoint import Target
from sekisho.domain.errors import Refusal
from sekisho.formats.json import UNREADABLE
from sekisho.gateway.estimates import Estimates
from sekisho.gateway.snapshot import Snapshot
from sekisho.gateway.waiting import Waiting
from sekisho.ledger.limiter import Limiter
from sekisho.ledger.plans import Plan, Planner
from sekisho.ledger.refusals import degrades_to, refusal_of
from sekisho.stores.counters import Denial, Outcome, Reservation

#: of these causes a closer look at the size of a request may make the difference
_BY_SIZE = frozenset({"tokens", "budget"})
#: more than any model writes or provider takes: what is asked beyond that would be more than sums of money can hold
_MOST_TOKENS, _MOST_CHOICES = 10**7, 10**3
_decode_count = msgspec.json.Decoder(int | None).decode

Request = ChatRequest | EmbeddingRequest


class Spending:
    """One per process. Which rules hold says the planner of the call's snapshot."""

    def __init__(self, limiter: Limiter, estimates: Estimates, wall_s: Callable[[], float] = time.time) -> None:
        self._limiter = limiter
        self._estimates = estimates
        self._wall_s = wall_s
        #: calls that wait for room
        self.waiting = Waiting()
        #: `dispatched(reservation)`: the request of an attempt goes out now
        self.dispatched = limiter.dispatched

    def first(self, entry: Entry, request: Request, snapshot: Snapshot) -> Coroutine[None, None, str | None] | None:
        """HOT. Reserve for the first attempt. What has to wait, or may go elsewhere, is returned as a coroutine, which
        gives the name of the endpoint that takes over: then nothing is reserved, and `diverted` has to be asked there.

        Raises Refusal, also from the coroutine: 429 of a limit or a blocking budget, 503 of a store that is away, 400
        of a model without a price under a blocking budget.
        """
        planner = snapshot.planner
        if planner is None:
            return None
        plan = _plan(planner, entry, entry.targets[0])
        if not plan.counts:
            return None
        outcome = self._reserve(entry, request, plan)
        if type(outcome) is Reservation:
            entry.held = outcome
            entry.limited = plan.headers
            return None
        return self._decide(entry, request, plan, outcome)

    async def diverted(self, entry: Entry, request: Request, snapshot: Snapshot) -> None:
        """Reserve for the first attempt of a call that an exceeded budget has sent to the entry's endpoint. It is not
        sent on. Raises Refusal as `first` does."""
        assert snapshot.planner is not None
        entry.reason = "degraded"
        plan = _plan(snapshot.planner, entry, entry.targets[0], degraded=True)
        self._take(entry, plan, await self._outcome(entry, request, plan, self._reserve(entry, request, plan)))

    async def later(self, entry: Entry, request: Request, snapshot: Snapshot, target: Target) -> bool:
        """Reserve for a fallback, whose call was let in already. False: its own limits or a blocking budget have no
        room, or its price is unknown under a blocking budget."""
        planner = snapshot.planner
        if planner is None:
            return True
        plan = _plan(planner, entry, target, later=True)
        if plan.refuses_unpriced:
            return False
        if plan.counts:
            outcome = await self._outcome(entry, request, plan, self._reserve(entry, request, plan))
            if type(outcome) is not Reservation:
                return False
            entry.held = outcome
        return True

    async def _decide(
        self, entry: Entry, request: Request, plan: Plan, outcome: Outcome | Coroutine[None, None, Outcome]
    ) -> str | None:
        outcome = await self._outcome(entry, request, plan, outcome)
        if type(outcome) is Denial and (cheaper := degrades_to(outcome)) is not None:
            return cheaper
        self._take(entry, plan, outcome)
        return None

    def _take(self, entry: Entry, plan: Plan, outcome: Outcome) -> None:
        """Raises Refusal where nothing was granted."""
        if type(outcome) is Denial:
            raise refusal_of(outcome, self._wall_s())
        entry.held = outcome
        entry.limited = plan.headers

    async def _outcome(
        self, entry: Entry, request: Request, plan: Plan, outcome: Outcome | Coroutine[None, None, Outcome]
    ) -> Outcome:
        """What came of asking; of a denial by size, what comes of asking with a closer estimate, in the time that is
        left to wait."""
        since_s = entry.call.now_s()
        settled = await self._awaited(entry, outcome)
        if type(settled) is not Denial or settled.cause not in _BY_SIZE or plan.sizes is None:
            return settled
        rough = self._estimates.input_tokens(entry, plan.target)
        measured = self._estimates.measured_input_tokens(entry, plan.target)
        if measured >= rough:
            return settled
        return await self._awaited(entry, self._reserve(entry, request, plan, measured, since_s))

    async def _awaited(self, entry: Entry, outcome: Outcome | Coroutine[None, None, Outcome]) -> Outcome:
        if isinstance(outcome, Reservation | Denial):
            return outcome
        return await self.waiting.own_task(entry, outcome, self._unwanted)

    def _unwanted(self, outcome: Outcome) -> None:
        """The caller left while its reservation was granted."""
        if isinstance(outcome, Reservation):
            self._limiter.void(outcome, time.perf_counter())

    def _reserve(
        self, entry: Entry, request: Request, plan: Plan, input_tokens: int | None = None, since_s: float = 0.0
    ) -> Outcome | Coroutine[None, None, Outcome]:
        if plan.refuses_unpriced:
            target = plan.target
            raise Refusal(400, "price_unknown", param="model", model=f"{target.provider}/{target.model}")
        limiter, call = self._limiter, entry.call
        name = f"{call.request_id}#{len(entry.attempts) + 1}" if limiter.remote else ""
        if plan.sizes is None:
            return limiter.reserve(plan, call.now_s(), 0, 0, 1, name)
        if input_tokens is None:
            input_tokens = self._estimates.input_tokens(entry, plan.target)
        most, choices = _allowed(request)
        return limiter.reserve(plan, call.now_s(), input_tokens, most, choices, name, since_s)


def _plan(planner: Planner, entry: Entry, target: Target, *, later: bool = False, degraded: bool = False) -> Plan:
    caller, endpoint = entry.caller, entry.endpoint
    assert caller is not None
    assert endpoint is not None
    requester = caller.user or caller.key_name
    return planner.plan_for(caller, requester, endpoint.name, target, entry.feature, later=later, degraded=degraded)


def _allowed(request: Request) -> tuple[int | None, int]:
    """The most output tokens of one answer, None where the caller does not say, and the number of answers."""
    if type(request) is not ChatRequest:
        return 0, 1
    fields = request.fields
    if fields is None:
        parameters: dict[str, Any] = {} if request.conversation is None else request.conversation.parameters
        most = parameters.get("max_completion_tokens") or parameters.get("max_tokens")
        return (min(most, _MOST_TOKENS) if isinstance(most, int) and most > 0 else None), 1
    newer, older = fields.get("max_completion_tokens"), fields.get("max_tokens")
    n = fields.get("n")
    choices = 1 if n is None else _count(n, _MOST_CHOICES) or 1
    if newer is None or older is None:
        raw = older if newer is None else newer
        return None if raw is None else _count(raw), choices
    return _larger(newer, older), choices


def _larger(newer: msgspec.Raw, older: msgspec.Raw) -> int | None:
    """Of two that are both there: which of them counts is the provider's affair, so neither is believed alone."""
    given = [_count(raw) for raw in (newer, older) if bytes(raw) != b"null"]
    found = [count for count in given if count is not None]
    return max(found) if found and len(found) == len(given) else None


def _count(raw: msgspec.Raw, most: int = _MOST_TOKENS) -> int | None:
    """A positive whole number up to `most`; whatever else stands there is for the provider to refuse."""
    try:
        count = cast("int | None", _decode_count(raw))
    except UNREADABLE:
        return None
    return min(count, most) if count is not None and count > 0 else None
