"""`sekisho reconcile --export` as a person uses it: files in, differences with their causes out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.component.tables.reconciling import run
from tests.unit.tables.rows import a_row, record_of

from sekisho.domain.row import AttemptRow
from sekisho.tables.spool import SpoolWriter

TRY = AttemptRow(1, "openai", "gpt-4o-mini", 200, 5, None, "primary", 100, 20, 27_000, "provider")
CSV = "date,model,requests,input_tokens,output_tokens,cost_usd\n"
AGREEING = CSV + "2026-11-20,gpt-4o-mini-2024-07-18,3,300,60,0.000081\n"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolWriter]:
    """Three calls at a quarter past two in the afternoon of 2026-11-20."""
    writer = SpoolWriter(tmp_path / "spool", 64 * 1024)
    for n in range(3):
        writer.append(record_of(a_row(n, latency_us=0)))
    yield writer
    writer.close()


def file_of(tmp_path: Path, text: str | bytes, name: str = "usage.csv") -> str:
    file = tmp_path / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(file)


def test_an_export_that_agrees(tmp_path: Path, spool: SpoolWriter):
    done = run(tmp_path, "--export", file_of(tmp_path, AGREEING))
    assert done.exit_code == 0, done.output
    assert "ok  export (csv): 4 figures of 1 models in 1 buckets of time agree with the rows" in done.stdout
    assert done.stdout.splitlines()[-1] == "The books agree."


def test_one_that_does_not_says_where_by_how_much_and_why(tmp_path: Path, spool: SpoolWriter):
    file = file_of(tmp_path, CSV + "2026-11-20,gpt-4o-mini,4,320,60,0.000081\n")
    done = run(tmp_path, "--export", file)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert (
        "NO  2026-11-20, gpt-4o-mini: requests 3 in rows, 4 in the export (+1, +25.00 %), "
        "input tokens 300 in rows, 320 in the export (+20, +6.25 %)"
    ) in lines
    assert "    1 requests that did not go through the gateway, or whose rows were deleted" in lines
    japanese = run(tmp_path, "--export", file, language="ja_JP.UTF-8")
    assert (
        "NO  2026-11-20、gpt-4o-mini: リクエスト 行 3、エクスポート 4（+1、+25.00 %）、"
        "入力トークン 行 300、エクスポート 320（+20、+6.25 %）"
    ) in japanese.stdout
    assert run(tmp_path, "--export", file, "--tolerance", "25").exit_code == 0
    assert run(tmp_path, "--export", file, "--tolerance", "24.9 %").exit_code == 1
    found = json.loads(run(tmp_path, "--export", file, "--format", "json").stdout)
    [check] = [check for check in found["checks"] if not check["agrees"]]
    assert check["figures"]["requests"] == {"rows": 3, "export": 4}
    assert check["causes"] == [{"name": "past_the_gateway", "values": {"count": 1}}]


def test_several_pages(tmp_path: Path, spool: SpoolWriter):
    def page(result: dict[str, object], more: bool) -> bytes:
        bucket = {"object": "bucket", "start_time": 1_795_132_800, "end_time": 1_795_219_200, "results": [result]}
        return json.dumps({"object": "page", "data": [bucket], "has_more": more}).encode()

    usage = {
        "object": "organization.usage.completions.result", "model": "gpt-4o-mini-2024-07-18", "input_tokens": 300,
        "input_cached_tokens": 0, "output_tokens": 60, "num_model_requests": 3,
    }  # fmt: skip
    costs = {
        "object": "organization.costs.result", "amount": {"value": 0.000081, "currency": "usd"},
        "line_item": "gpt-4o-mini-2024-07-18, output",
    }  # fmt: skip
    one, two = file_of(tmp_path, page(usage, False), "1.json"), file_of(tmp_path, page(costs, False), "2.json")
    done = run(tmp_path, "--export", one, "--export", two)
    assert done.exit_code == 0, done.output
    assert "ok  export (openai): 5 figures" in done.stdout
    assert "has more pages" not in done.stdout
    cut = file_of(tmp_path, page(usage, True), "3.json")
    assert "--  the export says that it has more pages" in run(tmp_path, "--export", cut).stdout


def test_estimated_calls_are_shown_apart(tmp_path: Path, spool: SpoolWriter):
    guessed = a_row(7, latency_us=0, attempts=[TRY._replace(usage_source="estimated")], terminal_state="client_left")
    spool.append(record_of(guessed))
    done = run(tmp_path, "--export", file_of(tmp_path, CSV + "2026-11-20,gpt-4o-mini,4,400,95,0.000108\n"))
    assert done.exit_code == 1
    assert "    1 of these calls are estimated, 120 tokens, since the provider told no count" in done.stdout
    assert "    1 calls were not read to the end: the provider may have written on" in done.stdout
    assert f"    request ids: {guessed.request_id}" in done.stdout
    assert "--  1 calls of that time are estimated, 120 tokens" in done.stdout


def test_a_wrong_file_does_not_fill_the_screen(tmp_path: Path, spool: SpoolWriter):
    rows = "".join(f"2026-11-20,model-{n},1,1,1,1\n" for n in range(100))
    done = run(tmp_path, "--export", file_of(tmp_path, CSV + rows))
    assert done.exit_code == 1
    assert "NO  61 more days and models differ: --format json has them all" in done.stdout
    assert "101 of 108 checks" in done.stdout


def test_whose_export_it_is(tmp_path: Path, spool: SpoolWriter):
    file = file_of(tmp_path, AGREEING)
    spool.append(record_of(a_row(8, latency_us=0, attempts=[TRY._replace(provider="azure", model="x")])))
    done = run(tmp_path, "--export", file)
    assert done.exit_code == 2
    assert "There are rows of: azure, openai" in done.stderr
    assert "--provider" in done.stderr
    assert run(tmp_path, "--export", file, "--provider", "openai").exit_code == 0
    assert run(tmp_path, "--export", file, "--provider", "openai", "--provider", "azure").exit_code == 1
    done = run(tmp_path, "--export", file, "--provider", "opnai")
    assert (done.exit_code, "opnai" in done.stderr, "azure, openai" in done.stderr) == (2, True, True)


def test_a_configuration_says_whose_type_the_export_is_of(tmp_path: Path, spool: SpoolWriter):
    config = tmp_path / "sekisho.yaml"
    config.write_text(
        f"data_dir: {tmp_path}\n"
        "providers:\n"
        '  main: {type: openai, api_key: "${env:OPENAI_API_KEY}"}\n'
        '  other: {type: groq, api_key: "${env:GROQ_API_KEY}"}\n'
        "endpoints: {chat: {targets: [{provider: main, model: gpt-4o-mini}]}}\n"
    )
    spool.append(record_of(a_row(8, latency_us=0, attempts=[TRY._replace(provider="main")])))
    usage = {
        "object": "organization.usage.completions.result", "model": "gpt-4o-mini", "input_tokens": 100,
        "output_tokens": 20, "num_model_requests": 1,
    }  # fmt: skip
    bucket = {"object": "bucket", "start_time": 1_795_132_800, "end_time": 1_795_219_200, "results": [usage]}
    file = file_of(tmp_path, json.dumps({"object": "page", "data": [bucket]}), "usage.json")
    keys = {"OPENAI_API_KEY": "sk-0123456789", "GROQ_API_KEY": "sk-0123456789"}
    done = run(tmp_path, "--config", str(config), "--export", file, **keys)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("text", "said", "sagte"),
    [
        (
            "date,model,requests\n2026-11-20,m,many\n",
            "line 2, requests: 'many' is no number",
            "2 行目、requests: 'many'",
        ),
        ("model,requests\nm,1\n", "line 1: the column date is missing; there are: model, requests", "1 行目: 列 date"),
        ('{"object": "page", "data": [}', "line 1, column 29: this is no JSON", "1 行目、29 文字目"),
        ('{"error": {"code": "invalid_api_key"}}', "an error that the provider answered", "エラー応答"),
        ("", "there is nothing in the file", "内容がありません"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, said: str, sagte: str):
    file = file_of(tmp_path, text)
    for language, expected in (("en_US.UTF-8", said), ("ja_JP.UTF-8", sagte)):
        done = run(tmp_path, "--export", file, language=language)
        assert done.exit_code == 2
        assert expected in done.stderr
        assert done.stderr.startswith(file)
        assert "Traceback" not in done.output


def test_wrong_usage(tmp_path: Path):
    file = file_of(tmp_path, AGREEING)
    for words, said in (
        (("--export", str(tmp_path / "nowhere")), "nowhere"),
        (("--export", str(tmp_path)), "directory"),
        (("--export", file, "--tolerance", "many"), "--tolerance many"),
        (("--export", file, "--tolerance", "-1"), "--tolerance -1"),
        (("--export", file, "--format-of", "openai"), "openai is expected"),
        (("--provider", "openai"), "--export"),
        (("--tolerance", "5"), "--export"),
        (("--format-of", "csv"), "--export"),
    ):
        done = run(tmp_path, *words)
        assert done.exit_code == 2, done.output
        assert said in done.stderr


def test_no_rows_at_all(tmp_path: Path):
    for more in ((), ("--provider", "openai")):
        done = run(tmp_path / "none", "--export", file_of(tmp_path, AGREEING), *more)
        assert done.exit_code == 1
        assert "no row of that time has this model" in done.stdout
