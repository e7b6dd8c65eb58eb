"""A meter: the buckets and the running calls of one scope, and how a refusal reads from them. Must not keep a clock.

A bucket is one number (GCRA, the generic cell rate algorithm of ITU-T I.371): the time at which it will be full again.
A debit moves that time on, a refund moves it back, and there is room while it lies at most the burst ahead of now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sekisho.stores.counters import (
    BUSY_RETRY_S,
    LEAST_RETRY_S,
    SLIP,
    BudgetSpec,
    Denial,
    Headroom,
    MeterSpec,
    MeterState,
    left_of,
)

_ENDLESS = float("inf")
_MANY = 2**62


class Meter:
    """Limits of one scope: `q_` requests, `t_` tokens, and calls at once. What is not limited never refuses."""

    __slots__ = (
        "most_running",
        "q_full_s",
        "q_interval_s",
        "q_rate",
        "q_size",
        "q_slack_s",
        "running",
        "spec",
        "t_burst_s",
        "t_full_s",
        "t_interval_s",
        "t_rate",
        "t_size",
    )

    def __init__(self, spec: MeterSpec) -> None:
        #: when the bucket will be full
        self.q_full_s = self.t_full_s = -_ENDLESS
        self.running = 0
        self.renew(spec)

    def renew(self, spec: MeterSpec) -> None:
        """New limits; how full the buckets are stays, as a share of their size in time."""
        self.spec = spec
        #: a second
        self.q_rate, self.t_rate = (spec.qpm or 0) / 60.0, (spec.tpm or 0) / 60.0
        #: what a full bucket holds
        self.q_size, self.t_size = spec.q_room_s * self.q_rate, spec.t_burst_s * self.t_rate
        self.q_interval_s, self.q_slack_s = 0.0, _ENDLESS
        if spec.qpm is not None:
            self.q_interval_s = interval_s = 60.0 / spec.qpm
            self.q_slack_s = max(0.0, spec.q_burst_s - interval_s) + interval_s * SLIP
        self.t_interval_s, self.t_burst_s = 0.0, _ENDLESS
        if spec.tpm is not None:
            self.t_interval_s = 60.0 / spec.tpm
            self.t_burst_s = spec.t_burst_s + self.t_interval_s * SLIP
        self.most_running = _MANY if spec.concurrency is None else spec.concurrency

    def idle(self, now_s: float) -> bool:
        return not self.running and self.q_full_s <= now_s and self.t_full_s <= now_s

    def denials(self, now_s: float, tokens: int) -> list[Denial]:
        """What each limit here says of a call of so many tokens; there is room where the wait is not above 0."""
        spec = self.spec
        found: list[Denial] = []
        if spec.qpm is not None:
            wait_s = self.q_full_s - self.q_slack_s - now_s
            found.append(Denial(cause="requests", limit=spec.qpm).at(spec, wait_s))
        if spec.tpm is not None:
            # a call that is larger than the bucket passes when the bucket is full
            wait_s = self.t_full_s + min(tokens * self.t_interval_s, self.t_burst_s) - self.t_burst_s - now_s
            found.append(Denial(cause="tokens", limit=spec.tpm).at(spec, wait_s))
        if self.running >= self.most_running:
            found.append(Denial(cause="concurrency", limit=self.most_running).at(spec, BUSY_RETRY_S))
        return found

    def state(self, now_s: float) -> MeterState:
        spec = self.spec
        return MeterState(
            spec=spec,
            remaining_requests=None if spec.qpm is None else left_of(spec.qpm, spec.q_room_s, self.q_full_s - now_s),
            remaining_tokens=None if spec.tpm is None else left_of(spec.tpm, spec.t_burst_s, self.t_full_s - now_s),
            running=self.running,
        )


def tightest(meters: Iterable[Meter], now_s: float) -> Headroom | None:
    """The limits with the least left, of requests and of tokens. Runs in every call that is limited."""
    q_left = t_left = q_full_s = t_full_s = _ENDLESS
    q_limit = t_limit = None
    for meter in meters:
        rate = meter.q_rate
        if rate:
            full_s = meter.q_full_s - now_s
            left = meter.q_size - full_s * rate if full_s > 0 else meter.q_size
            if left < q_left:
                q_left, q_full_s, q_limit = left, full_s, meter.spec.qpm
        rate = meter.t_rate
        if rate:
            full_s = meter.t_full_s - now_s
            left = meter.t_size - full_s * rate if full_s > 0 else meter.t_size
            if left < t_left:
                t_left, t_full_s, t_limit = left, full_s, meter.spec.tpm
    if q_limit is None and t_limit is None:
        return None
    return Headroom(
        limit_requests=q_limit,
        remaining_requests=int(q_left + SLIP) if q_limit is not None and q_left > 0 else 0,
        reset_requests_s=q_full_s if q_limit is not None and q_full_s > 0 else 0.0,
        limit_tokens=t_limit,
        remaining_tokens=int(t_left + SLIP) if t_limit is not None and t_left > 0 else 0,
        reset_tokens_s=t_full_s if t_limit is not None and t_full_s > 0 else 0.0,
    )


def denial_of(
    meters: Sequence[Meter],
    budgets: Iterable[tuple[BudgetSpec, int, int, float]],
    now_s: float,
    tokens: int,
    reserve_nanos: int,
) -> Denial:
    """The cause that lasts longest, since waiting for another would be in vain. `budgets`: what is spent and reserved,
    and when the period ends."""
    headroom = tightest(meters, now_s)
    # a block before a diversion, and the one that lasts longest
    for spec, spent, reserved, ends_s in sorted(budgets, key=lambda one: (one[0].on_exceed != "block", -one[3])):
        if spent + reserved + reserve_nanos > spec.amount_nanos:
            return Denial(
                cause="budget",
                scope=spec.scope,
                retry_after_s=max(LEAST_RETRY_S, ends_s - now_s),
                headroom=headroom,
                budget=spec,
                spent_nanos=spent,
                reserved_nanos=reserved,
                wanted_nanos=reserve_nanos,
            )
    denials = [denial for meter in meters for denial in meter.denials(now_s, tokens)]
    longest = max(denials, key=lambda denial: denial.retry_after_s)
    # it may wait only if every limit that refuses it lets it
    wait_s = min(denial.wait_s for denial in denials if denial is longest or denial.retry_after_s > 0)
    # rounding may leave nothing of a wait that was there when it was compared
    return longest.told(max(longest.retry_after_s, LEAST_RETRY_S), wait_s, headroom)
