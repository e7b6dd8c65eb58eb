"""What maintenance last did and found, as one small file, and the lock that lets one do it at a time.

Must stay light: the serving process reads it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import msgspec


class Busy(RuntimeError):
    """Another process maintains these tables just now."""


class TableSize(msgspec.Struct, frozen=True, kw_only=True):
    """One table when a job last looked."""

    files: int
    rows: int
    bytes: int
    days: int


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The last run of a job; times are microseconds since 1970, UTC. `ended_us` is 0 while it runs, or when it was
    killed."""

    began_us: int
    ended_us: int = 0
    error: str | None = None
    #: when the job last ended well, be it this run or an earlier one; 0 when it never did
    well_us: int = 0


class State(msgspec.Struct, frozen=True, kw_only=True):
    tables: dict[str, TableSize] = {}
    jobs: dict[str, Run] = {}


def folder_of(data_dir: Path) -> Path:
    return data_dir / "maintenance"


def read_state(data_dir: Path) -> State:
    """An empty one before the first run."""
    try:
        return msgspec.json.decode((folder_of(data_dir) / "state.json").read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError):
        return State()


def write_state(data_dir: Path, state: State) -> None:
    """For the owner of the lock. Raises OSError; a reader sees the old state or the new one."""
    file = folder_of(data_dir) / "state.json"
    temporary = file.with_suffix(".tmp")
    with temporary.open("wb") as opened:
        opened.write(msgspec.json.encode(state))
        os.fsync(opened.fileno())
    temporary.rename(file)


@contextmanager
def alone(data_dir: Path, tables_dir: Path) -> Generator[None]:
    """Hold the locks of the state and of the tables, which gateways with other data_dirs may share. The kernel takes
    them back from a process that dies. Raises Busy, OSError."""
    folder = folder_of(data_dir)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Without the folder there are no tables that anybody could share.
    shared = _locked(tables_dir / "_maintenance.lock") if tables_dir.is_dir() else nullcontext()
    with _locked(folder / "lock"), shared:
        yield


@contextmanager
def _locked(file: Path) -> Generator[None]:
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown") from None
        os.ftruncate(fd, 0)
        with suppress(OSError):  # a full disk; who is at work is only told to people
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def now_us() -> int:
    return time.time_ns() // 1000
