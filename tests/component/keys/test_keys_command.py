"""`sekisho keys`, from the words on the command line to what a running gateway would read."""

from __future__ import annotations

import json
import re
import stat
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sekisho.app import cli
from sekisho.app.commands import key_messages
from sekisho.app.commands.key_messages import HEADINGS, STATES
from sekisho.app.settings.messages import Say
from sekisho.domain.keys import digest_of, key_id_of
from sekisho.stores.control import COMMAND_LINE, Team
from sekisho.stores.pepper import FILE_NAME
from sekisho.stores.sql_control import SqlControlStore
from sekisho.stores.sql_engine import sqlite_engine
from sekisho.stores.sqlite_snapshot import SqliteSnapshot

CONFIG = """\
data_dir: ./データ
timezone: Asia/Tokyo
providers:
  local: {type: openai, base_url: "http://127.0.0.1:9101/v1", allow_private: true}
endpoints:
  chat: {targets: [{provider: local, model: mock-small}]}
  summary: {targets: [{provider: local, model: mock-small}]}
teams: {research: {department: rd}, 営業部: {}}
keys:
  - {name: bench, key: "${env:BENCH_KEY}", team: research, user: taro, endpoints: [chat], expires: 2030-03-31}
"""
KEY = re.compile(r"sk-seki-[0-9A-Za-z]{12}-[0-9A-Za-z]{48}")


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ended]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a configuration; English unless a test says otherwise."""
    monkeypatch.chdir(tmp_path)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BENCH_KEY", "a-declared-key-of-any-form")
    (tmp_path / "sekisho.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


@pytest.fixture
def keys(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            cli.main(["keys", *words])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, out, err)

    return run


@pytest.fixture
def snapshot(folder: Path) -> SqliteSnapshot:
    return SqliteSnapshot(folder / "データ" / "control.db")


def create(keys: Run, *words: str) -> Any:
    ended = keys("create", "--format", "json", *words)
    assert ended.code == 0, ended.err
    return ended.json


def test_a_key_is_made_and_its_secret_alone_is_on_stdout(folder: Path, keys: Run, snapshot: SqliteSnapshot) -> None:
    ended = keys("create", "--name", "app")
    assert ended.code == 0
    secret = ended.out.removesuffix("\n")
    assert KEY.fullmatch(secret)
    assert secret not in ended.err
    (record,) = snapshot.all()
    pepper = (folder / "データ" / FILE_NAME).read_bytes()
    assert (record.id, record.digest) == (key_id_of(secret), digest_of(secret, pepper))
    assert f"Key {record.id} (app) is made" in ended.err
    # the secret itself is kept nowhere
    tail = secret[-48:].encode()
    assert not any(tail in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_keys_are_managed_without_the_secrets_of_providers(folder: Path, keys: Run) -> None:
    provider = '  openai: {type: openai, api_key: "${env:NOWHERE_OPENAI}"}\n'
    rest = 'admin: {key: "${file:nowhere}"}\nstate: {url: "redis://:${env:NOWHERE_REDIS}@127.0.0.1/0"}\n'
    text = CONFIG.replace("providers:\n", f"providers:\n{provider}")
    (folder / "sekisho.yaml").write_text(text + rest, encoding="utf-8")
    create(keys, "--name", "app")
    assert keys("revoke", "app").code == 0


def test_files_are_for_their_owner_only(folder: Path, keys: Run) -> None:
    create(keys, "--name", "app")
    data = folder / "データ"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in data.iterdir()} == {0o600}


def test_a_key_has_the_properties_that_were_asked_for(keys: Run, snapshot: SqliteSnapshot) -> None:
    words = [
        "--team",
        "営業部",
        "--user",
        "山田 太郎",
        "--endpoint",
        "\uff43hat",
        "--endpoint",
        "local/*",
        "--role",
        "auditor",
    ]
    answer = create(keys, "--name", " 経理\u3000アプリ ", "--expires", "\uff13\uff10\uff44", *words)
    (record,) = snapshot.all()
    assert (record.name, record.team, record.user) == ("経理 アプリ", "営業部", "山田 太郎")
    assert (record.endpoints, record.role) == (("chat", "local/*"), "auditor")
    assert record.expires_at_us == record.created_at_us + 30 * 86_400 * 1_000_000
    assert answer["name"] == "経理 アプリ"
    assert answer["endpoints"] == ["chat", "local/*"]
    assert answer["state"] == "active"
    assert KEY.fullmatch(answer["key"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer["expires_at"])


def test_a_team_of_the_database_can_be_given(folder: Path, keys: Run, snapshot: SqliteSnapshot) -> None:
    create(keys, "--name", "app")
    store = SqlControlStore(sqlite_engine(folder / "データ" / "control.db"))
    store.put(Team(name="web"), COMMAND_LINE)
    create(keys, "--name", "site", "--team", "web")
    assert snapshot.all()[1].team == "web"


def test_what_the_command_changes_is_in_the_audit(folder: Path, keys: Run) -> None:
    made = create(keys, "--name", "app")
    keys("rotate", "app")
    keys("revoke", made["id"])
    store = SqlControlStore(sqlite_engine(folder / "データ" / "control.db"))
    entries = store.audit(most=10)
    assert [entry.action for entry in entries] == ["key.revoke", "key.rotate", "key.create"]
    assert {entry.actor for entry in entries} == {COMMAND_LINE}
    assert not KEY.search(b"".join(bytes(entry.after or b"") for entry in entries).decode())


def test_a_key_may_use_every_endpoint_unless_some_are_named(keys: Run, snapshot: SqliteSnapshot) -> None:
    create(keys, "--name", "app")
    assert snapshot.all()[0].endpoints == ("*",)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--name", "x", "--team", "reserch"],
            "there is no team 'reserch' in the configuration\n    -> did you mean 'res",
        ),
        (["--name", "x", "--team", "zzz"], "allowed: research, 営業部"),
        (
            ["--name", "x", "--endpoint", "caht"],
            "there is no endpoint 'caht' in the configuration\n    -> did you mean 'ch",
        ),
        (["--name", "x", "--endpoint", "lokal/*"], "did you mean 'local'?"),
        (
            ["--name", "x", "--endpoint", "local/mock"],
            "'local/mock' names one model of a provider\n    -> use 'local/*'",
        ),
        (["--name", "x", "--expires", "3x"], "--expires '3x' is not a duration\n    -> write 30d"),
        (["--name", "x", "--expires", "0d"], "would end at once"),
        (["--name", " "], "--name must not be empty"),
        (["--name", "x" * 65], "longer than 64 characters"),
        (["--name", "a\x1b[31mb"], r"--name a\u001b[31mb holds a control or invisible character"),
        (["--name", "a\u200bb"], r"a\u200bb"),
        (["--name", "key_x"], "is reserved"),
        (["--name", "x", "--user", "a\tb"], r"--user a\u0009b"),
        (["--name", "x", "--role", "root"], "root"),
        ([], "--name"),
    ],
)
def test_wrong_usage_is_explained_and_makes_nothing(folder: Path, keys: Run, words: list[str], said: str) -> None:
    ended = keys("create", *words)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert not (folder / "データ").exists()


def test_names_are_unique_across_file_and_database(keys: Run, snapshot: SqliteSnapshot) -> None:
    first = create(keys, "--name", "app")
    again = keys("create", "--name", "\uff41pp")
    assert (again.code, again.out) == (1, "")
    assert f"the name 'app' belongs to {first['id']}" in again.err
    declared = keys("create", "--name", "bench")
    assert (declared.code, declared.out) == (1, "")
    assert "declared in sekisho.yaml" in declared.err
    assert len(snapshot.all()) == 1


def test_the_list_shows_declared_keys_too(keys: Run) -> None:
    made = create(keys, "--name", "app", "--team", "research")
    declared, stored = keys("list", "--format", "json").json
    assert (declared["name"], declared["declared"], declared["team"]) == ("bench", True, "research")
    assert (declared["expires_at"], declared["created_at"]) == ("2030-03-31T15:00:00Z", None)
    assert re.fullmatch("key_[0-9a-f]{12}", declared["id"])
    assert stored == {name: value for name, value in made.items() if name != "key"}
    table = keys("list").out
    assert "2030-04-01 00:00" in table
    assert re.search(rf"{declared['id']}  bench .* active \(declared\)\n", table)
    assert re.search(rf"{made['id']}  app .* active\n", table)
    assert "a-declared-key" not in table


def cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


@pytest.mark.parametrize("language", ["en_US.UTF-8", "ja_JP.UTF-8"])
def test_the_columns_line_up_in_any_script(keys: Run, monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    monkeypatch.setenv("LANG", language)
    monkeypatch.setenv("COLUMNS", "40")
    for name in ("経理アプリ", "a", "\uff71\uff72 と [bold]x[/bold] 🚀"):
        create(keys, "--name", name, "--team", "営業部", "--endpoint", "summary", "--endpoint", "local/*")
    lines = keys("list").out.splitlines()
    assert len(lines) == 5
    # the state is the last column: it begins at the same cell in every line
    heading = HEADINGS[-1].message("ja" if language.startswith("ja") else "en")
    state = STATES["active"].message("ja" if language.startswith("ja") else "en")
    starts = {cells(line[: line.rindex(word)]) for line, word in zip(lines, [heading] + [state] * 4, strict=True)}
    assert len(starts) == 1
    assert "[bold]x[/bold]" in keys("list").out


def test_an_empty_list_says_how_to_make_a_key(folder: Path, keys: Run) -> None:
    text = CONFIG[: CONFIG.index("keys:")]
    (folder / "sekisho.yaml").write_text(text, encoding="utf-8")
    ended = keys("list")
    assert (ended.code, ended.out) == (0, "")
    assert "sekisho keys create --name" in ended.err
    assert keys("list", "--format", "json").json == []
    assert not (folder / "データ").exists()


@pytest.mark.parametrize("by", ["id", "name", "key"])
def test_a_key_is_revoked_by_its_id_its_name_or_itself(keys: Run, snapshot: SqliteSnapshot, by: str) -> None:
    made = create(keys, "--name", "app")
    before = snapshot.version()
    ended = keys("revoke", made[by])
    assert (ended.code, ended.out) == (0, "")
    assert f"Key {made['id']} (app) is revoked" in ended.err
    assert snapshot.version() > before
    assert snapshot.all()[0].revoked_at_us is not None
    assert keys("list", "--format", "json").json[1]["state"] == "revoked"
    # again is no error, and the name is free
    again = keys("revoke", made["id"])
    assert again.code == 0
    assert "was revoked already" in again.err
    create(keys, "--name", "app")


@pytest.mark.parametrize("command", [["revoke"], ["rotate"]])
def test_a_key_that_is_not_there_or_declared_cannot_be_changed(keys: Run, command: list[str]) -> None:
    unknown = keys(*command, "nobody")
    assert (unknown.code, unknown.out) == (1, "")
    assert "there is no key 'nobody'" in unknown.err
    declared = keys(*command, "bench")
    assert (declared.code, declared.out) == (1, "")
    assert declared.err.startswith("declared_in_file: the key 'bench' is declared in sekisho.yaml")
    by_id = keys(*command, keys("list", "--format", "json").json[0]["id"])
    assert (by_id.code, by_id.err) == (1, declared.err)


def test_a_mistyped_key_is_not_repeated(keys: Run) -> None:
    mistyped = "sk-seki-abcdefghijkl-" + "s" * 47
    ended = keys("revoke", mistyped)
    assert ended.code == 1
    assert "sss" not in ended.err


def test_a_rotation_hands_name_and_rights_over(keys: Run, snapshot: SqliteSnapshot) -> None:
    words = ["--team", "research", "--user", "taro", "--endpoint", "chat", "--role", "team_owner", "--expires", "30d"]
    made = create(keys, "--name", "app", *words)
    ended = keys("rotate", "app", "--overlap", "2h")
    assert ended.code == 0
    secret = ended.out.removesuffix("\n")
    old, new = snapshot.all()
    assert (old.id, new.id) == (made["id"], key_id_of(secret))
    assert (old.replaced_by, new.replaces) == (new.id, old.id)
    assert (new.name, new.team, new.user, new.role, new.endpoints) == (
        "app",
        "research",
        "taro",
        "team_owner",
        ("chat",),
    )
    assert old.expires_at_us == new.created_at_us + 2 * 3_600 * 1_000_000
    # the successor ends when the old key would have ended
    assert new.expires_at_us == old.created_at_us + 30 * 86_400 * 1_000_000
    assert old.id in ended.err


def test_a_rotation_can_give_a_new_end(keys: Run, snapshot: SqliteSnapshot) -> None:
    create(keys, "--name", "app", "--expires", "1d")
    answer = keys("rotate", "app", "--expires", "90d", "--format", "json")
    assert KEY.fullmatch(answer.json["key"])
    old, new = snapshot.all()
    assert new.expires_at_us == new.created_at_us + 90 * 86_400 * 1_000_000
    # and the overlap of 24 hours does not prolong the old one
    assert old.expires_at_us == old.created_at_us + 86_400 * 1_000_000


def test_a_rotation_without_overlap_ends_the_old_key_at_once(keys: Run) -> None:
    create(keys, "--name", "app")
    assert keys("rotate", "app", "--overlap", "0s").code == 0
    assert [key["state"] for key in keys("list", "--format", "json").json] == ["active", "expired", "active"]
    # by its name the one that is alive is meant
    assert keys("revoke", "app").code == 0
    assert [key["state"] for key in keys("list", "--format", "json").json] == ["active", "expired", "revoked"]


def test_during_an_overlap_a_name_is_ambiguous_to_revoke_and_clear_to_rotate(keys: Run) -> None:
    made = create(keys, "--name", "app")
    assert keys("rotate", "app").code == 0
    ambiguous = keys("revoke", "app")
    assert (ambiguous.code, ambiguous.out) == (2, "")
    assert made["id"] in ambiguous.err
    assert keys("rotate", "app").code == 0
    assert [key["state"] for key in keys("list", "--format", "json").json[1:]] == ["active"] * 3


def test_a_key_that_is_gone_is_not_rotated(keys: Run, snapshot: SqliteSnapshot) -> None:
    first = create(keys, "--name", "app")
    second = keys("rotate", "app", "--format", "json").json
    replaced = keys("rotate", first["id"])
    assert (replaced.code, replaced.out) == (1, "")
    assert f"was replaced by {second['id']} already" in replaced.err
    keys("revoke", second["id"])
    revoked = keys("rotate", second["id"])
    assert (revoked.code, revoked.out) == (1, "")
    assert "was revoked" in revoked.err
    assert len(snapshot.all()) == 2


def test_an_expired_key_is_rotated_only_with_a_new_end(keys: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    create(keys, "--name", "app", "--expires", "1s")
    later_ns = time.time_ns() + 10 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later_ns)
    refused = keys("rotate", "app")
    assert (refused.code, refused.out) == (1, "")
    assert "--expires 30d" in refused.err
    assert keys("rotate", "app", "--expires", "30d").code == 0


@pytest.mark.parametrize("overlap", ["", "1w", "-1h"])
def test_an_overlap_that_is_no_duration_is_wrong_usage(keys: Run, overlap: str) -> None:
    create(keys, "--name", "app")
    ended = keys("rotate", "app", f"--overlap={overlap}")
    assert (ended.code, ended.out) == (2, "")
    assert "--overlap" in ended.err


def test_a_lost_pepper_stops_the_command(folder: Path, keys: Run) -> None:
    create(keys, "--name", "app")
    (folder / "データ" / FILE_NAME).unlink()
    ended = keys("create", "--name", "other")
    assert (ended.code, ended.out) == (2, "")
    assert "-> restore it from a backup" in ended.err


def test_the_pepper_of_another_installation_stops_the_command(folder: Path, keys: Run) -> None:
    create(keys, "--name", "app")
    (folder / "データ" / FILE_NAME).write_bytes(bytes(32))
    for words in (["create", "--name", "other"], ["rotate", "app"], ["list"]):
        ended = keys(*words)
        assert (ended.code, ended.out) == (2, "")
        assert "is another one than that of the keys in" in ended.err


def test_a_damaged_database_stops_the_command(folder: Path, keys: Run) -> None:
    create(keys, "--name", "app")
    database = folder / "データ" / "control.db"
    for file in database.parent.glob("control.db*"):
        file.write_bytes(b"damaged" * 1000)
    for words in (["list"], ["create", "--name", "other"], ["revoke", "app"]):
        ended = keys(*words)
        assert (ended.code, ended.out) == (2, "")
        assert "control database" in ended.err


def test_commands_speak_japanese_where_the_terminal_or_the_file_does(
    folder: Path, keys: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sekisho.yaml").write_text(CONFIG + "language: ja\n", encoding="utf-8")
    assert "キー 'nobody' はありません。" in keys("revoke", "nobody").err
    (folder / "sekisho.yaml").write_text(CONFIG, encoding="utf-8")
    assert "there is no key" in keys("revoke", "nobody").err
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    assert "キー 'nobody' はありません。" in keys("revoke", "nobody").err
    assert "を作りました" in keys("create", "--name", "app").err
    assert "名前" in keys("list").out


def test_both_languages_fill_in_the_same_values() -> None:
    says = [value for value in vars(key_messages).values() if isinstance(value, Say)]
    assert len(says) > 20
    for say in [*says, *HEADINGS, *STATES.values()]:
        for english, japanese in ((say.en, say.ja), (say.en_hint, say.ja_hint)):
            assert set(re.findall(r"\{(\w+)\}", english)) == set(re.findall(r"\{(\w+)\}", japanese)), say
            assert bool(english) == bool(japanese), say


@pytest.mark.parametrize("command", [[], ["create"], ["list"], ["revoke"], ["rotate"]])
def test_every_command_has_help_with_an_example(keys: Run, command: list[str]) -> None:
    ended = keys(*command, "--help")
    assert ended.code == 0
    assert f"Example: sekisho keys {command[0] if command else 'create'}" in ended.out
