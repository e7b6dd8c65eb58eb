"""How fast questions over months of rows are answered, what is read for them, and how many bytes a row takes.

    .venv/bin/python bench/rows.py FOLDER       # 10 million rows of usage, 300,000 with bodies; 10 minutes
    .venv/bin/python bench/reads.py FOLDER      # prints the tables; exit code 1 when a limit does not hold

Every question is asked the way `sekisho sql` asks: a snapshot, then DuckDB. Bytes read are what the kernel was asked
for (`rchar` of /proc/self/io, Linux only), whether they came from the disk or from its cache.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from report import machine
from results import table
from rows import LAST_DAY, Rows, write
from sekisho.tables.reader import open_connection, query
from sekisho.tables.schema import PARTITION

HERE = Path(__file__).parent
IDS_ROWS = 111_000
MOST_USAGE_BYTES, MOST_FILLED_BYTES, MOST_BODY_SHARE = 60, 110, 0.30
#: of a question that asks for no body, of what the table with bodies holds
MOST_READ_SHARE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`reference` is what the research prototype needed on a machine of this kind, ms and CPU ms; `most_ms` the limit
    set from it."""

    title: str
    sql: str
    reference: tuple[int, int]
    most_ms: int | None = None
    #: reads the table with bodies without asking for one
    no_bodies: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Best of the runs; `cpu_ms` of all threads, `open_ms` the snapshot before the statement."""

    rows: int
    open_ms: float
    ms: float
    cpu_ms: float
    read_mb: float | None


def questions(request_id: str, logged_id: str) -> list[Question]:
    """The dates are relative to the last day of the rows."""
    view = "SELECT endpoint_name, hour, p95_ms, calls FROM latency_by_endpoint WHERE request_date > DATE '{}'"
    hour = (
        "SELECT endpoint_name, epoch_us(event_time) // 3600000000 AS hour, quantile_cont(latency_ms, 0.95), count(*) "
        "FROM inference_log GROUP BY ALL"
    )

    def hours(days: int) -> str:
        return view.format(LAST_DAY - timedelta(days))

    costs = "SELECT request_date, team, sum(total_tokens), sum(cost_usd) FROM usage GROUP BY ALL"
    errors = (
        "SELECT event_time, request_id, endpoint_name, status_code, error_code FROM inference_log "
        f"WHERE status_code >= 400 AND request_date = DATE '{LAST_DAY}' ORDER BY event_time DESC LIMIT 100"
    )
    last = (
        f"SELECT endpoint_name, length(last_user_message) FROM last_user_message WHERE request_date = DATE '{LAST_DAY}'"
    )
    return [
        Question(title="p95 by endpoint and hour, 1 day", sql=hours(1), reference=(30, 51), most_ms=50),
        Question(title="p95 by endpoint and hour, 7 days", sql=hours(7), reference=(72, 124), most_ms=100),
        Question(title="p95 by endpoint and hour, 90 days", sql=hours(90), reference=(583, 1143), most_ms=800),
        Question(title="cost by day and team, 90 days", sql=costs, reference=(125, 229), most_ms=200),
        Question(
            title="one request by id, from usage",
            sql=f"SELECT * FROM usage WHERE request_id = '{request_id}'",
            reference=(41, 60),
            most_ms=60,
        ),
        Question(
            title="one request by id, with its bodies",
            sql=f"SELECT * FROM inference_log WHERE request_id = '{logged_id}'",
            reference=(60, 66),
            most_ms=60,
        ),
        Question(
            title="p95 by endpoint and hour, 30 days of inference_log",
            sql=hour,
            reference=(114, 144),
            no_bodies=True,
        ),
        Question(title="100 newest errors of a day, no bodies", sql=errors, reference=(39, 55), no_bodies=True),
        Question(title="last user message of a day", sql=last, reference=(453, 319)),
    ]


def ask(data_dir: Path, question: Question, runs: int) -> Answer:
    best: list[Answer] = []
    for _ in range(runs):
        before = _read_bytes()
        opened_s = time.perf_counter()
        connection = open_connection(data_dir, question.sql)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        rows = len(query(connection, question.sql).fetchall())
        ms, cpu_ms = (time.perf_counter() - began_s) * 1e3, (time.process_time() - began_cpu_s) * 1e3
        connection.close()
        after = _read_bytes()
        read_mb = None if before is None or after is None else (after - before) / 1e6
        best.append(Answer(rows=rows, open_ms=(began_s - opened_s) * 1e3, ms=ms, cpu_ms=cpu_ms, read_mb=read_mb))
    return min(best, key=lambda one: one.ms)


def _read_bytes() -> int | None:
    io = Path("/proc/self/io")
    return int(io.read_text().partition("rchar: ")[2].split()[0]) if io.exists() else None


def _files(data_dir: Path, name: str) -> list[Path]:
    """Of rows; checkpoints of the log are Parquet files too."""
    return sorted((data_dir / "tables" / name).glob(f"{PARTITION}=*/*.parquet"))


def _some_id(data_dir: Path, name: str) -> str:
    """Of a row in the middle of the days."""
    files = _files(data_dir, name)
    return pq.read_table(files[len(files) // 2], columns=["request_id"])["request_id"][1_000].as_py()


def _bytes_a_row(data_dir: Path, name: str) -> float:
    files = _files(data_dir, name)
    return sum(file.stat().st_size for file in files) / sum(pq.read_metadata(file).num_rows for file in files)


def _body_bytes(data_dir: Path) -> int:
    """Packed bytes of `request` and `response`."""
    total = 0
    for file in _files(data_dir, "inference_log"):
        found = pq.read_metadata(file)
        columns = [
            found.row_group(group).column(at)
            for group in range(found.num_row_groups)
            for at in range(found.num_columns)
        ]
        total += sum(one.total_compressed_size for one in columns if one.path_in_schema in ("request", "response"))
    return total


def _filled_bytes_a_row() -> float:
    """A day of usage whose callers send their own id and a trace."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), "usage", Rows(2, ids=True), 1, IDS_ROWS)
        return _bytes_a_row(Path(folder), "usage")


def measure(data_dir: Path, runs: int) -> tuple[list[str], bool]:
    """Markdown, and whether every limit holds."""
    some = _files(data_dir, "inference_log")
    whole_mb = sum(file.stat().st_size for file in some) / 1e6
    lines: list[list[str]] = []
    limits: list[list[str]] = []

    def limit(title: str, value: float, most: float, shown: Callable[[float], str]) -> None:
        limits.append([title, shown(value), f"<= {shown(most)}", "holds" if value <= most else "OVER"])

    for question in questions(_some_id(data_dir, "usage"), _some_id(data_dir, "inference_log")):
        answer = ask(data_dir, question, runs)
        read = "-" if answer.read_mb is None else f"{answer.read_mb:.1f}"
        figures = (answer.rows, f"{answer.ms:.0f}", f"{answer.cpu_ms:.0f}", f"{answer.open_ms:.0f}", read)
        lines.append([question.title, *map(str, (*figures, *question.reference))])
        if question.most_ms is not None:
            limit(question.title, answer.ms, question.most_ms, lambda value: f"{value:.0f} ms")
        if question.no_bodies and answer.read_mb is not None:
            limit(
                f"{question.title}: read", answer.read_mb, whole_mb * MOST_READ_SHARE, lambda value: f"{value:.1f} MB"
            )
    usage = _bytes_a_row(data_dir, "usage")
    limit("usage, ids of client, trace and span empty", usage, MOST_USAGE_BYTES, lambda value: f"{value:.1f} B a row")
    filled = _filled_bytes_a_row()
    limit("usage, these ids filled", filled, MOST_FILLED_BYTES, lambda value: f"{value:.1f} B a row")
    share = _body_bytes(data_dir) / int((data_dir / "raw_bytes").read_text())
    limit("bodies of a varied corpus, of their raw size", share, MOST_BODY_SHARE, lambda value: f"{value:.1%}")
    head = ["", "rows", "ms", "CPU ms", "snapshot ms", "MB read", "reference: ms", "CPU ms"]
    text = [*table(head, lines), "", *table(["", "measured", "limit", ""], limits)]
    return text, all(row[-1] == "holds" for row in limits)


def _figures(data_dir: Path, runs: int, text: list[str]) -> str:
    here = machine()
    rows = {
        name: sum(pq.read_metadata(file).num_rows for file in _files(data_dir, name))
        for name in ("usage", "inference_log")
    }
    sizes = {name: sum(file.stat().st_size for file in _files(data_dir, name)) / 1e9 for name in rows}
    lines = [
        "# Reading at scale",
        "",
        "Written by `bench/reads.py --write-figures`; [README.md](README.md) says what it means. Do not edit.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, best of {runs}. {here['cpu']}; {here['system']}; Python {here['python']}.",
        f"Load average {os.getloadavg()[0]:.0f}: compare the CPU, the clock measures what else the machine did.",
        f"`usage`: {rows['usage']:,} rows in 90 days, {sizes['usage']:.2f} GB.",
        f"`inference_log`: {rows['inference_log']:,} rows in 30 days, {sizes['inference_log']:.2f} GB.",
        "",
        *text,
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what bench/rows.py wrote")
    parser.add_argument("--runs", type=int, default=5, help="of each question; the best counts")
    parser.add_argument("--write-figures", action="store_true", help="also into bench/READS.md")
    options = parser.parse_args()
    text, holds = measure(options.folder, options.runs)
    print("\n".join(text))
    if options.write_figures:
        (HERE / "READS.md").write_text(_figures(options.folder, options.runs, text), "utf-8")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
