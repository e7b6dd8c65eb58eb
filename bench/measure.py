"""One target under one load: CPU an answer, memory, and whether every answer and every row was really there.

For a gateway that keeps rows the clock of its CPU stops when the last row is committed, not when the last answer is.
"""

import http.client
import json
import random
import re
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import processes
from needs import BUILD, HERE, built
from targets import KEY, Failed, Running, ask, free_port, get

EVENTS = 53  # of a stream, [DONE] included; as src/mock.c sends them
ENOUGH_ANSWERS = 300
COMMIT_PATIENCE_S = 60
LARGE_PROMPT_BYTES = 300 * 1024
ROWS = re.compile(r'^sekisho_rows_total\{[^}]*\bstate="(\w+)"[^}]*\}\s+(\S+)', re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A kind of load. It ends after `seconds`, or after `requests` where that is given."""

    name: str
    prompt: str
    connections: int
    seconds: float
    requests: int | None = None
    rate: float | None = None  # requests a second whatever the gateway does; None: as many as it takes
    events: int = 0  # of each answer, 0 when it is not a stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the load program saw."""

    sent: int
    good: int
    bad: int
    reconnects: int
    seconds: float
    per_second: float
    p50_ms: float
    p99_ms: float
    first_byte_p50_ms: float
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One phase of one run. `faults` not empty: the figures are not to be trusted."""

    load: Load
    serving_us: float  # CPU of the serving process for one answer, rows committed
    tree_us: float  # the same of it and all its children
    ran: float  # the share of the load's time in which the serving process had its core
    waited: float  # the share in which it wanted the core and others had it
    commit_s: float  # from the last answer to the last committed row
    faults: tuple[str, ...]
    reading: processes.Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """The mock provider that runs, and where things run."""

    mock_port: int
    gateway_core: int | None
    load_core: int | None


@contextmanager
def rig(gateway_core: int | None, load_core: int | None) -> Generator[Rig]:
    """Start the mock provider; this process, the mock and the load share the load's core."""
    processes.pin(load_core)
    write_prompts()
    port = free_port()
    mock = processes.start([str(built("mock")), str(port)], load_core, BUILD / "mock.txt")
    try:
        _wait_until_it_answers(port)
        yield Rig(mock_port=port, gateway_core=gateway_core, load_core=load_core)
    finally:
        processes.stop(mock)


def _wait_until_it_answers(port: int) -> None:
    for _ in range(500):
        try:
            ask(port, b"{}")
            return
        except OSError:
            time.sleep(0.01)
    raise Failed("the mock provider does not answer")


def write_prompts() -> None:
    """The three request bodies: plain, stream, and one of 300 KB."""
    plain = json.loads((HERE / "prompt.json").read_text())
    large = json.loads((HERE / "prompt.json").read_text())
    words = random.Random(1).choices(
        ["invoice", "chain", "derailleur", "paid", "3rd", "credit", "open", "of", "the", "1,284"], k=70_000
    )
    large["messages"][-1]["content"] += " " + " ".join(words)[:LARGE_PROMPT_BYTES]
    stream = {**plain, "stream": True, "stream_options": {"include_usage": True}}
    for name, body in (("plain", plain), ("stream", stream), ("large", large)):
        prompt(name).write_text(json.dumps(body, separators=(",", ":")))


def prompt(name: str) -> Path:
    """Where a request body lies."""
    return BUILD / f"prompt-{name}.json"


def run_load(port: int, phase: Phase) -> Load:
    """Run the load program to its end."""
    argv = [str(built("load")), str(port), str(prompt(phase.prompt)), KEY]
    argv += ["-c", str(phase.connections), "-d", str(phase.seconds), "-e", str(phase.events)]
    argv += ["-n", str(phase.requests)] if phase.requests else []
    argv += ["-r", str(phase.rate)] if phase.rate else []
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"the load ended with code {done.returncode}: {done.stderr.strip()}")
    return Load(**json.loads(done.stdout))


def load_on(running: Running, phase: Phase) -> Load:
    """The same on a target; when that is gone, the error says so."""
    try:
        return run_load(running.port, phase)
    except Failed:
        with suppress(subprocess.TimeoutExpired):
            running.program.wait(1)
        running.read()
        raise


def sample(rig: Rig, running: Running, phase: Phase) -> Sample:
    """One phase, with everything before it committed, and everything of it."""
    rows_before = settle(running)
    calls_before = mock_calls(rig)
    before = running.read()
    load = load_on(running, phase)
    loaded = running.read()
    rows_after = settle(running)
    after = running.read()
    faults = [f"{load.bad} of {load.sent} answers were bad; the first: {load.fault}"] if load.bad else []
    faults += [f"only {load.good} answers: too few for a figure"] if load.good < ENOUGH_ANSWERS else []
    faults += _row_faults(running, rows_before, rows_after, load.good)
    if (calls := mock_calls(rig) - calls_before) < load.good:
        faults.append(f"{load.good} answers, but only {calls} calls reached the provider")
    wall_s = loaded.taken_s - before.taken_s
    answers = max(load.good, 1)
    return Sample(
        load=load,
        serving_us=(after.serving_cpu_s - before.serving_cpu_s) / answers * 1e6,
        tree_us=(after.tree_cpu_s - before.tree_cpu_s) / answers * 1e6,
        ran=(loaded.serving_cpu_s - before.serving_cpu_s) / wall_s,
        waited=(loaded.serving_waited_s - before.serving_waited_s) / wall_s,
        commit_s=after.taken_s - loaded.taken_s,
        faults=tuple(faults),
        reading=after,
    )


@dataclass(frozen=True, slots=True)
class Rows:
    """The gateway's own count since it started; None where it has none."""

    appended: float | None
    committed: float | None

    @property
    def settled(self) -> bool:
        return self.appended is None or (self.committed or 0) >= self.appended


def read_rows(running: Running) -> Rows:
    """What the gateway says of its rows at /metrics."""
    if not running.target.keeps_rows:
        return Rows(None, None)
    try:
        status, text = get(running.port, "/metrics")
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"/metrics does not answer: {error!r}") from error
    counts: dict[str, float] = {}
    for state, value in ROWS.findall(text) if status == 200 else ():
        counts[state] = counts.get(state, 0) + float(value)
    return Rows(counts.get("appended"), counts.get("committed"))


def settle(running: Running) -> Rows:
    """Wait until every row is committed, or for a minute."""
    limit_s = time.monotonic() + COMMIT_PATIENCE_S
    while not (rows := read_rows(running)).settled and time.monotonic() < limit_s:
        time.sleep(0.2)
    return rows


def _row_faults(running: Running, before: Rows, after: Rows, answers: int) -> list[str]:
    if not running.target.keeps_rows:
        return []
    if after.appended is None:
        return ["/metrics counts no rows, so the CPU of committing them may be missing"]
    faults: list[str] = []
    if not after.settled:
        faults.append(f"{after.appended - (after.committed or 0):.0f} rows not committed after {COMMIT_PATIENCE_S} s")
    if (new := after.appended - (before.appended or 0)) < answers:
        faults.append(f"{answers} answers, but only {new:.0f} rows")
    return faults


def mock_calls(rig: Rig) -> int:
    """Calls that reached the provider so far. Without the mock nothing can be measured: ends the program."""
    try:
        return int(json.loads(get(rig.mock_port, "/calls")[1])["calls"])
    except OSError as error:
        raise SystemExit(f"the mock provider has ended, so nothing more can be measured: {error}") from error
