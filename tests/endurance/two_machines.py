"""Two machines with two workers each, one Redis, one PostgreSQL and one bucket, and whatever can fail fails.

    .venv/bin/python -m tests.endurance.two_machines --seconds 300

Every round has a budget of its own and draws what fails when: workers, committers and whole machines are killed,
machines restart, Redis stands still or comes back empty, PostgreSQL dies, the bucket is away; two at once now and then.
Prints its figures as JSON. Ends with 1 where an answered call has no row or two, an answer is not documented, or the
budgets and the rows do not agree to the nano-dollar when everything is well again.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars
from tests.crash.house import KEY, PATIENCE_S, SEKISHO, Gateway, Mock
from tests.endurance.bucket_gone import SECTION
from tests.endurance.budget_race import AMOUNT
from tests.endurance.gateway_race import MOST_WORDS, RULES
from tests.support.callers import Answer, Callers
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, Door, S3Server

from sekisho.domain.money import format_usd, usd_to_nanos

WORKERS = 2
CALLERS = 6
ROUND_S = 20.0
#: how often a second thing fails with the first
_TWO_AT_ONCE = 0.3
#: what takes the longest to become right: leases of the dead, and rows of a machine whose bucket was away
_SETTLED_S = 240.0
_ENVIRON = {"S3_ID": ACCESS_KEY, "S3_SECRET": SECRET_KEY, "ADMIN_KEY": "endurance-admin-key-0123456789"}
#: 0: its machine died, and the caller was told nothing
_DOCUMENTED = {
    "200",
    "0",
    "429 budget_exceeded",
    "503 store_unavailable",
    "503 shutting_down",
}


@dataclass
class Site:
    """Everything there is, for faults to choose from."""

    machines: list[Gateway]
    redis: RedisServer
    postgres: PostgresServer
    door: Door
    bucket: str
    rng: random.Random
    faults: Counter[str] = field(default_factory=Counter[str])
    longest_stop_s: float = 0.0
    #: what fails at this moment, or failed last
    last: tuple[str, ...] = ()


@asynccontextmanager
async def site(folder: Path, seed: int) -> AsyncGenerator[Site]:
    """Started; whatever happens, no process is left."""
    s3, mock = S3Server(), Mock(folder)
    door = Door(s3)
    bucket = s3.bucket()
    machines: list[Gateway] = []
    try:
        with RedisServer() as redis, PostgresServer() as postgres:
            places = f'state: {{url: "{redis.url}"}}\ndatabase: {{url: "{postgres.new_url()}"}}\n'
            more = f'{RULES}admin: {{key: "${{env:ADMIN_KEY}}"}}\n{places}'
            for name in ("a", "b"):
                (folder / name).mkdir()
                machines.append(_machine(folder / name, mock, more, SECTION.format(bucket=bucket, port=door.port)))
            first, second = machines
            await first.start()
            # machines that share a database share its pepper
            second.data_dir.mkdir(mode=0o700)
            shutil.copy2(first.data_dir / "key_pepper", second.data_dir)
            await second.start()
            there = Site(machines, redis, postgres, door, bucket, random.Random(seed))
            try:
                yield there
            except Exception:
                tails = "\n\n".join(machine.log_tail() for machine in machines)
                print(f"{there.last}\n{tails}", file=sys.stderr)  # the folder is about to go
                raise
    finally:
        for machine in machines:
            machine.kill_everything()
        mock.close()
        door.close()
        s3.close()


def _machine(folder: Path, mock: Mock, more: str, tables: str) -> Gateway:
    machine = Gateway(folder, mock, environ=_ENVIRON, more=more, workers=WORKERS)
    machine.config.write_text(
        machine.config.read_text().replace("tables: {commit: {every_s: 0.3}}\n", tables.replace("0.3", "1"))
    )
    return machine


# -- what fails


async def worker_killed(there: Site) -> None:
    machine = there.rng.choice(there.machines)
    with suppress(OSError):  # it may be about to start
        pids = await asyncio.to_thread(machine.worker_pids)
        os.kill(there.rng.choice(pids), signal.SIGKILL)


async def committer_killed(there: Site) -> None:
    await asyncio.to_thread(there.rng.choice(there.machines).kill_committer)


async def machine_killed(there: Site) -> None:
    machine = there.rng.choice(there.machines)
    away_s = there.rng.uniform(0, 3)
    await asyncio.to_thread(machine.kill_everything)
    await asyncio.sleep(away_s)
    await _up(machine)


async def machine_restarted(there: Site) -> None:
    machine = there.rng.choice(there.machines)
    if machine.alive:
        await _down(there, machine)
        await _up(machine)


async def _down(there: Site, machine: Gateway) -> None:
    """In order: calls have 30 seconds, and then the last rows 20 more where the bucket is away or slow."""
    began_s = time.monotonic()
    machine.terminate()
    async with asyncio.timeout(2 * PATIENCE_S):
        while machine.alive:
            await asyncio.sleep(0.05)
    assert await machine.ended() == 0, machine.log_tail()
    there.longest_stop_s = max(there.longest_stop_s, time.monotonic() - began_s)


async def _up(machine: Gateway) -> None:
    """Started, as whatever watches over a service does it: again and again while what it needs is away."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await machine.start()
        except AssertionError:
            if time.monotonic() > until_s:
                raise
            await asyncio.sleep(0.5)


async def redis_stands_still(there: Site) -> None:
    there.redis.pause()
    await asyncio.sleep(there.rng.uniform(0.3, 5))
    there.redis.resume()


async def redis_back_empty(there: Site) -> None:
    there.redis.kill()
    await asyncio.sleep(there.rng.uniform(0, 3))
    await asyncio.to_thread(there.redis.start)


async def postgres_killed(there: Site) -> None:
    there.postgres.kill()
    await asyncio.sleep(there.rng.uniform(0, 4))
    await asyncio.to_thread(there.postgres.start)


async def bucket_away(there: Site) -> None:
    there.door.close()
    await asyncio.sleep(there.rng.uniform(0.5, 6))
    there.door.open()


#: what fails, how often of a hundred, and what must not fail with it twice at once
FAULTS: dict[str, tuple[int, str, Callable[[Site], Awaitable[None]]]] = {
    "a worker killed": (22, "machine", worker_killed),
    "a committer killed": (12, "committer", committer_killed),
    "a machine killed": (14, "machine", machine_killed),
    "a machine restarted": (8, "machine", machine_restarted),
    "Redis stood still": (12, "redis", redis_stands_still),
    "Redis back empty": (14, "redis", redis_back_empty),
    "PostgreSQL killed": (8, "postgres", postgres_killed),
    "the bucket away": (10, "bucket", bucket_away),
}


async def _fail(there: Site, until_s: float) -> None:
    weights = [weight for weight, _, _ in FAULTS.values()]
    while time.monotonic() < until_s:
        await asyncio.sleep(there.rng.uniform(0.3, 3))
        names = there.rng.choices([*FAULTS], weights, k=2 if there.rng.random() < _TWO_AT_ONCE else 1)
        once = {FAULTS[name][1]: name for name in names}
        there.last = (*once.values(),)
        there.faults.update(there.last)
        await asyncio.gather(*(FAULTS[name][2](there) for name in once.values()))


# -- a trial


async def trial(folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Rounds until the time is over, then everything is well again; what was found."""
    told: list[Answer] = []
    features: list[str] = []
    ends_s = time.monotonic() + seconds
    async with site(folder, seed) as there:
        while time.monotonic() < ends_s:
            features.append(f"round-{len(features)}")
            callers = [
                Callers(machine, features[-1], count=CALLERS, pause_s=0.1, words=(1, MOST_WORDS))
                for machine in there.machines
            ]
            await _fail(there, min(time.monotonic() + ROUND_S, ends_s))
            for one in callers:
                await one.stop()
                told += one.with_budget + one.without
        apart = await _at_the_end(there)
        for machine in there.machines:
            await _down(there, machine)
        log = [line for machine in there.machines for line in machine.mistakes()]
        rows = {name: _ids(there, name) for name in ("usage", "inference_log")}
        return _figures(there, told, rows, _costs(there, features), apart + log)


async def _at_the_end(there: Site) -> list[str]:
    """What does not agree when everything is well again, and budgets have been rebuilt from the rows once more."""
    await redis_back_empty(there)
    for machine in there.machines:
        await _serves(machine)
    return [line for machine in there.machines for line in await _disagreements(machine)]


async def _serves(machine: Gateway) -> None:
    """Until each of its callers has an answer under a budget."""
    callers = Callers(machine, "last", count=2 * WORKERS, pause_s=0.2)
    async with asyncio.timeout(_SETTLED_S):
        while [one.status for one in callers.with_budget[-2 * WORKERS :]] != [200] * 2 * WORKERS:
            await asyncio.sleep(0.1)
    await callers.stop()


async def _disagreements(machine: Gateway) -> list[str]:
    """Of `sekisho reconcile`, once rows of the other machine and leases of the dead had their time."""
    command = [str(SEKISHO), "reconcile", "--config", str(machine.config), "--gateway", machine.url]
    environ = {**os.environ, **_ENVIRON, "CRASH_KEY": KEY}
    until_s = time.monotonic() + _SETTLED_S
    while True:
        run = functools.partial(subprocess.run, command, capture_output=True, text=True, env=environ)
        done = await asyncio.to_thread(run)
        if done.returncode == 0:
            return []
        if time.monotonic() > until_s:
            lines = (done.stdout + done.stderr).splitlines()
            return [line for line in lines if line.startswith("NO")] or lines
        await asyncio.sleep(1)


def _frame(there: Site, table: str, *columns: str) -> polars.DataFrame:
    storage = there.door.storage(there.bucket)
    options = {name: value for name, value in (storage.options() or {}).items() if name.startswith("aws_")}
    return polars.read_delta(storage.table(table), storage_options=options, columns=[*columns])


def _costs(there: Site, features: list[str]) -> list[int]:
    """What the rows under each budget cost, in nano-dollars."""
    costs = _frame(there, "usage", "feature", "cost_usd").group_by("feature").agg(polars.col("cost_usd").sum())
    found = {feature: usd_to_nanos(cost) for feature, cost in costs.iter_rows()}
    return [found.get(feature, 0) for feature in features]


def _ids(there: Site, table: str) -> Counter[str]:
    return Counter(_frame(there, table, "request_id")["request_id"].to_list())


def _figures(
    there: Site,
    told: list[Answer],
    rows: dict[str, Counter[str]],
    costs: list[int],
    wrong: list[str],
) -> dict[str, Any]:
    acknowledged = [one.request_id for one in told if one.request_id is not None]
    lost = [one for one in acknowledged if one not in rows["usage"]]
    doubled = [one for ids in rows.values() for one, count in ids.items() if count > 1]
    statuses = Counter(f"{one.status} {one.code or ''}".strip() for one in told)
    broken = [f"lost: {one}" for one in lost[:20]] + [f"doubled: {one}" for one in doubled[:20]]
    broken += [f"{status}: {count} times" for status, count in statuses.items() if status not in _DOCUMENTED]
    broken += wrong[:20]
    return {
        "what failed": dict(there.faults.most_common()),
        "answers": dict(statuses.most_common()),
        "acknowledged": len(acknowledged),
        "acknowledged and lost": len(lost),
        "doubled": len(doubled),
        "rows in usage": rows["usage"].total(),
        "the longest orderly stop took, s": round(there.longest_stop_s, 1),
        "budgets": len(costs),
        "budgets used up": sum(cost >= AMOUNT for cost in costs),
        "the most that one was overspent, USD": format_usd(max(0, *(cost - AMOUNT for cost in costs))),
        "broken": broken,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(trial(Path(folder), options.seconds, options.seed))
    print(json.dumps(found, indent=2))
    return 1 if found["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
