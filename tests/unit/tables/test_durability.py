"""The flusher: who waits is told after the disk was asked, and told the truth."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from tests.unit.tables.rows import a_row, record_of

from sekisho.tables import durability
from sekisho.tables.spool import SpoolWriter


async def told(writer: SpoolWriter) -> bool:
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    writer.when_durable(answer.set_result)
    async with asyncio.timeout(20):
        return await answer


async def test_a_row_is_synced_before_anybody_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fdatasync
    monkeypatch.setattr(durability, "fdatasync", lambda fd: (real(fd), synced.append("file")))
    folder = durability.fsync
    monkeypatch.setattr(durability, "fsync", lambda path: (folder(path), synced.append(path.name)))
    writer = SpoolWriter(tmp_path / "spool")
    writer.append(record_of(a_row(1)))
    assert await told(writer)
    assert "file" in synced
    assert {"spool", tmp_path.name} <= set(synced)
    before = synced.count("file")
    writer.append(record_of(a_row(2)))
    assert await told(writer)
    assert synced.count("file") > before
    writer.close()


def test_a_row_that_nobody_waits_for_is_synced_within_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SpoolWriter(tmp_path)
    synced = threading.Semaphore(0)
    monkeypatch.setattr(durability, "fdatasync", lambda fd: synced.release())
    for n in range(3):
        writer.append(record_of(a_row(n)))
        assert synced.acquire(timeout=60), n
        while synced.acquire(timeout=2 * durability.EVERY_S):
            pass  # nothing new is nothing to sync
    writer.close()


async def test_many_who_wait_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = [0]

    def counted(fd: int) -> None:
        syncs[0] += 1

    writer = SpoolWriter(tmp_path)
    await told(writer)
    monkeypatch.setattr(durability, "fdatasync", counted)
    writer.append(record_of(a_row(1)))
    assert all(await asyncio.gather(*(told(writer) for _ in range(100))))
    assert syncs[0] < 20
    writer.close()


async def test_a_disk_that_refuses_is_told_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [True]
    real = os.fdatasync

    def sync(fd: int) -> None:
        if broken[0]:
            raise OSError(5, "Input/output error")
        real(fd)

    writer = SpoolWriter(tmp_path, fails_open=False)
    await told(writer)
    monkeypatch.setattr(durability, "fdatasync", sync)
    writer.append(record_of(a_row(1)))
    assert not await told(writer)
    assert writer.failing
    writer.look()
    assert not writer.takes_calls
    broken[0] = False
    assert await told(writer)
    writer.look()
    assert writer.takes_calls
    assert not writer.failing
    writer.close()


async def test_segments_that_are_finished_are_synced_too_and_let_go(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, 64 * 1024)
    for n in range(600):
        writer.append(record_of(a_row(n)))
    assert await told(writer)
    assert len(writer._flusher._files) == 1
    writer.close()
