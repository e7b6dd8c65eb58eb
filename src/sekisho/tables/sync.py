"""Has the disk hold what a path names. Must import nothing heavy: the serving process uses it as well."""

from __future__ import annotations

import os
from pathlib import Path


def fdatasync(fd: int) -> None:
    """Have the kernel put the content of an open file on the disk, whoever wrote it. Raises OSError."""
    (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(fd)


def fsync(path: Path) -> None:
    """Have the kernel put a file or a folder on the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
