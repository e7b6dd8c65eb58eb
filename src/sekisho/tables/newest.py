"""Whether a Delta log on a local disk has grown since it was read. Must never say no when it has.

Opening a table costs some 10 ms, asking this 10 us: what polls, a dashboard or a test, opens only after a commit.
An entry of the log never changes (Delta Transaction Log Protocol, "Delta Log Entries") but for one that a power cut
left broken, which is set aside and written anew: therefore the file itself is looked at as well, not its name alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Newest(NamedTuple):
    """The newest entry of a log when it was read."""

    version: int
    inode: int
    size: int
    changed_ns: int


def newest(table_dir: Path, version: int) -> Newest | None:
    """What identifies this version; None when its entry is not there, for then nothing can be said later."""
    try:
        stat = _entry(table_dir, version).stat()
    except OSError:
        return None
    return Newest(version, stat.st_ino, stat.st_size, stat.st_ctime_ns)


def is_newest(table_dir: Path, known: Newest) -> bool:
    """Whether this is still the newest entry, and the same file. Versions have no gaps, so looking at the next will do:
    Delta writers may only ever put the one after the newest."""
    return not _entry(table_dir, known.version + 1).exists() and newest(table_dir, known.version) == known


def _entry(table_dir: Path, version: int) -> Path:
    return table_dir / "_delta_log" / f"{version:020d}.json"
