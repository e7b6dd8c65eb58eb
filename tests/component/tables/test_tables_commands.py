"""`sekisho tables` as a person types it: what it says, what it refuses, and that a dry run is one."""

from __future__ import annotations

import csv
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import polars
import pytest
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server, storage_at
from tests.unit.tables.maintenance.days import DAY_US, data_files, filled, ids, want
from tests.unit.tables.rows import NOON_US, a_row, record_of
from typer.testing import CliRunner, Result

from sekisho.app.cli import build
from sekisho.app.commands import tables_messages
from sekisho.app.settings.messages import Say
from sekisho.tables.committer import Committer
from sekisho.tables.maintenance.state import Run, alone, read_state, write_state
from sekisho.tables.schema import TABLES
from sekisho.tables.spool import SpoolWriter

#: noon of 2026-11-26, six days after the first of the days that the tables are filled with
SIX_DAYS_LATER_US = NOON_US + 6 * DAY_US


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Three days that are over by far, four files each, in both tables."""
    for name in TABLES:
        filled(tmp_path / "tables", name, days=3, files=4)
    return tmp_path


def run(*words: str, language: str = "en_US.UTF-8") -> Result:
    return CliRunner().invoke(build(words), list(words), prog_name="sekisho", env={"LANG": language, "LC_ALL": ""})


def tables(data_dir: Path, *words: str, language: str = "en_US.UTF-8") -> Result:
    return run("tables", *words, "--data-dir", str(data_dir), language=language)


def test_compact_says_what_it_did(data_dir: Path):
    would = tables(data_dir, "compact", "--dry-run")
    assert would.exit_code == 0, would.output
    assert would.stdout.splitlines()[-1] == "Nothing was changed (--dry-run)."
    done = tables(data_dir, "compact")
    assert done.exit_code == 0, done.output
    heading, usage, log = done.stdout.splitlines()
    assert heading.split() == ["name", "days", "files_before", "files_after", "rows"]
    assert usage.split() == ["usage", "3", "12", "3", "60"]
    assert log.split() == ["inference_log", "3", "12", "3", "60"]
    assert would.stdout.splitlines()[:3] == done.stdout.splitlines()
    assert tables(data_dir, "compact").stdout.splitlines()[1].split() == ["usage", "0", "0", "0", "0"]
    assert done.stderr == ""


def test_expire_takes_the_retention_of_each_table_or_one_that_is_given(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sekisho.tables.maintenance.state.now_us", lambda: SIX_DAYS_LATER_US)
    assert tables(data_dir, "expire", "--days", "3").exit_code == 2
    usual = tables(data_dir, "expire", "--dry-run").stdout.splitlines()
    assert [line.split()[0] for line in usual[1:3]] == ["usage", "inference_log"]
    done = tables(data_dir, "expire", "--table", "usage", "--days", "5")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1].split()[:5] == ["usage", "2026-11-21", "1", "4", "20"]
    assert ids(data_dir / "tables" / "usage") == want(60)[20:]
    assert ids(data_dir / "tables" / "inference_log") == want(60)


def test_the_retention_comes_from_the_configuration(data_dir: Path, tmp_path: Path):
    file = tmp_path / "sekisho.yaml"
    text = 'data_dir: .\nproviders: {local: {type: openai, base_url: "http://127.0.0.1:9/v1", allow_private: true}}\n'
    file.write_text(text + "tables: {retention_days: {inference_log: 36500}, vacuum_days: 1}\n")
    done = run("tables", "expire", "--config", str(file), "--dry-run")
    assert done.exit_code == 0, done.output
    kept = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()[1:3]}
    assert kept["inference_log"] < "1950"
    assert kept["usage"] > "2025"


def test_vacuum_and_info(data_dir: Path):
    tables(data_dir, "compact")
    done = tables(data_dir, "vacuum")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1].split() == ["usage", "0", "0", "0"]
    shown = tables(data_dir, "info", "--format", "json")
    usage, _, spool = json.loads(shown.stdout)
    assert (usage["rows"], usage["files"], usage["days"]) == (60, 3, 3)
    assert usage["last_maintenance"].endswith("Z")
    assert usage["log_entries"] == 16
    assert (spool["rows"], spool["age_s"]) == (0, None)
    text = tables(data_dir, "info").stdout
    assert "last compact: 2" in text
    assert "last vacuum: 2" in text


def test_info_says_how_long_the_oldest_row_waits_and_what_failed(data_dir: Path):
    writer = SpoolWriter(data_dir / "spool", 64 * 1024)
    arrived_us = time.time_ns() // 1000 - 1_090_000_000
    writer.append(record_of(a_row(900, event_time_us=arrived_us, latency_us=1_000_000_000)))
    writer.close()
    with alone(data_dir, data_dir / "tables"):
        state = read_state(data_dir)
        write_state(
            data_dir,
            type(state)(jobs={"night": Run(began_us=1, ended_us=2, error="usage: OSError"), "light": Run(began_us=1)}),
        )
    spool = json.loads(tables(data_dir, "info", "--format", "json").stdout)[2]
    assert spool["rows"] == spool["files"] == 1
    assert 90 <= spool["age_s"] < 600
    text = tables(data_dir, "info").stdout
    assert "last night: 1970-01-01T00:00:00Z, failed: usage: OSError" in text
    assert "last light: began 1970-01-01T00:00:00Z, did not end" in text


def test_info_says_where_it_looked_when_there_is_nothing(tmp_path: Path):
    done = tables(tmp_path / "wrong", "info")
    assert (done.exit_code, done.stdout.splitlines()[1].split()[:3]) == (0, ["usage", "0", "0"])
    assert done.stderr.splitlines() == [f"nothing is in {tmp_path / 'wrong' / 'tables'} yet"]
    assert "まだ何もありません" in tables(tmp_path / "wrong", "info", language="ja_JP.UTF-8").stderr
    assert tables(tmp_path / "wrong", "info", "--format", "json").stdout.startswith("[")


def test_erase_leaves_costs_and_says_what_is_still_there(data_dir: Path):
    done = tables(data_dir, "erase", "--user", "taro")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1].split() == ["usage", "60", "12", "0"]
    assert "deleted by vacuum within 7 days" in done.stdout
    assert ids(data_dir / "tables" / "inference_log") == []
    assert ids(data_dir / "tables" / "usage") == want(60)
    writer = SpoolWriter(data_dir / "spool", 64 * 1024)
    writer.append(record_of(a_row(900, requester="taro")))
    writer.close()
    again = tables(data_dir, "erase", "--user", "taro", "--purge")
    assert again.exit_code == 1
    assert "1 rows of this person still wait in the spool" in again.stderr
    assert again.stdout.splitlines()[1].split() == ["usage", "0", "0", "12"]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_export_writes_the_days_asked_for(data_dir: Path, tmp_path: Path, suffix: str):
    out = tmp_path / f"usage.{suffix}"
    words = ["--table", "usage", "--from", "2026-11-21", "--to", "2026-11-22", "--out", str(out)]
    done = tables(data_dir, "export", *words)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"40 rows written to {out}\n"
    assert out.stat().st_mode & 0o777 == 0o600
    if suffix == "parquet":
        frame = polars.read_parquet(out)
        assert sorted(frame["request_id"]) == want(60)[20:]
        assert str(frame["cost_usd"].sum()) == "0.001080000"
    elif suffix == "csv":
        lines = list(csv.DictReader(out.read_text("utf-8").splitlines()))
        assert (len(lines), lines[0]["cost_usd"]) == (40, "0.000027000")
    else:
        objects = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
        assert len(objects) == 40
        assert objects[0]["attempts"][0]["provider"] == "openai"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--from", "yesterday", "--to", "2026-11-22", "--out", "x.csv"], "--from 'yesterday' is not a day"),
        (["--from", "2026-11-21", "--to", "2026-11-22", "--out", "x.xlsx"], ".parquet, .csv or .jsonl"),
        (
            ["--from", "2026-11-22", "--to", "2026-11-21", "--out", "x.csv"],
            "--from 2026-11-22 is after --to 2026-11-21",
        ),
        (["--from", "2026-11-21", "--to", "2026-11-22", "--out", "/dev/null", "--format", "csv"], "already there"),
    ],
)
def test_export_refuses_with_what_to_do(data_dir: Path, words: list[str], says: str):
    done = tables(data_dir, "export", "--table", "usage", *words)
    assert done.exit_code == 2
    assert says in done.stderr


def test_while_maintenance_runs_a_second_one_is_refused(data_dir: Path):
    with alone(data_dir, data_dir / "tables"):
        for words in (["compact"], ["vacuum"], ["expire"], ["erase", "--user", "taro"]):
            refused = tables(data_dir, *words)
            assert refused.exit_code == 1
            assert "maintenance is at work" in refused.stderr
        assert tables(data_dir, "compact", "--dry-run").exit_code == 0
    assert "実行中" in _busy_in_japanese(data_dir)
    assert ids(data_dir / "tables" / "usage") == want(60)


def _busy_in_japanese(data_dir: Path) -> str:
    with alone(data_dir, data_dir / "tables"):
        return tables(data_dir, "compact", language="ja_JP.UTF-8").stderr


def test_a_folder_that_gateways_share_is_maintained_where_it_is(data_dir: Path, tmp_path: Path):
    shared = tmp_path / "shared"
    (data_dir / "tables").rename(shared)
    file = tmp_path / "sekisho.yaml"
    text = 'data_dir: own\nproviders: {local: {type: openai, base_url: "https://llm.example/v1"}}\n'
    file.write_text(text + f"tables: {{url: {shared}}}\n")
    with alone(tmp_path / "another", shared):
        assert run("tables", "compact", "--config", str(file)).exit_code == 1
    done = run("tables", "compact", "--config", str(file))
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1].split() == ["usage", "3", "12", "3", "60"]
    assert ids(shared / "usage") == want(60)
    assert read_state(tmp_path / "own").tables["usage"].files == 3


@pytest.fixture
def in_bucket(tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """`--config` and a configuration whose tables, a row each, are in a bucket."""
    storage = storage_at(s3_server.port, s3_server.bucket())
    writer = SpoolWriter(tmp_path / "here" / "spool", 64 * 1024)
    writer.append(record_of(a_row(0)))
    writer.close()
    committer = Committer(tmp_path / "here", storage)
    while committer.step():
        pass
    monkeypatch.setenv("S3_KEY", ACCESS_KEY)
    monkeypatch.setenv("S3_SECRET", SECRET_KEY)
    file = tmp_path / "sekisho.yaml"
    text = 'data_dir: here\nproviders: {local: {type: openai, base_url: "https://llm.example/v1"}}\n'
    keys = 'allow_http: true, access_key_id: "${env:S3_KEY}", secret_access_key: "${env:S3_SECRET}"'
    place = f'endpoint: "http://127.0.0.1:{s3_server.port}", {keys}'
    file.write_text(text + f"tables: {{url: {storage.url}, s3: {{{place}}}}}\n")
    return "--config", str(file)


def test_maintenance_of_a_bucket_is_refused_and_info_says_that_it_is_off(in_bucket: tuple[str, str], tmp_path: Path):
    for words in (["compact"], ["vacuum", "--dry-run"], ["expire"], ["erase", "--user", "taro"]):
        refused = run("tables", *words, *in_bucket)
        assert refused.exit_code == 2
        assert "works on folders only" in refused.stderr
        assert "another Delta program" in refused.stderr
        assert "フォルダーにしか使えません" in run("tables", *words, *in_bucket, language="ja_JP.UTF-8").stderr
    assert not (tmp_path / "here" / "maintenance").exists()
    shown = run("tables", "info", *in_bucket)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[-1] == "maintenance: off, for the tables are in a bucket"
    usage = json.loads(run("tables", "info", *in_bucket, "--format", "json").stdout)[0]
    assert (usage["rows"], usage["days"], usage["log_entries"], usage["last_maintenance"]) == (1, 1, None, None)


def test_export_reads_a_bucket_too(in_bucket: tuple[str, str], tmp_path: Path):
    out = tmp_path / "usage.csv"
    words = ["--table", "usage", "--from", "2026-01-01", "--to", "2099-12-31", "--out", str(out)]
    done = run("tables", "export", *words, *in_bucket)
    assert done.exit_code == 0, done.output
    assert [line["request_id"] for line in csv.DictReader(out.read_text("utf-8").splitlines())] == want(1)


def test_a_folder_without_tables_is_not_called_compacted(tmp_path: Path):
    for words in (["compact"], ["vacuum"], ["expire"], ["erase", "--user", "x"]):
        done = tables(tmp_path, *words)
        assert done.exit_code == 1
        assert "there are no tables" in done.stderr
    assert not (tmp_path / "maintenance").exists()


def test_a_table_that_cannot_be_read_is_an_answer_and_not_a_crash(data_dir: Path):
    (data_dir / "tables" / "usage" / "_delta_log" / f"{0:020d}.json").write_bytes(b"{}\nnonsense")
    done = tables(data_dir, "compact")
    assert done.exit_code == 1
    assert "cannot be read" in done.stderr
    assert "no row was lost" in done.stderr


def test_a_table_that_cannot_be_read_is_said_in_japanese_too(data_dir: Path):
    (data_dir / "tables" / "usage" / "_delta_log" / f"{0:020d}.json").write_bytes(b"{}\nnonsense")
    for words in (["tables", "info"], ["tables", "compact"], ["sql", "SELECT 1 FROM usage"], ["reconcile"]):
        done = run(*words, "--data-dir", str(data_dir), language="ja_JP.UTF-8")
        assert done.exit_code == 1
        assert "usage を読み取れません: " in done.stderr
        assert "cannot be read" not in done.stderr


def test_a_data_file_that_is_damaged_is_named(data_dir: Path):
    damaged = data_files(data_dir / "tables" / "usage")[0]
    damaged.write_bytes(b"PAR1 and then nothing of sense PAR1")
    for words in (["compact"], ["erase", "--user", "taro"]):
        done = tables(data_dir, *words)
        assert done.exit_code == 1
        assert damaged.name in done.stderr


def test_a_bar_on_a_terminal(data_dir: Path):
    """And none in a pipe: the other tests look at stderr."""
    words = [str(Path(sys.executable).with_name("sekisho")), "tables", "compact", "--data-dir", str(data_dir)]
    ours, theirs = pty.openpty()
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            read = os.read(ours, 4096)
        except OSError:
            break
        if not read:
            break
        seen += read
    os.close(ours)
    assert child.wait(120) == 0
    assert b"Merging files" in seen


def test_both_languages_say_the_same_things():
    says = [say for say in vars(tables_messages).values() if isinstance(say, Say)]
    assert len(says) > 10
    for say in says:
        assert say.ja
        assert bool(say.en_hint) == bool(say.ja_hint)
        for name in (
            "{pid}",
            "{data_dir}",
            "{error}",
            "{job}",
            "{at}",
            "{rows}",
            "{days}",
            "{name}",
            "{count}",
            "{url}",
        ):
            assert (name in say.en + say.en_hint) == (name in say.ja + say.ja_hint), (say, name)
