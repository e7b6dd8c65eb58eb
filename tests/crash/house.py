"""The gateway and its mock provider as a user starts them, and ways to end them. Must use no door but theirs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

KEY = "sk-crash-0123456789abcdef"
PATIENCE_S = 60.0
SEKISHO = Path(sys.executable).with_name("sekisho")

CONFIG = """
data_dir: {data_dir}
tables: {{commit: {{every_s: 0.3}}}}
language: en
providers:
  mock: {{type: openai, base_url: "http://127.0.0.1:{mock_port}/v1", allow_private: true}}
defaults: {{log: full, timeouts: {{connect_s: 2, first_token_s: 10, idle_s: 10, total_s: 30}}}}
endpoints:
  chat: {{targets: [{{provider: mock, model: mock-small}}]}}
  careful: {{targets: [{{provider: mock, model: mock-small}}], durability: sync}}
  bare: {{targets: [{{provider: mock, model: mock-small}}], log: metadata}}
  safe:
    targets: [{{provider: mock, model: "mock?status=500"}}]
    fallbacks: [{{provider: mock, model: "mock?status=429&retry_after=1"}}, {{provider: mock, model: mock-large}}]
  hopeless: {{targets: [{{provider: mock, model: "mock?status=503"}}]}}
keys:
  - {{name: crash, key: "${{env:CRASH_KEY}}", team: research, user: taro, endpoints: ["*", "mock/*"]}}
prices:
  mock/*: {{input_per_mtok: 1.00, cached_input_per_mtok: 0.10, output_per_mtok: 2.00}}
{more}
"""


class Mock:
    """The mock provider in a process of its own: it sees every call that was dispatched, whoever dies."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "sekisho.mock", "--port", str(self.port)]
        with (folder / "mock.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(lambda: answers(self.port, "/_mock/calls"), "the mock provider answers")

    def dispatched(self) -> dict[str, int]:
        """Calls seen, by model name as it was sent."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/_mock/calls", timeout=10) as answer:
            return msgspec.json.decode(answer.read())["by_model"]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Gateway:
    """`sekisho serve` on one data folder, again and again. Its log of all lives is `gateway.log` in `folder`."""

    def __init__(
        self,
        folder: Path,
        mock: Mock,
        *,
        environ: Mapping[str, str] | None = None,
        more: str = "",
        data_dir: Path | None = None,
        workers: int = 1,
    ) -> None:
        self.folder = folder
        self.workers = workers
        self.data_dir = data_dir if data_dir is not None else folder / "data"
        self.port = free_port()
        self.starts = 0
        self.config = folder / "sekisho.yaml"
        self.config.write_text(CONFIG.format(data_dir=self.data_dir, mock_port=mock.port, more=more))
        self._environ = {**os.environ, "CRASH_KEY": KEY, **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spawn(self) -> None:
        """Start it, without waiting for it to answer."""
        self.starts += 1
        command = [str(SEKISHO), "serve", "--config", str(self.config), "--port", str(self.port)]
        command += ["--workers", str(self.workers)] if self.workers > 1 else []
        with (self.folder / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._environ, start_new_session=True
            )

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self.spawn()
        await self.ready()

    async def ready(self) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not await asyncio.to_thread(answers, self.port, "/health/live"):
            assert self._process is not None
            assert self._process.poll() is None, f"the gateway ended by itself:\n{self.log_tail()}"
            assert time.monotonic() < deadline_s, f"the gateway does not answer:\n{self.log_tail()}"
            await asyncio.sleep(0.01)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def committers(self) -> list[int]:
        """Process ids of those that work on this data folder: one, or a second that waits for a killed gateway's."""
        return processes("sekisho.tables", "committer", str(self.data_dir))

    def serving(self) -> list[int]:
        """Process ids of the gateway: one, or a supervisor and its workers."""
        return processes("serve", str(self.config))

    def kill(self) -> None:
        """SIGKILL to the serving process alone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def kill_committer(self) -> bool:
        """SIGKILL to the committer; False when there was none just now."""
        found = self.committers()
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(found)

    @contextmanager
    def committers_held(self) -> Generator[None]:
        """They stand still meanwhile: whoever finds no folder for the tables makes one."""
        held = self.committers()
        for pid in held:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in held:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def freeze(self) -> float:
        """Stop every process where it stands, as a power cut does; returns when, by the monotonic clock."""
        moment_s = time.monotonic()
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        for pid in self.committers():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return moment_s

    def kill_everything(self) -> None:
        """SIGKILL to the serving process and to whatever works on its data folder; waits until they are gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for pid in self.serving() if self.workers > 1 else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.kill_committer(), "the committer is gone")

    async def stop(self) -> int:
        """SIGTERM, and its exit status when everything is drained."""
        assert self._process is not None
        self._process.terminate()
        return await self.ended()

    async def ended(self) -> int:
        """Its exit status, when it has ended."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, PATIENCE_S)

    def closed(self) -> None:
        """Waits until it takes no more connections."""
        wait_for(lambda: not answers(self.port, "/health/live"), "the door is closed")
        time.sleep(0.3)  # and what is left of the workers has been told so

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        if self._process is not None:
            self._process.terminate()

    def worker_pids(self) -> list[int]:
        """Process ids of the workers, in their order."""
        with urllib.request.urlopen(f"{self.url}/health/ready", timeout=10) as answer:
            return [one["pid"] for one in msgspec.json.decode(answer.read())["workers"]]

    def hang_up(self) -> None:
        """SIGHUP."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def log_tail(self) -> str:
        return (self.folder / "gateway.log").read_text("utf-8", "replace")[-3000:]

    def mistakes(self) -> list[str]:
        """Lines of all lives' logs that no crash explains."""
        text = (self.folder / "gateway.log").read_text("utf-8", "replace")
        return [line for line in text.splitlines() if "Traceback" in line or "our own mistake" in line]


def processes(*words: str) -> list[int]:
    """Ids of those that are alive and have these words on their command line."""
    listed = subprocess.run(
        ["ps", "-axww", "-o", "pid=", "-o", "stat=", "-o", "command="], capture_output=True, check=True, text=True
    ).stdout
    found = (line.split(maxsplit=2) for line in listed.splitlines())
    return [
        int(pid)
        for pid, state, command in found
        if all(f" {word} " in f" {command} " for word in words) and state[0] != "Z"
    ]


def answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(condition: object, what: str, within_s: float = PATIENCE_S) -> None:
    """Poll until it holds; fails with what was waited for."""
    assert callable(condition)
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {within_s:g} s: {what}"
        time.sleep(0.01)
