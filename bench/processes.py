"""Starts the programs of a run on a core of their own, reads what they cost, and ends them with their children.

Linux is read from /proc and the kernel's process clocks (nanoseconds, threads that ended included); other systems from
`ps` (hundredths of a second, no pinning). It never touches a process it did not start.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LINUX = sys.platform == "linux"
Program = subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process now. `waited_s` is the time it was ready to run and had no core; `peak_mb` 0 where it is unknown."""

    cpu_s: float
    ended_children_cpu_s: float
    waited_s: float
    rss_mb: float
    peak_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A program and its descendants at one moment; all times in seconds since they started."""

    taken_s: float
    serving_cpu_s: float
    serving_waited_s: float
    tree_cpu_s: float
    serving_mb: float
    serving_peak_mb: float
    largest_child_mb: float
    largest_child_peak_mb: float
    processes: int


def cores() -> set[int]:
    """The cores this run may use; empty where the system does not say."""
    return os.sched_getaffinity(0) if LINUX else set()


def pin(core: int | None) -> None:
    """Keep this process, and what it starts from now on, on one core."""
    if core is not None and LINUX:
        os.sched_setaffinity(0, {core})


@contextmanager
def _on(core: int | None) -> Generator[None]:
    """Be on another core while a program is started, so that it begins there and stays."""
    before = cores()
    pin(core)
    try:
        yield
    finally:
        if before:
            os.sched_setaffinity(0, before)


def start(
    argv: Sequence[str],
    core: int | None,
    log: Path,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Program:
    """Start a program in a process group of its own; what it says goes to `log`."""
    with log.open("ab") as out, _on(core):
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **(environment or {})},
            cwd=cwd,
            start_new_session=True,
        )


def stop(program: Program, patience_s: float = 40) -> None:
    """End a program and whatever is left of its process group."""
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5)):
        if program.poll() is None:
            with suppress(ProcessLookupError):
                program.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                program.wait(wait_s)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(program.pid, signal.SIGKILL)


def read(program: Program, *, children_serve: bool = False) -> Reading:
    """What a program and its descendants have used so far. With `children_serve` (nginx) all of them serve."""
    taken_s = time.monotonic()
    family = _family_linux(program.pid) if LINUX else _family_ps(program.pid)
    serving = family if children_serve else family[:1]
    return Reading(
        taken_s=taken_s,
        serving_cpu_s=sum(p.cpu_s for p in serving),
        serving_waited_s=sum(p.waited_s for p in serving),
        tree_cpu_s=sum(p.cpu_s + p.ended_children_cpu_s for p in family),
        serving_mb=sum(p.rss_mb for p in serving),
        serving_peak_mb=sum(p.peak_mb for p in serving),
        largest_child_mb=max((p.rss_mb for p in family[1:]), default=0.0),
        largest_child_peak_mb=max((p.peak_mb for p in family[1:]), default=0.0),
        processes=len(family),
    )


def _family_linux(root: int) -> list[Process]:
    """The process and its descendants, itself first."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
    found: list[Process] = []
    waiting = [root]
    while waiting:
        pid = waiting.pop(0)
        waiting += children.get(pid, [])
        with suppress(OSError):  # it ended meanwhile: its parent has its time
            found.append(_process_linux(pid))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold blanks: [0] is the state, [1] the parent."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def _process_linux(pid: int) -> Process:
    fields = _stat(pid)
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    waited_s = 0.0
    with suppress(OSError):  # not every kernel keeps it
        waited_s = int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    return Process(
        # The clock of another process, as clock_getcpuclockid(3) makes it: exact, and with the threads that ended.
        cpu_s=time.clock_gettime((~pid << 3) | 2),
        ended_children_cpu_s=(int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK"),
        waited_s=waited_s,
        rss_mb=_kilobytes(status.get("VmRSS")) / 1024,
        peak_mb=_kilobytes(status.get("VmHWM")) / 1024,
    )


def _kilobytes(field: str | None) -> int:
    return int(field.split()[0]) if field else 0


def _family_ps(root: int) -> list[Process]:
    """The same where there is no /proc. `-S` adds the time of children that ended to their parent's."""
    listing = subprocess.run(["ps", "-S", "-axo", "pid=,ppid=,time=,rss="], capture_output=True, text=True, check=True)
    rows = {
        int(pid): (int(parent), used, rss) for pid, parent, used, rss in map(str.split, listing.stdout.splitlines())
    }
    found, waiting = list[Process](), [root]
    while waiting:
        pid = waiting.pop(0)
        waiting += [child for child, row in rows.items() if row[0] == pid]
        if pid in rows:
            _, used, rss = rows[pid]
            found.append(
                Process(cpu_s=ps_seconds(used), ended_children_cpu_s=0, waited_s=0, rss_mb=int(rss) / 1024, peak_mb=0)
            )
    return found


def ps_seconds(text: str) -> float:
    """`1-02:03:04.05`, `02:03:04` or `3:04.05`, as `ps` writes CPU time, in seconds."""
    days, _, clock = text.rpartition("-")
    total = 0.0
    for part in clock.split(":"):
        total = total * 60 + float(part)
    return total + 86400 * int(days or 0)
