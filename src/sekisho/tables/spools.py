"""The spools below one data folder: `spool` itself for one worker, and a folder in it for each of several. Must not
write rows of its own.

Each spool has one owner at a time. What an owner left behind is found by its name alone, so that a gateway with fewer
workers, or one again, still carries every row to the tables.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sekisho.tables.segments import SpoolReader, segment_numbers
from sekisho.tables.spool import DataDirInUse, SpoolWriter
from sekisho.tables.spool_folder import lock

_PREFIX = "worker-"
_REPORTED = "reported"
_NUMBER = struct.Struct("<q")


def spool_of(data_dir: Path, worker: int | None = None) -> Path:
    """The spool of the only worker, or of one of several, counted from 1."""
    return data_dir / "spool" if worker is None else data_dir / "spool" / f"{_PREFIX}{worker}"


def spool_roots(data_dir: Path) -> list[Path]:
    """Every spool that there is or may be: that of one worker first."""
    root = spool_of(data_dir)
    numbers = [path.name.removeprefix(_PREFIX) for path in root.glob(f"{_PREFIX}*")]
    return [root, *(spool_of(data_dir, number) for number in sorted(int(one) for one in numbers if one.isdecimal()))]


def name_in(data_dir: Path, root: Path) -> str:
    """The name of a spool in the committer's status; empty for that of one worker."""
    return "" if root == spool_of(data_dir) else root.name


def held_spools(data_dir: Path) -> list[SpoolReader]:
    """Readers of all spools that have anything, every segment opened, so that trimming cannot pull one away. To be
    closed by the caller."""
    readers = [SpoolReader(root) for root in spool_roots(data_dir) if segment_numbers(root)]
    for reader in readers:
        reader.hold()
    return readers


def spool_ids(readers: Sequence[SpoolReader]) -> tuple[str, ...]:
    """Under which tables remember how far they have these spools: of every writer, the newest of each spool last."""
    return tuple(spool_id for reader in readers for spool_id in reader.writers())


def settle(root: Path) -> int:
    """Make rows of the calls that an owner who died had in flight there; how many. Raises DataDirInUse where somebody
    owns the spool, OSError."""
    writer = SpoolWriter(root, 0)
    writer.close()
    (root / _REPORTED).unlink(missing_ok=True)
    return writer.recovered


def settle_left(data_dir: Path, owned: frozenset[Path]) -> bool:
    """Settle every spool of workers that is not among these; False while one of them still has an owner: a worker that
    outlives its supervisor ends its calls first. Raises OSError."""
    done = True
    for root in spool_roots(data_dir):
        if root in owned or not segment_numbers(root):
            continue
        try:
            settle(root)
        except DataDirInUse:
            done = False
    return done


def is_free(root: Path) -> bool:
    """Whether nobody owns this spool."""
    if not root.is_dir():
        return True
    try:
        os.close(lock(root))
    except DataDirInUse:
        return False
    return True


def note_reported(root: Path, seq: int) -> None:
    """The owner has told somebody of every row up to this sequence number: only those may leave the spool, for the
    others have to be counted should it die. Raises OSError."""
    fd = os.open(root / _REPORTED, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, _NUMBER.pack(seq), 0)
    finally:
        os.close(fd)


def reported(root: Path) -> int | None:
    """The number last noted; None where nobody keeps count."""
    with suppress(OSError, struct.error):
        return _NUMBER.unpack((root / _REPORTED).read_bytes())[0]
    return None
