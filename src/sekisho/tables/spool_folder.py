"""The folder of a spool: who owns it, and what an earlier owner left. Must never give a segment's number twice."""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path

import msgspec

from sekisho.tables.segments import Segment, segment_numbers, segment_path


class DataDirInUse(RuntimeError):
    """Another serving process owns this spool. `folder` is the data folder; `owner` its process id, or "unknown"."""

    def __init__(self, folder: Path, owner: str) -> None:
        super().__init__(f"{folder} is in use by process {owner}; stop it or choose another data_dir")
        self.folder, self.owner = folder, owner


#: the file that whoever owns the folder has locked
LOCK = "lock"


def has_still(path: Path, fd: int) -> bool:
    """Whether an open file still has this name; false when it, or a folder above it, was moved or deleted."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
    except OSError:
        return True  # not to be seen just now, which says nothing


def lock(root: Path) -> int:
    fd = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise DataDirInUse(root.parent, owner) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def resume(root: Path) -> tuple[int, str]:
    """Number of the last segment, and an id for what is written from now on.

    Never an old id: somebody else may have gone on writing under it where this folder is a copy, or was set back to an
    older state, and the tables would take new rows for rows that they have.
    """
    return max(segment_numbers(root), default=0), uuid.uuid4().hex


def remove_empty(root: Path, newest: int) -> None:
    """Segments in which an earlier process stored nothing; left alone they would gather with every restart."""
    for number in segment_numbers(root):
        if number >= newest:
            continue
        try:
            segment = Segment(root, number)
        except (OSError, ValueError, msgspec.MsgspecError):
            continue
        if segment.is_empty():
            segment_path(root, number).unlink(missing_ok=True)
        segment.close()
