"""A real S3 endpoint on loopback for tests, and a door in front of it that can fail in the ways networks do."""

from __future__ import annotations

import http.client
import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

from sekisho.domain.http import Secret
from sekisho.tables.storage import S3, Storage

ACCESS_KEY, SECRET_KEY = "AKIACANARY0123456789", "canary/secret+0123456789abcdefghijklmno"
#: the answer is lost after the store has done it; the request is lost before; the store answers with a status;
#: the store forgets the condition
Fault = Literal["lose_answer", "lose_request", "ignore_condition"] | int
Matches = Callable[[str, str], bool]
_numbers = itertools.count(1)


class S3Server:
    """moto's server. What is in it is gone with it."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("s3_server.py"))]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def bucket(self) -> str:
        """A new, empty one."""
        name = f"bucket-{next(_numbers)}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("PUT", f"/{name}")
        assert connection.getresponse().status == 200
        connection.close()
        return name

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Door:
    """Hands requests on to the server, one at a time. `seen` holds (method, path, bytes of the answer's body)."""

    def __init__(self, server: S3Server) -> None:
        self._server = server
        self._faults: list[tuple[Matches, Fault]] = []
        self._lock = threading.Lock()
        self.seen: list[tuple[str, str, int]] = []
        self.port = 0
        self._http: ThreadingHTTPServer | None = None
        self.open()

    def open(self) -> None:
        """Listen; after `close` on the same port as before."""
        door = self

        class Handler(BaseHTTPRequestHandler):
            def do_request(self) -> None:
                door._handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_request  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                """Nothing on stderr."""

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            # a reader of Delta asks for all entries of a log at once
            request_queue_size = 128

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that left."""

        self._http = Listener(("127.0.0.1", self.port), Handler)
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """Stop listening: connections are refused."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def fail(self, fault: Fault, matches: Matches) -> None:
        """Once, at the next request whose method and path match."""
        self._faults.append((matches, fault))

    def storage(self, bucket: str, prefix: str = "/tables") -> Storage:
        return storage_at(self.port, bucket, prefix)

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        with self._lock:
            fault = self._fault(request.command, request.path)
            if fault == "lose_request":
                request.close_connection = True
                return
            if isinstance(fault, int):
                _answer(request, fault, {}, b"<Error><Code>Injected</Code></Error>")
                return
            headers = {name: value for name, value in request.headers.items() if name.lower() != "connection"}
            if fault == "ignore_condition":
                headers = {name: value for name, value in headers.items() if name.lower() != "if-none-match"}
            connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=30)
            connection.request(request.command, request.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            self.seen.append((request.command, request.path, len(content)))
        if fault == "lose_answer":
            request.close_connection = True
            return
        _answer(request, answer.status, dict(answer.getheaders()), content)

    def _fault(self, method: str, path: str) -> Fault | None:
        for at, (matches, fault) in enumerate(self._faults):
            if matches(method, path):
                del self._faults[at]
                return fault
        return None


def log_put(table: str = "") -> Matches:
    """The put of a log entry."""
    return lambda method, path: method == "PUT" and table in path and path.endswith(".json")


def data_put(table: str = "") -> Matches:
    return lambda method, path: method == "PUT" and table in path and path.endswith(".zstd.parquet")


def storage_at(port: int, bucket: str, prefix: str = "/tables") -> Storage:
    s3 = S3(
        endpoint=f"http://127.0.0.1:{port}",
        region="us-east-1",
        access_key_id=Secret(ACCESS_KEY),
        secret_access_key=Secret(SECRET_KEY),
        allow_http=True,
    )
    return Storage(url=f"s3://{bucket}{prefix}", s3=s3)


def _answer(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    request.send_response_only(status)
    own = ("connection", "transfer-encoding", "date", "server")
    for name, value in headers.items():
        if name.lower() not in own and not (name.lower() == "content-length" and request.command != "HEAD"):
            request.send_header(name, value)
    if request.command != "HEAD":
        request.send_header("content-length", str(len(body)))
    request.send_header("connection", "close")
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)
