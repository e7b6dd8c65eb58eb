"""`sekisho reconcile` as a person or a script uses it; with a running gateway also in test_mixed_calls.py."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.component.tables.reconciling import answering, run
from tests.unit.tables.rows import NOON_US, a_row, record_of, without_log

from sekisho.app.commands import export_messages, reconcile_messages
from sekisho.app.settings.messages import Say
from sekisho.tables.spool import SpoolWriter

NOW = time.time_ns() // 1000 - NOON_US
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolWriter]:
    writer = SpoolWriter(tmp_path / "spool", 64 * 1024)
    for n in range(3):
        writer.append(record_of(a_row(NOW + n)))
    yield writer
    writer.close()


def test_counters_that_agree_and_counters_that_do_not(tmp_path: Path, spool: SpoolWriter):
    with answering(spool.spool_id, NOON_US + NOW, 3) as url:
        done = run(tmp_path, "--gateway", url)
        assert done.exit_code == 0, done.output
        assert "81000 nano-dollars in rows, 81000 counted" in done.stdout
    with answering(spool.spool_id, NOON_US + NOW, 4) as url:
        done = run(tmp_path, "--gateway", url)
        assert done.exit_code == 1
        assert "NO  model gpt-4o-mini, status 200: 3 rows, 4 counted" in done.stdout
        assert "WHERE status_code = 200" in done.stdout
        assert done.stdout.splitlines()[-1] == "The books do not agree: 4 of 15 checks."


def test_a_gateway_that_takes_no_calls_is_asked_all_the_same(tmp_path: Path, spool: SpoolWriter):
    with answering(spool.spool_id, NOON_US + NOW, 3, ready=503) as url:
        done = run(tmp_path, "--gateway", url)
        assert done.exit_code == 0, done.output
        assert "81000 nano-dollars in rows, 81000 counted" in done.stdout


def test_rows_from_before_the_gateway_began_are_not_counted(tmp_path: Path, spool: SpoolWriter):
    with answering(spool.spool_id, NOON_US + NOW + 2, 1) as url:
        assert run(tmp_path, "--gateway", url).exit_code == 0


def test_what_does_not_agree_is_named_with_its_ids_in_both_languages(tmp_path: Path, spool: SpoolWriter):
    spool.append(record_of(a_row(NOW + 1)))
    spool.append(record_of(without_log(NOW + 7, cost_nanos=1)))
    english = run(tmp_path)
    assert english.exit_code == 1
    assert "NO  usage: 1 request ids stand there more than once" in english.stdout
    assert f"    request ids: {a_row(NOW + 1).request_id}" in english.stdout
    assert f"    request ids: {a_row(NOW + 7).request_id}" in english.stdout
    japanese = run(tmp_path, language="ja_JP.UTF-8")
    assert japanese.exit_code == 1
    assert "NO  usage: 1 個のリクエスト ID が 2 行以上あります。" in japanese.stdout
    assert "帳簿が一致しません: 7 件中 3 件。" in japanese.stdout
    found = json.loads(run(tmp_path, "--format", "json").stdout)
    assert (found["agrees"], found["gateway"]) == (False, None)
    wrong = [check["name"] for check in found["checks"] if not check["agrees"]]
    assert wrong == ["usage_doubled", "log_doubled", "cost_differs"]


def test_the_second_row_that_a_copy_of_a_folder_makes_is_said_to_be_that(tmp_path: Path, spool: SpoolWriter):
    died = {"error_code": "interrupted", "terminal_state": "interrupted", "status_code": 500, "latency_us": 0}
    spool.append(record_of(a_row(NOW + 1, **died)))
    english = run(tmp_path)
    assert english.exit_code == 1
    assert "NO  usage: 1 calls have a second row, `interrupted`\n" in english.stdout
    assert "NO  inference_log: 1 calls have a second row, `interrupted`\n" in english.stdout
    assert f"    request ids: {a_row(NOW + 1).request_id}\n    A copy of a data folder, or one" in english.stdout
    assert "must not happen" not in english.stdout
    assert "stands there once" not in english.stdout
    assert "another program" not in english.stdout
    japanese = run(tmp_path, language="ja_JP.UTF-8").stdout
    assert "NO  usage: 1 件の呼び出しに、もう 1 行 `interrupted` の行があります。" in japanese
    assert "起きてはならない" not in japanese


def test_more_ids_than_one_wants_to_read(tmp_path: Path, spool: SpoolWriter):
    for n in range(30):
        spool.append(record_of(a_row(NOW + 10 + n, cost_nanos=1)))
    done = run(tmp_path)
    assert done.exit_code == 1
    assert re.search(r"request ids: (req_\w+ ){20}and 10 more", done.stdout)


def test_without_a_gateway_the_tables_are_compared(tmp_path: Path, spool: SpoolWriter):
    with answering("another", NOON_US, 3) as url:
        done = run(tmp_path, "--gateway", url)
        assert done.exit_code == 3
        assert "another data folder" in done.stderr
    done = run(tmp_path, "--gateway", NOBODY)
    assert done.exit_code == 3
    assert "127.0.0.1:9" in done.stderr
    assert "Connection refused" in done.stderr
    assert "urlopen" not in done.stderr
    assert "Errno" not in done.stderr
    done = run(tmp_path, "--gateway", NOBODY, language="ja_JP.UTF-8")
    assert "接続を拒否されました" in done.stderr
    assert "refused" not in done.stderr
    done = run(tmp_path, "--gateway", "127.0.0.1:4000")
    assert done.exit_code == 3
    assert "-> write it as http://" in done.stderr
    with answering(spool.spool_id, NOON_US, 3) as url:
        assert run(tmp_path, "--gateway", f"{url}/nothing").exit_code == 3


def test_nothing_recorded_yet(tmp_path: Path):
    done = run(tmp_path / "none")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "The books agree."


@pytest.mark.parametrize(("language", "named"), [("en_US.UTF-8", "200 a second"), ("ja_JP.UTF-8", "1 秒に 200 件")])
def test_answers_that_never_have_a_row_are_thought_of(tmp_path: Path, spool: SpoolWriter, language: str, named: str):
    """Who lists all answers, those of refusals too, is not sent to look for lost rows alone."""
    answers = tmp_path / "answers"
    answers.write_text("\n".join(["req_of_a_dropped_refusal", *(a_row(NOW + n).request_id for n in range(3))]))
    done = run(tmp_path, "--answers", str(answers), language=language)
    assert done.exit_code == 1
    assert "req_of_a_dropped_refusal" in done.stdout
    assert "GET" in done.stdout
    assert named in done.stdout


def test_wrong_usage(tmp_path: Path):
    assert run(tmp_path, "--days", "0").exit_code == 2
    done = run(tmp_path, "--answers", str(tmp_path / "nowhere"))
    assert done.exit_code == 2
    assert "nowhere" in done.stderr


def test_both_languages_say_the_same_things():
    says = [say for verdicts in reconcile_messages.VERDICTS.values() for say in verdicts]
    for module in (reconcile_messages, export_messages):
        for value in vars(module).values():
            found = value.values() if isinstance(value, dict) else [value]
            says += [say for say in found if isinstance(say, Say)]
    assert len(says) > 100
    for say in says:
        for english, japanese in ((say.en, say.ja), (say.en_hint, say.ja_hint)):
            assert bool(english) == bool(japanese), english
            assert set(re.findall(r"{\w+}", english)) == set(re.findall(r"{\w+}", japanese)), english
    assert all(verdicts.fails.en_hint for verdicts in reconcile_messages.VERDICTS.values()), "what to do"
