"""The real child process: rows in the tables at its cadence, drained on SIGTERM, whole after kill -9."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars
import pytest
from tests.unit.tables.rows import a_row, record_of, records

from sekisho.tables.reader import ask
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.storage import Cadence, Storage
from sekisho.tables.supervise import Committer

PATIENCE_S = 120.0
#: for tests that wait for commits; the usual cadence is counted in seconds
EAGER = Cadence(every_s=0.2)


def until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> float:
    """Seconds until it held."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_s:
            pytest.fail("did not happen in time")
        time.sleep(0.01)
    return time.monotonic() - began


def in_delta(data_dir: Path, table: str = "usage") -> list[str]:
    path = data_dir / "tables" / table
    if not (path / "_delta_log").is_dir():
        return []
    return sorted(polars.read_delta(str(path), columns=["request_id"])["request_id"].to_list())


def want(count: int) -> list[str]:
    return [f"req_{n:032x}" for n in range(count)]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolWriter]:
    writer = SpoolWriter(tmp_path / "spool", 256 * 1024)
    yield writer
    writer.close()


@pytest.fixture
def committer(tmp_path: Path, spool: SpoolWriter) -> Iterator[Committer]:
    committer = Committer(tmp_path, last_seq=lambda: spool.last_seq, cadence=EAGER)
    committer.start()
    yield committer
    committer.stop(PATIENCE_S)


def running(committer: Committer) -> bool:
    return committer.status().state == "running"


def test_rows_are_in_the_tables_at_the_cadence(tmp_path: Path, spool: SpoolWriter, committer: Committer):
    until(lambda: running(committer))
    for n in range(3):
        spool.append(record_of(a_row(n)))
        until(lambda n=n: committer.committed_rows > n)
        # The count is told a moment before the position is.
        until(lambda: committer.lag_s() == 0.0)
        assert in_delta(tmp_path) == in_delta(tmp_path, "inference_log") == want(n + 1)
    assert list(ask(tmp_path, "SELECT count(*) FROM usage").rows()) == [(3,)]


def test_much_is_committed_before_its_time_and_little_is_not(tmp_path: Path, spool: SpoolWriter):
    committer = Committer(tmp_path, last_seq=lambda: spool.last_seq, cadence=Cadence(every_s=3600, rows=300))
    committer.start()
    spool.append(record_of(a_row()))
    until(lambda: committer.committed_rows == 1)
    for record in records(299, 1):
        spool.append(record)
    time.sleep(0.5)
    assert committer.committed_rows == 1
    assert list(ask(tmp_path, "SELECT count(*) FROM usage").rows()) == [(300,)], "in SQL at once"
    spool.append(record_of(a_row(300)))
    until(lambda: committer.committed_rows == 301)
    spool.append(record_of(a_row(301)))
    assert committer.stop(PATIENCE_S), "at the end everything is committed"
    assert in_delta(tmp_path) == want(302)


def test_sigterm_commits_everything_first(tmp_path: Path, spool: SpoolWriter, committer: Committer):
    until(lambda: running(committer))
    for record in records(4000):
        spool.append(record)
    assert committer.stop(PATIENCE_S)
    assert committer.committed_rows == 4000
    assert in_delta(tmp_path) == in_delta(tmp_path, "inference_log") == want(4000)
    assert committer.status().state == "stopped"


def test_kill_9_again_and_again_neither_loses_nor_doubles(tmp_path: Path, spool: SpoolWriter, committer: Committer):
    count = 0
    for pause_s in (0.05, 0.3, 0.7):
        until(lambda: running(committer))
        for record in records(3000, count):
            spool.append(record)
        count += 3000
        time.sleep(pause_s)
        os.kill(committer.status().pid, signal.SIGKILL)
        until(lambda: not committer.poll())
        until(committer.poll)
    until(lambda: committer.lag_s() == 0.0)
    assert committer.restarts == 3
    assert committer.stop(PATIENCE_S)
    assert in_delta(tmp_path) == in_delta(tmp_path, "inference_log") == want(count)


SERVER = """
    import os, signal, sys, time
    from pathlib import Path
    from sekisho.tables.spool import SpoolWriter
    from sekisho.tables.storage import Cadence
    from sekisho.tables.supervise import Committer
    from tests.unit.tables.rows import records

    data_dir = Path(sys.argv[1])
    spool = SpoolWriter(data_dir / "spool")
    committer = Committer(data_dir, cadence=Cadence(every_s=0.2))
    committer.start()
    while committer.status().state != "running":
        time.sleep(0.01)
    for record in records(2000):
        spool.append(record)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_when_the_server_is_killed_its_committer_ends_and_the_next_one_goes_on(tmp_path: Path):
    script = textwrap.dedent(SERVER)
    died = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=Path.cwd(), check=False)
    assert died.returncode == -signal.SIGKILL
    writer = SpoolWriter(tmp_path / "spool")
    committer = Committer(tmp_path, last_seq=lambda: writer.last_seq, cadence=EAGER)
    committer.start()
    for record in records(10, 2000):
        writer.append(record)
    until(lambda: committer.lag_s() == 0.0 and running(committer))
    assert committer.stop(PATIENCE_S)
    writer.close()
    assert in_delta(tmp_path) == want(2010)


def test_a_committer_that_ended_before_the_server_does_is_needed_once_more(
    tmp_path: Path, spool: SpoolWriter, committer: Committer
):
    until(lambda: running(committer))
    os.kill(committer.status().pid, signal.SIGTERM)
    until(lambda: committer.status().state == "stopped")
    for record in records(100):
        spool.append(record)
    assert committer.stop(PATIENCE_S)
    assert in_delta(tmp_path) == want(100)
    assert committer.committed_rows == 100


def test_what_a_killed_server_left_is_readable_without_any_committer(tmp_path: Path):
    writer = SpoolWriter(tmp_path / "spool")
    for record in records(5):
        writer.append(record)
    assert list(ask(tmp_path, "SELECT count(*), sum(total_tokens) FROM inference_log").rows()) == [(5, 600)]
    writer.close()


def test_ctrl_c_is_for_the_server(spool: SpoolWriter, committer: Committer):
    until(lambda: running(committer))
    os.kill(committer.status().pid, signal.SIGINT)
    spool.append(record_of(a_row()))
    until(lambda: committer.committed_rows == 1)
    assert committer.poll()


def test_a_folder_that_cannot_be_written_is_waited_for(tmp_path: Path, spool: SpoolWriter, committer: Committer):
    until(lambda: running(committer))
    # a file where a folder has to be: not even root can write there
    in_the_way = tmp_path / "tables" / "usage" / "request_date=2026-11-20"
    in_the_way.write_text("")
    spool.append(record_of(a_row()))
    until(lambda: committer.status().errors > 0)
    in_the_way.unlink()
    until(lambda: committer.committed_rows == 1)
    assert in_delta(tmp_path) == want(1)


def test_the_tables_may_lie_elsewhere_than_the_spool(tmp_path: Path, spool: SpoolWriter):
    storage = Storage.folder(tmp_path / "shared")
    committer = Committer(tmp_path, last_seq=lambda: spool.last_seq, storage=storage)
    committer.start()
    spool.append(record_of(a_row()))
    until(lambda: committer.committed_rows == 1)
    assert committer.stop(PATIENCE_S)
    assert not (tmp_path / "tables").exists()
    assert list(ask(tmp_path, "SELECT count(*) FROM usage", storage).rows()) == [(1,)]


def test_one_that_hangs_is_replaced_and_no_row_is_lost_or_doubled(tmp_path: Path, spool: SpoolWriter):
    committer = Committer(tmp_path, last_seq=lambda: spool.last_seq, cadence=EAGER, hangs_s=2.0)
    committer.start()
    until(lambda: running(committer))
    for n in range(20):
        spool.append(record_of(a_row(n)))
    # Somewhere in the middle: rows may be in one table, in both, or in none.
    os.kill(committer.status().pid, signal.SIGSTOP)
    for n in range(20, 40):
        spool.append(record_of(a_row(n)))
    until(lambda: committer.poll() and committer.lost["hung"] == 1)
    until(lambda: committer.poll() and committer.lag_s() == 0.0)
    assert committer.stop(PATIENCE_S)
    assert committer.lost == {"died": 0, "hung": 1}
    assert in_delta(tmp_path) == in_delta(tmp_path, "inference_log") == want(40)


def test_one_that_waits_for_another_of_an_earlier_gateway_says_so(tmp_path: Path, spool: SpoolWriter):
    folder = tmp_path / "spool"
    code = """
        import sys, sekisho.tables.committer_process as committer
        committer._COMPLAIN_EVERY_S = 0.2
        committer.main(["--data-dir", sys.argv[1]])
    """
    with (folder / "committer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        words = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
        with subprocess.Popen(words, stderr=subprocess.PIPE) as child:
            assert child.stderr is not None
            assert b"another committer does not end" in child.stderr.readline()
            child.terminate()
            assert child.wait(PATIENCE_S) == 0
