"""`sekisho serve` where something is in its way, as the person who starts it sees it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SEKISHO = Path(sys.executable).with_name("sekisho")
CONFIG = """\
data_dir: ./data
providers: {mock: {type: openai, base_url: "http://127.0.0.1:9/v1", allow_private: true}}
endpoints: {chat: {targets: [{provider: mock, model: mock-small}]}}
prices: {mock/*: {input_per_mtok: 1, output_per_mtok: 2}}
"""


def serve(folder: Path, more: str, language: str) -> subprocess.CompletedProcess[str]:
    (folder / "sekisho.yaml").write_text(CONFIG + more)
    environ = {**os.environ, "LC_ALL": language}
    words = [str(SEKISHO), "serve", "--port", "0"]
    return subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("language", "said"), [("en_US.UTF-8", "server.metrics_port: cannot listen on"), ("ja_JP.UTF-8", "設定で別の番号")]
)
def test_a_metrics_port_that_is_taken_is_said_before_the_door_opens(tmp_path: Path, language: str, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = serve(tmp_path, f"server: {{metrics_port: {port}}}\n", language)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert f"127.0.0.1:{port}" in done.stderr


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    for name in ("server.crt", "server.key"):
        (tmp_path / name).write_text("no certificate")
    done = serve(tmp_path, "server: {tls_certificate: server.crt, tls_key: server.key}\n", "ja_JP.UTF-8")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sekisho.yaml:5:27: error: server.tls_certificate: ファイルに証明書がありません。")
