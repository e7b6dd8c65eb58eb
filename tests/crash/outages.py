"""Full disks and folders that are gone, under load: calls go on as documented, and rows come in afterwards."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sekisho.tables.reader import ask
from sekisho.tables.status import read_status
from tests.crash.books import Books, balance
from tests.crash.disk import Disk
from tests.crash.house import Gateway, Mock
from tests.crash.traffic import KINDS, Kind, Traffic, summary

SPOOL_BYTES, LARGE_BYTES = 48 << 20, 200_000
_LARGE = {"messages": [{"role": "user", "content": "x" * LARGE_BYTES}]}
#: what fills a spool fast
LARGE = {
    "plain": replace(KINDS["plain"], extra=_LARGE),
    "plain, sync": replace(KINDS["plain, sync"], extra=_LARGE),
    "stream": replace(KINDS["stream"], extra={**KINDS["stream"].extra, **_LARGE}),
    "metadata": KINDS["metadata"],
}


@dataclass
class Outage:
    """What one outage did and found. `during` counts answers by status while it lasted."""

    seed: int
    lasted_s: float
    during: Counter[int]
    books: Books
    calls: dict[str, int]
    #: that the outage was felt
    failed_commits: int
    #: rows whose bodies were given up for want of room
    shed: int


class Trial:
    """A gateway under load, for a body that takes something away and gives it back."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        more: str = "",
        watched: bool = False,
        data_dir: Path | None = None,
        kinds: dict[str, Kind] | None = None,
    ) -> None:
        self.seed = seed
        self.mock = Mock(folder)
        self.disk = Disk(data_dir or folder / "data", folder / "shadow")
        if watched:
            self.disk.begin()
        environ = self.disk.environ() if watched else None
        self.gateway = Gateway(folder, self.mock, environ=environ, more=more, data_dir=data_dir)
        rng = random.Random(seed)
        self.traffic = Traffic(self.gateway.url, rng) if kinds is None else Traffic(self.gateway.url, rng, kinds=kinds)
        self.during: Counter[int] = Counter()
        self.lasted_s = 0.0
        self.failed_commits = 0

    async def endure(self, lasting_s: float, least_answers: int = 40) -> None:
        """Let what is away be away for so long, and for so many answers."""
        began, answered = len(self.traffic.notes), self.traffic.acknowledged()
        began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(lasting_s)
        await self.serve(answered + least_answers - self.traffic.acknowledged())
        status = read_status(self.gateway.data_dir / "spool")
        self.failed_commits += 0 if status is None else status.errors
        self.lasted_s += asyncio.get_running_loop().time() - began_s
        self.during += Counter(
            note.status or 0 for note in self.traffic.notes[began:] if note.acknowledged_s is not None
        )

    async def serve(self, answers: int) -> None:
        """Let that many more calls be answered."""
        enough = self.traffic.acknowledged() + answers
        await self.traffic.until(lambda: self.traffic.acknowledged() >= enough)

    async def finish(self) -> Outage:
        """Drain, and do the books."""
        await self.traffic.stop()
        assert await self.gateway.stop() == 0, self.gateway.log_tail()
        books = balance(self.traffic.notes, self.mock.dispatched(), self.gateway.data_dir)
        books.fault("lines in the log that no outage explains", self.gateway.mistakes())
        return Outage(
            seed=self.seed,
            lasted_s=self.lasted_s,
            during=self.during,
            failed_commits=self.failed_commits,
            books=books,
            calls=summary(self.traffic.notes),
            shed=shed(self.gateway.data_dir),
        )

    async def close(self) -> None:
        await self.traffic.abandon()
        self.gateway.kill_everything()
        self.mock.close()


@asynccontextmanager
async def trial(folder: Path, seed: int, **options: object) -> AsyncGenerator[Trial]:
    """Started and under load; whatever happens, no process is left."""
    one = Trial(folder, seed, **options)  # type: ignore[arg-type]
    try:
        await one.gateway.start()
        await one.traffic.start()
        await one.serve(50)
        await one.traffic.until(lambda: (one.gateway.data_dir / "tables" / "inference_log").exists())
        yield one
    finally:
        await one.close()


async def folder_gone(folder: Path, seed: int, lasting_s: float) -> Outage:
    """Where the tables are there is a file instead: nobody can write there, not even root."""
    async with trial(folder, seed) as one:
        tables = one.gateway.data_dir / "tables"
        away = one.gateway.data_dir / "tables.away"
        with one.gateway.committers_held():
            tables.rename(away)
            tables.write_text("in the way")
        await one.endure(lasting_s)
        with one.gateway.committers_held():
            tables.unlink()
            away.rename(tables)
        await one.serve(50)
        return await one.finish()


async def spool_full(folder: Path, seed: int, lasting_s: float, when_full: str) -> Outage:
    """The tables are away for so long that the spool reaches its bound; bodies are large, so that it does soon."""
    bound = f"spool: {{max_mb: {SPOOL_BYTES >> 20}, when_full: {when_full}}}"
    async with trial(folder, seed, more=bound, kinds=LARGE) as one:
        tables = one.gateway.data_dir / "tables"
        away = one.gateway.data_dir / "tables.away"
        with one.gateway.committers_held():
            tables.rename(away)
            tables.write_text("in the way")
        await one.endure(lasting_s, least_answers=2 * SPOOL_BYTES // LARGE_BYTES)
        with one.gateway.committers_held():
            tables.unlink()
            away.rename(tables)
        await one.serve(50)
        return await one.finish()


async def room_gone(folder: Path, seed: int, lasting_s: float) -> Outage:
    """No new segment, no new log entry: ENOSPC from every call that asks for room."""
    async with trial(folder, seed, watched=True) as one:
        one.disk.full(True)
        await one.endure(lasting_s)
        one.disk.full(False)
        await one.serve(50)
        return await one.finish()


async def disk_filled(folder: Path, seed: int, lasting_s: float, place: Path) -> Outage:
    """A small disk of its own, mounted at `place`, and somebody else fills it to the last byte."""
    async with trial(folder, seed, data_dir=place / "data") as one:
        ballast = place / "ballast"
        fill(ballast)
        await one.endure(lasting_s)
        ballast.unlink()
        await one.serve(50)
        return await one.finish()


def fill(file: Path) -> None:
    """Grow a file until the disk takes no more."""
    with file.open("wb", buffering=0) as ballast, suppress(OSError):
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while ballast.write(bytes(size)):
                    pass


def shed(data_dir: Path) -> int:
    """Of calls that were taken: those that are refused for want of room never keep theirs."""
    without = "list_contains(logging_error_codes, 'SPOOL_FULL')"
    taken = "error_code IS DISTINCT FROM 'rows_unavailable'"
    (row,) = ask(data_dir, f"SELECT count(*) FROM usage WHERE {without} AND {taken}").rows()
    return int(row[0])


@contextmanager
def small_disk(place: Path, size_mb: int) -> Generator[bool]:
    """A disk of its own in memory at this place while it lasts; gives False where this process may not mount one."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(place)], check=True)
