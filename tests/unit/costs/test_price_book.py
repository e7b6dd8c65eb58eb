"""The price book: a cache that is right about what it does not know."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from sekisho.costs.prices import MISSING, PriceBook
from sekisho.costs.quotes import Pair, Quote, Quotes
from sekisho.domain.money import Rates

SMALL: Pair = ("openai", "small")
LARGE: Pair = ("openai", "large")
UNKNOWN: Pair = ("openai", "unknown")


class Clock:
    """Seconds since 1970 that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


class Library:
    """Stands in for the lookup process: counts its runs and answers what it is told."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._answer = folder / "answer.json"
        self._runs = folder / "runs"
        self._clock = clock
        self.knows()

    @property
    def command(self) -> list[str]:
        code = (
            "import sys; questions = sys.stdin.read(); "
            f"open({str(self._runs)!r}, 'a').write(questions + chr(10)); "
            f"sys.stdout.write(open({str(self._answer)!r}).read())"
        )
        return [sys.executable, "-S", "-E", "-c", code]

    @property
    def runs(self) -> list[str]:
        return self._runs.read_text().splitlines() if self._runs.exists() else []

    def knows(self, small: int = 150, *, version: str = "1.0", hold_s: int = 86_400) -> None:
        def quote(pair: Pair, nanos: int | None) -> Quote:
            rates = None if nanos is None else Rates(input_nanos_per_mtok=nanos, output_nanos_per_mtok=0)
            until = int(self._clock.now_s) + hold_s
            return Quote(
                provider=pair[0],
                model=pair[1],
                rates=rates,
                valid_until_s=until,
                reason=None if rates else "unheard of",
            )

        quotes = quote(SMALL, small), quote(LARGE, 2_500), quote(UNKNOWN, None)
        self._answer.write_bytes(msgspec.json.encode(Quotes(price_version=version, quotes=quotes)))

    def says(self, text: str) -> None:
        self._answer.write_text(text)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def library(tmp_path: Path, clock: Clock) -> Library:
    return Library(tmp_path, clock)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "data" / "prices.json"


def open_book(cache: Path, library: Library, clock: Clock, version: str = "1.0") -> PriceBook:
    return PriceBook(cache, version=version, now_s=clock, command=library.command)


def nanos(found: object) -> int:
    assert isinstance(found, Rates)
    return found.input_nanos_per_mtok


def test_what_was_never_looked_up_is_missing_and_what_nobody_knows_is_none(
    cache: Path, library: Library, clock: Clock
) -> None:
    book = open_book(cache, library, clock)
    assert book.get(*SMALL) is MISSING
    assert book.resolve_sync([SMALL, UNKNOWN])
    assert nanos(book.get(*SMALL)) == 150
    assert book.get(*UNKNOWN) is None
    assert book.get(*LARGE) is MISSING


def test_one_process_answers_for_all_and_nothing_is_asked_twice(cache: Path, library: Library, clock: Clock) -> None:
    book = open_book(cache, library, clock)
    assert book.resolve_sync([SMALL, LARGE, SMALL])
    assert not book.resolve_sync([LARGE, SMALL])
    assert len(library.runs) == 1
    assert msgspec.json.decode(library.runs[0]) == [
        {"provider": "openai", "model": "small"},
        {"provider": "openai", "model": "large"},
    ]
    assert book.resolve_sync([SMALL, UNKNOWN])
    assert msgspec.json.decode(library.runs[1]) == [{"provider": "openai", "model": "unknown"}]


def test_the_event_loop_gets_the_same_answers(cache: Path, library: Library, clock: Clock) -> None:
    book = open_book(cache, library, clock)

    async def scene() -> None:
        assert await book.resolve([SMALL, UNKNOWN])
        assert not await book.resolve([SMALL, UNKNOWN])

    asyncio.run(scene())
    assert nanos(book.get(*SMALL)) == 150
    assert book.get(*UNKNOWN) is None
    assert len(library.runs) == 1


def test_what_another_worker_has_looked_up_is_not_asked_again(cache: Path, library: Library, clock: Clock) -> None:
    async def scene() -> None:
        cache.parent.mkdir()
        first, second = (open_book(cache, library, clock) for _ in range(2))
        assert await first.resolve([SMALL, UNKNOWN])
        assert await second.resolve([SMALL, UNKNOWN])
        assert (nanos(second.get(*SMALL)), second.get(*UNKNOWN)) == (150, None)
        assert len(library.runs) == 1
        with cache.with_name("prices.json.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        clock.now_s += 86_400
        library.knows(small=151)
        assert await first.resolve([SMALL, UNKNOWN])
        assert await second.resolve([SMALL, UNKNOWN])
        assert nanos(second.get(*SMALL)) == 151
        assert len(library.runs) == 2

    asyncio.run(scene())


def test_what_is_asked_for_at_once_goes_into_two_processes_at_most(cache: Path, library: Library, clock: Clock) -> None:
    book = open_book(cache, library, clock)

    async def scene() -> list[bool]:
        return await asyncio.gather(*(book.resolve([pair]) for pair in (SMALL, LARGE, UNKNOWN, LARGE, SMALL)))

    assert asyncio.run(scene()) == [True] * 5
    assert [len(msgspec.json.decode(run)) for run in library.runs] == [1, 2]


def test_who_waits_for_a_lookup_that_is_cancelled_still_gets_an_answer(
    cache: Path, library: Library, clock: Clock
) -> None:
    book = open_book(cache, library, clock)

    async def scene() -> bool:
        first, second = (asyncio.create_task(book.resolve([pair])) for pair in (SMALL, LARGE))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(scene())
    assert nanos(book.get(*LARGE)) == 2_500


def test_names_that_nobody_knows_do_not_pile_up(
    cache: Path, library: Library, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sekisho.costs.prices._MOST_UNKNOWN", 1)
    book = open_book(cache, library, clock)
    book.resolve_sync([SMALL, UNKNOWN])
    other = Quote(provider="openai", model="other", rates=None, valid_until_s=2_000_000)
    library.says(msgspec.json.encode(Quotes(price_version="1.0", quotes=(other,))).decode())
    book.resolve_sync([other.pair])
    assert nanos(book.get(*SMALL)) == 150
    assert book.get(*UNKNOWN) is MISSING
    assert book.get(*other.pair) is None


def test_the_next_start_reads_the_cache(cache: Path, library: Library, clock: Clock) -> None:
    open_book(cache, library, clock).resolve_sync([SMALL, UNKNOWN])
    book = open_book(cache, library, clock)
    assert nanos(book.get(*SMALL)) == 150
    assert book.get(*UNKNOWN) is None
    assert book.outdated([SMALL, UNKNOWN]) == []


def test_yesterdays_price_is_used_until_todays_is_there(cache: Path, library: Library, clock: Clock) -> None:
    open_book(cache, library, clock).resolve_sync([SMALL])
    clock.now_s += 86_400
    book = open_book(cache, library, clock)
    assert nanos(book.get(*SMALL)) == 150
    assert book.outdated([SMALL]) == [SMALL]
    library.knows(small=99)
    assert book.resolve_sync([SMALL])
    assert nanos(book.get(*SMALL)) == 99


def test_a_refresh_that_changes_nothing_says_so(cache: Path, library: Library, clock: Clock) -> None:
    book = open_book(cache, library, clock)
    book.resolve_sync([SMALL])
    clock.now_s += 86_400
    library.knows()
    assert not book.resolve_sync([SMALL])
    assert book.outdated([SMALL]) == []


def test_prices_of_another_version_of_the_library_are_not_used(cache: Path, library: Library, clock: Clock) -> None:
    open_book(cache, library, clock).resolve_sync([SMALL])
    assert open_book(cache, library, clock, version="1.1").get(*SMALL) is MISSING


def test_prices_that_left_the_configuration_leave_the_cache(cache: Path, library: Library, clock: Clock) -> None:
    book = open_book(cache, library, clock)
    book.resolve_sync([SMALL, LARGE])
    clock.now_s += 9 * 86_400
    library.knows()
    book.resolve_sync([SMALL])
    assert [quote.pair for quote in msgspec.json.decode(cache.read_bytes(), type=Quotes).quotes] == [SMALL]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"price_version": "1.0", "quotes": [{}]}', b"\xff\xfe"])
def test_a_damaged_cache_is_as_good_as_none(
    cache: Path, library: Library, clock: Clock, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.mkdir()
    cache.write_bytes(content)
    book = open_book(cache, library, clock)
    assert book.get(*SMALL) is MISSING
    assert "is not used" in caplog.text
    assert book.resolve_sync([SMALL])
    assert nanos(open_book(cache, library, clock).get(*SMALL)) == 150


def test_a_cache_that_cannot_be_written_does_not_matter(
    cache: Path, library: Library, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    cache.mkdir(parents=True)
    book = open_book(cache, library, clock)
    assert book.resolve_sync([SMALL])
    assert nanos(book.get(*SMALL)) == 150
    assert "cannot be written" in caplog.text
    assert list(cache.parent.iterdir()) == [cache]


@pytest.mark.parametrize(
    "answer", ["", "not json", '{"price_version": "1.0"}', '{"price_version": "1.0", "quotes": 1}']
)
def test_an_answer_that_makes_no_sense_changes_nothing_and_is_asked_again_later(
    cache: Path, library: Library, clock: Clock, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    book = open_book(cache, library, clock)
    library.says(answer)
    assert not book.resolve_sync([SMALL])
    assert book.get(*SMALL) is MISSING
    assert "unknown prices stay unknown" in caplog.text
    library.knows()
    assert not book.resolve_sync([SMALL])
    assert len(library.runs) == 1
    clock.now_s += 60
    assert book.resolve_sync([SMALL])
    assert nanos(book.get(*SMALL)) == 150


FAILURES = [
    ([sys.executable, "-S", "-c", "import sys; sys.exit('it broke')"], "exit code 1: it broke"),
    ([sys.executable, "-S", "-c", "import time; time.sleep(60)"], "no answer within 0.2 s"),
    (["/no/such/program"], "No such file"),
]


@pytest.mark.parametrize(("command", "reason"), FAILURES)
@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_process_that_fails_is_logged_and_leaves_prices_unknown(
    cache: Path, clock: Clock, command: list[str], reason: str, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    book = PriceBook(cache, version="1.0", now_s=clock, command=command, timeout_s=0.2)
    changed = book.resolve_sync([SMALL]) if way == "sync" else asyncio.run(book.resolve([SMALL]))
    assert not changed
    assert book.get(*SMALL) is MISSING
    assert reason in caplog.text
    assert not cache.exists()


def test_a_failed_refresh_keeps_the_old_price(cache: Path, library: Library, clock: Clock) -> None:
    book = open_book(cache, library, clock)
    book.resolve_sync([SMALL])
    clock.now_s += 86_400
    library.says("broken")
    assert not book.resolve_sync([SMALL])
    assert nanos(book.get(*SMALL)) == 150


def test_cancelling_ends_the_process(cache: Path, clock: Clock, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    book = PriceBook(cache, version="1.0", now_s=clock, command=[sys.executable, "-S", "-c", code])

    async def scene() -> None:
        task = asyncio.create_task(book.resolve([SMALL]))
        while not (mark.exists() and mark.read_text()):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    started = time.monotonic()
    asyncio.run(scene())
    assert time.monotonic() - started < 10
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_an_unknown_price_is_logged_with_its_reason(
    cache: Path, library: Library, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    open_book(cache, library, clock).resolve_sync([UNKNOWN])
    assert "no price for openai/unknown: unheard of" in caplog.text


def test_the_real_library_answers(cache: Path) -> None:
    book = PriceBook(cache)
    assert book.resolve_sync([("openai", "gpt-4o-mini"), ("openai", "no-such-model"), (None, "gpt-4o-mini")])
    assert nanos(book.get("openai", "gpt-4o-mini")) == 150_000_000
    assert book.get("openai", "no-such-model") is None
    assert book.get(None, "gpt-4o-mini") is None


def test_the_serving_side_does_not_import_the_library() -> None:
    code = (
        "import sys; from pathlib import Path; from sekisho.costs.prices import PriceBook; PriceBook(Path('x')); "
        "sys.exit(bool({'genai_prices', 'pydantic'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
