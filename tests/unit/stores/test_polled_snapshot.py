"""Keys that a thread reads: whatever goes wrong there is told, and the thread reads on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from sekisho.stores.memory import MemoryKeyStore
from sekisho.stores.polled_snapshot import PolledSnapshot
from sekisho.stores.ports import KeyRecord, StoreUnavailable


class _Source(MemoryKeyStore):
    error: Exception | None = None

    def version(self) -> int:
        if self.error is not None:
            raise self.error
        return super().version()


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _fails(snapshot: PolledSnapshot) -> bool:
    try:
        snapshot.version()
    except StoreUnavailable:
        return True
    return False


@pytest.mark.parametrize("error", [StoreUnavailable("away"), ValueError("a damaged row")])
def test_after_a_failure_keys_stay_and_changes_are_seen_again(error: Exception) -> None:
    source = _Source()
    source.add(KeyRecord(id="key_1", name="one", digest=b"1" * 32, created_at_us=1))
    snapshot = PolledSnapshot(source, every_s=0.001)
    try:
        source.error = error
        _until(lambda: _fails(snapshot))
        with pytest.raises(StoreUnavailable, match=str(error)):
            snapshot.version()
        assert [key.name for key in snapshot.all()] == ["one"]
        source.error = None
        source.add(KeyRecord(id="key_2", name="two", digest=b"2" * 32, created_at_us=2))
        _until(lambda: len(snapshot.all()) == 2)
        assert not _fails(snapshot)
    finally:
        snapshot.close()


class _Silent(MemoryKeyStore):
    """Answers while it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()
        self.may.set()

    def version(self) -> int:
        self.may.wait()
        return super().version()


def test_a_source_that_falls_silent_in_the_middle_of_a_question_is_away_until_it_speaks() -> None:
    source = _Silent()
    snapshot = PolledSnapshot(source, every_s=0.001, silent_s=0.05)
    try:
        source.may.clear()
        _until(lambda: _fails(snapshot))
        with pytest.raises(StoreUnavailable, match="has not answered for 0 seconds"):
            snapshot.version()
        source.may.set()
        _until(lambda: not _fails(snapshot))
    finally:
        source.may.set()
        snapshot.close()
