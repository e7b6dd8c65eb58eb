"""Clients that call a gateway again and again, and note what each call came to."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any, NamedTuple

import aiohttp
import msgspec

from tests.crash.house import KEY, PATIENCE_S, Gateway
from tests.endurance.gateway_race import MODEL

#: while nobody listens
_DOWN_S = 0.05


class Answer(NamedTuple):
    """One call as its client saw it; status 0: the connection broke."""

    status: int
    code: str | None
    request_id: str | None
    took_s: float


class Callers:
    """Clients that call again and again until told to stop, half of them on a budget."""

    def __init__(
        self,
        gateway: Gateway,
        feature: str,
        *,
        count: int = 8,
        pause_s: float = 0.01,
        model: str = MODEL,
        words: tuple[int, int] = (1, 40),
        key: str = KEY,
    ) -> None:
        self._key = key
        self._model = model
        self._words = words
        self.with_budget: list[Answer] = []
        self.without: list[Answer] = []
        self._stopping = False
        self._pause_s = pause_s
        self._url = f"{gateway.url}/v1/chat/completions"
        self._tasks = [
            asyncio.ensure_future(self._call_on(feature if n % 2 else None, random.Random(n))) for n in range(count)
        ]

    async def stop_after_these(self) -> None:
        """Each makes the call that it is about to make, and no other."""
        await asyncio.sleep(0)
        self._stopping = True

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _call_on(self, feature: str | None, draw: random.Random) -> None:
        into = self.without if feature is None else self.with_budget
        tags = {} if feature is None else {"x-sekisho-tags": msgspec.json.encode({"feature": feature}).decode()}
        headers = {"authorization": f"Bearer {self._key}", **tags}
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            while not self._stopping:
                words = " ".join(["key"] * draw.randint(*self._words))
                body = {"model": self._model, "max_tokens": 160, "messages": [{"role": "user", "content": words}]}
                into.append(await self._call(session, body))
                await asyncio.sleep(draw.random() * self._pause_s if into[-1].status else _DOWN_S)

    async def _call(self, session: aiohttp.ClientSession, body: dict[str, Any]) -> Answer:
        began_s = time.monotonic()
        try:
            async with session.post(self._url, json=body) as answer:
                found = await answer.json()
                code = (found.get("error") or {}).get("code")
                told = answer.status, code, answer.headers["x-request-id"]
        except (aiohttp.ClientError, OSError):
            told = 0, None, None
        return Answer(*told, time.monotonic() - began_s)
