"""Power cuts under load: every process ends at once, the disk keeps what was synced and a random part of the rest."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.crash.books import Books, balance
from tests.crash.disk import Disk
from tests.crash.house import Gateway, Mock
from tests.crash.traffic import Traffic, summary

_LAST_ROWS = 50


@dataclass
class Cut:
    """What a campaign of power cuts did and found."""

    seed: int
    cuts: int
    #: what became of files and names
    fates: Counter[str]
    books: Books
    calls: dict[str, int]


async def cut_again_and_again(
    folder: Path, cuts: int, seed: int, *, progress: Callable[[int], None] = lambda done: None
) -> Cut:
    """Cut the power that many times, start again each time, then drain and do the books."""
    rng = random.Random(seed)
    disk = Disk(folder / "data", folder / "shadow")
    disk.begin()
    mock = Mock(folder)
    gateway = Gateway(folder, mock, environ=disk.environ())
    traffic = Traffic(gateway.url, random.Random(rng.random()))
    fates: Counter[str] = Counter()
    cuts_s: list[float] = []
    try:
        await gateway.start()
        await traffic.start()
        for n in range(cuts):
            await asyncio.sleep(rng.uniform(0.3, 3.0))
            cuts_s.append(gateway.freeze())
            gateway.kill_everything()
            fates += await asyncio.to_thread(disk.cut, rng)
            traffic.life += 1
            await gateway.start()
            progress(n + 1)
        enough = traffic.acknowledged() + _LAST_ROWS
        await traffic.until(lambda: traffic.acknowledged() >= enough)
        await traffic.stop()
        assert await gateway.stop() == 0, gateway.log_tail()
        books = balance(traffic.notes, mock.dispatched(), gateway.data_dir, cuts_s)
        books.fault("lines in the log that no cut explains", gateway.mistakes())
        return Cut(seed, cuts, fates, books, summary(traffic.notes))
    finally:
        await traffic.abandon()
        gateway.kill_everything()
        mock.close()
