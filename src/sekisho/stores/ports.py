"""The ports: what the gateway asks of a store. Must not name an adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from sekisho.domain.row import Record

if TYPE_CHECKING:
    from sekisho.stores.control import Actor, ControlRecords

KeyState = Literal["active", "expired", "revoked"]


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual key as stored: never the secret, only its HMAC-SHA256 digest. Times: microseconds since 1970, UTC."""

    id: str
    name: str
    digest: bytes
    team: str | None = None
    user: str | None = None
    role: str = "user"
    #: endpoint names, `provider/*`, or `*` for every endpoint
    endpoints: tuple[str, ...] = ("*",)
    created_at_us: int = 0
    expires_at_us: int | None = None
    revoked_at_us: int | None = None
    #: the key this one replaced, when it came from a rotation
    replaces: str | None = None
    #: the key that replaced this one; set by the store
    replaced_by: str | None = None
    declared: bool = False
    on_behalf: bool = False

    def state(self, now_us: int) -> KeyState:
        """What the key is at a time; it holds until just before `expires_at_us`."""
        if self.revoked_at_us is not None:
            return "revoked"
        if self.expires_at_us is not None and now_us >= self.expires_at_us:
            return "expired"
        return "active"


class KeyStore(Protocol):
    """Virtual keys. Every method raises StoreUnavailable when the store does not answer. `by` is who makes a change,
    the command line unless it is said; SQL adapters note it in the transaction of the change.

    A name belongs to one current key: a key gives it up when it is revoked or replaced, not when it expires (its
    limits and its history go by the name, and a lapsed key should be rotated, not met by a stranger). A replaced key
    keeps the name beside its successor until it ends, so limits on the name hold for both.
    """

    def add(self, record: KeyRecord, *, replaced_until_us: int | None = None, by: Actor = ...) -> None:
        """Add a key. With `replaces` the old key is marked `replaced_by` and, unless it ends earlier, ends at
        `replaced_until_us`, in the same transaction.

        Raises NameTaken, NotCurrent (the key to replace is unknown, revoked or replaced already), and ValueError for
        an id or digest that is already there.
        """
        ...

    def all(self) -> list[KeyRecord]:
        """All keys, also ended ones, oldest first."""
        ...

    def revoke(self, key_id: str, at_us: int, *, by: Actor = ...) -> bool:
        """End a key for good; False if there is none. The first time it was revoked stays."""
        ...

    def expire(self, key_id: str, at_us: int, *, by: Actor = ...) -> bool:
        """Let a key end at a time; False if there is none. Never prolongs a life, never changes a revoked key."""
        ...

    def version(self) -> int:
        """Grows with every change, also one made by another process; calls that change nothing leave it."""
        ...


class KeySnapshot(Protocol):
    """The reading half of a KeyStore, which is all that the serving process needs."""

    def all(self) -> list[KeyRecord]: ...
    def version(self) -> int: ...


class ControlSnapshot(KeySnapshot, Protocol):
    """The reading half of the whole control database: one version for keys and everything else."""

    def control(self) -> ControlRecords: ...


class RowSink(Protocol):
    """Where calls go. `begin` and `append` are synchronous and never wait: they are on the way of every call."""

    #: whether calls may be dispatched; False where rows cannot be kept and the policy is to take no call then
    takes_calls: bool

    def begin(self, record: Record) -> bool:
        """Note a call about to be dispatched as the row it becomes when this process dies; False where it cannot."""
        ...

    def append(self, record: Record) -> None: ...
    def when_durable(self, told: Callable[[bool], None]) -> None:
        """Tell, on the running loop, when every row so far survives a power cut; False where the disk refuses."""
        ...

    def close(self) -> None: ...


class StoreUnavailable(Exception):
    """The store did not answer in time; callers answer 503, never 401."""


class ClientMissing(StoreUnavailable):
    """The package that speaks to the store is not installed."""


class NameTaken(Exception):
    """Another current key, `holder`, has the name."""

    def __init__(self, name: str, holder: str) -> None:
        super().__init__(f"the name {name!r} belongs to {holder}")
        self.name = name
        self.holder = holder


class NotCurrent(Exception):
    """The key is unknown, revoked, or was replaced already."""


class NotWritable(StoreUnavailable):
    """The control database can be read and not written: a standby, or a user without the right to."""

    def __init__(self, reason: object) -> None:
        super().__init__(f"the control database cannot be written: {reason}")
        self.reason = reason


class LaterVersion(StoreUnavailable):
    """The control database was brought to a schema that this version does not know. `database` is its path, or
    PostgreSQL."""

    def __init__(self, database: object) -> None:
        super().__init__(f"the control database ({database}) was written by another version of Sekisho, a later one")
        self.database = database
