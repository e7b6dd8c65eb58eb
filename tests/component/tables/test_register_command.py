"""`sekisho tables register` as a person types it: the script, its file, and a Unity Catalog asked by its REST API."""

from __future__ import annotations

import json
import socket
import ssl
import string
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import polars
import pytest
import sqlglot
from tests.support.certificates import write_certificate
from tests.support.unity_catalog import API, UnityCatalog
from tests.unit.tables.maintenance.days import filled
from typer.testing import CliRunner, Result

from sekisho.app.cli import build
from sekisho.app.commands import register_messages
from sekisho.app.commands.register_messages import TOKEN_VARIABLE
from sekisho.app.settings.messages import Say
from sekisho.tables.schema import TABLES

TOKEN = "a-token-that-nobody-may-see"
BUCKET = """\
providers: {local: {type: openai, base_url: "http://127.0.0.1:9101/v1", allow_private: true}}
tables:
  url: s3://company-rows/sekisho
  retention_days: {usage: 90, inference_log: 7}
  s3: {region: ap-northeast-1, access_key_id: "${env:S3_ID}", secret_access_key: "${env:S3_SECRET}"}
"""
Catalogs = Callable[..., UnityCatalog]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    for name in TABLES:
        filled(tmp_path / "data" / "tables", name, days=1, files=1)
    return tmp_path / "data"


@pytest.fixture
def catalogs() -> Iterator[Catalogs]:
    opened: list[UnityCatalog] = []

    def open_one(**options: object) -> UnityCatalog:
        opened.append(UnityCatalog(**options))  # pyright: ignore[reportArgumentType]
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def register(*words: object, token: str | None = None, language: str = "en_US.UTF-8") -> Result:
    typed = ["tables", "register", *map(str, words)]
    environ = {"LANG": language, "LC_ALL": "", TOKEN_VARIABLE: token}
    ended = CliRunner().invoke(build(typed), typed, prog_name="sekisho", env=environ)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.output
    assert TOKEN not in ended.output
    return ended


# -- the script


def test_the_script_is_for_the_place_and_the_retention_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("S3_ID", "AKIA0123456789ABCDEF")
    monkeypatch.setenv("S3_SECRET", "a-secret-that-nobody-may-see")
    (tmp_path / "sekisho.yaml").write_text(BUCKET, "utf-8")
    done = register("--config", tmp_path / "sekisho.yaml", "--reader", "usage=営業部")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert "LOCATION 's3://company-rows/sekisho/usage'" in done.stdout
    assert "'retention_days' = '90'" in done.stdout
    assert "'retention_days' = '7'" in done.stdout
    assert "TO `営業部`;" in done.stdout
    assert "nobody-may-see" not in done.stdout
    assert len(sqlglot.parse(done.stdout, read="databricks")) > 8


def test_a_bucket_of_another_store_is_said_to_be_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("S3_ID", "AKIA0123456789ABCDEF")
    monkeypatch.setenv("S3_SECRET", "a-secret-that-nobody-may-see")
    text = BUCKET.replace("s3: {", "s3: {endpoint: https://minio.example, ")
    (tmp_path / "sekisho.yaml").write_text(text, "utf-8")
    done = register("--config", tmp_path / "sekisho.yaml")
    assert done.exit_code == 0, done.output
    assert "https://minio.example" in done.stderr
    assert "-- Warning: the bucket is at https://minio.example." in done.stdout


def test_a_folder_is_said_to_be_out_of_the_reach_of_databricks(data_dir: Path):
    done = register("--data-dir", data_dir)
    assert done.exit_code == 0
    assert done.stderr.startswith("the tables lie in a folder of this machine. Databricks cannot reach it")
    assert f"LOCATION 'file://{data_dir}/tables/usage'" in done.stdout
    japanese = register("--data-dir", data_dir, language="ja_JP.UTF-8")
    assert japanese.stdout == done.stdout
    assert japanese.stderr.startswith("テーブルはこのマシンのフォルダーにあります。")


def test_tables_that_are_not_there_yet_are_named(tmp_path: Path):
    done = register("--data-dir", tmp_path / "nothing")
    assert done.exit_code == 0
    assert "there is no table usage in this place yet" in done.stderr
    assert "-- Warning: there is no table inference_log in this place yet" in done.stdout
    assert not (tmp_path / "nothing").exists()


def test_a_file_gets_all_of_the_script_and_no_file_is_overwritten(data_dir: Path, tmp_path: Path):
    printed = register("--data-dir", data_dir).stdout
    done = register("--data-dir", data_dir, "--output", tmp_path / "unity.sql")
    assert (done.exit_code, done.stdout) == (0, "")
    assert (tmp_path / "unity.sql").read_text("utf-8") == printed
    assert [file.name for file in tmp_path.glob("*unity*")] == ["unity.sql"]
    again = register("--data-dir", data_dir, "--output", tmp_path / "unity.sql")
    assert (again.exit_code, again.stdout) == (2, "")
    nowhere = register("--data-dir", data_dir, "--output", tmp_path / "no" / "unity.sql", language="ja_JP.UTF-8")
    assert nowhere.exit_code == 1
    assert "ファイルまたはフォルダーがありません" in nowhere.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--catalog", "a.b"), "--catalog 'a.b' cannot be a name in Unity Catalog"),
        (("--schema", "a\nb"), "--schema 'a\\nb' cannot be a name in Unity Catalog"),
        (("--reader", "analysts"), "--reader 'analysts' is not TABLE=GROUP"),
        (("--reader", "budgets=analysts"), "--reader 'budgets=analysts' is not TABLE=GROUP"),
        (("--reader", "usage="), "--reader 'usage=' is not TABLE=GROUP"),
        (("--schema", "a\udcff"), "--schema 'a\\udcff' cannot be a name in Unity Catalog"),
        (("--url", "https://x.example", "--reader", "usage=a"), "--reader is for the script"),
        (("--url", "https://x.example", "--output", "a.sql"), "--output is for the script"),
        (("--url", "x.example"), "--url x.example is no address"),
        (("--url", "https://x.example/sql"), "--url https://x.example/sql is no address"),
        (("--url", "https://me:secret@x.example"), "--url x.example is no address"),
    ],
)
def test_what_cannot_be_is_said_with_what_to_do(data_dir: Path, words: tuple[str, ...], said: str):
    ended = register("--data-dir", data_dir, *words)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert said in ended.stderr
    assert "secret" not in ended.stderr


# -- the REST API


def test_both_tables_are_registered_and_another_program_finds_them(data_dir: Path, catalogs: Catalogs):
    catalog = catalogs(token=TOKEN)
    done = register("--data-dir", data_dir, "--url", catalog.url, token=TOKEN)
    assert done.exit_code == 0, done.output
    place = f"file://{data_dir}/tables"
    assert done.stdout.splitlines() == [
        "main.sekisho: schema made",
        f"main.sekisho.usage: registered at {place}/usage",
        f"main.sekisho.inference_log: registered at {place}/inference_log",
    ]
    table = catalog.tables["main.sekisho.usage"]
    assert (table["table_type"], table["data_source_format"]) == ("EXTERNAL", "DELTA")
    assert table["properties"] == {"source": "sekisho", "contains_bodies": "false", "retention_days": "400"}
    found = polars.Catalog(catalog.url, bearer_token=TOKEN, require_https=False)
    schema = found.get_table_info("main", "sekisho", "usage").get_polars_schema()
    rows = polars.read_delta(str(data_dir / "tables" / "usage"))
    assert schema is not None
    assert schema.names() == rows.schema.names()
    assert schema["cost_usd"] == polars.Decimal(18, 9)
    assert schema["attempts"] == rows.schema["attempts"]
    # its own credentials would be asked for at another route
    scanned = found.scan_table("main", "sekisho", "usage", credential_provider=None).collect()
    assert scanned.height == rows.height > 0


def test_a_second_time_nothing_is_sent_but_questions(data_dir: Path, catalogs: Catalogs):
    catalog = catalogs()
    register("--data-dir", data_dir, "--url", catalog.url)
    before = len(catalog.seen)
    again = register("--data-dir", data_dir, "--url", f"{catalog.url}/")
    assert again.exit_code == 0
    assert "main.sekisho.usage: is registered already, at file://" in again.stdout
    assert {method for method, *_ in catalog.seen[before:]} == {"GET"}
    assert {authorization for _, _, authorization, _ in catalog.seen} == {None}


@pytest.mark.parametrize("written", ["file:{}/", "file://{}", "file:/{}"])
def test_a_place_may_be_written_in_another_way(data_dir: Path, catalogs: Catalogs, written: str):
    catalog = catalogs()
    register("--data-dir", data_dir, "--url", catalog.url)
    catalog.tables["main.sekisho.usage"]["storage_location"] = written.format(data_dir / "tables" / "usage")
    assert register("--data-dir", data_dir, "--url", catalog.url).exit_code == 0


def test_a_table_of_somebody_else_is_said_and_left(data_dir: Path, catalogs: Catalogs):
    catalog = catalogs()
    register("--data-dir", data_dir, "--url", catalog.url)
    catalog.tables["main.sekisho.usage"]["storage_location"] = "s3://elsewhere/usage"
    catalog.tables["main.sekisho.inference_log"]["table_type"] = "MANAGED"
    before = len(catalog.seen)
    ended = register("--data-dir", data_dir, "--url", catalog.url)
    assert ended.exit_code == 1
    assert "main.sekisho.usage: is there already, and is not our table: s3://elsewhere/usage instead" in ended.stderr
    assert "main.sekisho.inference_log: is there already, and is not our table: MANAGED file://" in ended.stderr
    assert {method for method, *_ in catalog.seen[before:]} == {"GET"}


def test_columns_that_came_later_are_named(data_dir: Path, catalogs: Catalogs):
    catalog = catalogs()
    register("--data-dir", data_dir, "--url", catalog.url)
    table = catalog.tables["main.sekisho.usage"]
    table["columns"] = [one for one in table["columns"] if one["name"] not in ("usd_jpy", "team")]
    ended = register("--data-dir", data_dir, "--url", catalog.url)
    assert ended.exit_code == 1
    assert "lacks the columns team, usd_jpy" in ended.stderr


def test_somebody_who_was_faster_is_not_overlooked(data_dir: Path, catalogs: Catalogs):
    catalog = catalogs()
    register("--data-dir", data_dir, "--url", catalog.url)
    gone = catalog.tables.pop("main.sekisho.usage")
    answer = catalog.answer

    def late(method: str, path: str, authorization: str | None, body: object) -> tuple[int, object]:
        if method == "POST":
            catalog.tables["main.sekisho.usage"] = {**gone, "storage_location": "s3://elsewhere/usage"}
        return answer(method, path, authorization, body)

    catalog.answer = late
    ended = register("--data-dir", data_dir, "--url", catalog.url)
    assert ended.exit_code == 1
    assert "s3://elsewhere/usage instead of" in ended.stderr


@pytest.mark.parametrize(("language", "said"), [("en_US.UTF-8", "refused"), ("ja_JP.UTF-8", "拒否しました")])
def test_a_refusal_is_told_without_the_token(data_dir: Path, catalogs: Catalogs, language: str, said: str):
    catalog = catalogs(token=TOKEN[::-1])
    ended = register("--data-dir", data_dir, "--url", catalog.url, token=TOKEN, language=language)
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert said in ended.stderr
    assert "UNAUTHENTICATED: Invalid access token Bearer ***." in ended.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--catalog", "other"), "Catalog not found: other"), (("--schema", "関所"), "Name cannot contain")],
)
def test_what_the_catalog_says_is_passed_on(data_dir: Path, catalogs: Catalogs, words: tuple[str, str], said: str):
    ended = register("--data-dir", data_dir, "--url", catalogs().url, *words)
    assert ended.exit_code == 1
    assert said in ended.stderr


@pytest.mark.parametrize("at", [("GET", "schemas"), ("POST", "schemas"), ("GET", "tables"), ("POST", "tables")])
@pytest.mark.parametrize("answer", [(200, b"<html>Sign in</html>"), (200, b"[]"), (502, b"Bad gateway"), (404, b"{}")])
def test_what_is_no_catalog_is_not_believed(
    data_dir: Path, catalogs: Catalogs, at: tuple[str, str], answer: tuple[int, bytes]
):
    catalog = catalogs()
    catalog.instead[at] = (*answer, {"content-type": "text/html"})
    ended = register("--data-dir", data_dir, "--url", catalog.url)
    assert ended.exit_code == 3
    assert "is no Unity Catalog" in ended.stderr
    assert "registered at" not in ended.stdout


def test_the_token_does_not_follow_a_redirect(data_dir: Path, catalogs: Catalogs):
    other, catalog = catalogs(), catalogs()
    target = f"{other.url}{API}schemas/main.sekisho"
    catalog.instead["GET", "schemas"] = (302, b"", {"location": target})
    ended = register("--data-dir", data_dir, "--url", catalog.url, token=TOKEN)
    assert ended.exit_code == 3
    assert other.seen == []


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(data_dir: Path, tmp_path: Path, catalogs: Catalogs):
    write_certificate(tmp_path)
    catalog = catalogs(certificate=tmp_path)
    ended = register("--data-dir", data_dir, "--url", catalog.url, token=TOKEN)
    assert ended.exit_code == 3
    assert "certificate" in ended.stderr.lower()
    assert catalog.seen == []
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED


def test_a_token_goes_nowhere_unencrypted(data_dir: Path):
    ended = register("--data-dir", data_dir, "--url", "http://unity.example", token=TOKEN)
    assert ended.exit_code == 2
    assert "unencrypted" in ended.stderr
    assert register("--data-dir", data_dir, "--url", "https://x.example", token=f"{TOKEN}\n").exit_code == 2


def test_what_speaks_no_http_is_exit_code_3(data_dir: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=_say_hello, args=(server,))
        answering.start()
        ended = register("--data-dir", data_dir, "--url", f"http://127.0.0.1:{server.getsockname()[1]}")
        answering.join()
    assert ended.exit_code == 3
    assert "cannot be reached" in ended.stderr


def _say_hello(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"220 mail.example ESMTP\r\n")


def test_nobody_there_is_exit_code_3(data_dir: Path, catalogs: Catalogs):
    gone = catalogs()
    gone.close()
    ended = register("--data-dir", data_dir, "--url", gone.url, language="ja_JP.UTF-8")
    assert ended.exit_code == 3
    assert "接続を拒否されました" in ended.stderr


def test_both_languages_say_the_same_things():
    says = [say for say in vars(register_messages).values() if isinstance(say, Say)]
    assert len(says) > 10
    for say in says:
        for english, japanese in ((say.en, say.ja), (say.en_hint, say.ja_hint)):
            assert bool(english) == bool(japanese), say
            assert _blanks(english) == _blanks(japanese), say


def _blanks(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_the_request_is_what_the_description_of_the_api_asks_for(data_dir: Path, catalogs: Catalogs):
    """The server of these tests refuses what is not; here it is shown that it would."""
    catalog = catalogs()
    register("--data-dir", data_dir, "--url", catalog.url)
    sent = [body for method, path, _, body in catalog.seen if method == "POST" and path.endswith("tables")]
    assert len(sent) == 2
    for spoil in ({"table_type": "external"}, {"columns": [{"name": "a", "position": "0"}]}, {"tags": {}}):
        status, _ = catalog.answer("POST", f"{API}tables", None, {**sent[0], "name": "other", **spoil})
        assert status == 400
    assert json.dumps(sent[0]["columns"], ensure_ascii=False).count('"comment"') == len(TABLES["usage"].names)
