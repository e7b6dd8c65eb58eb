"""Prices for the serving process, from a cache file that another process fills. Must not import genai-prices.

A price that is not known is None and never 0.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from sekisho.costs.quotes import Pair, Question, Quote, Quotes
from sekisho.domain.money import Rates

log = logging.getLogger(__name__)

_COMMAND = (sys.executable, "-m", "sekisho.costs.lookup")
_RETRY_S = 60
_LOCK_POLL_S = 0.05
_KEEP_S = 7 * 86_400
#: more than a snapshot remembers, or those that it asks for again would never be known
_MOST_UNKNOWN = 2_000


class Missing(Enum):
    """Nobody has looked this price up yet."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


class PriceBook:
    """The prices of genai-prices, looked up by a subprocess once a day.

    The cache file is bound to the version of genai-prices that is installed: another version has other prices. What
    it holds from an earlier day is used at once; `resolve` refreshes it. Not safe between threads.
    """

    def __init__(
        self,
        cache_path: Path,
        *,
        version: str | None = None,
        now_s: Callable[[], float] = time.time,
        command: Sequence[str] = _COMMAND,
        timeout_s: float = 10.0,
    ) -> None:
        self._path = cache_path
        self._version = version or metadata.version("genai-prices")
        self._now_s = now_s
        self._command = tuple(command)
        self._timeout_s = timeout_s
        self._retry_at_s = 0.0
        self._turn = asyncio.Lock()
        #: asked for while another lookup runs; a dict for its order
        self._waiting: dict[Pair, None] = {}
        self._quotes = {quote.pair: quote for quote in self._load()}

    def get(self, provider_id: str | None, model: str) -> Rates | Missing | None:
        """The rates; None when the price is unknown; MISSING when it was never looked up."""
        found = self._quotes.get((provider_id, model))
        return MISSING if found is None else found.rates

    def outdated(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Those that `resolve` would look up: missing, or past the time for which their price was given."""
        now = self._now_s()
        old = [pair for pair in dict.fromkeys(pairs) if not self._holds(pair, now)]
        return old if now >= self._retry_at_s else []

    async def resolve(self, pairs: Iterable[Pair]) -> bool:
        """Look up what is outdated, all in one subprocess; True when `get` answers differently for these pairs now.

        Only one subprocess runs at a time, and what is asked for meanwhile goes into the next one together: models
        that callers name may come in any number. A failure is logged, leaves everything as it was and is tried again
        after a minute. Cancelling ends the subprocess.
        """
        asked = list(pairs)
        before = [self.get(*pair) for pair in asked]
        self._waiting |= dict.fromkeys(asked)
        async with self._turn:
            # its own pairs too: a turn that was cancelled took them out of those waiting
            wanted = self.outdated([*asked, *self._waiting])
            self._waiting.clear()
            if wanted:
                async with self._alone():
                    self._learn()
                    if wanted := self.outdated(wanted):
                        await self._run(wanted)
        return [self.get(*pair) for pair in asked] != before

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None]:
        """One lookup at a time for all workers that share the cache file; whoever waited finds the answer in it."""
        try:
            fd = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:  # best effort, as the file itself
            yield
            return
        until_s = time.monotonic() + self._timeout_s
        try:
            while not _locked(fd) and time.monotonic() < until_s:  # noqa: ASYNC110  another process holds it
                await asyncio.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(fd)

    def _learn(self) -> None:
        """What another process has looked up meanwhile."""
        for quote in self._load():
            known = self._quotes.get(quote.pair)
            if known is None or known.valid_until_s < quote.valid_until_s:
                self._quotes[quote.pair] = quote

    async def _run(self, wanted: list[Pair]) -> None:
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, stderr=pipe)
            try:
                async with asyncio.timeout(self._timeout_s):
                    output, errors = await process.communicate(_questions(wanted))
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        except TimeoutError:
            self._failed(f"no answer within {self._timeout_s:g} s")
        except OSError as error:
            self._failed(str(error))
        else:
            self._accept(wanted, process.returncode or 0, output, errors)

    def resolve_sync(self, pairs: Iterable[Pair]) -> bool:
        """`resolve` where no event loop runs."""
        asked = list(pairs)
        before = [self.get(*pair) for pair in asked]
        if wanted := self.outdated(asked):
            try:
                done = subprocess.run(
                    self._command, input=_questions(wanted), capture_output=True, timeout=self._timeout_s, check=False
                )
            except subprocess.TimeoutExpired:
                self._failed(f"no answer within {self._timeout_s:g} s")
            except OSError as error:
                self._failed(str(error))
            else:
                self._accept(wanted, done.returncode, done.stdout, done.stderr)
        return [self.get(*pair) for pair in asked] != before

    def _holds(self, pair: Pair, now_s: float) -> bool:
        found = self._quotes.get(pair)
        return found is not None and now_s < found.valid_until_s

    def _accept(self, wanted: list[Pair], returncode: int, output: bytes, errors: bytes) -> None:
        if returncode:
            return self._failed(f"exit code {returncode}: {errors[-500:].decode(errors='replace').strip()}")
        try:
            answer = msgspec.json.decode(output, type=Quotes)
        except msgspec.MsgspecError as error:
            return self._failed(f"unreadable answer: {error}")
        quotes = {quote.pair: quote for quote in answer.quotes if quote.pair in wanted}
        if lacking := [pair for pair in wanted if pair not in quotes]:
            return self._failed(f"no answer for {lacking}")
        for quote in quotes.values():
            if quote.rates is None:
                log.warning("no price for %s/%s: %s", quote.provider, quote.model, quote.reason)
        self._quotes |= quotes
        self._forget()
        self._save()
        return None

    def _forget(self) -> None:
        """Models that exist are few, names that callers make up are not: of unknown ones only the last are kept."""
        unknown = [pair for pair, quote in self._quotes.items() if quote.rates is None]
        for pair in unknown[:-_MOST_UNKNOWN]:
            del self._quotes[pair]

    def _failed(self, reason: str) -> None:
        log.error("prices could not be looked up, unknown prices stay unknown: %s", reason)
        self._retry_at_s = self._now_s() + _RETRY_S

    def _load(self) -> tuple[Quote, ...]:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=Quotes)
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("price cache %s is not used: %s", self._path, error)
            return ()
        return kept.quotes if kept.price_version == self._version else ()

    def _save(self) -> None:
        """Best effort: without the file the next start looks prices up again."""
        # a pair that nobody asked for in a week has left the configuration
        oldest_s = self._now_s() - _KEEP_S
        quotes = tuple(quote for quote in self._quotes.values() if quote.valid_until_s > oldest_s)
        content = msgspec.json.encode(Quotes(price_version=self._version, quotes=quotes))
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content)
            draft.replace(self._path)
        except OSError as error:
            log.warning("price cache %s cannot be written: %s", self._path, error)
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _questions(pairs: Iterable[Pair]) -> bytes:
    return msgspec.json.encode([Question(provider=provider, model=model) for provider, model in pairs])
