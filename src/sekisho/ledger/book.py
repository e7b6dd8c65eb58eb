"""Opens an entry for every call and closes it exactly once: price, metrics, row. Must never await.

Closing is synchronous, so a cancelled task cannot skip it, and it cannot fail on account of the sink: a row that
could not be written is counted and logged, and the call's answer is not touched by it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sekisho.domain.call import Attempt, Call, Entry, TerminalState
from sekisho.domain.money import cost_nanos, served_tier
from sekisho.domain.usage import estimate_tokens
from sekisho.ledger.limiter import Limiter
from sekisho.ledger.recorder import RateAt, Recorder
from sekisho.ledger.refusals import rows_unavailable
from sekisho.ledger.tally import Tally
from sekisho.stores.ports import RowSink

log = logging.getLogger("sekisho.ledger")

#: refusals that cost a caller nothing where no provider was asked, as do all that need no key: their rows are capped a
#: second, the rest is counted as dropped
_CAPPED_STATUSES = frozenset({401, 404, 405, 413, 431})
_CAPPED_ROWS_PER_S = 200


class Ledger:
    """One process's book."""

    def __init__(
        self,
        sink: RowSink,
        tally: Tally,
        *,
        gateway_version: str,
        limiter: Limiter | None = None,
        monotonic_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sink = sink
        self._limiter = limiter
        self.tally = tally
        self._recorder = Recorder(gateway_version)
        self._monotonic_s = monotonic_s
        self._capped_second = 0
        self._capped_left = 0

    def convert(self, rate_at: RateAt) -> None:
        """Which rate of exchange rows keep from now on."""
        self._recorder.convert(rate_at)

    def open(self, call: Call) -> Entry:
        """From here on exactly one row, whatever happens."""
        self.tally.in_flight += 1
        return Entry(call)

    def begin(self, entry: Entry, attempt: Attempt) -> None:
        """A call is about to be dispatched. Raises Refusal 503 where rows cannot be kept and no call is taken then.

        HOT: once a call, before its first attempt leaves.
        """
        if entry.begun:
            return
        sink = self._sink
        if not sink.takes_calls:
            raise rows_unavailable()
        entry.begun = True
        if (
            not sink.begin(self._recorder.begun(entry, attempt, estimate_tokens(len(entry.call.body))))
            and not sink.takes_calls
        ):
            raise rows_unavailable()

    def when_durable(self, told: Callable[[bool], None]) -> None:
        """Tell when every row so far survives a power cut; False where the disk refuses and no call is taken then."""
        self._sink.when_durable(lambda done: told(done or self._sink.takes_calls))

    def close(
        self,
        entry: Entry,
        status: int,
        state: TerminalState,
        error_code: str | None = None,
        error_message: str | None = None,
    ) -> None:
        """Settle, count and record. A second call is a mistake of ours, is logged, and changes nothing."""
        if entry.closed:
            log.error("entry closed twice", extra={"request_id": entry.call.request_id})
            return
        entry.closed = True
        entry.status = status
        entry.terminal_state = state
        if error_code is not None:
            entry.error_code = error_code
            entry.error_message = error_message[:500] if error_message else None
        call = entry.call
        took_s = call.now_s() - call.started_s
        served = self._settled(entry)
        self._count(entry, served, took_s)
        capped = entry.caller is None or (status in _CAPPED_STATUSES and not entry.attempts)
        if capped and not self._may_record_capped():
            self.tally.rows["dropped"] += 1
            return
        try:
            self._sink.append(self._recorder.record(entry, served, took_s))
        except Exception:
            self.tally.rows["failed"] += 1
            log.exception("row not recorded", extra={"request_id": call.request_id})
        else:
            self.tally.rows["appended"] += 1

    def _settled(self, entry: Entry) -> Attempt | None:
        """What every attempt has cost, and with it the call; the last attempt."""
        attempts = entry.attempts
        served: Attempt | None = None
        for served in attempts:
            # One that failed has its cost already, by the tier that was served then.
            if served.usage is not None and served.cost_nanos == 0:
                served.cost_nanos = _cost(served, entry.service_tier)
            if served.held is not None:
                self._settle(served)
        if entry.held is not None:
            self._give_back(entry)
        if served is not None:
            entry.cost_nanos = served.cost_nanos if len(attempts) == 1 else _sum(attempts)
        return served

    def failed(self, entry: Entry, attempt: Attempt) -> None:
        """An attempt has failed and another one may follow: it is charged, and what it held is free from now on."""
        if attempt.usage is not None:
            attempt.cost_nanos = _cost(attempt, entry.service_tier)
        if attempt.held is not None:
            self._settle(attempt)

    def _settle(self, attempt: Attempt) -> None:
        """Count what the row says. Where the tier that was served has no known price, what was reserved is charged. A
        failed attempt is told again at the end of its call, see `Counters.end`."""
        held, limiter = attempt.held, self._limiter
        if limiter is None or (held.how is not None and not (limiter.remote and attempt.cost_nanos)):
            return
        now_s = self._monotonic_s()
        cost, usage = attempt.cost_nanos, attempt.usage
        try:
            if attempt.sent_s is None:
                limiter.void(held, now_s)
            elif usage is None:
                limiter.settle(held, now_s, 0, cost)
            else:
                if cost is None and attempt.target.rates is not None:
                    cost = held.reserved_nanos
                output = usage.output_tokens
                limiter.settle(held, now_s, usage.input_tokens + output, cost, output)
        except Exception:  # the row comes first
            log.exception("not settled")

    def _give_back(self, entry: Entry) -> None:
        """What was held for an attempt that was never made."""
        if self._limiter is not None:
            self._limiter.void(entry.held, self._monotonic_s())
        entry.held = None

    def _may_record_capped(self) -> bool:
        second = int(self._monotonic_s())
        if second != self._capped_second:
            self._capped_second, self._capped_left = second, _CAPPED_ROWS_PER_S
        self._capped_left -= 1
        return self._capped_left >= 0

    def _count(self, entry: Entry, served: Attempt | None, took_s: float) -> None:
        call = entry.call
        if served is None or entry.endpoint is None or entry.endpoint.direct:
            counts = self.tally.closed("unknown", "unknown", call.route.operation)
        else:
            target = served.target
            counts = self.tally.closed(target.model, target.provider, call.route.operation)
        counts.latency.observe(took_s)
        statuses = counts.statuses
        statuses[entry.status] = statuses.get(entry.status, 0) + 1
        if entry.streaming and entry.first_byte_s is not None:
            counts.first_token.observe(entry.first_byte_s - call.started_s)
        if served is None:
            return
        cost = entry.cost_nanos
        if cost is None:
            counts.unpriced += 1
        else:
            counts.cost_nanos += cost
        for attempt in entry.attempts:
            if attempt.usage is not None:
                counts.observe_usage(attempt.usage)


def _cost(attempt: Attempt, service_tier: str | None) -> int | None:
    """None where the price is unknown. A failed attempt without usage costs nothing, and is not asked for here."""
    rates, usage = attempt.target.rates, attempt.usage
    if rates is None or usage is None:
        return None
    if rates.service_tiers:
        rates = rates.for_service_tier(served_tier(service_tier), usage.media)
    return None if rates is None else cost_nanos(usage, rates)


def _sum(attempts: list[Attempt]) -> int | None:
    """One unknown part makes the whole unknown: a sum that leaves it out would be a lie."""
    total = 0
    for attempt in attempts:
        if attempt.cost_nanos is None:
            return None
        total += attempt.cost_nanos
    return total
