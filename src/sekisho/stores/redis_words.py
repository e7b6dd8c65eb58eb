"""What is said to Redis and how its answers read. Must stay words: nothing is sent from here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import msgspec

from sekisho.domain.spending import Period
from sekisho.stores.counters import SLIP, BudgetSpec, Headroom, MeterSpec, Reservation, Tightest

Word = str | bytes | int
Words = tuple[Word, ...]

#: one hash slot, so that a cluster takes the script too
_PREFIX = "{sekisho}:"
EPOCH, LEASES, SENT, WORKERS, RULES, SAID = (
    _PREFIX + name for name in ("epoch", "leases", "sent", "workers", "rules", "said:")
)
LEASE = _PREFIX + "l:"
#: that one of the late looks at the rows is done
LATE_DONE = b"done"
SCRIPT = files("sekisho.stores").joinpath("redis_counters.lua").read_text("utf-8")
#: the name by which EVALSHA knows the script
SCRIPT_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
#: of who builds, as long as nobody else does
_IF_OURS = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end return {}"
#: gives the server the script
LOADING = ("SCRIPT", "LOAD", SCRIPT)
#: a number of microseconds that no bucket reaches
_NEVER = 10**18
#: how long the sums of a period stay after its end, for settlements that come late
_KEPT_S = 3 * 86_400
Windows = Mapping[Period, tuple[float, float]]


class Place(msgspec.Struct, frozen=True):
    """An account's words in the present periods: keys after the lease's, and numbers after the call's own."""

    turn: int
    keys: tuple[str, ...]
    numbers: Words
    budget_keys: tuple[str, ...]
    budget_ends: tuple[int, ...]


class Seen(msgspec.Struct, frozen=True):
    """What belongs to a reservation that the server granted."""

    epoch: str
    place: Place
    reply: list[Any]


class RedisAccount:
    """What one kind of call is counted on. `local` is this worker's share of it, for when the server is away."""

    __slots__ = ("blocks", "budgets", "carried", "local", "meters", "place", "stops")

    def __init__(
        self,
        meters: tuple[MeterSpec, ...],
        carried: tuple[MeterSpec, ...],
        budgets: tuple[BudgetSpec, ...],
        counted: tuple[BudgetSpec, ...],
        local: Any,
    ) -> None:
        self.meters = meters
        self.carried = carried
        self.budgets = budgets + counted
        #: which of the budgets can refuse or divert the call
        self.stops = tuple(spec.on_exceed != "warn" for spec in budgets) + (False,) * len(counted)
        self.blocks = any(spec.on_exceed == "block" for spec in budgets)
        self.local = local
        self.place: Place | None = None

    def headroom(self, reservation: Reservation, now_s: float) -> Headroom | None:
        """As the server told it with the grant, and time has gone on."""
        seen = reservation.seen
        if not isinstance(seen, Seen):
            return self.local.headroom(seen, now_s)
        found = Tightest()
        passed_s = now_s - reservation.made_s
        asked = [(q_s, t_s, 1) for q_s, t_s, _ in levels(seen.reply, len(self.meters))]
        at = 3 + 3 * len(self.meters) + 2 * len(self.budgets)
        added = [(seen.reply[at + 2 * i] / 1e6, seen.reply[at + 2 * i + 1] / 1e6, 0) for i in range(len(self.carried))]
        for spec, (q_s, t_s, calls) in zip(self.meters + self.carried, asked + added, strict=True):
            if spec.qpm is not None:
                found.requests(spec.qpm, spec.q_room_s, q_s + calls * 60.0 / spec.qpm - passed_s)
            if spec.tpm is not None:
                found.tokens(spec.tpm, spec.t_burst_s, t_s + reservation.tokens * 60.0 / spec.tpm - passed_s)
        return found.headroom()

    def placed(self, windows: Windows, turn: int) -> Place:
        """The words for the periods of now; they change when a period ends."""
        place = self.place
        if place is None or place.turn != turn:
            place = self.place = self._placed(windows, turn)
        return place

    def _placed(self, windows: Windows, turn: int) -> Place:
        keys: list[str] = []
        numbers: list[Word] = []
        for spec in self.meters:
            keys += meter_keys(spec)
            numbers += _meter_numbers(spec)
        for spec in self.carried:
            keys += meter_keys(spec)
            numbers += [_interval(spec.tpm), int(spec.concurrency is not None)]
        budget_keys: list[str] = []
        ends: list[int] = []
        for spec, stops in zip(self.budgets, self.stops, strict=True):
            begins_s, ends_s = windows[spec.period]
            budget_keys.append(budget_key(spec.key, begins_s))
            ends.append(kept_until(ends_s))
            numbers += [spec.amount_nanos, int(stops), ends[-1]]
        return Place(turn, (*keys, *budget_keys), tuple(numbers), tuple(budget_keys), tuple(ends))


def asking(way: str, reservation: Reservation, place: Place, epoch: str, lease_ms: int) -> Words:
    """`admit`, or `hold` for one that was granted before."""
    account: RedisAccount = reservation.account
    return (
        *("EVALSHA", SCRIPT_SHA, 4 + len(place.keys)),
        *(EPOCH, LEASES, SENT, LEASE + reservation.id, *place.keys),
        *(way, reservation.id, lease_ms, reservation.tokens, reservation.reserved_nanos),
        *(reservation.most_nanos - reservation.reserved_nanos, epoch),
        *(len(account.meters), len(account.carried), len(account.budgets), *place.numbers),
    )


def ending(id: str, place: Place, epoch: str, ended_ms: int, tokens: int, cost_nanos: int) -> Words:
    """`end`; `epoch` is that of the grant, and `ended_ms` since 1970."""
    return (
        *("EVALSHA", SCRIPT_SHA, 4 + len(place.budget_keys), EPOCH, LEASES, SENT, LEASE + id, *place.budget_keys),
        *("end", id, tokens, cost_nanos, epoch, ended_ms, len(place.budget_keys), *place.budget_ends),
    )


def expiring(most: int) -> Words:
    """`expire`."""
    return ("EVALSHA", SCRIPT_SHA, 4, EPOCH, LEASES, SENT, LEASE, "expire", most)


def dying(calls: Sequence[str]) -> Words:
    """`died`: by the ids of calls."""
    return ("EVALSHA", SCRIPT_SHA, 4, EPOCH, LEASES, SENT, LEASE, "died", *calls)


def building(old_epoch: str, epoch: str, life_ms: int) -> Words:
    """`build`."""
    patterns = [f"{_PREFIX}{kind}:*" for kind in "blc"]
    return ("EVALSHA", SCRIPT_SHA, 5, EPOCH, LEASES, SENT, LEASE, RULES, "build", old_epoch, epoch, life_ms, *patterns)


def prolonging(claim: str, life_ms: int) -> Words:
    """That who builds is still at it."""
    return ("EVAL", _IF_OURS.format("redis.call('PEXPIRE', KEYS[1], ARGV[2])"), 1, EPOCH, claim, life_ms)


def leaving(claim: str) -> Words:
    """That who builds has given up; what another worker has built meanwhile stays."""
    return ("EVAL", _IF_OURS.format("redis.call('DEL', KEYS[1])"), 1, EPOCH, claim)


def restoring(old_epoch: str, epoch: str, sums: Mapping[str, int], windows: Windows) -> Words:
    """`restore`: sums by budget key, in the periods that `windows` names."""
    keys, values = _sums(sums, windows)
    return (
        *("EVALSHA", SCRIPT_SHA, 4 + len(keys), EPOCH, LEASES, SENT, LEASE, *keys),
        *("restore", old_epoch, epoch, *values),
    )


def adding_late(epoch: str, sums: Mapping[str, int], windows: Windows) -> Words:
    """`late`: sums by budget key, as for `restoring`."""
    keys, values = _sums(sums, windows)
    return (
        *("EVALSHA", SCRIPT_SHA, 4 + len(keys), EPOCH, LEASES, SENT, LEASE, *keys),
        *("late", epoch, *values),
    )


def as_of(epoch: str) -> float:
    """Up to when (seconds since 1970) the rows were read from which the budgets of an epoch were built."""
    ms = epoch.rpartition("@")[2]
    return int(ms) / 1000 if ms.isdigit() else 0.0


def late_step(epoch: str, step: int) -> str:
    """Where it stands who looks at the late rows of an epoch for the n-th time."""
    return f"{_PREFIX}late:{step}:{epoch}"


def adopting(as_of_ms: int, sums: Mapping[str, int], windows: Windows, idle_since_ms: Mapping[str, int]) -> Words:
    """`adopt`, likewise; those that are named did not hold since then."""
    keys, values = _sums(sums, windows)
    idle = [idle_since_ms.get(key, 0) for key in sums]
    return (
        *("EVALSHA", SCRIPT_SHA, 4 + len(keys), EPOCH, LEASES, SENT, LEASE, *keys),
        *("adopt", as_of_ms, *idle, *values),
    )


def _sums(sums: Mapping[str, int], windows: Windows) -> tuple[list[str], list[int]]:
    keys: list[str] = []
    values: list[int] = []
    for key, spent in sums.items():
        begins_s, ends_s = windows[_period_of(key)]
        keys.append(budget_key(key, begins_s))
        values += [spent, kept_until(ends_s)]
    return keys, values


def saying(epoch: str, names: Sequence[bytes]) -> Words:
    """`say`: that the budgets of these names hold now."""
    return ("EVALSHA", SCRIPT_SHA, 5, EPOCH, LEASES, SENT, LEASE, RULES, "say", epoch, *names)


def levels(reply: list[Any], meters: int) -> list[tuple[float, float, int]]:
    """Of each meter: seconds until its requests and its tokens are full, and how many calls run."""
    return [(reply[at] / 1e6, reply[at + 1] / 1e6, int(reply[at + 2])) for at in range(3, 3 + 3 * meters, 3)]


def meter_keys(spec: MeterSpec) -> tuple[str, str]:
    """Its buckets, and the set of running calls."""
    return f"{_PREFIX}m:{spec.key}", f"{_PREFIX}c:{spec.key}"


def budget_key(key: str, begins_s: float) -> str:
    """A budget in the period that begins then."""
    return f"{_PREFIX}b:{key}@{begins_s:.0f}"


def begins_of(redis_key: str) -> float:
    """When the period of a key from `budget_key` begins."""
    return float(redis_key.rpartition("@")[2])


def kept_until(ends_s: float) -> int:
    return int(ends_s) + _KEPT_S


def _period_of(key: str) -> Period:
    """From the key of a BudgetSpec: `scope|period|way`."""
    period: Any = key.rsplit("|", 2)[1]
    return period


def _meter_numbers(spec: MeterSpec) -> list[Word]:
    """Interval and slack of requests, interval and burst of tokens, most calls at once; as `Meter` reckons them."""
    q_interval = 60e6 / spec.qpm if spec.qpm is not None else 0.0
    q_slack = max(0.0, spec.q_burst_s * 1e6 - q_interval) + q_interval * SLIP
    t_interval = 60e6 / spec.tpm if spec.tpm is not None else 0.0
    return [
        repr(q_interval),
        _NEVER if spec.qpm is None else repr(q_slack),
        repr(t_interval),
        _NEVER if spec.tpm is None else repr(spec.t_burst_s * 1e6 + t_interval * SLIP),
        -1 if spec.concurrency is None else spec.concurrency,
    ]


def _interval(tpm: int | None) -> str:
    return repr(60e6 / tpm) if tpm is not None else "0"
