"""What an append needs of the place a table lies in. Must promise no more than a disk and a bucket both can keep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

LOG = "_delta_log"


class TableFiles(Protocol):
    """The files of one table; paths are relative to it. Every method raises OSError when the place fails."""

    def prepare(self) -> None:
        """Make the place fit for use, and mend what a power cut left."""
        ...

    def put(self, path: str, body: Any) -> None:
        """Write a file under a name of its own: afterwards it is there, whole and for good."""
        ...

    def put_new(self, path: str, body: bytes) -> bool:
        """The same under a name that must be free; False when something else has it. A file with exactly this body is
        ours: the answer to an earlier try was lost."""
        ...

    def entries(self, after: int) -> Iterator[tuple[int, bytes]]:
        """Log entries later than this version, in order and without a gap."""
        ...

    def settle(self, version: int | None = None) -> None:
        """Make safe what delta-rs wrote: the newest log entries, and the checkpoint of a version."""
        ...


def entry_path(version: int) -> str:
    """Source: Delta Transaction Log Protocol, "Delta Log Entries"."""
    return f"{LOG}/{version:020d}.json"
