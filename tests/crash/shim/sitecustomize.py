"""Runs first in every Python process whose PYTHONPATH names this folder: remembers what was synced, and fills the disk.

`CRASH_ROOT` is the folder whose disk is watched, `CRASH_SHADOW` where is kept what would survive a power cut (see
`tests.crash.disk`); without them nothing is patched. Must not change what a call returns, only remember or refuse.
SQLite syncs by itself, in C, and is left out.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import stat
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, Self

ROOT, SHADOW = os.environ.get("CRASH_ROOT", ""), os.environ.get("CRASH_SHADOW", "")
#: while this file exists the disk of CRASH_ROOT is full
FULL = os.path.join(SHADOW, "full")
_BLOCK = 1 << 16
_F_GETPATH = 50  # macOS
_lock = threading.Lock()
# macOS has neither of the latter
_fsync, _fdatasync, _fallocate = os.fsync, getattr(os, "fdatasync", None), getattr(os, "posix_fallocate", None)
_open, _write, _pwrite = os.open, os.write, os.pwrite


def path_of(fd: int) -> str | None:
    """Where the file of a descriptor lies below ROOT; None when it is gone, or elsewhere, or SQLite's."""
    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        try:
            path = fcntl.fcntl(fd, _F_GETPATH, bytes(1024)).rstrip(b"\0").decode()
        except OSError:
            return None
    ours = f"{path}/".startswith(f"{ROOT}/") and not os.path.basename(path).startswith("control.db")
    return path if ours and os.path.exists(path) else None


@contextmanager
def alone() -> Generator[None]:
    """Among all processes. Two that keep one file at once, the serving one and its committer, would let the slower one
    put back what it had read before the other's sync."""
    lock = _open(os.path.join(SHADOW, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def remember(fd: int) -> None:
    """Keep what this sync is about to make durable. What is written meanwhile may be kept too, as on a real disk."""
    path = path_of(fd)
    if path is None:
        return
    with _lock, alone(), suppress(FileNotFoundError):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            remember_folder(path)
        else:
            remember_file(path)


def remember_folder(path: str) -> None:
    entries: dict[str, int] = {}
    with os.scandir(path) as found:
        for entry in found:
            with suppress(FileNotFoundError):
                # 0 stands for a folder; a file is known by its inode, which the link keeps from being used again
                entries[entry.name] = 0 if entry.is_dir() else keep_inode(entry.path)
    place = os.path.join(SHADOW, "folders", os.path.relpath(path, ROOT).encode().hex())
    draft = f"{place}.{os.getpid()}.{threading.get_ident()}"
    with open(draft, "w") as file:
        json.dump(entries, file)
    os.replace(draft, place)


def keep_inode(path: str) -> int:
    inode = os.stat(path).st_ino
    with suppress(FileExistsError):
        os.link(path, os.path.join(SHADOW, "live", str(inode)))
    return inode


def remember_file(path: str) -> None:
    inode = keep_inode(path)
    source = _open(path, os.O_RDONLY)
    target = _open(os.path.join(SHADOW, "synced", str(inode)), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        size = os.fstat(source).st_size
        os.ftruncate(target, size)
        at = 0
        while at < size:
            # Segments are made at full size and mostly empty; what was never written need not be looked at.
            try:
                at = os.lseek(source, at, os.SEEK_DATA) // _BLOCK * _BLOCK
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
            block = os.pread(source, _BLOCK, at)
            if block != os.pread(target, _BLOCK, at):
                _pwrite(target, block, at)
            at += _BLOCK
    finally:
        os.close(source)
        os.close(target)


def fsync(fd: Any) -> None:
    remember(fd if isinstance(fd, int) else fd.fileno())
    _fsync(fd)


def fdatasync(fd: Any) -> None:
    assert _fdatasync is not None
    remember(fd if isinstance(fd, int) else fd.fileno())
    _fdatasync(fd)


class Mapping(mmap.mmap):
    """A mapping whose `flush` is a sync."""

    def __new__(cls, fd: int, *args: Any, **options: Any) -> Self:
        mapping = super().__new__(cls, fd, *args, **options)
        mapping.crash_fd = os.dup(fd) if fd >= 0 and path_of(fd) else -1
        return mapping

    def flush(self, *args: Any, **options: Any) -> None:
        if self.crash_fd >= 0:
            remember(self.crash_fd)
        super().flush(*args, **options)

    def close(self) -> None:
        if self.crash_fd >= 0:
            os.close(self.crash_fd)
            self.crash_fd = -1
        super().close()


def refuse_when_full(path: str | None) -> None:
    if path is not None and os.path.exists(FULL):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def fallocate(fd: int, offset: int, length: int) -> None:
    assert _fallocate is not None
    refuse_when_full(path_of(fd))
    _fallocate(fd, offset, length)


def write(fd: int, data: Any) -> int:
    refuse_when_full(path_of(fd))
    return _write(fd, data)


def patch() -> None:
    """A full disk refuses room and whole new files; bytes inside a file that has its room are still written."""
    os.fsync = fsync
    if _fdatasync is not None:
        os.fdatasync = fdatasync
    mmap.mmap = Mapping  # type: ignore[misc]
    os.write = write
    if _fallocate is not None:
        os.posix_fallocate = fallocate


if ROOT and SHADOW:
    patch()
