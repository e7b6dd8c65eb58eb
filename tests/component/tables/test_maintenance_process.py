"""Maintenance as a process: killed at every step, beside a committer that goes on, and the tables read by anybody."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.component.tables.killed_maintenance import AT_US, POLICY
from tests.unit.tables.maintenance.days import data_files, filled, ids, opened, rows, want
from tests.unit.tables.rows import a_row, record_of

from sekisho.tables.delta import app_id, open_table
from sekisho.tables.maintenance import jobs
from sekisho.tables.maintenance.state import read_state
from sekisho.tables.maintenance.vacuum import vacuum
from sekisho.tables.schema import TABLES
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.storage import Cadence
from sekisho.tables.supervise import Committer

PATIENCE_S = 600.0
ROOT = Path(__file__).parents[3]


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)


def committed(data_dir: Path) -> dict[str, tuple[list[str], int | None]]:
    """Ids and the position of the spool, by table."""
    found: dict[str, tuple[list[str], int | None]] = {}
    for name in TABLES:
        table = open_table(data_dir / "tables" / name)
        assert table is not None
        found[name] = ids(data_dir / "tables" / name), table.transaction_version(app_id("s"))
    return found


def test_killed_at_every_step_it_leaves_whole_tables_and_the_next_run_ends_the_work(tmp_path: Path):
    start = tmp_path / "start"
    for name in TABLES:
        filled(start / "tables", name, days=2, files=2)
    done = python("-m", "tests.component.tables.killed_maintenance", str(tmp_path))
    assert done.returncode == 0, done.stderr
    steps, status = map(int, done.stdout.split())
    assert status == 0, done.stderr
    assert steps > 30
    whole, after_expiry = want(20), want(20)[10:]
    seen: set[int] = set()
    for step in range(1, steps + 1):
        data_dir = tmp_path / str(step)
        for name, (found, position) in committed(data_dir).items():
            assert found in (whole, after_expiry), f"{name} at step {step}"
            assert position == 20
            seen.add(len(found))
        if step % 8 and step != steps:
            continue
        # What was half done is done by the next run, and an append goes on from where the table is.
        opened(data_dir / "tables").append(rows(5, 20, day=1), 25)
        assert jobs.run(data_dir, "night", POLICY, now=lambda: AT_US) is None
        assert ids(data_dir / "tables" / "usage") == want(25)[10:]
        assert ids(data_dir / "tables" / "inference_log") == after_expiry
        for name in TABLES:
            assert vacuum(data_dir / "tables" / name, 0).files > 0
            live = open_table(data_dir / "tables" / name)
            assert live is not None
            assert len(data_files(data_dir / "tables" / name)) == len(live.file_uris())
    assert seen == {20, 10}


def started(data_dir: Path, job: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "sekisho.tables", "maintenance", job, "--data-dir", str(data_dir)]
    return subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE)


def killed_at_work(data_dir: Path) -> None:
    """Start night jobs until one could be killed before its end."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        child = started(data_dir, "night")
        while child.poll() is None and read_state(data_dir).jobs["night"].ended_us:
            time.sleep(0.001)
        child.kill()
        child.communicate()
        if child.returncode == -signal.SIGKILL:
            return
    pytest.fail("no job was at work long enough")


def test_beside_a_committer_that_does_not_stop(tmp_path: Path):
    """Many commits by the real committer, maintenance again and again: some runs are killed, none loses or doubles."""
    spool = SpoolWriter(tmp_path / "spool", 256 * 1024)
    committer = Committer(tmp_path, last_seq=lambda: spool.last_seq, cadence=Cadence(every_s=0.0))
    committer.start()
    count = 0
    stop = threading.Event()
    today_us = time.time_ns() // 1000

    def call() -> None:
        nonlocal count
        while not stop.is_set():
            # three days, two of them over
            day_us = today_us - (count % 3) * 86_400_000_000
            spool.append(record_of(a_row(count, event_time_us=day_us + count)))
            count += 1
            time.sleep(0.002)

    calls = threading.Thread(target=call)
    calls.start()
    try:
        # enough files of each day for the first job, however slow the machine
        deadline_s = time.monotonic() + PATIENCE_S
        while committer.status().commits < 12:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        for job in ("light", "night"):
            child = started(tmp_path, job)
            _, errors = child.communicate(timeout=PATIENCE_S)
            assert child.returncode == 0, errors
        killed_at_work(tmp_path)
        child = started(tmp_path, "night")
        _, errors = child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 0, errors
    finally:
        stop.set()
        calls.join()
        assert committer.stop(PATIENCE_S)
        spool.close()
    assert committer.status().errors == 0
    assert committer.restarts == 0
    for name in TABLES:
        assert ids(tmp_path / "tables" / name) == want(count)
        table = open_table(tmp_path / "tables" / name)
        assert table is not None
        operations = [entry["operation"] for entry in table.history()]
        assert operations.count("OPTIMIZE") >= 3


def test_stock_readers_read_the_tables_after_all_of_it(tmp_path: Path):
    for name in TABLES:
        filled(tmp_path / "tables", name, days=3, files=9)
    assert jobs.run(tmp_path, "night", POLICY, now=lambda: AT_US) is None
    for name in TABLES:
        opened(tmp_path / "tables", name).append(rows(1, 135, day=2), 136)
        read = python(str(Path(__file__).with_name("stock_readers.py")), str(tmp_path / "tables" / name))
        assert read.returncode == 0, read.stderr
        found: dict[str, Any] = json.loads(read.stdout)
        assert found.pop("protocol") == [1, 2]
        expected = [91, "0.002457000", want(46)[-1], want(136)[-1]]
        assert found == {"duckdb": expected, "polars": expected, "pandas": expected}


def test_a_job_ends_when_its_gateway_is_gone(tmp_path: Path):
    filled(tmp_path / "tables", files=3)
    words = ["-m", "sekisho.tables", "maintenance", "light", "--data-dir", str(tmp_path), "--parent", "1"]
    assert python(*words).returncode in (0, 1)
    assert ids(tmp_path / "tables" / "usage") == want(15)


@pytest.mark.parametrize("name", TABLES)
def test_the_process_takes_what_nobody_else_wants(tmp_path: Path, name: str):
    filled(tmp_path / "tables", name, files=3)
    asks = "import os; from sekisho.tables.maintenance.jobs import modest; modest(); print(os.nice(0))"
    assert int(python("-c", asks).stdout) >= min(19, os.nice(0) + 15)
