"""Several workers as processes: what dies, what is counted, what is left, and who finds it. A real Redis, a mock
provider, clients that note what they were told.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
from tests.crash.books import balance
from tests.crash.house import SEKISHO, Gateway, Mock, wait_for
from tests.crash.traffic import Traffic
from tests.support.redis_server import RedisServer

from sekisho.costs.reconcile import Counters, counters
from sekisho.tables.segments import segment_numbers
from sekisho.tables.spools import spool_roots

WORKERS = 3
PATIENCE_S = 60.0


def _get(gateway: Gateway, path: str) -> bytes:
    """From any of the workers; one that is killed may take the connection along."""
    while True:
        try:
            with urllib.request.urlopen(f"{gateway.url}{path}", timeout=10) as answer:
                return answer.read()
        except ConnectionError:
            time.sleep(0.05)


async def ready(gateway: Gateway) -> dict[str, Any]:
    return msgspec.json.decode(await asyncio.to_thread(_get, gateway, "/health/ready"))


async def counted(gateway: Gateway) -> Counters:
    return counters((await asyncio.to_thread(_get, gateway, "/metrics")).decode())


async def workers(gateway: Gateway) -> list[dict[str, Any]]:
    return (await ready(gateway))["workers"]


async def until(condition: Any, what: str) -> None:
    """Poll an asynchronous condition."""
    end_s = time.monotonic() + PATIENCE_S
    while not await condition():
        assert time.monotonic() < end_s, what
        await asyncio.sleep(0.02)


def reconcile(gateway: Gateway) -> str:
    """What it prints; it must agree."""
    command = [str(SEKISHO), "reconcile", "--config", str(gateway.config), "--gateway", gateway.url]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "CRASH_KEY": "sk-crash-0123456789abcdef"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def a_worker_dies_under_load(gateway: Gateway, traffic: Traffic) -> None:
    before = await counted(gateway)
    victim = random.choice(await workers(gateway))
    os.kill(victim["pid"], signal.SIGKILL)

    async def replaced() -> bool:
        return [
            (one["state"], one["restarts"]) for one in await workers(gateway) if one["worker"] == victim["worker"]
        ] == [("ok", 1)]

    await until(replaced, "another takes its place")
    after = await counted(gateway)
    assert all(after.requests[key] >= count for key, count in before.requests.items()), "no counter goes back"
    enough = traffic.acknowledged() + 100
    await traffic.until(lambda: traffic.acknowledged() >= enough)


async def a_worker_hangs(gateway: Gateway) -> None:
    """A look at all does not wait for it, and has what it told last."""
    before = await counted(gateway)
    victim = (await workers(gateway))[0]
    os.kill(victim["pid"], signal.SIGSTOP)
    try:
        # some of these connections go to the one that hangs
        asked = [asyncio.ensure_future(counted(gateway)) for _ in range(8)]
        done, _ = await asyncio.wait(asked, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        found = done.pop().result()
        assert all(found.requests[key] >= count for key, count in before.requests.items())
    finally:
        os.kill(victim["pid"], signal.SIGCONT)
        await asyncio.gather(*asked)


async def test_workers_die_and_nothing_is_lost(tmp_path: Path) -> None:
    mock = Mock(tmp_path)
    with RedisServer() as server:
        gateway = Gateway(tmp_path, mock, more=f'state: {{url: "{server.url}"}}')
        traffic = Traffic(gateway.url, random.Random(4))
        try:
            await gateway.start()
            await traffic.start()
            await several_take_over_from_one_that_was_killed(gateway, traffic)
            _, *spools = spool_roots(gateway.data_dir)
            assert len(spools) == WORKERS
            await a_worker_dies_under_load(gateway, traffic)
            await a_worker_hangs(gateway)
            assert "The books agree" in await asyncio.to_thread(reconcile, gateway), "while calls run"
            await a_supervisor_is_killed(gateway, traffic)
            await one_worker_takes_over(gateway, traffic)
            await traffic.stop()
            assert await gateway.stop() == 0, gateway.log_tail()
            assert gateway.serving() == gateway.committers() == []
            books = balance(traffic.notes, mock.dispatched(), gateway.data_dir)
            print(books)
            assert books.faults == []
            assert books.interrupted > 0
            assert gateway.mistakes() == []
        finally:
            await traffic.abandon()
            gateway.kill_everything()
            mock.close()


async def several_take_over_from_one_that_was_killed(gateway: Gateway, traffic: Traffic) -> None:
    await traffic.until(lambda: traffic.acknowledged() >= 50)
    gateway.kill()
    traffic.life += 1
    gateway.workers = WORKERS
    await gateway.start()
    assert [one["worker"] for one in await workers(gateway)] == [1, 2, 3]
    await traffic.until(lambda: traffic.acknowledged() >= 150)


async def a_supervisor_is_killed(gateway: Gateway, traffic: Traffic) -> None:
    """Its workers end their calls and then themselves; a new one starts at once beside them."""
    old = gateway.serving()
    assert len(old) == WORKERS + 1
    gateway.kill()
    traffic.life += 1
    await gateway.start()
    enough = traffic.acknowledged() + 100
    await traffic.until(lambda: traffic.acknowledged() >= enough)
    await asyncio.to_thread(wait_for, lambda: not set(old) & set(gateway.serving()), "no worker is left behind")


async def one_worker_takes_over(gateway: Gateway, traffic: Traffic) -> None:
    """What several left in their spools, one finds."""
    assert await gateway.stop() == 0, gateway.log_tail()
    gateway.workers = 1
    traffic.life += 1
    await gateway.start()
    enough = traffic.acknowledged() + 50
    await traffic.until(lambda: traffic.acknowledged() >= enough)
    assert segment_numbers(spool_roots(gateway.data_dir)[0]), "the old layout"
