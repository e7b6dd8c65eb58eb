"""Rows as a company of 400 people leaves them in months, made for measuring. Must be the same for the same seed.

They are written as the committer writes them, record by record into its columns and its files, a file a day as
compaction leaves it. Nothing of them is real.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from corpus import Corpus
from sekisho.domain.money import RateLine, Rates
from sekisho.domain.row import LOG_FULL, LOG_METADATA, RESPONSE_JSON, RESPONSE_NONE, AttemptRow, CallerGroup, ShapeGroup
from sekisho.tables.arrow import Table
from sekisho.tables.columns import Batch
from sekisho.tables.delta import DeltaFolder
from sekisho.tables.layout import encode_record

LAST_DAY = date(2026, 11, 20)
ENDPOINTS = ("社内チャット", "summary", "rag-search", "translate", "classify", "extract", "code", "minutes")
WEIGHTS = (30, 20, 15, 10, 10, 5, 5, 5)
#: provider, model, nano-dollars a token in and out
TARGETS = (
    ("openai", "gpt-4o-mini", 150, 600),
    ("openai", "gpt-4o", 2_500, 10_000),
    ("anthropic", "claude-haiku-4-5", 1_000, 5_000),
    ("gemini", "gemini-2.5-flash", 300, 2_500),
    ("local", "qwen3-32b", 0, 0),
)
USD_JPY_NANOS = 152_340_000_000
TEAMS = 12
PEOPLE = 400
PROJECTS = 40
AGENTS = ("OpenAI/Python 2.3.0", "OpenAI/JS 6.1.0", "AsyncOpenAI/Python 2.3.0", "curl/8.5.0")
FAILURES = (
    (400, "upstream_rejected"),
    (429, "upstream_rate_limited"),
    (502, "upstream_error"),
    (504, "upstream_timeout"),
)
#: of a working day in Japan, in UTC hours
HOURS = (8, 9, 9, 8, 5, 8, 9, 9, 8, 7, 5, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 5)
_CHUNK = 512
_encode = msgspec.msgpack.Encoder().encode


class Rows:
    """Makes records, day by day. `ids` fills the client's, the trace's and the span's id; a corpus gives bodies."""

    def __init__(self, seed: int, *, ids: bool = False, corpus: Corpus | None = None) -> None:
        self._random = random.Random(seed)
        self._ids = ids
        self._corpus = corpus
        self._rates = {model: self._lines(price_in, price_out) for _, model, price_in, price_out in TARGETS}
        self._groups: dict[tuple[Any, ...], msgspec.Raw] = {}
        #: bytes of all bodies so far
        self.raw_bytes = 0

    @staticmethod
    def _lines(price_in: int, price_out: int) -> tuple[RateLine, ...]:
        million = 1_000_000
        return Rates(
            input_nanos_per_mtok=price_in * million,
            output_nanos_per_mtok=price_out * million,
            cached_input_nanos_per_mtok=price_in * million // 2,
        ).lines()

    def day(self, day: date, count: int) -> Iterator[bytes]:
        """Records of one day in the order of their time."""
        midnight_us = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
        pick = self._random
        hours = sorted(pick.choices(range(24), HOURS, k=count))
        times = sorted(midnight_us + hour * 3_600_000_000 + pick.randrange(3_600_000_000) for hour in hours)
        for at_us in times:
            yield self._record(at_us)

    def _record(self, at_us: int) -> bytes:
        pick = self._random
        endpoint = pick.choices(range(len(ENDPOINTS)), WEIGHTS)[0]
        person = int(pick.random() ** 2 * PEOPLE)
        target = (endpoint + int(pick.random() * 1.3)) % len(TARGETS)
        failure = FAILURES[pick.randrange(len(FAILURES))] if pick.random() < 0.012 else None
        took_us = max(20_000, int(pick.lognormvariate(13.5 + 0.1 * endpoint, 0.7)))
        used = None if failure else (max(5, int(pick.lognormvariate(6.5, 1))), max(1, int(pick.lognormvariate(5.2, 1))))
        cached = int(used[0] * pick.choice((0, 0, 0, 0.5, 0.8))) // 128 * 128 if used else None
        streaming = pick.random() < 0.4
        attempts = self._attempts(target, failure, took_us, used, cached or 0)
        cost = sum(attempt.cost_nanos or 0 for attempt in attempts)
        request, response = self._corpus.call(pick) if self._corpus is not None else (None, None)
        self.raw_bytes += len(request or b"") + len(response or b"")
        bits = pick.getrandbits(256)
        project = person * 7 % PROJECTS
        return encode_record(
            (
                self._shape(endpoint, attempts[-1].provider, attempts[-1].model, failure, streaming, len(attempts)),
                self._caller(person),
                at_us,
                f"req_{at_us // 1000:012x}7{bits & 0xFFF:03x}{0x8 | bits >> 12 & 3:x}{bits >> 14 & (1 << 60) - 1:015x}",
                f"{bits >> 74 & (1 << 128) - 1:032x}" if self._ids else None,
                f"{bits >> 100 & (1 << 128) - 1:032x}" if self._ids else None,
                f"{bits >> 190:016x}"[-16:] if self._ids else None,
                None,  # conversation_id
                f"the provider said {failure[0]}" if failure else None,
                took_us,
                took_us // 3 if streaming else took_us,
                int(pick.gauss(180, 30)),
                *(used or (None, None)),
                cached,
                None if used is None else 0,
                None if used is None else 0,
                None if used is None else used[1] // 4 if target == 1 else 0,
                cost,
                None,  # cost_breakdown: made of tokens and rates
                None,  # end_user
                {"feature": ENDPOINTS[endpoint], "project": f"p{project}"},
                attempts,
                None if request else f"{bits >> 40 & (1 << 64) - 1:016x}",  # as if there had been one
                request,
                response,
            )
        )

    def _attempts(
        self, target: int, failure: tuple[int, str] | None, took_us: int, used: tuple[int, int] | None, cached: int
    ) -> list[AttemptRow]:
        provider, model, price_in, price_out = TARGETS[target]
        tries: list[AttemptRow] = []
        if failure is None and self._random.random() < 0.02:
            first = TARGETS[(target + 1) % len(TARGETS)]
            late = took_us // 4
            tries.append(AttemptRow(1, *first[:2], 503, late, "upstream_error", "primary", None, None, 0, "none"))
        reason = "fallback" if tries else "primary"
        status, code = failure or (200, None)
        cost = (used[0] - cached) * price_in + cached * price_in // 2 + used[1] * price_out if used else 0
        spent = took_us - sum(one.latency_us for one in tries) - 150
        source = "provider" if used else "none"
        tries.append(
            AttemptRow(
                len(tries) + 1, provider, model, status, spent, code, reason, *(used or (None, None)), cost, source
            )
        )
        return tries

    def _shape(
        self, endpoint: int, provider: str, model: str, failure: tuple[int, str] | None, streaming: bool, tries: int
    ) -> msgspec.Raw:
        key = (endpoint, model, failure, streaming, tries)
        known = self._groups.get(key)
        if known is None:
            full = self._corpus is not None
            status, code = failure or (200, None)
            known = self._groups[key] = _raw(
                ShapeGroup(
                    log_level=LOG_FULL if full else LOG_METADATA,
                    endpoint_name=ENDPOINTS[endpoint],
                    route="fallback" if tries > 1 else "primary",
                    feature=ENDPOINTS[endpoint],
                    api_type="openai/v1/chat/completions",
                    url_path="/v1/chat/completions",
                    operation="chat",
                    request_model=ENDPOINTS[endpoint],
                    provider=provider,
                    destination_model=model,
                    served_entity_id=f"{provider}/{model}",
                    status_code=status,
                    error_code=code,
                    streaming=streaming,
                    finish_reasons=None if failure else ["stop"],
                    usage_source="none" if failure else "provider",
                    service_tier=None,
                    processing=None,
                    price_source="genai-prices",
                    price_version="0.2.3",
                    guardrails=None,
                    cache_status="bypass",
                    terminal_state="upstream_error" if failure else "completed",
                    gateway_version="0.1.0",
                    config_hash="c0ffee123456",
                    sampling_fraction=1.0,
                    logging_error_codes=None,
                    masking=None,
                    response_kind=RESPONSE_JSON if full else RESPONSE_NONE,
                    rates=self._rates[model],
                    usd_jpy_nanos=USD_JPY_NANOS,
                )
            )
        return known

    def _caller(self, person: int) -> msgspec.Raw:
        known = self._groups.get((person,))
        if known is None:
            team = person % TEAMS
            known = self._groups[person,] = _raw(
                CallerGroup(
                    requester=f"user{person:04d}@example.com",
                    requester_type="user",
                    api_key_id=f"key_{person % 60:012x}",
                    team=f"team-{team:02d}",
                    department=f"dep-{team % 4}",
                    user_agent=AGENTS[person % len(AGENTS)],
                    client_ip_prefix=f"10.{person % 16}.{person % 7}.0/24",
                )
            )
        return known


def _raw(group: tuple[Any, ...]) -> msgspec.Raw:
    return msgspec.Raw(_encode(group))


def table_of(records: Iterator[bytes]) -> Table:
    """Arrow, by the committer's own way."""
    batch = Batch()
    chunk: list[bytes] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == _CHUNK:
            batch.add(chunk)
            chunk = []
    batch.add(chunk)
    return batch.table()


def write(data_dir: Path, name: str, rows: Rows, days: int, rows_a_day: int) -> None:
    """Days of rows into the table `name` under `data_dir/tables`; the last day is LAST_DAY."""
    folder = DeltaFolder(data_dir / "tables", name, "bench")
    folder.open()
    began_s = time.monotonic()
    for number in range(days):
        day = LAST_DAY - timedelta(days - 1 - number)
        folder.append(table_of(rows.day(day, rows_a_day)), folder.done + 1)
        folder.checkpoint_if_due()
        if sys.stderr.isatty():
            print(f"\r{name}: day {number + 1} of {days}", end="", file=sys.stderr)
    took_s = time.monotonic() - began_s
    print(f"{name}: {days * rows_a_day} rows in {took_s:.0f} s", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a data folder of its own; a table that is there already stays")
    parser.add_argument("--rows", type=int, default=10_000_000, help="of usage")
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--logged-rows", type=int, default=300_000, help="of inference_log, with bodies")
    parser.add_argument("--logged-days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if not (options.folder / "tables" / "usage").exists():
        write(options.folder, "usage", Rows(options.seed), options.days, options.rows // options.days)
    logged = Rows(options.seed, corpus=Corpus())
    write(options.folder, "inference_log", logged, options.logged_days, options.logged_rows // options.logged_days)
    (options.folder / "raw_bytes").write_text(str(logged.raw_bytes))


if __name__ == "__main__":
    main()
