"""The command as a person types it, and something that answers as a gateway does."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from sekisho.app.cli import build
from sekisho.domain.usage import Usage
from sekisho.entrypoints.http.metrics import exposition
from sekisho.ledger.tally import Tally

ADMIN_KEY = "sk-admin-0123456789abcdef"


def run(data_dir: Path, *more: str, language: str = "en_US.UTF-8", **environ: str) -> Result:
    words = ["reconcile", "--data-dir", str(data_dir), *more]
    env = {"LANG": language, "LC_ALL": "", "SEKISHO_ADMIN_KEY": "", **environ}
    return CliRunner().invoke(build(words), words, prog_name="sekisho", env=env)


@contextmanager
def answering(
    spool: str, started_us: int, rows: int, *, admin: Any = None, failed: int = 0, ready: int = 200
) -> Iterator[str]:
    """The address of something that says of itself what a gateway says. `admin` are the answers of /admin by path, or
    functions that make them; they take the key. `ready` is the status of /health/ready."""
    tally = Tally()
    model = tally.model("gpt-4o-mini", "openai", "chat")
    model.statuses, model.cost_nanos = {200: rows + failed}, 27_000 * rows
    model.observe_usage(Usage(input_tokens=120 * rows, output_tokens=0))
    tally.rows["appended"], tally.rows["failed"] = rows, failed
    pages = {
        "/health/ready": json.dumps({"spool": spool, "started_us": started_us}).encode(),
        "/metrics": exposition(tally, dict)(),
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = (admin or {}).get(self.path)
            if found is not None and self.headers.get("authorization") != f"Bearer {ADMIN_KEY}":
                self.reply(401, b'{"error": {"code": "invalid_api_key", "message": "no such key"}}')
            elif found is not None:
                self.reply(200, json.dumps(found() if callable(found) else found).encode())
            else:
                status = ready if self.path == "/health/ready" else 200 if self.path in pages else 404
                self.reply(status, pages.get(self.path, b""))

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
