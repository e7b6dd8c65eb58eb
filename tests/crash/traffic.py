"""Mixed load from clients that note what they were told. Must count an answer only when its last byte has come."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.crash.house import KEY

_PAUSE_S = 0.02
#: while nobody listens
_DOWN_S = 0.05
_BODY = {"messages": [{"role": "user", "content": "山田さん、関所へようこそ。" * 8}]}
_STREAM = {"stream": True, "stream_options": {"include_usage": True}}


@dataclass(slots=True)
class Note:
    """One call as its client knows it. `mark` is the x-client-request-id, and no two calls have the same."""

    mark: str
    kind: str
    #: which life of the gateway it was sent to, counted from 0
    life: int
    sent_s: float
    #: from the headers of the answer, complete or not
    request_id: str | None = None
    status: int | None = None
    #: when the last byte had come, by the monotonic clock; None: the client was told nothing
    acknowledged_s: float | None = None


@dataclass(frozen=True)
class Kind:
    """A sort of call. `model` may hold MARK; then the mock provider knows the call by its model name."""

    weight: int
    model: str
    extra: dict[str, Any]
    #: on the disk before its last byte
    sync: bool = False
    #: a row in `inference_log` too
    full: bool = True
    #: the client leaves with the first bytes
    leaves: bool = False


KINDS = {
    "plain": Kind(22, "chat", {}),
    "plain, sync": Kind(22, "careful", {}, sync=True),
    "stream": Kind(12, "chat", _STREAM),
    "stream, sync": Kind(12, "careful", _STREAM, sync=True),
    "metadata": Kind(8, "bare", {}, full=False),
    "fallback": Kind(6, "safe", {}),
    "failed": Kind(5, "hopeless", {}),
    "refused": Kind(3, "chat", {"messages": "none"}, full=False),
    "slow": Kind(5, "mock/mock?delay_ms=700&answer=MARK", {}),
    "slow stream": Kind(5, "mock/mock?chunks=12&chunk_ms=60&answer=MARK", _STREAM),
    "left": Kind(5, "mock/mock?chunks=12&chunk_ms=40&answer=MARK", _STREAM, leaves=True),
}


class Traffic:
    """`callers` clients that call again and again until stopped; the choice of calls comes from `rng`."""

    def __init__(self, url: str, rng: random.Random, *, callers: int = 10, kinds: dict[str, Kind] = KINDS) -> None:
        self.notes: list[Note] = []
        self.life = 0
        self._url = f"{url}/v1/chat/completions"
        self._kinds = kinds
        self._rng = rng
        self._callers = callers
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        timeout = aiohttp.ClientTimeout(total=60)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
        self._tasks = [asyncio.ensure_future(self._call_on(n)) for n in range(self._callers)]

    async def stop(self) -> None:
        """Let calls that run come to their end."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        await self.abandon()

    async def abandon(self) -> None:
        """Leave everything as it is; harmless after `stop`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def acknowledged(self) -> int:
        return sum(note.acknowledged_s is not None for note in self.notes)

    async def until(self, condition: Callable[[], bool], within_s: float = 60.0) -> None:
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.01)

    async def _call_on(self, caller: int) -> None:
        names, weights = list(self._kinds), [kind.weight for kind in self._kinds.values()]
        for n in range(10**9):
            if self._stopping:
                return
            (name,) = self._rng.choices(names, weights)
            note = Note(f"mark-{caller}-{n}", name, self.life, time.monotonic())
            self.notes.append(note)
            try:
                await self._call(note, self._kinds[name])
            except (aiohttp.ClientError, TimeoutError, OSError):
                await asyncio.sleep(_DOWN_S)
            await asyncio.sleep(self._rng.random() * _PAUSE_S)

    async def _call(self, note: Note, kind: Kind) -> None:
        assert self._session is not None
        body = {**_BODY, **kind.extra, "model": kind.model.replace("MARK", note.mark)}
        headers = {"authorization": f"Bearer {KEY}", "x-client-request-id": note.mark}
        async with self._session.post(self._url, json=body, headers=headers) as answer:
            note.request_id = answer.headers.get("x-request-id")
            note.status = answer.status
            if kind.leaves and answer.status == 200:
                await answer.content.readany()
                answer.close()
                return
            await answer.read()
            note.acknowledged_s = time.monotonic()


def summary(notes: list[Note]) -> dict[str, int]:
    """How many of each kind were acknowledged."""
    counts = Counter(note.kind for note in notes if note.acknowledged_s is not None)
    return {name: counts[name] for name in KINDS if counts[name]}
