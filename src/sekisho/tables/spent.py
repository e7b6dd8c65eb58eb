"""What calls have cost, summed from the rows: `python -m sekisho.tables spent`, for who must not load DuckDB itself.

Reads one request (JSON) from standard input, where nobody else can read the credentials in it, and writes one line of
sums for each time that was asked for. Must count every attempt of every row once, those in the spool included.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from sekisho.domain.spending import Spent
from sekisho.tables.segments import segment_numbers
from sekisho.tables.spools import spool_roots
from sekisho.tables.storage import Cadence, Storage, forget_aws_variables, from_parent, to_child

#: a year of rows is read in a few seconds; a bucket that hangs must not hold a start for ever
TIMEOUT_S = 120.0
_FACTS = ("department", "team", "key", "user", "endpoint", "feature", "model")
#: a call that runs for longer is none, and so long counters remember what became of it
_DAY_US = 86_400_000_000
_SUMS = """
SELECT department, team, api_key_id, requester, endpoint_name, feature, attempt.provider || '/' || attempt.model,
       CASE WHEN error_code = 'interrupted' AND epoch_us(event_time) >= {until_us} - {day_us} THEN request_id END,
       CAST(sum(attempt.cost_usd) * 1000000000 AS BIGINT)
FROM (SELECT *, unnest(attempts) AS attempt FROM usage
      WHERE request_date >= CAST('{day}' AS DATE) AND epoch_us(event_time) >= {since_us}
        AND epoch_us(event_time) + coalesce(latency_ms, 0) * 1000 < {until_us})
GROUP BY ALL HAVING sum(attempt.cost_usd) > 0
"""


class SpentUnknown(Exception):
    """The rows could not be summed; the text says why."""


def spent_rows(data_dir: Path, storage: Storage, since_s: Sequence[float], until_s: float) -> list[list[Spent]]:
    """Sums of what calls cost that ended before `until_s` (seconds since 1970), by their facts, and what each one cost
    that died with its gateway of late; `key` is the id of the key. One list for each time of `since_s`, of the calls
    that began then or later. In a process of its own, where there is anything; blocks until that has ended. Raises
    SpentUnknown."""
    if _nothing_there(data_dir, storage):
        return [[] for _ in since_s]
    request = _Request(str(data_dir), [int(one * 1e6) for one in since_s], int(until_s * 1e6))
    message = msgspec.json.encode(request) + b"\n" + to_child(storage, Cadence())
    try:
        done = subprocess.run(
            (sys.executable, "-P", "-m", "sekisho.tables", "spent"),
            input=message,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SpentUnknown(f"what was spent cannot be read from the rows: {error}") from None
    if done.returncode:
        said = done.stderr[-500:].decode("utf-8", "replace").strip()
        raise SpentUnknown(f"what was spent cannot be read from the rows: {said}")
    return [msgspec.json.decode(line, type=list[Spent]) for line in done.stdout.splitlines()]


def sums(data_dir: Path, storage: Storage, since_us: Sequence[int], until_us: int) -> Iterator[list[Spent]]:
    """The same, here, in microseconds; from one look at the tables. Raises duckdb.Error, SqlFailed, OSError."""
    from sekisho.tables.reader import Result, open_connection, query

    connection = open_connection(data_dir, _SUMS, storage)
    for since in since_us:
        day = datetime.fromtimestamp(since / 1e6, UTC).date() - timedelta(days=1)
        asked = query(connection, _SUMS.format(day=day.isoformat(), since_us=since, until_us=until_us, day_us=_DAY_US))
        yield [
            Spent(facts=dict(zip(_FACTS, facts, strict=True)), cost_nanos=nanos, died=died)
            for *facts, died, nanos in Result(asked).rows()
        ]


def _nothing_there(data_dir: Path, storage: Storage) -> bool:
    """No row can be there. Of a bucket nobody knows without asking it, nor of a folder that cannot be looked into."""
    try:
        if storage.path is None or (storage.path / "usage").exists():
            return False
        return not any(map(segment_numbers, spool_roots(data_dir)))
    except OSError:
        return False


class _Request(msgspec.Struct, frozen=True):
    data_dir: str
    since_us: list[int]
    until_us: int


def main() -> int:
    """Exit codes: 0 done, 1 the rows cannot be read (the reason on stderr)."""
    first, _, rest = sys.stdin.buffer.read().partition(b"\n")
    request = msgspec.json.decode(first, type=_Request)
    storage, _ = from_parent(rest)
    forget_aws_variables()
    try:
        found: Any = list(sums(Path(request.data_dir), storage, request.since_us, request.until_us))
    except Exception as error:
        sys.stderr.write(storage.told(error))
        return 1
    sys.stdout.buffer.write(b"".join(msgspec.json.encode(one) + b"\n" for one in found))
    return 0
