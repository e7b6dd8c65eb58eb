"""A gateway of which every metric has a series: budgets, unpriced and failed calls, maintenance, repeated calls."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.docs.workspace import end, environment, free_port, get, until, until_open

from sekisho.tables.maintenance.state import Run, State, TableSize, folder_of, now_us, write_state

SEKISHO = Path(sys.executable).with_name("sekisho")
KEY = "sk-watched-0123456789abcdef"
CONFIG = """\
data_dir: ./data
providers:
  mock: {type: openai, base_url: "http://127.0.0.1:MOCK/v1", allow_private: true}
endpoints:
  chat: {targets: [{provider: mock, model: mock-small}]}
  failing: {targets: [{provider: mock, model: "mock?status=500"}]}
  unpriced: {targets: [{provider: mock, model: "mock?answer=nobody-knows-its-price"}]}
keys:
  - {name: app, key: "${env:WATCHED_KEY}", team: research, user: taro, endpoints: ["*"]}
teams:
  research: {department: rd}
budgets:
  - {scope: {team: research}, usd: 0.001, period: month, on_exceed: warn}
prices:
  mock/mock-small: {input_per_mtok: 1.00, output_per_mtok: 2.00}
"""


class Watched:
    """The gateway, and calls to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._turn = 0

    def metrics(self) -> str:
        return get(self.port, "/metrics")

    def traffic(self) -> None:
        """Plain, streamed, failed, refused, unpriced and repeated calls."""
        self._turn += 1
        for n in range(3):
            self._call("chat", stream=n == 1)
            self._call("chat", stream=True)
        self._call("failing")
        self._call("unpriced")
        self._call("no-such-endpoint")
        for _ in range(2):
            self._call("chat", key=f"turn-{self._turn}")

    def _call(self, model: str, *, stream: bool = False, key: str | None = None) -> None:
        body = {"model": model, "messages": [{"role": "user", "content": "watch me"}], "stream": stream}
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        if key is not None:
            headers["idempotency-key"] = key
        url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            error.close()


@pytest.fixture(scope="session")
def port() -> int:
    """Where the gateway will be."""
    return free_port()


@pytest.fixture(scope="session")
def watched(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Started once."""
    folder = tmp_path_factory.mktemp("watched")
    mock = free_port()
    (folder / "sekisho.yaml").write_text(CONFIG.replace("MOCK", str(mock)))
    _maintained(folder / "data")
    started: list[subprocess.Popen[Any]] = []
    try:
        for words in (["mock"], ["serve"]):
            at = mock if words == ["mock"] else port
            environ = {**environment(), "WATCHED_KEY": KEY}
            command = [str(SEKISHO), *words, "--port", str(at)]
            started.append(subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.DEVNULL))
        for process, at in zip(started, (mock, port), strict=True):
            until_open(at, process)
        gateway = Watched(port)
        gateway.traffic()
        # budgets are looked at every few seconds, once there was a call
        until(lambda: "sekisho_budget_ratio{" in gateway.metrics())
        yield gateway
    finally:
        for process in reversed(started):
            end(process)


def _maintained(data_dir: Path) -> None:
    """As a night's job leaves it."""
    folder_of(data_dir).mkdir(parents=True)
    well = Run(began_us=now_us() - 2, ended_us=now_us() - 1, well_us=now_us() - 1)
    size = TableSize(files=1, rows=1, bytes=1000, days=1)
    write_state(data_dir, State(tables={"usage": size}, jobs={"night": well, "light": well}))
