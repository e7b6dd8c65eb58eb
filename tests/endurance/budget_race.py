"""64 clients at once on one small budget, with calls of random sizes: how much of it is used, and is it ever overspent?

    .venv/bin/python -m tests.endurance.budget_race --runs 100

Every run is two races: in one process on memory counters, and in four processes on a real Redis. Prints one JSON
object; exit status 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from tests.support.redis_server import RedisServer

from sekisho.domain.call import Caller
from sekisho.domain.endpoint import Target
from sekisho.domain.money import NANOS_PER_USD, Rates, cost_nanos, format_usd
from sekisho.domain.spending import Budget, Limit, scope_of
from sekisho.domain.usage import Usage
from sekisho.ledger.limiter import Limiter
from sekisho.ledger.plans import Planner, SizeBook
from sekisho.ledger.scopes import Rules
from sekisho.stores.counters import Denial, Reservation, SpentBefore
from sekisho.stores.memory_counters import MemoryCounters
from sekisho.stores.redis_counters import RedisCounters

CLIENTS = 64
WORKERS = 4
AMOUNT = NANOS_PER_USD // 10
MOST_TOKENS = 1_000
#: of a budget, when the last client was refused
LEAST_USED = 0.97
RULES = Rules(
    [Limit(scope=scope_of({"team": "research"}), qpm=10**7, tpm=10**11)],
    [Budget(scope=scope_of({"team": "research"}), amount_nanos=AMOUNT)],
)
#: so that the largest call, 500 + 1,000 tokens, costs 0.45 % of the budget
TARGET = Target(
    provider="openai",
    model="small",
    rates=Rates(input_nanos_per_mtok=100_000_000, output_nanos_per_mtok=400_000_000),
)
CALLER = Caller(key_id="key_1", key_name="bench", team="research")


class Race:
    """What one worker's clients did."""

    def __init__(self, counters: MemoryCounters | RedisCounters, seed: int) -> None:
        self.counters = counters
        self.limiter = Limiter(counters)
        self.plan = Planner(RULES, counters, SizeBook()).plan_for(CALLER, "taro", "chat", TARGET)
        self.random = random.Random(seed)
        self.spent = 0
        self.calls = 0
        self.peak_bound = 0
        self.wrongly_refused = 0

    async def run(self, clients: int) -> dict[str, int]:
        await asyncio.gather(*(self._client() for _ in range(clients)))
        return {
            "spent": self.spent,
            "calls": self.calls,
            "peak_bound": self.peak_bound,
            "wrongly_refused": self.wrongly_refused,
        }

    async def _client(self) -> None:
        """Calls until it is refused for want of money."""
        draw = self.random
        while True:
            usage = Usage(
                input_tokens=draw.randint(1, 500), output_tokens=min(MOST_TOKENS, int(draw.expovariate(1 / 300)) + 1)
            )
            outcome = self.limiter.reserve(self.plan, time.perf_counter(), usage.input_tokens, MOST_TOKENS)
            if not isinstance(outcome, Reservation | Denial):
                outcome = await outcome
            if isinstance(outcome, Denial):
                assert outcome.cause == "budget", outcome
                left = AMOUNT - outcome.spent_nanos - outcome.reserved_nanos
                self.wrongly_refused += left >= outcome.wanted_nanos
                return
            self.limiter.dispatched(outcome)
            await self._note_bound()
            for _ in range(draw.randint(0, 5)):
                await asyncio.sleep(0)
            assert TARGET.rates is not None
            cost = cost_nanos(usage, TARGET.rates)
            assert cost <= AMOUNT // 200
            self.spent += cost
            self.calls += 1
            self.limiter.settle(outcome, time.perf_counter(), usage.input_tokens, cost, usage.output_tokens)

    async def _note_bound(self) -> None:
        """The bound as it is printed."""
        _, (budget,) = await self.counters.look(time.perf_counter())
        self.peak_bound = max(self.peak_bound, budget.bound_nanos)


async def on_memory(seed: int) -> tuple[dict[str, int], int]:
    """What happened, and what the counters say was spent."""
    counters = MemoryCounters(ZoneInfo("UTC"), lambda event: None, time.perf_counter(), time.time())
    told = await Race(counters, seed).run(CLIENTS)
    _, (budget,) = await counters.look(time.perf_counter())
    assert budget.reserved_nanos == 0
    return told, budget.spent_nanos


async def on_redis(server: RedisServer, seed: int) -> tuple[dict[str, int], int]:
    """The same by four processes that share a Redis."""
    server.empty()
    command = [sys.executable, "-m", "tests.endurance.budget_race", "--url", server.url, "--seed"]
    # one is there before the others, so that the budget is known when the race begins
    async with _counters(server.url) as counters:
        found = [
            await asyncio.create_subprocess_exec(*command, str(seed * WORKERS + one), stdout=subprocess.PIPE)
            for one in range(WORKERS)
        ]
        told = [json.loads((await process.communicate())[0]) for process in found]
        counters.bind([], [], [spec for _, spec in RULES.spending({"team": "research"})])
        async with asyncio.timeout(60):
            while True:
                _, (budget,) = await counters.look(time.perf_counter())
                if budget.reserved_nanos == 0:
                    break
                await asyncio.sleep(0.01)
    total = {name: sum(one[name] for one in told) for name in told[0]}
    total["peak_bound"] = max(one["peak_bound"] for one in told)
    return total, budget.spent_nanos


class Verdict(msgspec.Struct, kw_only=True):
    """Figures of one race. Money in nano-dollars."""

    calls: int
    used: float
    over: int
    peak_bound: int
    wrongly_refused: int
    broken: list[str]


def verdict(told: dict[str, int], counted: int) -> Verdict:
    """What became of a race, and which promises it broke."""
    over = max(0, told["spent"] - AMOUNT)
    used = told["spent"] / AMOUNT
    held = {
        f"spent {told['spent']} nano-dollars, counted {counted}": told["spent"] == counted,
        f"overspent {format_usd(over)} USD, more than the bound": over <= told["peak_bound"],
        f"only {used:.2%} used": used >= LEAST_USED,
        f"{told['wrongly_refused']} refused while there was room": told["wrongly_refused"] == 0,
    }
    return Verdict(
        calls=told["calls"],
        used=used,
        over=over,
        peak_bound=told["peak_bound"],
        wrongly_refused=told["wrongly_refused"],
        broken=[what for what, holds in held.items() if not holds],
    )


class _Counters:
    """Redis counters, opened, with a tick every tenth of a second."""

    def __init__(self, url: str) -> None:
        async def nothing(_as_of_s: float) -> SpentBefore:
            return SpentBefore(nanos={})

        self._counters = RedisCounters(
            url,
            ZoneInfo("UTC"),
            lambda event: None,
            nothing,
            time.perf_counter(),
            time.time(),
            grace_s=0.05,
            timeout_s=20,
        )

    async def __aenter__(self) -> RedisCounters:
        await self._counters.open()
        return self._counters

    async def __aexit__(self, *_: object) -> None:
        async with asyncio.timeout(60):
            while self._counters.untold:
                await asyncio.sleep(0.005)
        await self._counters.close()


def _counters(url: str) -> _Counters:
    return _Counters(url)


async def _worker(url: str, seed: int) -> None:
    async with _counters(url) as counters:
        print(json.dumps(await Race(counters, seed).run(CLIENTS // WORKERS)))


async def _runs(count: int, seed: int) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {"in memory": [], "four workers on Redis": []}
    with RedisServer() as server:
        for one in range(seed, seed + count):
            found["in memory"].append(verdict(*await on_memory(one)))
            found["four workers on Redis"].append(verdict(*await on_redis(server, one)))
            sys.stderr.write(f"{one - seed + 1} of {count}\n" if sys.stderr.isatty() else "")
    return found


def figures_of(where: str, races: list[Verdict]) -> dict[str, Any]:
    worst = max(races, key=lambda race: race.over)
    return {
        f"{where}: races": len(races),
        f"{where}: calls": sum(race.calls for race in races),
        f"{where}: of 0.10 USD used, least": f"{min(race.used for race in races):.2%}",
        f"{where}: overspent at most, USD": format_usd(worst.over),
        f"{where}: the bound that was told for that race, USD": format_usd(worst.peak_bound),
        f"{where}: refused while there was room": sum(race.wrongly_refused for race in races),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.url:
        asyncio.run(_worker(given.url, given.seed))
        return 0
    # that an emptied server knows nothing is what every race begins with
    logging.getLogger("sekisho").setLevel(logging.ERROR)
    found = asyncio.run(_runs(given.runs, given.seed))
    broken = [f"{where}: {what}" for where, races in found.items() for race in races for what in race.broken]
    figures = {name: value for where, races in found.items() for name, value in figures_of(where, races).items()}
    print(json.dumps({**figures, "broken": broken}, indent=2))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
