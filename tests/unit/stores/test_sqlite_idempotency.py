"""The file of kept answers: private, bounded, emptied, opened anew after trouble."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sekisho.stores.idempotency import Lease
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.sql_idempotency import Cursor, SqlIdempotency
from sekisho.stores.sqlite_idempotency import sqlite_idempotency

ASKED = b"a" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "idempotency.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqlIdempotency]:
    one = sqlite_idempotency(path, timeout_s=20)
    yield one
    await one.close()


def lease(n: int) -> Lease:
    return Lease(b"%032d" % n, b"%016d" % n)


async def kept(store: SqlIdempotency, n: int, size: int, until_us: int = 1_000) -> bool:
    assert (await store.claim(lease(n), ASKED, 1, 100)).state == "claimed"
    return await store.keep(lease(n), bytes([n]) * size, until_us)


async def test_there_is_no_file_before_the_first_key(store: SqlIdempotency, path: Path) -> None:
    await store.tend([], 1, 2)
    assert not path.exists()
    await store.claim(lease(1), ASKED, 1, 100)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()} == {0o600}


async def test_answers_outlive_the_process(store: SqlIdempotency, path: Path) -> None:
    assert await kept(store, 1, 100)
    again = sqlite_idempotency(path, timeout_s=20)
    found = await again.claim(Lease(lease(1).id, b"another owner"), ASKED, 2, 100)
    assert found.sealed == b"\1" * 100
    await again.close()


async def test_beyond_the_bound_nothing_more_is_kept_until_there_is_room(tmp_path: Path) -> None:
    store = sqlite_idempotency(tmp_path / "idempotency.db", most_bytes=400_000, timeout_s=20)
    assert await kept(store, 1, 200_000)
    assert not await kept(store, 2, 300_000)
    assert await kept(store, 3, 50_000)
    await store.tend([], 1_000, 2_000)
    assert await kept(store, 4, 300_000, until_us=5_000)
    await store.close()


async def test_what_is_past_its_time_leaves_no_trace_in_the_file(store: SqlIdempotency, path: Path) -> None:
    assert await kept(store, 88, 50_000)
    await store.tend([], 1_000, 2_000)
    await store.close()
    assert all(b"XXXXXXXX" not in one.read_bytes() for one in path.parent.iterdir())


async def test_a_claim_does_not_wait_until_all_is_swept(store: SqlIdempotency, path: Path) -> None:
    for n in range(200):
        assert await kept(store, n, 100)
    sweeping = asyncio.ensure_future(store.tend([], 2_000, 3_000))
    await asyncio.sleep(0)
    assert (await store.claim(lease(999), ASKED, 2_000, 3_000)).state == "claimed"
    assert not sweeping.done()
    await sweeping
    with contextlib.closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT count(*) FROM idempotency_answers").fetchone() == (1,)


async def test_a_damaged_file_is_no_answer_and_a_new_one_is_used(store: SqlIdempotency, path: Path) -> None:
    await store.claim(lease(1), ASKED, 1, 100)
    await store.close()
    for one in path.parent.iterdir():
        one.write_bytes(b"this is not a database" * 500)
    damaged = sqlite_idempotency(path, timeout_s=20)
    with pytest.raises(StoreUnavailable, match="not a database"):
        await damaged.claim(lease(1), ASKED, 1, 100)
    for one in path.parent.iterdir():
        one.unlink()
    assert (await damaged.claim(lease(1), ASKED, 1, 100)).state == "claimed"
    await damaged.close()


async def test_a_folder_that_cannot_be_made_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    store = sqlite_idempotency(tmp_path / "data" / "idempotency.db", timeout_s=20)
    with pytest.raises(StoreUnavailable):
        await store.claim(lease(1), ASKED, 1, 100)
    await store.close()


class Released:
    """A database in which what a claim meets is gone when it looks at it, so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def execute(self, statement: str, values: dict[str, Any]) -> Cursor:
        claims = statement.startswith("INSERT")
        self.left -= claims
        return Nothing(rowcount=int(claims and self.left < 0))

    def has_room(self, size: int) -> bool:
        return True

    def exists(self) -> bool:
        return True

    def close(self) -> None:
        pass


class Nothing(NamedTuple):
    rowcount: int

    def fetchone(self) -> None:
        return None


@pytest.mark.parametrize(("times", "state"), [(1, "claimed"), (2, "claimed"), (3, "running")])
async def test_what_is_released_while_one_looks_is_claimed(times: int, state: str) -> None:
    store = SqlIdempotency(Released(times), threads=1, timeout_s=20)
    assert (await store.claim(lease(1), ASKED, 1, 100)).state == state
    await store.close()
