"""Has the next segment of a spool ready before it is needed. Must never keep a call waiting but where none is ready."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

from sekisho.tables.mapped import Mapped
from sekisho.tables.segments import segment_path

_PREPARED, _LARGE = "next.tmp", "large.tmp"


class SegmentSupply:
    """Segments of one folder, of `size` bytes or as large as is needed, each beginning with `head`."""

    __slots__ = ("_head", "_preparing", "_ready", "_retired", "_root", "size")

    def __init__(self, root: Path, size: int, head: bytes) -> None:
        self._root, self.size, self._head = root, size, head
        self._ready: Mapped | None = None
        self._preparing: threading.Thread | None = None
        #: nobody writes here any more; to be closed off the loop
        self._retired: list[Mapped] = []

    def prepare(self) -> None:
        """Make the next one in a short-lived thread, unless it is there."""
        if self._ready is None:
            self._preparing = threading.Thread(target=self._prepare, name="spool-segment", daemon=True)
            self._preparing.start()

    def retire(self, segment: Mapped) -> None:
        self._retired.append(segment)

    def take(self, needed: int, number: int) -> Mapped:
        """A segment with room for so many bytes under its final name. Raises OSError where there is no room."""
        if self._preparing is not None:
            self._preparing.join()
            self._preparing = None
        taken, self._ready = self._ready, None
        name = _PREPARED
        if taken is None or taken.size < needed:
            # It takes a while anyway, and where large rows come one after another nothing is ever made ahead.
            self._let_go()
        if taken is None:
            taken = Mapped(self._root / name, max(self.size, needed), self._head)
        elif taken.size < needed:
            name, self._ready = _LARGE, taken
            taken = Mapped(self._root / name, needed, self._head)
        try:
            (self._root / name).rename(segment_path(self._root, number))
        except OSError:
            taken.close()
            raise
        return taken

    def close(self, *, owned: bool) -> None:
        """What was made ahead goes. `owned`: the folder is still that of this spool."""
        if self._preparing is not None:
            self._preparing.join()
        if self._ready is not None:
            self._ready.close()
            self._ready = None
        if owned:
            (self._root / _PREPARED).unlink(missing_ok=True)
        self._let_go()

    def _prepare(self) -> None:
        self._let_go()
        # Without room the append that needs the segment tries again, and that failure counts.
        with suppress(OSError):
            self._ready = Mapped(self._root / _PREPARED, self.size, self._head)

    def _let_go(self) -> None:
        while self._retired:
            self._retired.pop().close()
