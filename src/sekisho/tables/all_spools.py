"""One committer for every spool of a data folder, those that workers left behind included. Must never let one spool
that fails keep the others from their tables.

Each spool keeps a position of its own in the tables, so nothing here has to be remembered.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sekisho.tables.spools import name_in, spool_roots
from sekisho.tables.status import CommitterStatus, StatusFile
from sekisho.tables.storage import Cadence

if TYPE_CHECKING:
    from sekisho.tables.committer import Committer

#: makes the committer of one spool, which tells its status to the function given
Make = Callable[[Path, Callable[[CommitterStatus], None]], "Committer"]


class AllSpools:
    """As a `Committer` to the loop that drives it; `status` sums up those of all spools."""

    def __init__(self, data_dir: Path, cadence: Cadence, make: Make) -> None:
        self.cadence = cadence
        self.status = CommitterStatus(pid=os.getpid(), started_us=time.time_ns() // 1000)
        self._data_dir = data_dir
        self._make = make
        self._spools: dict[str, Committer] = {}
        self._status_file = StatusFile(data_dir / "spool")
        self._look()
        self._note()

    def step(self) -> bool:
        """Commit one batch of every spool; False when there was nothing to do. Raises what the disk raises when no
        spool could do anything, having lost nothing."""
        self._look()
        worked, failure = False, None
        for one in self._spools.values():
            try:
                worked = one.step() or worked
            except Exception as error:  # the other spools have nothing to do with it
                one.failed(error)
                one.reopen()
                failure = failure or error
        if failure is not None and not worked:
            raise failure
        return worked

    def reopen(self) -> None:
        """Those that failed have forgotten their tables already."""

    def much_waits(self) -> bool:
        """Whether so much waits in one spool that there is no use in waiting for more."""
        return any(one.much_waits() for one in self._spools.values())

    def failed(self, error: Exception) -> None:
        """The spool that failed has noted it, unless the look for spools itself failed."""
        if not any(one.status.state == "failing" for one in self._spools.values()):
            self._spools[""].failed(error)

    def stopped(self) -> None:
        for one in self._spools.values():
            one.stopped()
        self._status_file.close()

    def _look(self) -> None:
        """New workers have new spools."""
        for root in spool_roots(self._data_dir):
            name = name_in(self._data_dir, root)
            if name not in self._spools:
                self._spools[name] = self._make(root, lambda _: self._note())

    def _note(self) -> None:
        """Sum up, and write it down."""
        states = [one.status for one in self._spools.values()]
        told = {state.state for state in states}
        errors = [state.last_error for state in states if state.state == "failing"]
        self.status = msgspec.structs.replace(
            self.status,
            state=next((state for state in ("failing", "running", "stopped") if state in told), "starting"),
            committed_rows=sum(state.committed_rows for state in states),
            logged_rows=sum(state.logged_rows for state in states),
            commits=sum(state.commits for state in states),
            errors=sum(state.errors for state in states),
            corrupt=sum(state.corrupt for state in states),
            unfit=sum(state.unfit for state in states),
            committed_seq=self._spools[""].status.committed_seq if "" in self._spools else 0,
            seqs={name: one.status.committed_seq for name, one in self._spools.items() if name},
            last_commit_us=max((state.last_commit_us for state in states), default=0),
            caught_up_us=min((state.caught_up_us for state in states), default=0),
            last_error=next(iter(errors), None),
        )
        self._status_file.write(self.status)
