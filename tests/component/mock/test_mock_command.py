from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import typer
from typer.testing import CliRunner

from sekisho.app.commands import mock as command

_MODULE = [sys.executable, "-m", "sekisho.mock"]


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer(rich_markup_mode=None)
    made.callback()(lambda: None)
    command.register(made)
    return made


def test_it_says_where_it_is_answers_and_stops_on_a_signal(chat_body) -> None:
    process = subprocess.Popen([*_MODULE, "--port", "0", "--delay-ms", "30"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        try:
            line = process.stdout.readline()
            url, _, example = line.partition(" ")
            assert f"curl {url}/chat/completions -d '" in example
            asked = json.loads(example.partition("'")[2].rpartition("'")[0])
            assert asked["model"] == "mock-small"
            start = time.monotonic()
            with urllib.request.urlopen(f"{url}/chat/completions", json.dumps(asked).encode(), timeout=5) as answer:
                assert json.load(answer)["choices"][0]["message"]["content"]
            assert time.monotonic() - start >= 0.029
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0
        finally:
            process.kill()


def test_a_port_that_is_taken_is_wrong_usage(app: typer.Typer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        asked = subprocess.run([*_MODULE, "--port", port], check=False, capture_output=True, text=True, timeout=10)
        assert (asked.returncode, asked.stdout) == (2, "")
        assert f"Port {port} on 127.0.0.1 is taken. Choose another one" in asked.stderr
        result = CliRunner().invoke(app, ["mock", "--port", port])
        assert result.exit_code == 2
        assert f"Port {port} on 127.0.0.1 is taken. Choose another one" in result.stderr
        result = CliRunner().invoke(app, ["mock", "--port", port], env={"LANG": "ja_JP.UTF-8"})
        assert result.exit_code == 2
        assert result.stderr.startswith(f"127.0.0.1:{port} で待ち受けできません: アドレスとポートが使用中です")


def test_help_has_an_example(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["mock", "--help"])
    assert result.exit_code == 0
    assert "Example: sekisho mock --port 9101" in result.output
    assert "--delay-ms" in result.output
    assert "--chunk-ms" in result.output


def test_the_server_needs_no_web_framework() -> None:
    code = "import sys, sekisho.mock.server; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=10)
    names = set(loaded.stdout.split())
    assert not names & {"uvicorn", "starlette", "typer", "pydantic", "openai"}
    ours = {name for name in names if name.startswith("sekisho.")}
    assert all(name.startswith("sekisho.mock") for name in ours), "the mirror must not share our mistakes"
