"""The port of counters: limits and budgets of one call, granted all together or not at all. Must not name an adapter.

An account is what one kind of call is counted on. A reservation is what one attempt holds there until it ends, once:
`reserve -> settle | void | expire`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, Literal, Protocol

import msgspec

from sekisho.domain.spending import MARKS, BudgetEvent, OnExceed, Period, Scope, scope_text

How = Literal["settled", "void", "expired"]
Cause = Literal["requests", "tokens", "concurrency", "budget", "unavailable"]

#: a limit of concurrency has no rate by which to say when a call may end; official SDKs double their wait by themselves
BUSY_RETRY_S = 1.0
#: `retry-after-ms` is in whole milliseconds
LEAST_RETRY_S = 0.001


#: a thousandth of a request or token: sums of floats must not refuse the last one that fits
SLIP = 1e-3
#: begins the key under which scopes are counted together that are too many
OTHERS = "others:"


class MeterSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one instance of a scope; None: not limited. `burst_s` is the size of a bucket in time."""

    key: str
    scope: Scope
    qpm: int | None = None
    q_burst_s: float = 60.0
    tpm: int | None = None
    t_burst_s: float = 60.0
    concurrency: int | None = None
    wait_s: float = 0.0

    @property
    def q_room_s(self) -> float:
        """The size of the bucket of requests in time: it holds one, however short the burst."""
        return self.q_burst_s if self.qpm is None else max(self.q_burst_s, 60.0 / self.qpm)


class BudgetSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One budget of one instance of a scope. `key` names it without its period's beginning."""

    key: str
    scope: Scope
    amount_nanos: int
    period: Period
    on_exceed: OnExceed
    degrade_to: str | None = None


class Headroom(msgspec.Struct, frozen=True, kw_only=True):
    """The tightest limit of requests and that of tokens, for `x-ratelimit-*`; None: there is none. Resets in seconds
    until the bucket is full."""

    limit_requests: int | None = None
    remaining_requests: int = 0
    reset_requests_s: float = 0.0
    limit_tokens: int | None = None
    remaining_tokens: int = 0
    reset_tokens_s: float = 0.0


class Denial(msgspec.Struct, frozen=True, kw_only=True):
    """Why a reservation was not granted. Nothing was debited. Only the facts of its cause are filled in."""

    cause: Cause
    scope: Scope = ()
    #: a call that waits so long is granted, if nobody else calls meanwhile
    retry_after_s: float = BUSY_RETRY_S
    #: how long the limit lets a call wait
    wait_s: float = 0.0
    limit: int = 0
    headroom: Headroom | None = None
    budget: BudgetSpec | None = None
    spent_nanos: int = 0
    reserved_nanos: int = 0
    wanted_nanos: int = 0

    def at(self, spec: MeterSpec, retry_after_s: float) -> Denial:
        """The same of one limit, with its own wait."""
        return msgspec.structs.replace(self, scope=spec.scope, retry_after_s=retry_after_s, wait_s=spec.wait_s)

    def told(self, retry_after_s: float, wait_s: float, headroom: Headroom | None) -> Denial:
        """The same as it is told, when all limits were asked."""
        return msgspec.structs.replace(self, retry_after_s=retry_after_s, wait_s=wait_s, headroom=headroom)


class SpentBefore(msgspec.Struct, frozen=True, kw_only=True):
    """Nano-dollars that the rows say were spent, of calls that had ended before a time, in the periods that hold it."""

    #: by budget key
    nanos: Mapping[str, int]
    #: of these sums what is of calls that died with their gateway of late: by request id, then by budget key
    died: Mapping[str, Mapping[str, int]] = {}


class Reservation:
    """What one attempt holds. `how` is None while it runs; its end changes it once."""

    __slots__ = (
        "account",
        "dispatched",
        "how",
        "id",
        "made_s",
        "most_nanos",
        "reserved_nanos",
        "seen",
        "sizes",
        "tokens",
        "turn",
    )

    def __init__(
        self, account: Any, made_s: float, tokens: int, reserved_nanos: int, most_nanos: int, id: str, turn: int
    ) -> None:
        #: the adapter's own, from `bind`
        self.account = account
        #: monotonic seconds
        self.made_s = made_s
        self.tokens = tokens
        self.reserved_nanos = reserved_nanos
        #: what the attempt can cost at most
        self.most_nanos = most_nanos
        self.id = id
        self.how: How | None = None
        #: the request has gone out, so the provider may charge for it
        self.dispatched = False
        #: what a remote store told with the grant
        self.seen: Any = None
        #: what learns from the size of the answer
        self.sizes: Any = None
        #: how often a period had ended in the store when this was granted
        self.turn = turn


class MeterState(msgspec.Struct, frozen=True, kw_only=True):
    """A limit now, for people."""

    spec: MeterSpec
    remaining_requests: int | None
    remaining_tokens: int | None
    running: int


class Tightest:
    """Collects limits and keeps the tightest of requests and of tokens: the one with the least left."""

    __slots__ = ("_q", "_t")

    def __init__(self) -> None:
        self._q: tuple[int, int, float] | None = None
        self._t: tuple[int, int, float] | None = None

    def requests(self, limit: int, burst_s: float, full_in_s: float) -> None:
        self._q = _tighter(self._q, limit, burst_s, full_in_s)

    def tokens(self, limit: int, burst_s: float, full_in_s: float) -> None:
        self._t = _tighter(self._t, limit, burst_s, full_in_s)

    def headroom(self) -> Headroom | None:
        q, t = self._q, self._t
        if q is None and t is None:
            return None
        return Headroom(
            limit_requests=q[0] if q else None,
            remaining_requests=q[1] if q else 0,
            reset_requests_s=q[2] if q else 0.0,
            limit_tokens=t[0] if t else None,
            remaining_tokens=t[1] if t else 0,
            reset_tokens_s=t[2] if t else 0.0,
        )


def left_of(limit: int, burst_s: float, full_in_s: float) -> int:
    """Whole requests or tokens that are in a bucket which will be full in so many seconds."""
    return max(0, int((burst_s - max(0.0, full_in_s)) * limit / 60.0 + SLIP))


def _tighter(
    now: tuple[int, int, float] | None, limit: int, burst_s: float, full_in_s: float
) -> tuple[int, int, float]:
    left = left_of(limit, burst_s, full_in_s)
    return now if now is not None and now[1] <= left else (limit, left, max(0.0, full_in_s))


def next_mark(amount_nanos: int, percent: int) -> int:
    """What must be spent for the first mark above `percent`, rounded up; out of reach after the last one."""
    for mark in MARKS:
        if mark > percent:
            return -(-amount_nanos * mark // 100)
    return 2**62


def event_of(spec: BudgetSpec, begins_wall_s: float, percent: int, spent_nanos: int, wall_s: float) -> BudgetEvent:
    """Its id holds the amount too: a budget that was raised passes its marks anew."""
    return BudgetEvent(
        id=f"{spec.key}@{begins_wall_s:.0f}:{spec.amount_nanos}:{percent}",
        budget=spec.key,
        scope=scope_text(spec.scope),
        period=spec.period,
        percent=percent,
        spent_nanos=spent_nanos,
        amount_nanos=spec.amount_nanos,
        period_start_s=begins_wall_s,
        at_s=wall_s,
    )


class BudgetState(msgspec.Struct, frozen=True, kw_only=True):
    """A budget now, for people. `bound_nanos`: it cannot be overspent by more than this by the calls in flight."""

    spec: BudgetSpec
    spent_nanos: int
    reserved_nanos: int
    bound_nanos: int
    resets_at_s: float


Outcome = Reservation | Denial


class Account(Protocol):
    """What one kind of call is counted on; an adapter's own."""

    def headroom(self, reservation: Reservation, now_s: float) -> Headroom | None:
        """The tightest limits that a reservation of this account has left over; None: nothing is limited."""
        ...


class Counters(Protocol):
    """Where limits and budgets are counted. Times are monotonic seconds unless a name says `wall`.

    Fails open for limits and closed for blocking budgets (`unavailable`); a memory adapter cannot fail. Adapters have a
    `tick(now_s, wall_s)` besides, to be called about once a second by whoever opened them; it returns True when idle
    meters were dropped, so that every account has to be bound anew.
    """

    #: whether `admit` has to wait for an answer
    remote: bool

    def bind(
        self,
        meters: Iterable[MeterSpec],
        carried: Iterable[MeterSpec],
        budgets: Iterable[BudgetSpec],
        counted: Iterable[BudgetSpec] = (),
    ) -> Any:
        """An account for `admit`, to be kept: making one costs more than a call. What is known by a key goes on under
        its new specification. `carried` meters count tokens and calls at once, and neither refuse nor count a request:
        they have let the call in already. `counted` budgets refuse nothing here, whatever they do to other calls."""
        ...

    def admit(
        self, account: Any, now_s: float, tokens: int, reserve_nanos: int, most_nanos: int, id: str
    ) -> Outcome | Awaitable[Outcome]:
        """Debit every meter and reserve in every budget of the account, or debit nothing and say why. `id` is new for
        each attempt. Never raises on account of the store."""
        ...

    def dispatched(self, reservation: Reservation) -> None:
        """The request goes out: from now on the provider may charge, and a reservation that expires is charged as
        estimated."""
        ...

    def end(self, reservation: Reservation, how: How, now_s: float, tokens: int = 0, cost_nanos: int = 0) -> bool:
        """Give back what is held and count what was used. False, and no change, when it had ended before: but what was
        settled and is settled again, of a failed attempt when its call ends, is counted now where `remote` budgets were
        rebuilt meanwhile, from rows that do not hold the call yet."""
        ...

    def look(self, now_s: float, *, meters: bool = True) -> Awaitable[tuple[list[MeterState], list[BudgetState]]]:
        """Everything that is counted, for people and metrics; without `meters` budgets alone."""
        ...


class EventSink(Protocol):
    """Takes budget events; must keep one of equal ids, must not wait, and must not raise."""

    def __call__(self, event: BudgetEvent) -> None: ...
