"""What the supervisor knows for the committer: how far the rows go, also of workers that are gone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from sekisho.app.settings import Settings
from sekisho.app.workers.line import State
from sekisho.app.workers.supervisor import Supervisor
from sekisho.ledger.tally import Tally
from sekisho.ledger.tally_sums import sums_of
from sekisho.tables.spools import spool_of

TEXT = """\
data_dir: .
providers: {local: {type: openai, base_url: "http://127.0.0.1:9/v1", allow_private: true}}
endpoints: {chat: {targets: [{provider: local, model: m}]}}
"""


def told(last_seq: int) -> State:
    return State(seq=0, last_seq=last_seq, tally=sums_of(Tally()), gauges={}, ready={})


def test_rows_of_a_worker_that_died_are_waited_for_like_those_of_the_others(
    read: Callable[[str], Settings], tmp_path: Path
) -> None:
    with socket.socket() as one, socket.socket() as other:
        supervisor = Supervisor(read(TEXT), [one, other], path=None, opened=lambda: None)
        first, second = supervisor.places
        first.number, second.number = 1, 2
        assert supervisor._last_seqs() == {}
        first.state, second.state = told(7), told(5)
        assert supervisor._last_seqs() == {"worker-1": 7, "worker-2": 5}
        supervisor._estate.inherit(spool_of(tmp_path, 1), first.vacate())
        assert supervisor._last_seqs() == {"worker-1": 7, "worker-2": 5}
        first.state = told(0)
        assert supervisor._last_seqs() == {"worker-1": 7, "worker-2": 5}, "its successor has stored nothing yet"
        first.state = told(9)
        assert supervisor._last_seqs() == {"worker-1": 9, "worker-2": 5}
        supervisor._selector.close()
