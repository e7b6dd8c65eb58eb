"""A table in a folder. Must have every byte on the disk before its name appears, and no name appear half-written.

Several processes may write here: a name is taken by a hard link, which fails when somebody else has it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from sekisho.tables.files import LOG, entry_path
from sekisho.tables.mending import is_checkpoint_broken, mend_checkpoint
from sekisho.tables.sync import fsync

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class DiskFiles:
    """TableFiles in a folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        # prompts lie there; whoever may read them is let in by the owner of the folder, who may give it another mode
        for folder in (self.path.parent, self.path):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        set_aside_broken_checkpoint(self.path)
        set_aside_broken_entry(self.path)

    def put(self, path: str, body: Any) -> None:
        file = self.path / path
        folder = file.parent
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            fsync(folder.parent)
        temporary = file.with_name(f"_{file.name}.tmp")
        write_synced(temporary, body)
        try:
            temporary.rename(file)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync(folder)

    def put_new(self, path: str, body: bytes) -> bool:
        file = self.path / path
        temporary = file.with_name(f"_{uuid.uuid4().hex}.tmp")
        try:
            write_synced(temporary, body)
            try:
                os.link(temporary, file)
            except FileExistsError:
                return file.read_bytes() == body
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                # Without links a name can be taken only with an empty file; the lock keeps a repair from taking that
                # for what a power cut left.
                with _locked(file.parent):
                    try:
                        write_synced(file, body)
                    except FileExistsError:
                        return file.read_bytes() == body
        finally:
            temporary.unlink(missing_ok=True)
        fsync(file.parent)
        return True

    def entries(self, after: int) -> Iterator[tuple[int, bytes]]:
        for version in count(after + 1):
            try:
                yield version, (self.path / entry_path(version)).read_bytes()
            except FileNotFoundError:
                return

    def settle(self, version: int | None = None) -> None:
        log = self.path / LOG
        written = sorted(log.glob("*.json"))[-2:]
        if version is not None:
            # The pointer last: it must not outlive what it points at.
            written = [*log.glob(f"{version:020d}.checkpoint*"), log / "_last_checkpoint"]
        for file in written:
            fsync(file)
        # The table's own name stands in its parent, and that one's in its own.
        for folder in (log, self.path, self.path.parent, self.path.parent.parent):
            fsync(folder)


def set_aside_broken_checkpoint(path: Path) -> str | None:
    """Rename a newest checkpoint that a power cut left torn, and forget a pointer to none; returns its name. The log
    entries it sums up are still there: they go only when a checkpoint over them is known to be on the disk."""
    log = path / LOG
    if not is_checkpoint_broken(log):
        return None
    with _locked(log):
        touched = mend_checkpoint(log)
        fsync(log)
    return touched[0] if touched else None


def set_aside_broken_entry(path: Path) -> str | None:
    """Rename a newest log entry that a power cut left empty or torn; returns its name. Its rows are still in the spool:
    segments are trimmed only after the entry is on the disk."""
    if _broken_entry(path) is None:
        return None
    # Another process may be mending too, and have put a good entry in its place since we looked.
    with _locked(path / LOG):
        broken = _broken_entry(path)
        if broken is not None:
            broken.rename(broken.with_suffix(".json.broken"))
            fsync(path / LOG)
    return None if broken is None else broken.name


def write_synced(path: Path, body: Any) -> None:
    """A new file with these bytes, on the disk; none after an error. Raises FileExistsError, OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        view = memoryview(body)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def _broken_entry(path: Path) -> Path | None:
    newest = max((path / LOG).glob("*.json"), default=None)
    if newest is None:
        return None
    lines = newest.read_bytes().splitlines()
    try:
        if lines and all(isinstance(msgspec.json.decode(line), dict) for line in lines):
            return None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    return newest


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
