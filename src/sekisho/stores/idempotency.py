"""The port for answers that are kept for callers who ask again with the same key. Must not know what an answer is.

A record is found by a digest and holds nothing that can be read: who asked, what, and the answer are digests and
ciphertext by the time they come here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

#: `claimed`: nothing was there, and the record is now its owner's; `running`: another owner works on it; `kept`: there
#: is an answer; `other_body`: somebody asked something else under this id
FoundState = Literal["claimed", "running", "kept", "other_body"]
#: how long any call to a store may take
TIMEOUT_S = 1.0
#: A store that several machines share moves the times of a caller by what its own clock differs from the caller's: one
#: whose clock is far ahead would take over a claim whose call still runs elsewhere, and pay twice. What is smaller is
#: the way of the question on a busy machine, and little beside a lease of a minute.
SMALL_DIFFERENCE_US = 5_000_000


def wall_us() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


class Found(msgspec.Struct, frozen=True):
    """What a claim met; `sealed` is the answer of one that is kept."""

    state: FoundState
    sealed: bytes | None = None

    def __repr__(self) -> str:
        return f"Found({self.state!r})"


class Lease(msgspec.Struct, frozen=True):
    """The right of one owner to answer under one id. Each claim makes its own owner."""

    id: bytes
    owner: bytes


class IdempotencyStore(Protocol):
    """Claims and kept answers. Times are microseconds since 1970, UTC, as the caller's clock has them; see
    `SMALL_DIFFERENCE_US`.

    Every method but `close` answers within `TIMEOUT_S` or raises StoreUnavailable, and never blocks the event loop. A
    claim or an answer is as if it had never been from its `until_us` on.
    """

    async def claim(self, lease: Lease, asked: bytes, now_us: int, until_us: int) -> Found:
        """Take the id, or say what is there. `asked` is the digest of what is asked. Of many who claim at once, one is
        given it. A claim whose caller heard nothing of it, for an error or a cancellation, is given up."""
        ...

    async def keep(self, lease: Lease, sealed: bytes, until_us: int) -> bool:
        """Put the answer in the place of the claim; False where the claim is another's by now, or there is no room."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give a claim up, so that the next one who asks is given it. Never touches an answer or another's claim."""
        ...

    async def tend(self, leases: Sequence[Lease], now_us: int, until_us: int) -> None:
        """Prolong these claims, and delete what is past its time."""
        ...

    async def close(self) -> None: ...
