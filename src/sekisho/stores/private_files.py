"""Directories, files and locks that only their owner may touch. Must not change what exists already."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from sekisho.stores.ports import StoreUnavailable

_RETRY_S = 0.05


def private_directory(path: Path) -> None:
    """Make a directory (and its parents) with mode 0700; one that exists keeps the mode its owner chose."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def private_file(path: Path) -> None:
    """Make an empty file with mode 0600 where there is none. SQLite's -wal and -shm files take the same mode."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def write_private(path: Path, content: bytes) -> None:
    """Write a file with mode 0600 so that others see the whole content or none, also after a power cut."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def file_lock(path: Path, wait_s: float = 30.0) -> Generator[None]:
    """Hold an exclusive lock between processes and threads (flock). StoreUnavailable after `wait_s` seconds.

    The file stays: whoever deleted it could let two processes lock two files of one name. The kernel frees the lock
    of a process that dies.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise StoreUnavailable(f"{path} has been locked by another process for {wait_s:g} s") from None
                time.sleep(_RETRY_S)
        yield
    finally:
        os.close(descriptor)
