"""Rows of a process that died are counted as it would have counted their calls."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.gateway import ListSink
from tests.unit.ledger.pages import Clock, attempt, entry, target

from sekisho.domain.call import Attempt
from sekisho.domain.endpoint import Endpoint
from sekisho.domain.row import Record
from sekisho.domain.usage import Usage
from sekisho.ledger.book import Ledger
from sekisho.ledger.recount import count_rows
from sekisho.ledger.tally import Tally
from sekisho.ledger.tally_sums import sums_of
from sekisho.tables.layout import encode_record

USAGE = Usage(
    input_tokens=1_000,
    output_tokens=500,
    cache_read_input_tokens=300,
    cache_creation_input_tokens=200,
    reasoning_output_tokens=100,
)
SERVED = attempt(usage=USAGE, status=200)
#: of all but the last one a row has no more than these two counts
FAILED = attempt(usage=Usage(input_tokens=7, output_tokens=0))


class Spool(ListSink):
    """Keeps the bytes that would lie on the disk too."""

    def __init__(self) -> None:
        super().__init__()
        self.payloads: list[bytes] = []

    def append(self, record: Record) -> None:
        super().append(record)
        self.payloads.append(encode_record(record))


def closed(ledger: Ledger, attempts: list[Attempt], status: int = 200, **changes: Any) -> None:
    clock = Clock(100.0)
    one = entry(now_s=clock)
    for name, value in changes.items():
        setattr(one, name, value)
    one.attempts = attempts
    ledger.open(one.call)
    clock.now_s = 100.75
    ledger.close(one, status, "completed" if status == 200 else "refused")


@pytest.mark.parametrize(
    "calls",
    [
        [{"attempts": [SERVED]}, {"attempts": [SERVED], "status": 499}, {"attempts": [SERVED]}],
        [{"attempts": [SERVED], "streaming": streaming, "first_byte_s": 100.25} for streaming in (True, False)],
        [{"attempts": [SERVED], "streaming": True}],
        [{"attempts": [FAILED, SERVED]}, {"attempts": [FAILED, attempt()], "status": 502}],
        [{"attempts": [attempt(), SERVED]}, {"attempts": [attempt()], "status": 502}],
        [{"attempts": [attempt(target(rates=None), USAGE)]}, {"attempts": [attempt(target("other"), USAGE)]}],
        [{"attempts": [SERVED], "endpoint": Endpoint(name="mock/made-up", targets=(target(),), direct=True)}],
        [{"attempts": [], "status": 429}, {"attempts": [], "status": 404, "endpoint": None}],
    ],
)
def test_a_row_counts_as_its_call_did(calls: list[dict[str, Any]]) -> None:
    spool, tally, again = Spool(), Tally(), Tally()
    ledger = Ledger(spool, tally, gateway_version="0.1")
    for call in calls:
        closed(ledger, **call)
    count_rows(again, spool.payloads)
    assert sums_of(again) == sums_of(tally)
    assert tally.rows["appended"] == len(calls)


def test_what_cannot_be_read_counts_as_nothing_and_keeps_none_of_the_others() -> None:
    spool, tally, again = Spool(), Tally(), Tally()
    closed(Ledger(spool, tally, gateway_version="0.1"), [SERVED])
    count_rows(again, [b"\xc1", b"\x90", *spool.payloads])
    assert sums_of(again) == sums_of(tally)
