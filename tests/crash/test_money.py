"""kill -9 under load on a budget: what was spent before counts after, and the whole is not overspent."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import aiohttp

from sekisho.tables.spent import sums
from sekisho.tables.storage import Storage
from tests.crash.house import KEY, Gateway, Mock, answers, wait_for

SEED = 20261127
LIMIT_NANOS = 16_200_000
#: 8 tokens at 1 dollar and 50 at 2 dollars a million; the request is estimated at 9 or more
COST_NANOS = 108_000
BUDGET = 'budgets: [{scope: {team: research}, usd: 0.0162, strict: true}, {scope: {key: "*"}, usd: 5, on_exceed: warn}]'
CALL = {
    "model": "mock/mock?usage=8,50,0&delay_ms=10",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "関所"}],
}


class Callers:
    """Clients that call until they are told that the money is gone."""

    def __init__(self, url: str, count: int) -> None:
        self._url = f"{url}/v1/chat/completions"
        self.answered = 0
        self.others: list[int] = []
        self.tasks = [asyncio.ensure_future(self._call()) for _ in range(count)]

    async def _call(self) -> None:
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as session:
            while True:
                try:
                    async with session.post(self._url, json=CALL) as answer:
                        await answer.read()
                        status = answer.status
                except (aiohttp.ClientError, OSError):
                    await asyncio.sleep(0.05)
                    continue
                if status == 429:
                    return
                if status == 200:
                    self.answered += 1
                else:
                    self.others.append(status)


def spent_nanos(data_dir: Path) -> int:
    now_us = time.time_ns() // 1000
    day_us = 86_400_000_000
    storage = Storage.folder(data_dir / "tables")
    return sum(one.cost_nanos for one in next(sums(data_dir, storage, [now_us - day_us], now_us + day_us)))


async def test_a_budget_survives_kills_to_the_nano_dollar(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    mock = Mock(tmp_path)
    gateway = Gateway(tmp_path, mock, more=BUDGET)
    try:
        await gateway.start()
        callers = Callers(gateway.url, 8)
        for _ in range(3):
            before = callers.answered
            await asyncio.to_thread(
                wait_for, lambda before=before: callers.answered > before + 15, "calls are answered"
            )
            await asyncio.sleep(rng.uniform(0, 0.03))
            gateway.kill()
            await gateway.start()
        await asyncio.wait_for(asyncio.gather(*callers.tasks), 60)
        spent = spent_nanos(gateway.data_dir)
        assert callers.answered * COST_NANOS <= spent <= LIMIT_NANOS
        assert spent >= 0.97 * LIMIT_NANOS
        assert callers.others == []
        # once more: it is as full after another restart
        gateway.kill()
        await gateway.start()
        again = Callers(gateway.url, 2)
        await asyncio.wait_for(asyncio.gather(*again.tasks), 60)
        assert again.answered <= (LIMIT_NANOS - spent) // COST_NANOS
        assert gateway.mistakes() == []
        assert answers(gateway.port, "/health/ready")
    finally:
        gateway.kill_everything()
        mock.close()
