"""`sekisho sql` and `sekisho tables info` as a person or a script uses them."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server, storage_at
from tests.unit.tables.rows import a_row, record_of
from typer.testing import CliRunner, Result

from sekisho.app.cli import build
from sekisho.app.commands import sql_messages
from sekisho.app.commands.sql import ended_by_ctrl_c
from sekisho.app.commands.sql_output import cell
from sekisho.app.settings import ConfigError
from sekisho.tables.committer import Committer
from sekisho.tables.spool import SpoolWriter

SEKISHO = Path(sys.executable).with_name("sekisho")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """One row committed, one still in the spool."""
    writer = SpoolWriter(tmp_path / "spool", 64 * 1024)
    writer.append(record_of(a_row(0, requester="山田太郎", tags={"用途": '要約, "速報"'})))
    committer = Committer(tmp_path)
    while committer.step():
        pass
    writer.append(record_of(a_row(1, requester="taro", tags=None, cost_nanos=None)))
    writer.close()
    return tmp_path


def run(*words: str, language: str = "en_US.UTF-8") -> Result:
    return CliRunner().invoke(build(words), list(words), prog_name="sekisho", env={"LANG": language, "LC_ALL": ""})


def query(data_dir: Path, statement: str, *more: str, language: str = "en_US.UTF-8") -> Result:
    return run("sql", statement, "--data-dir", str(data_dir), *more, language=language)


def test_a_table_lines_up_also_in_japanese(data_dir: Path):
    answer = query(data_dir, "SELECT requester, cost_usd FROM usage ORDER BY request_id")
    assert answer.exit_code == 0
    heading, first, second = answer.stdout.splitlines()
    assert heading == "requester     cost_usd"
    assert first == "山田太郎   0.000027000"
    assert second == "taro              NULL"
    assert "\x1b" not in answer.stdout


def test_json_is_an_array_with_an_object_a_line(data_dir: Path):
    fields = "requester, cost_usd, tags, event_time, attempts, NULL AS nothing, 0::DECIMAL(18,9) AS zero"
    answer = query(data_dir, f"SELECT {fields} FROM usage ORDER BY request_id", "--format", "json")
    first, second = json.loads(answer.stdout)
    assert first["requester"] == "山田太郎"
    assert '"cost_usd":0.000027000' in answer.stdout
    assert '"zero":0.000000000' in answer.stdout
    assert first["tags"] == {"用途": '要約, "速報"'}
    assert first["event_time"] == "2026-11-20T14:13:20Z"
    assert first["attempts"][0]["provider"] == "openai"
    assert (second["cost_usd"], second["tags"], second["nothing"]) == (None, None, None)
    assert len(answer.stdout.splitlines()) == 4
    assert json.loads(query(data_dir, "SELECT 1 WHERE false", "--format", "json").stdout) == []


def test_csv_is_read_back_by_the_standard_reader(data_dir: Path):
    answer = query(data_dir, "SELECT requester, tags, cost_usd FROM usage ORDER BY request_id", "--format", "csv")
    read = list(csv.reader(io.StringIO(answer.stdout)))
    assert read == [
        ["requester", "tags", "cost_usd"],
        ["山田太郎", '{"用途":"要約, \\"速報\\""}', "0.000027000"],
        ["taro", "", ""],
    ]


def test_csv_in_a_pipe_has_texts_whole_and_a_terminal_sees_no_command(data_dir: Path):
    """Of an escape sequence nothing was left in a pipe, and a terminal obeyed it."""
    statement = "SELECT chr(27) || '[31mred' || chr(10) || chr(155) || '2J' AS a"
    piped = query(data_dir, statement, "--format", "csv").stdout
    assert list(csv.reader(io.StringIO(piped))) == [["a"], ["\x1b[31mred\n\x9b2J"]]
    ours, theirs = os.openpty()
    words = [str(SEKISHO), "sql", "--data-dir", str(data_dir), "--format", "csv", statement]
    assert subprocess.run(words, stdout=theirs, check=False).returncode == 0
    os.close(theirs)
    shown = os.read(ours, 1024).decode()
    os.close(ours)
    assert shown.split() == ["a", '"\\x1b[31mred', '\\x9b2J"']


def test_a_query_that_fails_says_why_and_what_there_is(data_dir: Path):
    answer = query(data_dir, "SELECT nope FROM usage")
    assert answer.exit_code == 1
    assert 'Referenced column "nope" not found' in answer.stderr
    assert "cost_by_day" in answer.stderr
    assert answer.stdout == ""
    choices = query(data_dir, "SELECT len(tags) FROM usage").stderr.splitlines()
    assert "    len(string VARCHAR) -> BIGINT" in choices, "DuckDB sets them in by tabs"


def test_control_characters_reach_the_terminal_in_no_way(data_dir: Path):
    """An error quotes the value it stumbled over, and PIVOT makes headings of values."""
    for statement in ("SELECT (chr(27) || '[2J')::INT", 'SELECT 1 AS "\x1b[2J"', "SELECT chr(27) || '[2J' AS a"):
        assert "\\x1b[2J" in query(data_dir, statement).output


@pytest.mark.parametrize(
    ("statement", "english", "japanese"),
    [
        ("DROP TABLE usage", "only SELECT is allowed, not DROP", "DROP は使えません"),
        ("SELECT 1; SELECT 2", "one statement at a time", "SQL 文は 1 つだけに"),
        ("", "there is no statement", "SQL 文がありません"),
    ],
)
def test_anything_but_one_query_is_wrong_usage(data_dir: Path, statement: str, english: str, japanese: str):
    for language, said in (("en_US.UTF-8", english), ("ja_JP.UTF-8", japanese)):
        answer = query(data_dir, statement, language=language)
        assert answer.exit_code == 2
        assert answer.stderr.startswith(said)
        assert "SELECT" in answer.stderr


def test_who_reads_only_the_first_lines_hears_of_no_failure(data_dir: Path):
    words = [str(SEKISHO), "sql", "--data-dir", str(data_dir), "--format", "csv", "SELECT * FROM range(1000000)"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"range\n"
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(20) == 1


def test_ctrl_c_ends_a_query_at_once_and_nothing_else():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ended_by_ctrl_c():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with ended_by_ctrl_c():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_options_of_later_versions_are_not_taken_silently(data_dir: Path):
    assert query(data_dir, "SELECT 1", "--gateway", "http://x").exit_code == 2
    assert query(data_dir, "SELECT 1", "--format", "xml").exit_code == 2


def test_a_catalog_and_a_schema_may_stand_before_a_name(data_dir: Path):
    for place, more in (("main.sekisho", ()), ("llm.prod", ("--catalog", "llm.prod"))):
        answer = query(data_dir, f"SELECT count(*) AS calls FROM {place}.usage", *more)
        assert (answer.exit_code, answer.stdout.split()) == (0, ["calls", "2"]), answer.stderr
    assert query(data_dir, "SELECT 1 FROM llm.prod.usage").exit_code == 1
    answer = query(data_dir, "SELECT 1", "--catalog", "main")
    assert answer.exit_code == 2
    assert "main.sekisho" in answer.stderr


def test_before_the_first_call_tables_are_empty(tmp_path: Path):
    answer = query(tmp_path / "none", "SELECT count(*) AS calls FROM usage")
    assert answer.exit_code == 0
    assert answer.stdout.split() == ["calls", "0"]
    assert "Nothing has been recorded" in answer.stderr


def test_the_folder_comes_from_the_configuration(data_dir: Path, tmp_path: Path):
    file = tmp_path / "sekisho.yaml"
    text = 'data_dir: .\nproviders: {local: {type: openai, base_url: "http://127.0.0.1:9/v1", allow_private: true}}\n'
    file.write_text(text + "endpoints: {chat: {targets: [{provider: local, model: m}]}}\n")
    answer = run("sql", "SELECT count(*) AS calls FROM usage", "--config", str(file), "--format", "csv")
    assert (answer.exit_code, answer.stdout.split()) == (0, ["calls", "2"]), answer.stderr


def test_who_reads_the_rows_needs_no_secret_of_the_gateway(data_dir: Path, tmp_path: Path):
    file = tmp_path / "sekisho.yaml"
    file.write_text("""
data_dir: .
providers: {openai: {type: openai, api_key: "${env:NOWHERE_PROVIDER}"}}
endpoints: {chat: {targets: [{provider: openai, model: m}]}}
keys: [{name: a, key: "${env:NOWHERE_A}"}, {name: b, key: "${file:nowhere}"}]
admin: {key: "${env:NOWHERE_ADMIN}"}
state: {url: "redis://:${env:NOWHERE_REDIS}@127.0.0.1/0"}
database: {url: "postgresql://u:${env:NOWHERE_PG}@127.0.0.1/db"}
server: {tls_certificate: nowhere.pem, tls_key: nowhere.key}
""")
    answer = run("sql", "SELECT count(*) AS calls FROM usage", "--config", str(file), "--format", "csv")
    assert (answer.exit_code, answer.stdout.split()) == (0, ["calls", "2"]), answer.stderr
    assert run("tables", "info", "--config", str(file)).exit_code == 0
    file.write_text(file.read_text().replace("data_dir: .", 'data_dir: "${env:NOWHERE_DIR}"'))
    failed = run("sql", "SELECT 1", "--config", str(file)).exception
    assert isinstance(failed, ConfigError)
    assert [problem.path for problem in failed.problems] == ["data_dir"]


def test_tables_in_a_bucket_come_from_the_configuration(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
):
    storage = storage_at(s3_server.port, s3_server.bucket())
    writer = SpoolWriter(tmp_path / "here" / "spool", 64 * 1024)
    writer.append(record_of(a_row(0)))
    committer = Committer(tmp_path / "here", storage)
    while committer.step():
        pass
    writer.append(record_of(a_row(1)))
    writer.close()
    monkeypatch.setenv("S3_KEY", ACCESS_KEY)
    monkeypatch.setenv("S3_SECRET", SECRET_KEY)
    file = tmp_path / "sekisho.yaml"
    text = 'data_dir: here\nproviders: {local: {type: openai, base_url: "https://llm.example/v1"}}\n'
    keys = 'allow_http: true, access_key_id: "${env:S3_KEY}", secret_access_key: "${env:S3_SECRET}"'
    place = f'endpoint: "http://127.0.0.1:{s3_server.port}", {keys}'
    file.write_text(text + f"tables: {{url: {storage.url}, s3: {{{place}}}}}\n")
    count = ("sql", "SELECT count(*) AS calls FROM usage", "--config", str(file), "--format", "csv")
    assert run(*count).stdout.split() == ["calls", "2"]
    assert run(*count, "--data-dir", str(tmp_path / "there")).stdout.split() == ["calls", "1"]
    answer = run("tables", "info", "--config", str(file), "--format", "json")
    assert [(one["name"], one["rows"]) for one in json.loads(answer.stdout)] == [
        ("usage", 1),
        ("inference_log", 1),
        ("spool", 1),
    ]


def test_info_shows_what_is_where(data_dir: Path):
    answer = run("tables", "info", "--data-dir", str(data_dir), "--format", "json")
    usage, log, spool = json.loads(answer.stdout)
    assert (usage["name"], usage["rows"], usage["files"]) == ("usage", 1, 1)
    assert (log["name"], log["rows"]) == ("inference_log", 1)
    assert usage["last_commit"].endswith("Z")
    assert (spool["name"], spool["rows"]) == ("spool", 1)
    assert spool["bytes"] > 0
    assert run("tables", "info", "--data-dir", str(data_dir)).stdout.splitlines()[1].startswith("usage")


def test_help_has_an_example():
    assert "Example:" in run("sql", "--help").stdout
    assert "Example:" in run("tables", "info", "--help").stdout


def test_both_languages_say_the_same_things():
    for say in (sql_messages.NOTHING_YET, sql_messages.NAMES, sql_messages.ONE_SELECT, sql_messages.NOT_A_PLACE):
        assert say.ja
        for name in ("{data_dir}", "{names}", "{given}"):
            assert (name in say.en) == (name in say.ja)


def test_values_without_a_form_of_their_own():
    assert cell(b"\x01") == "01"
    assert cell(True) == "true"
    assert cell(1.5) == "1.5"
