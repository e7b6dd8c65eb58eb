"""Four workers, budgets in Redis and keys in PostgreSQL, both of which stand still, die, and come back.

    .venv/bin/python -m tests.endurance.stores_gone --seconds 30

Prints its figures as JSON. Ends with 1 where a valid key was refused, a call waited for more than a second or got an
answer that is not documented, or the sums do not agree afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.crash.house import KEY, PATIENCE_S, SEKISHO, Gateway
from tests.endurance.gateway_race import counters_of, house
from tests.support.callers import Answer, Callers
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer

from sekisho.tables.reader import ask

WORKERS = 4
LONGEST_WAIT_S = 1.0
AROUND_S = 2.0
FEATURE = "outage"
#: a call that began before, or was the one that found out
_OF_BEFORE_S = 0.6
#: until every worker knows a new key
_KNOWN_S = 5.0
_KEY = re.compile(r"sk-\S+")
_SPENT = f"SELECT CAST(sum(cost_usd) * 1000000000 AS BIGINT), count(*) FROM usage WHERE feature = '{FEATURE}'"


async def trial(folder: Path, seconds: float) -> dict[str, Any]:
    """Redis stands still, then dies and is back empty, then PostgreSQL is killed and back; what was found."""
    with PostgresServer() as postgres:
        more = f'database: {{url: "{postgres.new_url()}"}}\n'
        async with house(folder, WORKERS, more) as (gateway, redis):
            key = await asyncio.to_thread(_new_key, gateway)
            await asyncio.sleep(_KNOWN_S)
            # so small and so slow that the budget lasts
            callers = Callers(gateway, FEATURE, key=key, words=(1, 3), pause_s=0.1)
            await asyncio.sleep(AROUND_S)
            phases = {
                "Redis stands still": await _redis_stands_still(callers, redis, seconds),
                "Redis back empty": await _redis_is_back_empty(callers, redis),
                "PostgreSQL restarted": await _postgres_is_restarted(callers, postgres, seconds),
            }
            await asyncio.sleep(AROUND_S)
            await callers.stop()
            return await _figures(gateway, redis, callers, phases)


def _new_key(gateway: Gateway) -> str:
    """A key that only PostgreSQL knows."""
    command = [
        str(SEKISHO),
        "keys",
        "create",
        "--name",
        "trial",
        "--endpoint",
        "mock/*",
        "--config",
        str(gateway.config),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CRASH_KEY": KEY}, check=True)
    found = _KEY.search(done.stdout)
    assert found is not None, done.stdout
    return found.group()


async def _redis_stands_still(callers: Callers, redis: RedisServer, seconds: float) -> list[Counter[str]]:
    redis.pause()
    await asyncio.sleep(_OF_BEFORE_S)
    at = len(callers.with_budget), len(callers.without)
    await asyncio.sleep(seconds)
    found = [_told(callers.with_budget[at[0] :]), _told(callers.without[at[1] :])]
    redis.resume()
    await _budgeted_again(callers)
    return found


async def _redis_is_back_empty(callers: Callers, redis: RedisServer) -> list[Counter[str]]:
    at = len(callers.with_budget), len(callers.without)
    redis.kill()
    await asyncio.sleep(AROUND_S)
    redis.start()
    await _budgeted_again(callers)
    return [_told(callers.with_budget[at[0] :]), _told(callers.without[at[1] :])]


async def _postgres_is_restarted(callers: Callers, postgres: PostgresServer, seconds: float) -> list[Counter[str]]:
    at = len(callers.with_budget), len(callers.without)
    postgres.kill()
    await asyncio.sleep(seconds)
    postgres.start()
    await asyncio.sleep(AROUND_S)
    return [_told(callers.with_budget[at[0] :]), _told(callers.without[at[1] :])]


async def _budgeted_again(callers: Callers) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while [one.status for one in callers.with_budget[-20:]] != [200] * 20:
        assert time.monotonic() < until_s, _told(callers.with_budget[-20:])
        await asyncio.sleep(0.01)


def _told(answers: list[Answer]) -> Counter[str]:
    return Counter(f"{one.status} {one.code or ''}".strip() for one in answers)


async def _figures(
    gateway: Gateway, redis: RedisServer, callers: Callers, phases: dict[str, list[Counter[str]]]
) -> dict[str, Any]:
    answers = callers.with_budget + callers.without
    longest_s = max(one.took_s for one in answers)
    [(in_rows, _)] = await asyncio.to_thread(lambda: list(ask(gateway.data_dir, _SPENT).rows()))
    async with counters_of(redis, FEATURE) as counters:
        _, (state,) = await counters.look(time.perf_counter())
    reconciled = await asyncio.to_thread(_reconciled, gateway)
    still, empty, postgres = phases.values()
    broken = [f"{told}: {count} times" for told, count in _told(answers).items() if told not in _DOCUMENTED]
    broken += [f"a call took {longest_s:.2f} s"] if longest_s >= LONGEST_WAIT_S else []
    broken += ["a budgeted call went out while Redis stood still"] if still[0].keys() != {_AWAY} else []
    for what, told in (("Redis stood still", still[1]), ("Redis was away", empty[1]), *_both(postgres)):
        broken += [f"calls suffered while {what}: {dict(told)}"] if told.keys() != {"200"} else []
    sums = (state.spent_nanos, state.reserved_nanos)
    broken += [f"counted {sums}, in rows {in_rows}"] if sums != (in_rows, 0) else []
    broken += [reconciled] if reconciled else []
    return {
        **{f"{name}: calls with a budget, without": [dict(told) for told in found] for name, found in phases.items()},
        "answers": len(answers),
        "the longest took, s": round(longest_s, 3),
        "nano-dollars counted, and in rows": [state.spent_nanos, in_rows],
        "broken": broken,
    }


_AWAY = "503 store_unavailable"
_DOCUMENTED = {"200", _AWAY}


def _both(found: list[Counter[str]]) -> list[tuple[str, Counter[str]]]:
    return [("PostgreSQL was away", told) for told in found]


def _reconciled(gateway: Gateway) -> str:
    """Empty where everything agrees."""
    command = [str(SEKISHO), "reconcile", "--config", str(gateway.config), "--gateway", gateway.url]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CRASH_KEY": KEY})
    return "" if done.returncode == 0 else done.stdout + done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1, help="nothing is drawn")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(trial(Path(folder), options.seconds))
    print(json.dumps(found, indent=2))
    return 1 if found["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
