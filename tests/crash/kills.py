"""kill -9 at random moments, under load: gateway, committer, both, while starting, while stopping."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.crash.books import Books, balance, union
from tests.crash.house import Gateway, Mock, wait_for
from tests.crash.traffic import Traffic, summary

#: who dies, how often of a hundred
VICTIMS = {
    "gateway": 35,
    "committer": 25,
    "both": 15,
    "gateway while it starts": 15,
    "gateway while it stops": 10,
}
_LOOK_EVERY = 5
#: rows that the last life has to serve, so that there is one after every kill
_LAST_ROWS = 50


@dataclass
class Killed:
    """What a campaign of kills did and found."""

    seed: int
    kills: Counter[str]
    books: Books
    calls: dict[str, int]
    looks: int


async def kill_again_and_again(
    folder: Path, kills: int, seed: int, *, progress: Callable[[int], None] = lambda done: None
) -> Killed:
    """Kill that many processes, restart each time, then drain and do the books."""
    rng = random.Random(seed)
    mock = Mock(folder)
    gateway = Gateway(folder, mock)
    traffic = Traffic(gateway.url, random.Random(rng.random()))
    done: Counter[str] = Counter()
    seen: list[str] = []
    looks = 0
    try:
        await gateway.start()
        await traffic.start()
        for n in range(kills):
            victim = _first_victim(n) or rng.choices([*VICTIMS], [*VICTIMS.values()])[0]
            await _kill(gateway, victim, rng)
            done[victim] += 1
            if not gateway.alive:
                if n % _LOOK_EVERY == 0:
                    looks += 1
                    seen.append(await _look(gateway, traffic))
                traffic.life += 1
                gateway.spawn()
            if victim != "gateway while it starts":
                await gateway.ready()
            progress(n + 1)
        await gateway.ready()
        enough = traffic.acknowledged() + _LAST_ROWS
        await traffic.until(lambda: traffic.acknowledged() >= enough)
        await traffic.stop()
        assert await gateway.stop() == 0, gateway.log_tail()
        books = balance(traffic.notes, mock.dispatched(), gateway.data_dir)
        books.fault("lines in the log that no crash explains", gateway.mistakes())
        books.fault("looks at SQL that saw a row twice or not at all", [one for one in seen if one])
        return Killed(seed, done, books, summary(traffic.notes), looks)
    finally:
        await traffic.abandon()
        gateway.kill_everything()
        mock.close()


def _first_victim(n: int) -> str | None:
    """Every sort of death once, however few the kills are."""
    return [*VICTIMS][n] if n < len(VICTIMS) else None


async def _kill(gateway: Gateway, victim: str, rng: random.Random) -> None:
    if victim == "gateway while it starts":
        # The one before may have been told to start already; else this is a kill of its own right after a restart.
        await asyncio.sleep(rng.uniform(0.2, 1.0))
        gateway.kill()
        gateway.spawn()
        await asyncio.sleep(rng.uniform(0.0, 0.8))
        gateway.kill()
        return
    await asyncio.sleep(rng.uniform(0.1, 1.6))
    match victim:
        case "gateway":
            gateway.kill()
        case "committer":
            # A committer killed before may not have a successor yet.
            await asyncio.to_thread(wait_for, gateway.kill_committer, "there is a committer to kill")
        case "both":
            first, second = rng.sample((gateway.kill, gateway.kill_committer), 2)
            first()
            second()
        case _:
            gateway.terminate()
            await asyncio.sleep(rng.uniform(0.0, 0.5))
            gateway.kill()


async def _look(gateway: Gateway, traffic: Traffic) -> str:
    """With nobody alive, SQL shows every acknowledged row, once; says what it did not."""
    told = [note.request_id for note in traffic.notes if note.acknowledged_s is not None]
    seen = await asyncio.to_thread(union, gateway.data_dir)
    twice = [one for one, count in seen.items() if count > 1]
    missing = [one for one in told if one is not None and one not in seen]
    return f"{len(twice)} twice, {len(missing)} missing" if twice or missing else ""
