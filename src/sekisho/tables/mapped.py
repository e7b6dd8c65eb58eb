"""A preallocated file in memory. Must have room on the disk behind every byte: a write without it kills the process."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path


class Mapped:
    """A preallocated file and its mapping, not yet or no longer a segment."""

    def __init__(self, path: Path, size: int, head: bytes) -> None:
        """Raises OSError when the disk has no room; nothing is left behind then."""
        self.size = size
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            reserve(self.fd, size)
            self.map = mmap.mmap(self.fd, size)
        except BaseException:
            os.close(self.fd)
            path.unlink(missing_ok=True)
            raise
        self.map[: len(head)] = head

    def close(self) -> None:
        self.map.close()
        os.close(self.fd)


def reserve(fd: int, size: int) -> None:
    """Room on the disk for every byte: writing to a mapping without room behind it kills the process."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
    zeros = bytes(1 << 20)
    for offset in range(0, size, len(zeros)):
        os.pwrite(fd, zeros[: size - offset], offset)
