"""Calls of every kind against a real gateway process: answered, streamed, fallen back, failed, refused, cut, left.

Whatever a client saw is kept, and `Verdict` says where rows, metrics, money and answers differ. Used by a component
test with some thousand calls and by `tests/endurance/mixed_calls.py` with as many as one likes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from sekisho.app.commands.reconcile import Report
from sekisho.costs.reconcile import Counters, counters
from sekisho.tables.books import Books, nanos
from sekisho.tables.reader import ask

KEY = "sk-mixed-0123456789abcdef"
ADMIN_KEY = "sk-admin-0123456789abcdef"
PATIENCE_S = 60.0
CONNECTIONS = 24

CONFIG = """
data_dir: ./data
language: en
log_level: warning
providers:
  mock: {type: openai, base_url: "http://127.0.0.1:MOCK/v1", allow_private: true}
  dead: {type: openai, base_url: "http://127.0.0.1:9/v1", allow_private: true}
defaults: {log: full, timeouts: {connect_s: 2, first_token_s: 30, idle_s: 30, total_s: 60}}
endpoints:
  chat: {targets: [{provider: mock, model: mock-small}], log: full}
  bare: {targets: [{provider: mock, model: mock-small}], log: metadata}
  cached: {targets: [{provider: mock, model: "mock?usage=1001,77,512"}], log: full}
  quiet: {targets: [{provider: mock, model: "mock?no_usage=1"}], log: full}
  slow: {targets: [{provider: mock, model: "mock?first_token_ms=40&chunk_ms=20&chunks=50"}], log: full}
  cut: {targets: [{provider: mock, model: "mock?cut_after=3"}], log: full}
  embed: {targets: [{provider: mock, model: mock-embed}]}
  careful:
    targets: [{provider: mock, model: "mock?status=503"}]
    fallbacks: [{provider: dead, model: gone}, {provider: mock, model: mock-large}]
    log: full
  hopeless:
    targets: [{provider: mock, model: "mock?status=429"}]
    fallbacks: [{provider: mock, model: "mock?status=500"}]
    log: full
  rejected: {targets: [{provider: mock, model: "mock?status=400"}], log: full}
  unpriced: {targets: [{provider: mock, model: "unknown-model"}], log: full}
teams:
  法務: {department: 管理部}
keys:
  - {name: mixed, key: "${env:MIXED_KEY}", team: 法務, user: 山田太郎, endpoints: ["*", "mock/*"]}
admin: {key: "${env:MIXED_ADMIN_KEY}"}
budgets:
  - {scope: {organisation: "*"}, usd: 1000, on_exceed: warn}
  - {scope: {department: "*"}, usd: 1000, period: day, on_exceed: warn}
  - {scope: {team: "*", user: "*"}, usd: 1000, period: week, on_exceed: warn}
  - {scope: {key: "*"}, usd: 1000, on_exceed: warn}
  - {scope: {endpoint: "*"}, usd: 1000, period: day, on_exceed: warn}
  - {scope: {model: "*"}, usd: 1000, period: week, on_exceed: warn}
  - {scope: {feature: "*"}, usd: 1000, on_exceed: warn}
prices:
  mock/mock-small: {input_per_mtok: 1.37, cached_input_per_mtok: 0.11, output_per_mtok: 2.93}
  mock/mock-large: {input_per_mtok: 5.01, output_per_mtok: 15.03}
  mock/mock-embed: {input_per_mtok: 0.02, output_per_mtok: 0}
  "mock/mock?usage=1001,77,512": {input_per_mtok: 0.333, cached_input_per_mtok: 0.037, output_per_mtok: 0.777}
  "mock/mock?no_usage=1": {input_per_mtok: 1.01, output_per_mtok: 2.03}
  "mock/mock?first_token_ms=40&chunk_ms=20&chunks=50": {input_per_mtok: 1.01, output_per_mtok: 2.03}
  "mock/mock?cut_after=3": {input_per_mtok: 1.01, output_per_mtok: 2.03}
  "mock/mock?status=400": {input_per_mtok: 1, output_per_mtok: 1}
"""


class Kind(NamedTuple):
    """One sort of call and its share in a hundred. `leave` is when the client goes: before the answer, or in it."""

    name: str
    share: int
    model: str
    stream: bool = False
    key: str = KEY
    path: str = "/v1/chat/completions"
    leave: str = ""
    body: bytes | None = None


KINDS = (
    Kind("plain", 24, "chat"),
    Kind("metadata", 14, "bare"),
    Kind("stream", 14, "chat", stream=True),
    Kind("cached", 6, "cached"),
    Kind("estimated", 3, "quiet"),
    Kind("estimated stream", 2, "quiet", stream=True),
    Kind("fallback", 8, "careful"),
    Kind("fallback stream", 3, "careful", stream=True),
    Kind("failed", 4, "hopeless"),
    Kind("rejected", 2, "rejected"),
    Kind("cut", 3, "cut", stream=True),
    Kind("left in the stream", 3, "slow", stream=True, leave="in"),
    Kind("left before it", 2, "slow", stream=True, leave="before"),
    Kind("embeddings", 5, "embed", path="/v1/embeddings"),
    Kind("unpriced", 2, "unpriced"),
    Kind("direct", 2, "mock/mock-small"),
    Kind("no such endpoint", 1, "nobody"),
    Kind("wrong key", 1, "chat", key="sk-wrong"),
    Kind("no JSON", 1, "", body=b"{not json"),
)


class Seen(NamedTuple):
    """What a client saw: nothing but its own number where it left before the answer."""

    kind: Kind
    status: int | None = None
    request_id: str | None = None
    cost_usd: Decimal | None = None


class Line:
    """One connection that asks again and again, made anew when it was closed or left."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, number: int, kind: Kind) -> Seen:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(_request(number, kind))
        if kind.leave == "before":
            await asyncio.sleep(0.02)
            self.leave()
            return Seen(kind)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        cost = headers.get("x-sekisho-cost-usd")
        status = int(head[0].split()[1])
        seen = Seen(kind, status, headers.get("x-request-id"), None if cost is None else Decimal(cost))
        if kind.leave == "in":
            self.leave()
            return seen
        await _body(reader, headers)
        if headers.get("connection") == "close":
            self.leave()
        return seen

    def leave(self) -> None:
        """Close with a reset, as one does who goes away."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def _request(number: int, kind: Kind) -> bytes:
    if kind.body is not None:
        body = kind.body
    elif kind.path.endswith("embeddings"):
        body = json.dumps({"model": kind.model, "input": f"領収書 {number}"}).encode()
    else:
        which = 0 if kind.name == "rejected" else number
        messages = [{"role": "user", "content": f"契約書 {which} を要約してください。"}]
        asked = {"model": kind.model, "messages": messages, "stream": kind.stream, "metadata": {"feature": kind.name}}
        body = json.dumps(asked, ensure_ascii=False).encode()
    lines = (
        f"POST {kind.path} HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {kind.key}",
        f"x-client-request-id: {number}",
        f"content-length: {len(body)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + body


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> None:
    if "content-length" in headers:
        await reader.readexactly(int(headers["content-length"]))
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
    await reader.readexactly(2)


async def load(port: int, calls: int, seed: int) -> list[Seen]:
    """All calls over some connections; the answer's place in the list is the call's number."""
    pick = random.Random(seed)
    kinds = pick.choices(KINDS, [kind.share for kind in KINDS], k=calls)
    seen: list[Seen] = [Seen(kind) for kind in kinds]
    numbers = iter(range(calls))

    async def work() -> None:
        line = Line(port)
        for number in numbers:
            seen[number] = await line.call(number, kinds[number])
        line.leave()

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return seen


class House:
    """A gateway and a mock provider, each a process, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.port, mock_port = _free_port(), _free_port()
        config = folder / "sekisho.yaml"
        config.write_text(CONFIG.replace("MOCK", str(mock_port)), "utf-8")
        environ = {**os.environ, "MIXED_KEY": KEY, "MIXED_ADMIN_KEY": ADMIN_KEY, "LANG": "C.UTF-8"}
        command = [sys.executable, "-c", "from sekisho.app.cli import main; main()"]
        self._processes = [
            subprocess.Popen([*command, *words], cwd=folder, env=environ, stdout=subprocess.DEVNULL)
            for words in (
                ("mock", "--port", str(mock_port)),
                ("serve", "--config", str(config), "--port", str(self.port)),
            )
        ]
        for port in (mock_port, self.port):
            self._until_open(port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=PATIENCE_S) as answer:
            return answer.read().decode()

    def counters(self) -> Counters:
        return counters(self.get("/metrics"))

    def until_calm(self) -> None:
        """Calls that were left end when the gateway notices."""
        deadline_s = time.monotonic() + PATIENCE_S
        while re.search(r"^sekisho_calls_in_flight 0(\.0)?$", self.get("/metrics"), re.MULTILINE) is None:
            assert time.monotonic() < deadline_s, "calls in flight that nobody waits for"
            time.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM to the gateway, which flushes its rows; then to the mock."""
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait(PATIENCE_S)

    def _until_open(self, port: int) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            assert all(process.poll() is None for process in self._processes), "a process ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.02)
        raise AssertionError("no port was opened")


@contextlib.contextmanager
def house(folder: Path) -> Iterator[House]:
    one = House(folder)
    try:
        yield one
    finally:
        one.kill()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


#: on a busy machine a client may leave when the whole answer has been sent, only it has not read it
_LEFT = ((499, "client_left"), (200, "completed"))


class Verdict(NamedTuple):
    """Figures, and every difference found; there must be none."""

    calls: int
    rows: int
    logged: int
    cost_nanos: int
    statuses: dict[int, int]
    differences: list[str]


def compare(data_dir: Path, seen: list[Seen], after: Counters, report: Report) -> Verdict:
    """What the clients saw, against rows, counters, and what `sekisho reconcile` says of them."""
    wrong: list[str] = [f"reconcile: {check}" for check in report.checks if not check.agrees]
    rows = _rows(data_dir)
    _compare_rows(seen, rows, wrong)
    calls = len(seen)
    counted = sum(after.requests.values())
    if not len(rows) == calls == counted == after.rows["appended"]:
        wrong.append(f"{calls} calls, {len(rows)} rows, {counted} counted, {after.rows} rows by state")
    by_status = Counter(row["status_code"] for row in rows)
    of_metrics = Counter[int]()
    for (_, status), count in after.requests.items():
        of_metrics[status] += count
    if by_status != of_metrics:
        wrong.append(f"statuses: {by_status} in rows, {of_metrics} counted")
    cost = sum(nanos(row["cost_usd"]) for row in rows)
    of_attempts = sum(
        nanos(try_["cost_usd"]) for row in rows if row["cost_usd"] is not None for try_ in row["attempts"]
    )
    if not cost == of_attempts == sum(after.cost_nanos.values()):
        wrong.append(f"nano-dollars: {cost} rows, {of_attempts} attempts, {after.cost_nanos} counted")
    logged = _logged(data_dir, seen, rows, wrong)
    return Verdict(calls, len(rows), logged, cost, dict(sorted(by_status.items())), wrong)


def _rows(data_dir: Path) -> list[dict[str, Any]]:
    result = ask(
        data_dir, "SELECT client_request_id, request_id, status_code, cost_usd, attempts, terminal_state FROM usage"
    )
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows()]


def _compare_rows(seen: list[Seen], rows: list[dict[str, Any]], wrong: list[str]) -> None:
    by_number = {int(row["client_request_id"]): row for row in rows}
    if len(by_number) != len(rows) or by_number.keys() != set(range(len(seen))):
        wrong.append(f"{len(seen)} calls are {len(by_number)} numbers in {len(rows)} rows")
    left = [one for one in by_number.values() if seen[int(one["client_request_id"])].kind.leave]
    if sum(row["terminal_state"] == "client_left" for row in left) < len(left) * 0.9:
        wrong.append("too few of the calls that were left are recorded as left")
    for number, one in enumerate(seen):
        row = by_number.get(number)
        if row is None or one.request_id is None:
            continue
        if one.request_id != row["request_id"]:
            wrong.append(f"call {number} was told {one.request_id} and is {row['request_id']}")
        if not one.kind.leave and one.status != row["status_code"]:
            wrong.append(f"call {number}: {one.status} was sent, {row['status_code']} recorded")
        if one.kind.leave and (row["status_code"], row["terminal_state"]) not in _LEFT:
            wrong.append(f"call {number} was left and is recorded as {row['terminal_state']}")
        if one.cost_usd is not None and one.cost_usd != row["cost_usd"]:
            wrong.append(f"call {number} was told {one.cost_usd} USD, its row says {row['cost_usd']}")


def _logged(data_dir: Path, seen: list[Seen], rows: list[dict[str, Any]], wrong: list[str]) -> int:
    """Calls with `log: full` are those that reached an endpoint that has it."""
    refused = {"no such endpoint", "wrong key", "no JSON", "metadata"}
    want = {str(number) for number, one in enumerate(seen) if one.kind.name not in refused}
    got = [number for (number,) in ask(data_dir, "SELECT client_request_id FROM inference_log").rows()]
    if sorted(got) != sorted(want):
        wrong.append(f"{len(want)} calls with bodies, {len(got)} rows of inference_log: {sorted(want ^ set(got))[:5]}")
    return len(got)


def reconciled(data_dir: Path, started_us: int, before: Counters, after: Counters) -> Report:
    """What the command would say, from the same parts."""
    from sekisho.costs.reconcile import check_counters, check_tables

    books = Books(data_dir, 31)
    try:
        checks = [*check_tables(books.doubts()), *check_counters(before, books.since(started_us), after)]
        return Report(checks, books.days(), None)
    finally:
        books.close()
