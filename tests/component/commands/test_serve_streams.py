"""`sekisho serve` whose standard streams are closed, broken or full: calls do not depend on who reads the log."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.component.commands.test_serve_command import CONFIG, SEKISHO
from tests.crash.house import answers, free_port, wait_for

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def start(tmp_path: Path, port: int):
    """Starts a gateway by a line of the shell that redirects its streams."""
    started: list[subprocess.Popen[bytes]] = []

    def run(
        streams: str, stdout: int | None = None, stderr: int | None = None, workers: int = 1
    ) -> subprocess.Popen[bytes]:
        shared = 'state: {url: "redis://127.0.0.1:1"}\n' if workers > 1 else ""
        (tmp_path / "sekisho.yaml").write_text(CONFIG + shared)
        line = f"exec '{SEKISHO}' serve --port {port} --workers {workers} {streams}"
        started.append(subprocess.Popen(["sh", "-c", line], cwd=tmp_path, stdout=stdout, stderr=stderr))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def live(port: int) -> bool:
    return answers(port, "/health/live")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", "2>&-", ">/dev/full 2>/dev/full"])
def test_closed_or_full_streams_stop_no_gateway(streams: str, workers: int, start: Start, port: int) -> None:
    process = start(streams, workers=workers)
    wait_for(lambda: live(port), "it answers")
    time.sleep(0.3)
    assert live(port)
    process.terminate()
    assert process.wait(60) == 0


def test_a_reader_that_has_gone_before_the_banner_stops_no_gateway(start: Start, port: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start("", stdout=writing, stderr=writing)
    os.close(writing)
    wait_for(lambda: live(port), "it answers")
    time.sleep(0.3)
    assert live(port)
    process.terminate()
    assert process.wait(60) == 0


def test_a_log_that_nobody_reads_holds_up_no_call_and_says_later_what_is_lost(
    tmp_path: Path, start: Start, port: int
) -> None:
    reading, writing = os.pipe()
    process = start("", stdout=subprocess.DEVNULL, stderr=writing)
    wait_for(lambda: live(port), "it answers")
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    (tmp_path / "sekisho.yaml").write_text("no configuration")
    for _ in range(3):
        # Each is logged, with every mistake.
        process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
        assert live(port)
    os.set_blocking(reading, False)
    with suppress(BlockingIOError):
        while os.read(reading, 1 << 20):
            pass
    process.send_signal(signal.SIGHUP)
    os.set_blocking(reading, True)
    text = b""
    while b"stays in force" not in text:
        text += os.read(reading, 1 << 16)
    assert b"lines of this log are lost" in text.splitlines()[0]
    process.terminate()
    assert process.wait(60) == 0
    os.close(writing)
    os.close(reading)
