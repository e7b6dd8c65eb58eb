"""What workers that are gone had counted, to the last row. Must count no row twice and forget none.

A worker tells its counts about once a second, together with the position in its spool that they stand for. What lies
behind that position was not told, and is counted from the rows.
"""

from __future__ import annotations

import logging
from pathlib import Path

from sekisho.app.workers.line import State
from sekisho.ledger.recount import count_rows
from sekisho.ledger.tally import Tally
from sekisho.ledger.tally_sums import add
from sekisho.tables.segments import SpoolReader
from sekisho.tables.spools import settle

log = logging.getLogger("sekisho.app")


class Estate:
    """The sum of the dead. `failed` are rows that they could not store, `last_seqs` how far their spools go, by
    folder."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.failed = 0
        self.last_seqs: dict[str, int] = {}

    def inherit(self, root: Path, last: State | None) -> None:
        """Of the worker that owned this spool: make rows of the calls it had in flight, and count what it had counted
        and what it had not told. `last` None: it had not taken a call yet."""
        try:
            settle(root)
        except (OSError, RuntimeError) as error:
            log.error("the spool of a worker that died is settled at its next start: %s", error)
        if last is None:
            return
        last.tally.in_flight = 0
        add(self.tally, last.tally)
        self.failed += int(last.ready.get("spool_failed", 0))
        self._goes_to(root, last.last_seq)
        reader = SpoolReader(root)
        try:
            for chunk in reader.chunks(last.seq):
                count_rows(self.tally, chunk.payloads)
                self._goes_to(root, chunk.last_seq)
        except OSError as error:
            log.error("rows of a worker that died could not be counted: %s", error)
        finally:
            reader.close()

    def _goes_to(self, root: Path, seq: int) -> None:
        self.last_seqs[root.name] = max(seq, self.last_seqs.get(root.name, 0))
