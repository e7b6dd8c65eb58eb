"""64 clients at once on one small budget, through whole gateways: one worker, and four that share a Redis.

    .venv/bin/python -m tests.endurance.gateway_race --runs 100

Calls have random sizes and cost 0.5 % of the budget at most. Every run is a feature with a budget of its own, once on
each gateway. What was spent is read from the rows, what was refused from theirs, and the bound from the counters while
the race runs. Prints one JSON object; exit status 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
from tests.crash.house import KEY, PATIENCE_S, Gateway, Mock
from tests.endurance.budget_race import AMOUNT, CLIENTS, LEAST_USED, Verdict, figures_of
from tests.support.redis_server import RedisServer

from sekisho.domain.money import format_usd, usd_to_nanos
from sekisho.domain.spending import Budget, scope_of
from sekisho.ledger.scopes import Rules
from sekisho.stores.counters import BudgetState, SpentBefore
from sekisho.stores.redis_counters import RedisCounters
from sekisho.stores.redis_memory import LEASE_S
from sekisho.tables.reader import ask

#: words of a call, which the provider says again, each a token of four bytes; at 3 dollars a million they cost 0.48 %
#: of the budget at most
MOST_WORDS = 160
#: one model, so that what its answers are like is learned, and less is reserved than they may be
MODEL = "mock/mock?echo=1&delay_ms=2"
SLOW = "mock/mock?echo=1&delay_ms=80"
LONG = "mock/mock?echo=1&delay_ms=2000"
BUDGET = Budget(scope=scope_of({"feature": "*"}), amount_nanos=AMOUNT)
#: input is free: that it may have more tokens than estimated lies outside of the bound. They go on with the prices
RULES = f"""\
  {MODEL}: {{input_per_mtok: 0, output_per_mtok: 3}}
  {SLOW}: {{input_per_mtok: 0, output_per_mtok: 3}}
  {LONG}: {{input_per_mtok: 0, output_per_mtok: 3}}
limits: [{{scope: {{key: "*"}}, qpm: 10000000, tpm: 1000000000}}]
budgets: [{{scope: {{feature: "*"}}, usd: 0.10}}]
"""
_DENIED = re.compile(r"spent (\S+), reserved (\S+), wanted (\S+)$")
_ROWS = """
SELECT usage.status_code, error_message, CAST(usage.cost_usd * 1000000000 AS BIGINT)
FROM usage LEFT JOIN inference_log USING (request_date, request_id) WHERE usage.feature = '{feature}'
"""


@asynccontextmanager
async def house(folder: Path, workers: int, more: str = "") -> AsyncIterator[tuple[Gateway, RedisServer]]:
    """A gateway whose budgets are counted; `more` goes into its configuration."""
    mock = Mock(folder)
    with RedisServer() as server:
        gateway = Gateway(folder, mock, workers=workers, more=f'{RULES}state: {{url: "{server.url}"}}\n{more}')
        try:
            await gateway.start()
            async with asyncio.timeout(PATIENCE_S), _session() as session:
                while (await _call(gateway, session, "first", 1))[0] != 200:
                    await asyncio.sleep(0.05)
            yield gateway, server
            assert await gateway.stop() == 0, gateway.log_tail()
            assert gateway.mistakes() == []
        finally:
            gateway.kill_everything()
            mock.close()


async def race(gateway: Gateway, server: RedisServer, seed: int, *, clients: int = CLIENTS) -> Verdict:
    """One race for the budget of one feature."""
    feature = f"race-{seed}"
    draw = random.Random(seed)
    async with counters_of(server, feature) as counters:
        watch = asyncio.ensure_future(_peak_bound(counters))
        told = await asyncio.gather(*(_client(gateway, feature, draw) for _ in range(clients)))
        state = await _at_rest(counters)
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
    return _verdict(feature, gateway, sum(told, Counter()), state)


async def killed(gateway: Gateway, server: RedisServer, seed: int) -> tuple[dict[str, Any], list[str]]:
    """A race in which a worker is killed. What it had reserved is charged when its lease runs out, after a minute."""
    feature, draw = f"killed-{seed}", random.Random(seed)
    victim = draw.choice(gateway.worker_pids())
    async with counters_of(server, feature) as counters:
        watch = asyncio.ensure_future(_peak_bound(counters))
        clients = [asyncio.ensure_future(_client(gateway, feature, draw, SLOW)) for _ in range(CLIENTS)]
        await asyncio.sleep(0.4)  # most of the budget is left
        os.kill(victim, signal.SIGKILL)
        told = sum(await asyncio.gather(*clients), Counter[int]())
        _, (before,) = await counters.look(time.perf_counter())
        state = await _at_rest(counters, within_s=PATIENCE_S + LEASE_S)
        watch.cancel()
    rows = list(ask(gateway.data_dir, _ROWS.format(feature=feature)).rows())
    by_rows = sum(cost for _, _, cost in rows)
    answered, interrupted = (sum(status == one for status, _, _ in rows) for one in (200, 500))
    held = {
        f"{told[200]} answers, {answered} rows": told[200] <= answered,
        f"{told[0]} connections broke, {interrupted} calls interrupted": interrupted > 0,
        f"overspent {format_usd(by_rows - AMOUNT)} USD": by_rows <= AMOUNT + _PEAKS.pop(feature, 0),
        f"{by_rows} nano-dollars by the rows, {state.spent_nanos} by the counters": by_rows <= state.spent_nanos
        and state.spent_nanos - by_rows <= before.reserved_nanos,
    }
    figures = {
        "a worker killed: calls it had in flight": interrupted,
        "a worker killed: reserved for them, USD": format_usd(before.reserved_nanos),
        "a worker killed: of that charged after a minute, USD": format_usd(state.spent_nanos - before.spent_nanos),
        "a worker killed: spent by the rows, USD": format_usd(by_rows),
    }
    return figures, [what for what, holds in held.items() if not holds]


def _verdict(feature: str, gateway: Gateway, told: Counter[int], state: BudgetState) -> Verdict:
    rows = list(ask(gateway.data_dir, _ROWS.format(feature=feature)).rows())
    statuses = Counter(status for status, _, _ in rows)
    spent = sum(cost for _, _, cost in rows)
    denied = [_DENIED.search(said or "") for status, said, _ in rows if status == 429]
    money = [tuple(usd_to_nanos(Decimal(part)) for part in found.groups()) for found in denied if found is not None]
    wrongly = sum(AMOUNT - there - held >= wanted for there, held, wanted in money)
    over, used = max(0, spent - AMOUNT), spent / AMOUNT
    bound: int = _PEAKS.pop(feature, 0)
    held = {
        f"answers {dict(told)}, rows {dict(statuses)}": told == statuses and set(told) == {200, 429},
        f"spent {spent} nano-dollars by the rows, {state.spent_nanos} by the counters": spent == state.spent_nanos,
        f"overspent {format_usd(over)} USD, more than the bound": over <= bound,
        f"only {used:.2%} used": used >= LEAST_USED,
        f"{wrongly} refused while there was room": wrongly == 0 and len(money) == statuses[429],
    }
    return Verdict(
        calls=statuses[200],
        used=used,
        over=over,
        peak_bound=bound,
        wrongly_refused=wrongly,
        broken=[what for what, holds in held.items() if not holds],
    )


#: feature -> the largest bound that its counters told while it was raced for
_PEAKS: dict[str, int] = {}


async def _client(gateway: Gateway, feature: str, draw: random.Random, model: str = MODEL) -> Counter[int]:
    """Calls until it is refused for want of money, on a connection of its own."""
    told: Counter[int] = Counter()
    async with _session() as session:
        while True:
            words = min(MOST_WORDS, int(draw.expovariate(1 / 50)) + 1)
            try:
                status, code = await _call(gateway, session, feature, words, model)
            except aiohttp.ClientError:
                told[0] += 1
                continue
            told[status] += 1
            if status != 200:
                assert code == "budget_exceeded", code
                return told


async def _call(
    gateway: Gateway, session: aiohttp.ClientSession, feature: str, words: int, model: str = MODEL
) -> tuple[int, str | None]:
    """A call of that size; its status and error code. Raises ClientError."""
    messages = [{"role": "user", "content": " ".join(["key"] * words)}]
    body = {"model": model, "max_tokens": MOST_WORDS, "messages": messages}
    headers = {"x-sekisho-tags": json.dumps({"feature": feature})}
    async with session.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers) as answer:
        found = await answer.json()
        return answer.status, (found.get("error") or {}).get("code")


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        headers={"authorization": f"Bearer {KEY}"}, timeout=aiohttp.ClientTimeout(total=PATIENCE_S)
    )


@asynccontextmanager
async def counters_of(server: RedisServer, feature: str) -> AsyncIterator[RedisCounters]:
    """The gateways' own, looked at from outside."""

    async def nothing(_as_of_s: float) -> SpentBefore:
        return SpentBefore(nanos={})

    counters = RedisCounters(server.url, ZoneInfo("UTC"), lambda _: None, nothing, time.perf_counter(), time.time())
    await counters.open()
    counters.bind([], [], [spec for _, spec in Rules([], [BUDGET]).spending({"feature": feature})])
    try:
        yield counters
    finally:
        await counters.close()


async def _peak_bound(counters: RedisCounters) -> None:
    while True:
        _, (state,) = await counters.look(time.perf_counter())
        feature = dict(state.spec.scope)["feature"]
        _PEAKS[feature] = max(_PEAKS.get(feature, 0), state.bound_nanos)
        await asyncio.sleep(0.002)


async def _at_rest(counters: RedisCounters, within_s: float = PATIENCE_S) -> BudgetState:
    """When the last call is settled."""
    async with asyncio.timeout(within_s):
        while True:
            _, (state,) = await counters.look(time.perf_counter())
            if state.reserved_nanos == 0:
                return state
            await asyncio.sleep(0.01)


async def _runs(count: int, seed: int) -> tuple[dict[str, list[Verdict]], dict[str, Any], list[str]]:
    found: dict[str, list[Verdict]] = {}
    figures: dict[str, Any] = {}
    broken: list[str] = []
    for workers in (1, 4):
        with tempfile.TemporaryDirectory() as folder:
            async with house(Path(folder), workers) as (gateway, server):
                races = found.setdefault(f"{workers} worker{'s' if workers > 1 else ''}", [])
                for one in range(seed, seed + count):
                    races.append(await race(gateway, server, one))
                    sys.stderr.write(f"{workers}: {one - seed + 1} of {count}\n" if sys.stderr.isatty() else "")
                if workers > 1:
                    figures, broken = await killed(gateway, server, seed)
    return found, figures, broken


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    logging.getLogger("sekisho").setLevel(logging.ERROR)
    found, of_the_dead, broken = asyncio.run(_runs(given.runs, given.seed))
    broken += [f"{where}: {what}" for where, races in found.items() for race in races for what in race.broken]
    figures = {name: value for where, races in found.items() for name, value in figures_of(where, races).items()}
    print(json.dumps({**figures, **of_the_dead, "broken": broken}, indent=2))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
