"""Several workers as one gateway: one banner, one configuration, one end; and what keeps it from starting."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.component.workers.test_money import LONGEST_WAIT_S, Callers
from tests.crash.house import KEY, SEKISHO, Gateway, Mock, free_port
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer

from sekisho.tables.reader import ask

PATIENCE_S = 60.0
WORKERS = 2


async def eventually(condition: Any, what: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.02)


async def get(url: str) -> Any:
    """On a connection of its own, which goes to any of the workers; one that is killed may take it along."""
    while True:
        try:
            return await _get(url)
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.05)


async def _get(url: str) -> Any:
    async with aiohttp.ClientSession() as session:
        headers = {"authorization": f"Bearer {KEY}"}
        async with session.get(url, headers=headers, timeout=aiohttp.ClientTimeout(total=20)) as answer:
            return await (answer.json() if answer.content_type == "application/json" else answer.text())


async def call(gateway: Gateway, model: str, **more: Any) -> tuple[int, str]:
    body = {"model": model, "messages": [{"role": "user", "content": "関所"}], **more}
    async with aiohttp.ClientSession() as session:
        headers = {"authorization": f"Bearer {KEY}"}
        async with session.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers) as answer:
            return answer.status, await answer.text()


def serve(gateway: Gateway, *options: str, language: str = "C.UTF-8") -> subprocess.CompletedProcess[str]:
    """A start that is refused."""
    command = [str(SEKISHO), "serve", "--config", str(gateway.config), *options]
    environ = {**os.environ, "CRASH_KEY": KEY, "LANG": language}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


async def test_the_life_of_a_group(tmp_path: Path) -> None:
    mock = Mock(tmp_path)
    metrics_port = free_port()
    with RedisServer() as server, PostgresServer() as database:
        state = f'state: {{url: "{server.url}"}}\ndatabase: {{url: "{database.new_url()}"}}'
        more = f"{state}\nserver: {{metrics_port: {metrics_port}}}"
        gateway = Gateway(tmp_path, mock, workers=WORKERS, more=more)
        try:
            await gateway.start()
            await every_worker_serves(gateway, metrics_port)
            await a_changed_file_is_in_force_everywhere(gateway)
            await the_database_is_restarted_under_load(gateway, database, metrics_port)
            await another_gateway_is_refused(gateway)
            await running_calls_come_to_their_end(gateway)
        finally:
            gateway.kill_everything()
            mock.close()
    log = (tmp_path / "gateway.log").read_text()
    assert log.count("the gateway whose numbers are true") == 1, log
    [(rows,)] = ask(gateway.data_dir, "SELECT count(*) FROM usage WHERE NOT contains(request_model, 'echo')").rows()
    assert rows == 21


async def every_worker_serves(gateway: Gateway, metrics_port: int) -> None:
    answers = await asyncio.gather(*(call(gateway, "chat") for _ in range(20)))
    assert Counter(status for status, _ in answers) == {200: 20}
    for _ in range(4):
        text = await get(f"http://127.0.0.1:{metrics_port}/metrics")
        assert 'llm_requests_total{model="mock-small",status="200"} 20.0' in text
        assert 'sekisho_rows_total{state="appended"} 20.0' in text
    assert "not_found" in str(await get(f"{gateway.url}/metrics")), "metrics have a port of their own"
    found = [await get(f"{gateway.url}/health/ready") for _ in range(4)]
    assert {one["started_us"] for one in found} == {found[0]["started_us"]}
    assert [worker["state"] for worker in found[0]["workers"]] == ["ok"] * WORKERS
    assert len({worker["pid"] for worker in found[0]["workers"]}) == WORKERS
    assert len(gateway.committers()) == 1
    assert len(gateway.serving()) == WORKERS + 1


async def a_changed_file_is_in_force_everywhere(gateway: Gateway) -> None:
    text = gateway.config.read_text()
    gateway.config.write_text(
        text.replace("  bare:", "  later: {targets: [{provider: mock, model: mock-small}]}\n  bare:")
    )
    gateway.hang_up()

    async def known() -> bool:
        lists = await asyncio.gather(*(get(f"{gateway.url}/v1/models") for _ in range(8)))
        return all("later" in {model["id"] for model in one["data"]} for one in lists)

    await eventually(known, "the new endpoint is known")
    # a worker that starts now goes by the new file as well
    [first, *_] = (await get(f"{gateway.url}/health/ready"))["workers"]
    os.kill(first["pid"], signal.SIGKILL)

    async def replaced() -> bool:
        again = (await get(f"{gateway.url}/health/ready"))["workers"][0]
        return again["state"] == "ok" and again["restarts"] == 1

    await eventually(replaced, "another worker has its place")
    assert await known()


async def the_database_is_restarted_under_load(gateway: Gateway, database: PostgresServer, metrics_port: int) -> None:
    """No valid key is refused, and nobody waits: what was known last stays in force."""
    callers = Callers(gateway, "restart")

    async def more(than: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(callers.without) < than:
                await asyncio.sleep(0.01)

    await more(20)
    await asyncio.to_thread(database.kill)
    await more(len(callers.without) + 100)
    await asyncio.sleep(1.5)  # every worker has looked for keys meanwhile
    await eventually(partial(stores_are, metrics_port, database=0.0, state=1.0), "the database is seen to be away")
    await asyncio.to_thread(database.start)
    await more(len(callers.without) + 50)
    await callers.stop()
    answers = callers.with_budget + callers.without
    assert {answer.status for answer in answers} == {200}
    assert max(answer.took_s for answer in answers) < LONGEST_WAIT_S
    assert gateway.log_tail().count("the control database does not answer") >= WORKERS
    key = await asyncio.to_thread(keys_create, gateway)

    async def known() -> bool:
        return {await status_with(gateway, key) for _ in range(8)} == {200}

    await eventually(known, "a new key is known everywhere")
    await eventually(partial(stores_are, metrics_port, database=1.0, state=1.0), "the database is seen to be back")


async def stores_are(metrics_port: int, **up: float) -> bool:
    text = await get(f"http://127.0.0.1:{metrics_port}/metrics")
    return all(f'sekisho_store_up{{store="{name}"}} {value}' in text for name, value in up.items())


def keys_create(gateway: Gateway) -> str:
    command = [str(SEKISHO), "keys", "create", "--name", "new", "--config", str(gateway.config)]
    environ = {**os.environ, "CRASH_KEY": KEY}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    return next(word for word in done.stdout.split() if word.startswith("sk-"))


async def status_with(gateway: Gateway, key: str) -> int:
    async with aiohttp.ClientSession() as session:
        headers = {"authorization": f"Bearer {key}"}
        async with session.get(f"{gateway.url}/v1/models", headers=headers) as answer:
            return answer.status


async def another_gateway_is_refused(gateway: Gateway) -> None:
    """By whichever it meets first: the port, that of the metrics, or the data folder."""
    text = gateway.config.read_text()
    other = gateway.config.with_name("other.yaml")
    other.write_text(re.sub(r"metrics_port: \d+", f"metrics_port: {free_port()}", text))
    elsewhere, two = ("--port", str(free_port())), ("--workers", "2")
    refused = {
        ("--config", str(other), *elsewhere): "is in use by",
        ("--config", str(other), *elsewhere, *two): "is in use by",
        elsewhere: "server.metrics_port: cannot listen",
        ("--port", str(gateway.port), *two): "cannot listen",
    }
    found = await asyncio.gather(*(asyncio.to_thread(serve, gateway, *options) for options in refused))
    for done, says in zip(found, refused.values(), strict=True):
        assert (done.returncode, done.stderr.count(says)) == (2, 1), done.stderr


async def running_calls_come_to_their_end(gateway: Gateway) -> None:
    slow = asyncio.ensure_future(call(gateway, "mock/mock?chunks=10&chunk_ms=100", stream=True))

    async def in_flight() -> bool:
        return bool(await get(f"{gateway.url}/health/live")) and not slow.done()

    await eventually(in_flight, "it runs")
    await asyncio.sleep(0.3)  # until its first content has come
    pids = gateway.serving()
    assert await gateway.stop() == 0, gateway.log_tail()
    status, text = await slow
    assert status == 200
    assert text.rstrip().endswith("data: [DONE]")
    assert not set(pids) & set(gateway.serving())
    assert gateway.committers() == []


@pytest.mark.parametrize(("language", "says"), [("en", "4 workers need shared counters"), ("ja", "4 ワーカーには共有")])
def test_counters_in_memory_refuse_more_than_one_worker(tmp_path: Path, language: str, says: str) -> None:
    config = tmp_path / "sekisho.yaml"
    config.write_text(
        f"language: {language}\nproviders: {{p: {{type: openai, base_url: 'https://llm.example.com/v1'}}}}\n"
        "endpoints: {chat: {targets: [{provider: p, model: m}]}}\n"
    )
    command = [str(SEKISHO), "serve", "--config", str(config), "--workers", "4", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 2
    first, second = done.stderr.strip().splitlines()
    assert first.startswith(says)
    assert "redis://" in second
    assert not (tmp_path / "sekisho-data").exists(), "nothing was begun"
