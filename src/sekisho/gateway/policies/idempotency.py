"""`Idempotency-Key`: who asks again with the same key gets the answer that was given. Must never answer one caller with
another's answer, nor let two calls with one key do the work at the same time.

409 while the first call runs, 422 for another body: draft-ietf-httpapi-idempotency-key-header-07, 2.7. What is kept is
a whole answer: a failure, a refusal, a stream that was cut or left is given up, and the next call does the work.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from sekisho.domain.call import Entry, TerminalState
from sekisho.domain.errors import Refusal
from sekisho.formats.openai import ChunkFacts
from sekisho.formats.sse import DONE, SseSplitter
from sekisho.gateway.drive import own_task
from sekisho.gateway.stream import Edge, WhenDurable
from sekisho.gateway.upstream import EdgeOf
from sekisho.stores.idempotency import Found, IdempotencyStore, Lease
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.sealing import SealBroken, Sealer

log = logging.getLogger("sekisho.gateway")

HEADER = b"idempotency-key"
MOST_KEY_CHARS = 255
KEPT_S = 24 * 3600
#: a claim that nobody prolongs ends so long after, which is how long a killed process locks its keys
LEASE_S = 60
_TEND_EVERY_S = 15.0
#: of one answer; a larger one is not kept
MOST_ANSWER_BYTES = 2 * 1024 * 1024
#: of what is sealed or opened; the rest is quicker done than handed to a thread
_OFF_THE_LOOP_BYTES = 64 * 1024
#: running calls are given so long to put their answers away when the gateway stops
_CLOSE_S = 2.0
_KEY = re.compile(rb"[\x21-\x7e]{1,%d}" % MOST_KEY_CHARS)
_US = 1_000_000
#: what is counted of calls with a key
OUTCOMES = ("claimed", "replayed", "in_use", "other_body", "not_kept", "unavailable")


class KeptAnswer(msgspec.Struct, frozen=True, array_like=True):
    """An answer as it was given, and by whom. `body` of a stream are all its frames."""

    request_id: str
    provider: str | None
    model: str | None
    finish_reasons: list[str] | None
    body: bytes

    def __repr__(self) -> str:
        return f"KeptAnswer({self.request_id!r})"


class Claim:
    """The right of a running call to answer for its key."""

    __slots__ = ("frames", "frames_bytes", "lease")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        #: of a stream, as far as they may be kept
        self.frames: list[bytes] | None = None
        self.frames_bytes = 0


class Idempotency:
    """One per process. `counts` is by outcome; `now_us` the wall clock, microseconds since 1970."""

    def __init__(
        self,
        store: IdempotencyStore,
        secret: bytes,
        counts: dict[str, int],
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._store = store
        self._sealer = Sealer(secret, "sekisho idempotency 1")
        self._now_us = now_us
        #: by owner
        self._running: dict[bytes, Claim] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._tended_s: float | None = None
        self._complained = False
        self._loaded = False
        counts.update(dict.fromkeys(OUTCOMES, 0))
        self.counts = counts

    # -- before the work

    async def claim(self, entry: Entry) -> KeptAnswer | None:
        """The answer that was given, or None: then the work is this call's, and one of the methods below must end it.

        Raises Refusal: 400 for a key that is none, 409 while another call works on it, 422 for another body, 503 when
        the store does not answer. Without the store there is no telling whether the work was done, and a caller who
        sends a key does so in order that it is not done twice.
        """
        key = entry.call.headers[HEADER].strip(b" \t")  # the parser leaves white space behind a value
        if not _KEY.fullmatch(key):
            reason = "it must have 1 to {most} visible ASCII characters, and be sent once"
            raise Refusal(400, "invalid_value", param="Idempotency-Key", reason=reason, most=MOST_KEY_CHARS)
        caller = entry.caller
        assert caller is not None
        scope = self._sealer.digest("key", caller.key_id.encode(), entry.call.route.path.encode(), key)
        asked = self._sealer.digest("body", entry.call.body)
        lease = Lease(scope, os.urandom(16))
        if not self._loaded:
            await own_task(asyncio.to_thread(self._sealer.load))
            self._loaded = True
        now_us = self._now_us()
        try:
            claiming = self._store.claim(lease, asked, now_us, now_us + LEASE_S * _US)
            found = await own_task(claiming, lambda found: self._unwanted(lease, found))
        except StoreUnavailable as error:
            self._complain(error)
            raise self._unavailable() from None
        return await self._found(entry, lease, found)

    async def _found(self, entry: Entry, lease: Lease, found: Found) -> KeptAnswer | None:
        if found.state == "claimed":
            self.counts["claimed"] += 1
            entry.claim = self._running[lease.owner] = Claim(lease)
            return None
        if found.state == "running":
            self.counts["in_use"] += 1
            raise Refusal(409, "idempotency_key_in_use", param="Idempotency-Key", retry_after_s=1)
        if found.state == "other_body":
            self.counts["other_body"] += 1
            raise Refusal(422, "idempotency_key_reused", param="Idempotency-Key", retry=False)
        try:
            kept = _decode(await self._sealing(self._sealer.open, lease.id, found.sealed or b""))
        except (SealBroken, msgspec.DecodeError) as error:
            log.error("a kept answer cannot be read: %s", error)
            raise self._unavailable() from None
        self.counts["replayed"] += 1
        _onto(entry, kept)
        return kept

    # -- after it

    async def keep(self, entry: Entry, body: bytes) -> None:
        """Keep a whole answer before it is given. A caller who leaves meanwhile changes nothing. Never raises for the
        store: the work is done and the answer is the caller's."""
        if (claim := self._taken(entry)) is not None:
            await asyncio.shield(self._soon(self._keep(entry, claim, body)))

    def recording(self, entry: Entry, edge_of: EdgeOf) -> EdgeOf:
        """Edges whose frames are kept, as far as they may be; a new attempt begins anew."""
        claim = entry.claim
        assert isinstance(claim, Claim)

        def recorded(provider: Any) -> Edge:
            claim.frames, claim.frames_bytes = [], 0
            return _Recorded(edge_of(provider), claim)

        return recorded

    def ended(self, entry: Entry, state: TerminalState, before: WhenDurable | None) -> WhenDurable | None:
        """The end of a stream. Gives what its last frames have to wait for: `before`, and the answer's being kept."""
        claim = self._taken(entry)
        if claim is None:
            return before
        if state != "completed" or claim.frames is None:
            self._give_up(claim, counted=state == "completed")
            return before
        kept = self._soon(self._keep(entry, claim, b"".join(claim.frames)))

        def when_kept(told: Callable[[bool], None]) -> None:
            kept.add_done_callback(lambda _: told(True) if before is None else before(told))

        return when_kept

    def release(self, entry: Entry) -> None:
        """There is no answer to keep: who asks again does the work."""
        if (claim := self._taken(entry)) is not None:
            self._give_up(claim, counted=False)

    # -- in between

    def tick(self, now_s: float) -> None:
        """About once a second, by a monotonic clock: prolongs what runs, deletes what is past its time."""
        if self._tended_s is None or now_s - self._tended_s >= _TEND_EVERY_S:
            self._tended_s = now_s
            self._soon(self._tend())

    async def close(self) -> None:
        """What was answered is put away, as far as the store answers."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_S)
        await self._store.close()

    def _taken(self, entry: Entry) -> Claim | None:
        """The entry's claim, once."""
        claim, entry.claim = entry.claim, None
        return claim if isinstance(claim, Claim) else None

    async def _keep(self, entry: Entry, claim: Claim, body: bytes) -> None:
        lease = claim.lease
        kept = False
        try:
            if len(body) <= MOST_ANSWER_BYTES:
                target = entry.attempts[-1].target if entry.attempts else None
                answer = KeptAnswer(
                    entry.call.request_id,
                    None if target is None else target.provider,
                    None if target is None else target.model,
                    entry.finish_reasons,
                    body,
                )
                sealed = await self._sealing(self._sealer.seal, lease.id, _encode(answer))
                kept = await self._store.keep(lease, sealed, self._now_us() + KEPT_S * _US)
            if not kept:
                await self._store.release(lease)
        except StoreUnavailable as error:
            self._complain(error)
        finally:
            self._running.pop(lease.owner, None)
            if not kept:
                self.counts["not_kept"] += 1

    async def _sealing(self, work: Callable[[bytes, bytes], bytes], id: bytes, content: bytes) -> bytes:
        """At once where it is small; 2 MiB take some milliseconds, for which other calls need not wait."""
        if len(content) < _OFF_THE_LOOP_BYTES:
            return work(id, content)
        return await own_task(asyncio.to_thread(work, id, content))

    def _give_up(self, claim: Claim, *, counted: bool) -> None:
        self.counts["not_kept"] += counted
        self._soon(self._release(claim.lease))

    def _unwanted(self, lease: Lease, found: Found) -> None:
        """The caller left in the moment in which the claim was given."""
        if found.state == "claimed":
            self._soon(self._release(lease))

    async def _release(self, lease: Lease) -> None:
        self._running.pop(lease.owner, None)
        try:
            await self._store.release(lease)
        except StoreUnavailable as error:
            self._complain(error)  # it ends with its lease

    async def _tend(self) -> None:
        now_us = self._now_us()
        try:
            leases = [claim.lease for claim in self._running.values()]
            await self._store.tend(leases, now_us, now_us + LEASE_S * _US)
            self._complained = False
        except StoreUnavailable as error:
            self._complain(error)

    def _soon(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """In a task of its own, which nobody's leaving cancels."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _complain(self, error: StoreUnavailable) -> None:
        """Once, until the store answers again."""
        if not self._complained:
            self._complained = True
            log.warning("calls with an Idempotency-Key are refused or not kept: %s", error)

    def _unavailable(self) -> Refusal:
        self.counts["unavailable"] += 1
        return Refusal(503, "store_unavailable", type="server_error", retry_after_s=1)


class _Recorded:
    """An edge whose frames are kept, but for errors and comments."""

    __slots__ = ("_claim", "_edge")

    def __init__(self, edge: Edge, claim: Claim) -> None:
        self._edge = edge
        self._claim = claim

    def frames(self, payload: bytes, facts: ChunkFacts) -> bytes:
        return self._record(self._edge.frames(payload, facts))

    def end(self) -> bytes:
        return self._record(self._edge.end())

    def error(self, code: str) -> bytes:
        return self._edge.error(code)

    def ping(self) -> bytes:
        return self._edge.ping()

    def _record(self, frames: bytes) -> bytes:
        claim = self._claim
        if claim.frames is not None:
            claim.frames_bytes += len(frames)
            if claim.frames_bytes <= MOST_ANSWER_BYTES:
                claim.frames.append(frames)
            else:
                claim.frames = None
        return frames


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(KeptAnswer).decode


def _onto(entry: Entry, kept: KeptAnswer) -> None:
    """What the row of a replay says: an answer, and no work."""
    entry.cache_status = "replay"
    entry.finish_reasons = kept.finish_reasons
    if entry.endpoint is None or entry.endpoint.log != "full":
        return
    if not entry.streaming:
        entry.response = kept.body
    elif entry.call.route.protocol == "openai_chat":
        # frames of other protocols are not what the tables assemble answers from
        entry.events = [payload for payload in SseSplitter().feed(kept.body) if payload != DONE]
