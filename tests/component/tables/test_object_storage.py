"""Tables in a bucket: appended to exactly once whatever the network does, and read with nothing but SQL."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars
import pytest
from deltalake import DeltaTable, write_deltalake
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, Door, Fault, S3Server, data_put, log_put, storage_at
from tests.unit.tables.rows import a_row, record_of, records

from sekisho.tables import delta
from sekisho.tables.columns import Batch
from sekisho.tables.committer import Committer
from sekisho.tables.delta import DeltaFolder, TableChanged, open_in
from sekisho.tables.layout import encode_record
from sekisho.tables.overview import overview
from sekisho.tables.reader import SqlFailed, ask
from sekisho.tables.spool import SpoolWriter
from sekisho.tables.storage import Cadence, Storage
from sekisho.tables.supervise import Committer as Child

PATIENCE_S = 120.0
EAGER = Cadence(every_s=0.1)


def until(condition: Any) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.01)


def rows(count: int, start: int = 0) -> Any:
    batch = Batch()
    batch.add([encode_record(record) for record in records(count, start)])
    return batch.table()


def opened(storage: Storage, spool: str = "s") -> DeltaFolder:
    folder = DeltaFolder(storage, "usage", spool, pause=lambda _: None)
    folder.open()
    return folder


def ids(storage: Storage, table: str = "usage") -> list[str]:
    """By a reader that is not ours."""
    if open_in(storage, table) is None:
        return []
    options = {name: value for name, value in (storage.options() or {}).items() if name.startswith("aws_")}
    frame = polars.read_delta(storage.table(table), storage_options=options, columns=["request_id"])
    return sorted(frame["request_id"].to_list())


def want(count: int, start: int = 0) -> list[str]:
    return [f"req_{n:032x}" for n in range(start, start + count)]


@pytest.fixture
def storage(door: Door, bucket: str) -> Storage:
    return door.storage(bucket)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolWriter]:
    writer = SpoolWriter(tmp_path / "spool", 256 * 1024)
    yield writer
    writer.close()


# -- one table


def test_appends_are_there_and_the_table_remembers_how_far_it_has_come(storage: Storage):
    folder = opened(storage)
    folder.append(rows(3), 30)
    folder.append(rows(2, 3), 50)
    assert ids(storage) == want(5)
    assert opened(storage).done == 50
    table = open_in(storage, "usage")
    assert table is not None
    assert (table.protocol().min_reader_version, table.protocol().min_writer_version) == (1, 2)


def test_a_bucket_without_a_prefix(door: Door, bucket: str):
    storage = door.storage(bucket, "")
    opened(storage).append(rows(1), 1)
    assert ids(storage) == want(1)


@pytest.mark.parametrize("fault", ["lose_answer", "lose_request", 500, 503, 409])
@pytest.mark.parametrize("times", [1, 3])
def test_a_log_entry_whose_put_went_wrong_is_there_once(door: Door, storage: Storage, fault: Fault, times: int):
    folder = opened(storage)
    folder.append(rows(1), 1)
    for _ in range(times):
        door.fail(fault, log_put())
    try:
        folder.append(rows(2, 1), 2)
    except OSError:
        folder.open()
        if folder.done < 2:
            folder.append(rows(2, 1), 2)
    assert ids(storage) == want(3)
    assert opened(storage).done == 2
    folder.append(rows(1, 3), 3)
    assert ids(storage) == want(4)


def test_when_the_answer_is_lost_the_entry_itself_says_whose_it_is(door: Door, storage: Storage):
    mine, other = opened(storage, "mine"), opened(storage, "other")
    for _ in range(3):
        door.fail("lose_answer", log_put())
    mine.append(rows(1), 1)
    for _ in range(3):
        door.fail("lose_answer", log_put())
    other.append(rows(1, 1), 1)
    assert ids(storage) == want(2)


def test_a_late_copy_of_a_put_that_was_given_up_cannot_double_rows(door: Door, storage: Storage):
    first, second = opened(storage), opened(storage)
    second.append(rows(2), 2)
    with pytest.raises(TableChanged):
        first.append(rows(2), 2)
    first.open()
    assert first.done == 2
    assert ids(storage) == want(2)


@pytest.mark.parametrize("fault", ["lose_answer", "lose_request", 500])
def test_a_data_file_whose_put_went_wrong_is_written_again(door: Door, storage: Storage, fault: Fault):
    folder = opened(storage)
    door.fail(fault, data_put())
    folder.append(rows(2), 2)
    assert ids(storage) == want(2)


def test_spools_of_several_machines_share_a_table(storage: Storage):
    one, two = opened(storage, "one"), opened(storage, "two")
    one.append(rows(2), 7)
    two.append(rows(2, 2), 9)
    one.append(rows(1, 4), 8)
    assert ids(storage) == want(5)
    assert (opened(storage, "one").done, opened(storage, "two").done) == (8, 9)


def test_appends_go_with_compaction_by_others(storage: Storage):
    folder = opened(storage)
    for n in range(3):
        folder.append(rows(1, n), n + 1)
    DeltaTable(storage.table("usage"), storage_options=storage.options()).optimize.compact()
    folder.append(rows(1, 3), 4)
    assert ids(storage) == want(4)


def test_one_committer_alone_makes_the_checkpoint_of_a_version(
    door: Door, storage: Storage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(delta, "CHECKPOINT_EVERY", 4)
    committers = [opened(storage, name) for name in ("one", "two", "three")]
    for n in range(12):
        committers[n % 3].append(rows(1, n), n + 1)
        for committer in committers:
            committer.checkpoint_if_due()
    made = [path for method, path, _ in door.seen if method == "PUT" and path.endswith(".checkpoint.parquet")]
    assert len(made) == len(set(made)) == 3
    assert ids(storage) == want(12)
    assert opened(storage, "two").done == 11


def test_a_store_that_ignores_the_condition_is_refused(door: Door, storage: Storage):
    def probes(method: str, path: str) -> bool:
        return method == "PUT" and path.endswith("conditional-put")

    for _ in range(2):
        door.fail("ignore_condition", probes)
    with pytest.raises(OSError, match="If-None-Match"):
        opened(storage)


def test_variables_of_aws_do_not_send_rows_elsewhere(door: Door, bucket: str, monkeypatch: pytest.MonkeyPatch):
    elsewhere = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_REGION": "elsewhere-1",
        "AWS_SESSION_TOKEN": "of-somebody-else",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    }
    for attempt in range(2):
        for name, value in elsewhere.items():
            monkeypatch.setenv(name, value)
        if attempt:
            assert ids(door.storage(bucket)) == want(1)
        else:
            opened(door.storage(bucket)).append(rows(1), 1)


def test_errors_name_the_place_and_no_credential(door: Door, storage: Storage):
    door.close()
    for failing in (lambda: opened(storage), lambda: open_in(storage, "usage")):
        with pytest.raises(OSError, match="s3://bucket-") as caught:
            failing()
        assert SECRET_KEY not in str(caught.value)
        assert ACCESS_KEY not in str(caught.value)
        assert "\n" not in str(caught.value)
    assert SECRET_KEY not in repr(storage)


def test_a_large_data_file_goes_in_parts(door: Door, storage: Storage):
    batch = Batch()
    batch.add([encode_record(record_of(a_row(n, request=os.urandom(3_000_000).hex().encode()))) for n in range(3)])
    folder = DeltaFolder(storage, "inference_log", "s")
    folder.open()
    door.fail(500, lambda method, path: method == "PUT" and "partNumber=2" in path)
    folder.append(batch.table(), 1)
    assert any("partNumber=2" in path for _, path, _ in door.seen)
    assert ids(storage, "inference_log") == want(3)


# -- SQL


def committed(data_dir: Path, storage: Storage, spool: SpoolWriter, count: int) -> None:
    for record in records(count):
        spool.append(record)
    committer = Committer(data_dir, storage)
    while committer.step():
        pass
    committer.stopped()


def one(data_dir: Path, storage: Storage, sql: str) -> Any:
    return next(iter(ask(data_dir, sql, storage).rows()))


def test_sql_reads_bucket_and_spool_together(tmp_path: Path, storage: Storage, spool: SpoolWriter):
    committed(tmp_path, storage, spool, 20)
    for record in records(3, 20):
        spool.append(record)
    for table in ("usage", "inference_log"):
        assert one(tmp_path, storage, f"SELECT count(*), count(DISTINCT request_id) FROM {table}") == (23, 23)
    assert one(tmp_path, storage, "SELECT sum(cost_usd)::VARCHAR FROM usage") == ("0.000621000",)
    assert one(tmp_path, storage, "SELECT attempts[1].provider, tags['feature'] FROM usage LIMIT 1")[0] == "openai"
    for view in ("cost_by_day", "latency_by_endpoint", "inference_table_databricks", "last_user_message"):
        assert list(ask(tmp_path, f"SELECT * FROM {view}", storage).rows())


def test_before_the_first_commit_there_is_only_the_spool(tmp_path: Path, storage: Storage, spool: SpoolWriter):
    spool.append(record_of(a_row()))
    assert one(tmp_path, storage, "SELECT count(*) FROM usage") == (1,)


def test_only_the_columns_and_days_asked_for_are_fetched(
    tmp_path: Path, door: Door, storage: Storage, spool: SpoolWriter
):
    for n in range(50):
        noise = os.urandom(20_000).hex()
        spool.append(record_of(a_row(n, request=noise.encode(), event_time_us=1_795_000_000_000_000 + n)))
    committer = Committer(tmp_path, storage)
    while committer.step():
        pass
    committer.stopped()

    def fetched(sql: str) -> int:
        door.seen.clear()
        list(ask(tmp_path, sql, storage).rows())
        return sum(size for method, path, size in door.seen if method == "GET" and ".parquet" in path)

    bodies = fetched("SELECT max(length(request)) FROM inference_log")
    assert bodies > 500_000
    assert fetched("SELECT endpoint_name, avg(latency_ms) FROM inference_log GROUP BY 1") < bodies / 5
    assert fetched("SELECT max(length(request)) FROM inference_log WHERE request_date < DATE '2020-01-01'") == 0
    assert fetched("SELECT count(*) FROM usage WHERE event_time > TIMESTAMPTZ '2099-01-01 00:00:00Z'") == 0


def test_columns_that_older_files_lack_are_null(tmp_path: Path, s3_server: S3Server, bucket: str, spool: SpoolWriter):
    # Not through the door, which lives in this process: delta-rs holds Python's lock while it alters a table.
    storage = storage_at(s3_server.port, bucket)
    older = rows(1, 100).select(["request_date", "event_time", "request_id"])
    write_deltalake(
        storage.table("usage"), older, partition_by=["request_date"], storage_options=storage.options() or {}
    )
    committed(tmp_path, storage, spool, 2)
    assert one(tmp_path, storage, "SELECT count(*), count(team), count(attempts) FROM usage") == (3, 2, 2)


def test_the_reader_stays_locked(tmp_path: Path, door: Door, storage: Storage, spool: SpoolWriter):
    committed(tmp_path, storage, spool, 1)
    for sql in (
        f"SELECT * FROM read_parquet('http://127.0.0.1:{door.port}/x.parquet')",
        f"SELECT * FROM read_parquet('{storage.table('usage')}/x.parquet')",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM usage, read_csv('/etc/passwd')",
    ):
        with pytest.raises(SqlFailed):
            list(ask(tmp_path, sql, storage).rows())


def test_the_overview_is_that_of_the_bucket(tmp_path: Path, storage: Storage, spool: SpoolWriter):
    committed(tmp_path, storage, spool, 5)
    spool.append(record_of(a_row(5)))
    (usage, log), waiting = overview(tmp_path, storage)
    assert (usage.rows, usage.files, log.rows, waiting.rows) == (5, 1, 5, 1)
    assert usage.bytes > 0
    assert usage.last_commit_us


def test_the_endpoint_away_is_said_in_one_line(tmp_path: Path, door: Door, storage: Storage):
    door.close()
    with pytest.raises(OSError, match="usage cannot be read"):
        ask(tmp_path, "SELECT 1 FROM usage", storage)


# -- the process


def child_of(data_dir: Path, storage: Storage, spool: SpoolWriter, cadence: Cadence = EAGER) -> Child:
    child = Child(data_dir, last_seq=lambda: spool.last_seq, storage=storage, cadence=cadence)
    child.start()
    until(lambda: child.status().state == "running")
    return child


def test_credentials_reach_the_child_by_neither_command_line_nor_environment(
    tmp_path: Path, storage: Storage, spool: SpoolWriter
):
    spool.append(record_of(a_row()))
    child = child_of(tmp_path, storage, spool)
    until(lambda: child.committed_rows == 1)
    for file in ("cmdline", "environ"):
        said = Path(f"/proc/{child.status().pid}/{file}").read_bytes()
        assert SECRET_KEY.encode() not in said
        assert ACCESS_KEY.encode() not in said
    assert child.stop(PATIENCE_S)
    assert ids(storage) == ids(storage, "inference_log") == want(1)


def test_the_endpoint_gone_in_the_middle_of_commits_loses_and_doubles_nothing(
    tmp_path: Path, door: Door, storage: Storage, spool: SpoolWriter
):
    child = child_of(tmp_path, storage, spool)
    count = 0
    away = threading.Timer(1.0, door.close)
    back = threading.Timer(6.0, door.open)
    away.start()
    back.start()
    while back.is_alive():
        for record in records(20, count):
            spool.append(record)
        count += 20
        time.sleep(0.02)
    assert child.status().errors > 0
    until(lambda: child.lag_s() == 0.0)
    assert child.stop(PATIENCE_S)
    assert child.restarts == 0
    assert spool.failed == 0
    assert ids(storage) == ids(storage, "inference_log") == want(count)


def test_rows_wait_in_the_spool_while_the_endpoint_is_away_and_sql_says_so(
    tmp_path: Path, door: Door, storage: Storage, spool: SpoolWriter
):
    child = child_of(tmp_path, storage, spool)
    door.close()
    for record in records(50):
        spool.append(record)
    until(lambda: child.status().state == "failing")
    assert SECRET_KEY not in (child.status().last_error or "")
    assert not child.stop(PATIENCE_S)
    door.open()
    assert one(tmp_path, storage, "SELECT count(*) FROM usage") == (50,)
    child = child_of(tmp_path, storage, spool)
    assert child.stop(PATIENCE_S)
    assert ids(storage) == want(50)


def test_while_commits_run_a_count_never_falls_and_no_row_is_seen_twice(
    tmp_path: Path, storage: Storage, spool: SpoolWriter
):
    child = child_of(tmp_path, storage, spool, Cadence(every_s=0.01))
    count = before = 0
    while count < 400:
        for record in records(40, count):
            spool.append(record)
        count += 40
        rows, distinct = one(tmp_path, storage, "SELECT count(*), count(DISTINCT request_id) FROM usage")
        assert rows == distinct == count >= before
        before = rows
    assert child.stop(PATIENCE_S)
    assert ids(storage) == want(count)


@pytest.mark.parametrize("table", ["usage", "inference_log"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_between_data_file_and_log_entry_or_right_after_it(
    tmp_path: Path, door: Door, storage: Storage, spool: SpoolWriter, table: str, moment: str
):
    """The door holds the put of the log entry, before or after the store has it, until the process is dead."""
    child = child_of(tmp_path, storage, spool)
    pid = child.status().pid

    def kill(method: str, path: str) -> bool:
        if not log_put(f"/{table}/")(method, path):
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    door.fail("lose_request" if moment == "before" else "lose_answer", kill)
    for record in records(100):
        spool.append(record)
    until(lambda: not child.poll())
    for record in records(10, 100):
        spool.append(record)
    until(child.poll)
    until(lambda: child.lag_s() == 0.0 and child.status().state == "running")
    assert child.stop(PATIENCE_S)
    assert ids(storage) == ids(storage, "inference_log") == want(110)
