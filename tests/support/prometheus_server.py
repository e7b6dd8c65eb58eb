"""A real Prometheus for tests, where the machine has one: no package of Python brings it. Debian: `prometheus`."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest

_START_S = 60.0
_missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
needs_prometheus = pytest.mark.skipif(
    bool(_missing), reason=f"{' and '.join(_missing)} not found; on Debian: apt-get install prometheus"
)


def promtool(*words: str, cwd: Path) -> None:
    """Raises AssertionError with what it said."""
    done = subprocess.run(["promtool", *words], cwd=cwd, capture_output=True, text=True, timeout=_START_S)
    assert done.returncode == 0, done.stdout + done.stderr


class PrometheusServer:
    """One server with a configuration, on a port of its own; its data lies beside the file. Used as a context."""

    def __init__(self, config: Path, port: int) -> None:
        self._config = config
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={self._config}",
                f"--storage.tsdb.path={self._config.parent / 'prometheus-data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                "--log.level=error",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START_S
        while not self._is_ready():
            assert self._process.poll() is None, "prometheus did not start"
            assert time.monotonic() < deadline, "prometheus is not ready"
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query. Raises AssertionError for what Prometheus refuses."""
        answer = self.get("/api/v1/query", query=expr)
        assert answer["status"] == "success", f"{expr}: {answer}"
        assert not answer.get("warnings"), answer
        return answer["data"]["result"]

    def get(self, path: str, **query: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._port}{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=1):
                return True
        except OSError:
            return False
