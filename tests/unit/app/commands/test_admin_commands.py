"""`teams`, `users`, `budgets`, `limits` and `stop`: what they ask a gateway, what they show, how they end.

The gateway here is a list of answers as `/admin` gives them; a real one is asked in tests/component/http.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from sekisho.app import cli
from sekisho.app.commands import admin_door, admin_messages
from sekisho.app.commands.admin_door import Sent
from sekisho.app.settings.messages import Say

CONFIG = """\
data_dir: ./data
timezone: Asia/Tokyo
providers:
  local: {type: openai, base_url: "http://127.0.0.1:9101/v1", allow_private: true}
endpoints:
  chat: {targets: [{provider: local, model: mock-small}]}
admin: {key: "${env:OUR_ADMIN_KEY}"}
currency: JPY
fx: {usd_jpy: 150.0}
"""
KEY = "an-admin-key-that-nobody-may-see"
STATE = {
    "limit_usd": "100",
    "spent_usd": "12.345678901",
    "reserved_usd": "0.5",
    "remaining_usd": "87.154321099",
    "percent": 12.3,
    "bound_usd": "0",
    "resets_at": "2026-11-30T15:00:00Z",
}
TEAM_BUDGET = {
    "id": "bud_1",
    "scope": {"team": "営業部"},
    "usd": "100",
    "period": "month",
    "on_exceed": "block",
    "strict": False,
    "declared": True,
    "of_team": None,
    "states": [{"scope": {"team": "営業部"}, **STATE}],
}
EACH_BUDGET = {
    **TEAM_BUDGET,
    "id": "bud_2",
    "scope": {"user": "*", "endpoint": "chat"},
    "usd": "5",
    "on_exceed": {"degrade": "small"},
    "declared": False,
    "of_team": "research",
    "states": [],
}
LIMIT = {
    "id": "lim_1",
    "scope": {"user": "*"},
    "qpm": 60,
    "tpm": None,
    "concurrency": 4,
    "burst_s": 60,
    "wait_s": 0,
    "declared": False,
    "of_team": None,
    "states": [
        {"scope": {"user": "taro"}, "qpm": 60, "remaining_requests": 59, "tpm": None, "remaining_tokens": None,
         "concurrency": 4, "running": 1},
    ],
}  # fmt: skip
TEAMS = [
    {"name": "営業部", "department": "sales", "declared": True, "keys": 2, "stopped": False},
    {"name": "[bold]", "department": None, "declared": False, "keys": 0, "stopped": True},
]
STOP = {
    "id": "stop_1",
    "kind": "user",
    "value": "taro",
    "reason": "leaked",
    "by": "admin",
    "at": "2026-11-26T15:30:00Z",
}


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Gateway:
    """Answers by `METHOD path`, and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, Any]] = []
        self.sent: list[Sent] = []
        self.fault: Exception | None = None

    def __call__(self, sent: Sent) -> tuple[int, bytes]:
        self.sent.append(sent)
        if self.fault is not None:
            raise self.fault
        place = f"{sent.method} {sent.url.split('/admin/', 1)[1]}"
        self.asked.append((place, None if sent.body is None else json.loads(sent.body)))
        status, answer = self.answers[place]
        return status, answer if isinstance(answer, bytes) else msgspec.json.encode(answer)

    def refuses(self, place: str, status: int, code: str) -> None:
        self.answers[place] = status, {"error": {"message": "Because.", "code": code}}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    one = Gateway()
    monkeypatch.setattr(admin_door, "transport", one)
    one.answers = {
        "GET budgets": (200, {"data": [TEAM_BUDGET, EACH_BUDGET]}),
        "GET limits": (200, {"data": [LIMIT]}),
        "GET teams": (200, {"data": TEAMS}),
        "GET stops": (200, {"data": [STOP]}),
        "GET me": (200, {"role": "admin"}),
    }
    return one


Run = Callable[..., Ended]


@pytest.fixture
def run(gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG", "SEKISHO_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OUR_ADMIN_KEY", KEY)
    (tmp_path / "sekisho.yaml").write_text(CONFIG, encoding="utf-8")

    def one(*words: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        assert KEY not in out + err
        return Ended(ended.value.code, out, err)

    return one


def table(text: str) -> list[list[str]]:
    """Cells, which two spaces or more keep apart."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]


# -- budgets


def test_budgets_as_they_stand_in_dollars_and_yen(run: Run) -> None:
    ended = run("budgets", "list")
    assert (ended.code, ended.err) == (0, "")
    headings, team, each = table(ended.out)
    assert headings == [
        "ID", "SCOPE", "PERIOD", "ON EXCEED", "LIMIT USD", "SPENT USD", "RESERVED USD", "REMAINING USD", "%",
        "LIMIT JPY", "SPENT JPY", "REMAINING JPY", "RESETS AT (Asia/Tokyo)", "FROM",
    ]  # fmt: skip
    assert team == [
        "bud_1", "team 営業部", "month", "block", "100", "12.345678901", "0.5", "87.154321099", "12.3", "15,000",
        "1,852", "13,073", "2026-12-01 00:00", "file",
    ]  # fmt: skip
    assert each[:5] == ["bud_2", "user *, endpoint chat", "month", "degrade:small", "5"]
    assert each[5:] == ["-", "-", "-", "-", "750", "-", "-", "-", "team research"]


def test_large_amounts_have_separators_for_people_and_none_for_machines(run: Run, gateway: Gateway) -> None:
    large = {**EACH_BUDGET, "usd": "1234567.5"}
    gateway.answers["GET budgets"] = (200, {"data": [large], "counters": "ok"})
    assert "1,234,567.5 " in run("budgets", "list").out
    assert ",1234567.5," in run("budgets", "list", "--format", "csv").out


def test_budgets_for_machines_are_whole_and_english(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    rows = list(csv.DictReader(io.StringIO(run("budgets", "list", "--format", "csv").out)))
    assert rows[0]["scope"] == "team 営業部"
    assert (rows[0]["spent_usd"], rows[0]["spent_jpy"]) == ("12.345678901", "1852")
    assert (rows[0]["resets_at"], rows[0]["source"]) == ("2026-11-30T15:00:00Z", "file")
    assert rows[1]["spent_usd"] == ""
    assert json.loads(run("budgets", "list", "--format", "json").out) == [TEAM_BUDGET, EACH_BUDGET]


def test_without_a_configuration_amounts_are_dollars_and_times_utc(run: Run) -> None:
    ended = run("budgets", "list", "--gateway", "https://gate.example:8443/", "--key", "another-key")
    headings, team, _ = table(ended.out)
    assert "LIMIT JPY" not in headings
    assert "RESETS AT (UTC)" in headings
    assert "2026-11-30 15:00" in team


def test_counters_that_are_away_are_said(run: Run, gateway: Gateway) -> None:
    unknown = {**TEAM_BUDGET, "states": None}
    gateway.answers["GET budgets"] = (200, {"data": [unknown], "counters": "unavailable"})
    ended = run("budgets", "list")
    assert ended.code == 0
    assert "counters do not answer" in ended.err
    assert table(ended.out)[1][4:6] == ["100", "-"]
    teams = run("teams")
    assert "counters do not answer" in teams.err
    assert table(teams.out)[1][4:6] == ["100", "-"]


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (
            ["--team", "営業部", "--usd", "100.50"],
            {"scope": {"team": "営業部"}, "usd": "100.50", "period": "month", "on_exceed": "block", "strict": False},
        ),
        (
            ["--user", "*", "--endpoint", "chat", "--jpy", "15000", "--period", "day", "--strict"],
            {"scope": {"user": "*", "endpoint": "chat"}, "jpy": "15000", "period": "day", "on_exceed": "block",
             "strict": True},
        ),
        (
            ["--organisation", "--key-name", "ci", "--usd", "1", "--on-exceed", "degrade:small"],
            {"scope": {"key": "ci", "organisation": "*"}, "usd": "1", "period": "month",
             "on_exceed": {"degrade": "small"}, "strict": False},
        ),
    ],
    ids=["team", "each", "degrade"],
)  # fmt: skip
def test_a_budget_is_set_as_it_was_typed(run: Run, gateway: Gateway, words: list[str], body: object) -> None:
    gateway.answers |= {"GET budgets": (200, {"data": []}), "PUT budgets": (201, EACH_BUDGET)}
    ended = run("budgets", "set", *words)
    assert ended.code == 0
    assert gateway.asked == [("GET budgets", None), ("PUT budgets", body)]
    assert ended.err == "Budget bud_2 is set. It holds within 5 seconds.\n"
    assert table(ended.out)[1][0] == "bud_2"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["budgets", "set", "--usd", "1"], "whom it holds for"),
        (["budgets", "set", "--team", "a"], "--usd or --jpy"),
        (["budgets", "set", "--team", "a", "--usd", "1", "--jpy", "1"], "--usd or --jpy"),
        (["budgets", "set", "--team", "a", "--usd", "1", "--on-exceed", "degrade"], "degrade:ENDPOINT"),
        (["budgets", "set", "--team", "a", "--usd", "1", "--on-exceed", "block:x"], "degrade:ENDPOINT"),
        (["limits", "set", "--team", "a"], "--qpm"),
        (["limits", "set", "--qpm", "1"], "whom it holds for"),
        (["limits", "set", "--team", "a", "--qpm", "0"], "--qpm 0"),
        (["limits", "set", "--team", "a", "--tpm", "lots"], "--tpm lots"),
        (["limits", "set", "--team", "a", "--concurrency", "1.5"], "or none"),
        (["stop"], "--user, --team, --model and --all"),
        (["stop", "--user", "a", "--all"], "--user, --team, --model and --all"),
        (["stop", "--list", "--user", "a"], "--list stands alone"),
        (["stop", "--lift", "--user", "a", "--reason", "b"], "--lift takes no --reason"),
        (["teams", "--gateway", "gate.example"], "no address"),
        (["teams", "--gateway", "ftp://gate.example"], "no address"),
        (["teams", "--key", "a b"], "no HTTP header"),
    ],
)
def test_wrong_usage_ends_with_2_and_asks_nobody(run: Run, gateway: Gateway, words: list[str], said: str) -> None:
    ended = run(*words)
    assert ended.code == 2
    assert said in ended.err
    assert gateway.sent == []


# -- limits, teams, users


def test_limits_and_what_is_left_of_them(run: Run) -> None:
    ended = run("limits", "show")
    headings, row = table(ended.out)
    assert headings[:4] == ["ID", "SCOPE", "QPM", "LEFT"]
    assert row == ["lim_1", "user taro", "60", "59", "-", "-", "4", "1", "60", "0", "database"]


def test_a_limit_is_set_and_taken_away(run: Run, gateway: Gateway) -> None:
    gateway.answers |= {"PUT limits": (200, LIMIT), "DELETE limits/lim_1": (200, LIMIT)}
    assert run("limits", "set", "--model", "local/*", "--qpm", "60", "--wait-s", "2").code == 0
    assert run("limits", "remove", "lim_1").err == "lim_1 is removed.\n"
    assert gateway.asked == [
        ("GET limits", None),
        ("PUT limits", {"scope": {"model": "local/*"}, "qpm": 60, "wait_s": 2.0}),
        ("DELETE limits/lim_1", None),
    ]


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["--tpm", "60000"], {"qpm": 60, "tpm": 60000, "concurrency": 4, "burst_s": 60, "wait_s": 0}),
        (["--qpm", "5", "--concurrency", "9"], {"qpm": 5, "concurrency": 9, "burst_s": 60, "wait_s": 0}),
        (["--qpm", "none"], {"concurrency": 4, "burst_s": 60, "wait_s": 0}),
        (["--wait-s", "2.5"], {"qpm": 60, "concurrency": 4, "burst_s": 60, "wait_s": 2.5}),
    ],
    ids=["one more", "others", "one less", "a time alone"],
)
def test_what_is_not_named_of_a_limit_stays(run: Run, gateway: Gateway, words: list[str], numbers: Any) -> None:
    gateway.answers["PUT limits"] = (200, LIMIT)
    assert run("limits", "set", "--user", "*", *words).code == 0
    assert gateway.asked[-1] == ("PUT limits", {"scope": {"user": "*"}, **numbers})


def test_a_limit_that_would_limit_nothing_is_to_be_removed(run: Run, gateway: Gateway) -> None:
    ended = run("limits", "set", "--user", "*", "--qpm", "none", "--concurrency", "none")
    assert (ended.code, "sekisho limits remove lim_1" in ended.err) == (2, True)
    new = run("limits", "set", "--user", "taro", "--wait-s", "1")
    assert (new.code, "give --qpm" in new.err) == (2, True)
    assert all(place.startswith("GET ") for place, _ in gateway.asked)


@pytest.mark.parametrize(
    ("role", "there", "qpm"),
    [
        ("admin", [("research", 20), (None, 60)], 60),
        ("team_owner", [(None, 60), ("research", 20)], 20),
        ("team_owner", [(None, 60)], None),
    ],
)
def test_a_limit_keeps_its_own_numbers_and_not_those_that_others_set_for_the_same(
    run: Run, gateway: Gateway, role: str, there: list[tuple[str | None, int]], qpm: int | None
) -> None:
    """What a team sets for itself stands beside what was set for it."""
    scope = {"team": "research"}
    data = [{**LIMIT, "scope": scope, "of_team": of_team, "qpm": number} for of_team, number in there]
    gateway.answers |= {
        "GET limits": (200, {"data": data}), "GET me": (200, {"role": role}), "PUT limits": (200, LIMIT),
    }  # fmt: skip
    # as the gateway reads it
    assert run("limits", "set", "--team", "ｒesearch", "--tpm", "7").code == 0
    assert gateway.asked[-1][1].get("qpm") == qpm


@pytest.mark.parametrize(
    ("words", "usd", "strict"),
    [
        (["--usd", "6"], {"usd": "6"}, True),
        (["--jpy", "900"], {"jpy": "900"}, True),
        (["--usd", "6", "--no-strict"], {"usd": "6"}, False),
        (["--no-strict"], {"usd": "5"}, False),
        # another period is another budget
        (["--usd", "6", "--period", "day"], {"usd": "6"}, False),
    ],
)
def test_what_is_not_named_of_a_budget_stays(
    run: Run, gateway: Gateway, words: list[str], usd: dict[str, str], strict: bool
) -> None:
    there = {**TEAM_BUDGET, "scope": {"user": "taro"}, "usd": "5", "strict": True, "declared": False}
    warning = {**there, "id": "bud_3", "on_exceed": "warn", "usd": "1", "strict": False}
    gateway.answers |= {"GET budgets": (200, {"data": [warning, there]}), "PUT budgets": (200, there)}
    assert run("budgets", "set", "--user", "taro", *words).code == 0
    _, body = gateway.asked[-1]
    assert {name: body[name] for name in body if name in ("usd", "jpy")} == usd
    assert body["strict"] == strict


def test_a_new_budget_needs_an_amount(run: Run, gateway: Gateway) -> None:
    ended = run("budgets", "set", "--user", "taro", "--strict")
    assert (ended.code, "--usd or --jpy" in ended.err) == (2, True)
    assert gateway.asked == [("GET budgets", None)]


def test_teams_stand_beside_their_own_budgets(run: Run) -> None:
    ended = run("teams")
    _, sales, other = table(ended.out)
    assert sales[:6] == ["営業部", "sales", "2", "no", "100", "12.345678901"]
    assert other[:5] == ["[bold]", "-", "0", "yes", "-"]
    data = json.loads(run("teams", "--format", "json").out)
    assert [len(one["budgets"]) for one in data] == [1, 0]


def test_teams_and_users_are_made_moved_and_removed(run: Run, gateway: Gateway) -> None:
    gone = {"name": "山田 太郎", "revoked": ["key_1", "key_2"], "remaining": []}
    path = "users/%E5%B1%B1%E7%94%B0%20%E5%A4%AA%E9%83%8E%2F"
    gateway.answers |= {
        "PUT teams/rd": (201, {"name": "rd"}),
        "DELETE teams/rd": (200, {"name": "rd"}),
        f"PUT {path}": (200, {"name": "山田 太郎/"}),
        f"DELETE {path}": (200, gone),
    }
    assert run("teams", "set", "rd", "--department", "本社").code == 0
    assert run("users", "set", "山田 太郎/", "--team", "rd").err == "User 山田 太郎/ is set.\n"
    assert "key_1, key_2" in run("users", "remove", "山田 太郎/").err
    assert run("teams", "remove", "rd").code == 0
    assert gateway.asked[:2] == [("PUT teams/rd", {"department": "本社"}), (f"PUT {path}", {"team": "rd"})]


def test_keys_of_the_file_that_stay_are_named_and_the_answer_is_no(run: Run, gateway: Gateway) -> None:
    gateway.answers["DELETE users/taro"] = (200, {"name": "taro", "revoked": [], "remaining": ["key_9"]})
    ended = run("users", "remove", "taro")
    assert ended.code == 1
    assert "key_9" in ended.err
    assert "sekisho stop --user taro" in ended.err


# -- stop


def test_stopping_says_how_to_let_it_go_on(run: Run, gateway: Gateway) -> None:
    gateway.answers["POST stops"] = (201, {**STOP, "value": "山田 太郎"})
    ended = run("stop", "--user", "山田 太郎", "--reason", "leaked")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.endswith("To let it go on: sekisho stop --lift --user '山田 太郎'\n")
    assert "within 5 seconds" in ended.err
    assert run("stop", "--all").code == 0
    assert gateway.asked == [
        ("POST stops", {"kind": "user", "value": "山田 太郎", "reason": "leaked"}),
        ("POST stops", {"kind": "all"}),
    ]


def test_lifting_finds_the_stop_by_what_it_stops(run: Run, gateway: Gateway) -> None:
    everything = {**STOP, "id": "stop_all", "kind": "all", "value": None}
    gateway.answers |= {
        "GET stops": (200, {"data": [{**STOP, "kind": "team"}, STOP, everything]}),
        "DELETE stops/stop_1": (200, STOP),
        "DELETE stops/stop_all": (200, everything),
    }
    assert run("stop", "--lift", "--user", "taro").err == "May go on: user taro.\n"
    assert run("stop", "--lift", "--all").err == "May go on: everything.\n"
    missing = run("stop", "--lift", "--model", "taro")
    assert (missing.code, "model taro is not stopped" in missing.err) == (1, True)
    deleted = [place for place, _ in gateway.asked if place.startswith("DELETE")]
    assert deleted == ["DELETE stops/stop_1", "DELETE stops/stop_all"]


def test_a_name_in_full_width_letters_is_the_same_name(run: Run, gateway: Gateway) -> None:
    """The gateway keeps it in its normal form, and what is printed has to work when it is pasted."""
    stop = {**STOP, "value": "hanako"}
    gateway.answers |= {
        "POST stops": (201, stop),
        "GET stops": (200, {"data": [stop]}),
        "DELETE stops/stop_1": (200, stop),
    }
    stopped = run("stop", "--user", "ｈanako")
    assert "Stopped: user hanako." in stopped.err
    assert stopped.err.endswith("To let it go on: sekisho stop --lift --user hanako\n")
    assert run("stop", "--lift", "--user", "ｈanako　").err == "May go on: user hanako.\n"


def test_what_is_stopped(run: Run, gateway: Gateway) -> None:
    assert table(run("stop", "--list").out)[1] == ["stop_1", "user", "taro", "leaked", "admin", "2026-11-27 00:30"]
    gateway.answers["GET stops"] = (200, {"data": []})
    ended = run("stop", "--list")
    assert (ended.code, ended.out, ended.err) == (0, "", "There is none yet.\n")
    assert json.loads(run("stop", "--list", "--format", "json").out) == []


# -- the way there


def test_the_key_goes_into_a_header_and_to_the_named_gateway_only(run: Run, gateway: Gateway) -> None:
    run("teams", "--gateway", "https://gate.example:8443/")
    (sent, _) = gateway.sent
    assert sent.url == "https://gate.example:8443/admin/teams"
    assert sent.headers == {"authorization": f"Bearer {KEY}", "accept-language": "en"}


def test_which_key(run: Run, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def used(*words: str) -> str:
        run("limits", "show", *words)
        return gateway.sent[-1].headers["authorization"].removeprefix("Bearer ")

    assert used() == KEY
    monkeypatch.setenv("SEKISHO_ADMIN_KEY", "of-the-environment")
    assert used() == "of-the-environment"
    assert used("--key", "of-the-option") == "of-the-option"


def test_stopping_everything_takes_the_admin_key_and_no_other_secret(
    run: Run, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = CONFIG.replace("providers:\n", 'providers:\n  openai: {type: openai, api_key: "${env:NOWHERE_OPENAI}"}\n')
    text += (
        'keys: [{name: app, key: "${env:NOWHERE_APP}"}]\nstate: {url: "redis://:${env:NOWHERE_REDIS}@127.0.0.1/0"}\n'
    )
    (tmp_path / "sekisho.yaml").write_text(text, encoding="utf-8")
    gateway.answers["POST stops"] = (201, {**STOP, "kind": "all", "value": ""})
    assert run("stop", "--all").code == 0
    monkeypatch.delenv("OUR_ADMIN_KEY")
    assert run("stop", "--all", "--key", "of-the-option").code == 0
    ended = run("stop", "--all")
    assert ended.code == 2
    assert "OUR_ADMIN_KEY" in ended.err
    assert "NOWHERE" not in ended.err


def test_without_any_key(run: Run, gateway: Gateway, tmp_path: Path) -> None:
    text = CONFIG.replace('admin: {key: "${env:OUR_ADMIN_KEY}"}\n', "")
    (tmp_path / "sekisho.yaml").write_text(text, encoding="utf-8")
    ended = run("teams")
    assert ended.code == 2
    assert "SEKISHO_ADMIN_KEY" in ended.err
    assert '{key: "${env:SEKISHO_ADMIN_KEY}"}' in ended.err
    assert gateway.sent == []


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "invalid_value", 2),
        (401, "invalid_api_key", 2),
        (403, "admin_closed", 2),
        (403, "role_not_allowed", 1),
        (404, "object_not_found", 1),
        (409, "declared_in_file", 1),
        (409, "in_use", 1),
        (503, "store_unavailable", 1),
    ],
)
def test_what_the_gateway_refuses_is_said_in_its_words(
    run: Run, gateway: Gateway, status: int, code: str, exit_code: int
) -> None:
    gateway.refuses("DELETE budgets/bud_1", status, code)
    ended = run("budgets", "remove", "bud_1")
    assert (ended.code, ended.out, ended.err) == (exit_code, "", f"{code}: Because.\n")


@pytest.mark.parametrize("fault", [ConnectionRefusedError(111, "Connection refused"), TimeoutError("timed out")])
def test_a_gateway_that_is_away_ends_with_3(run: Run, gateway: Gateway, fault: Exception) -> None:
    gateway.fault = fault
    ended = run("stop", "--all")
    assert ended.code == 3
    assert "http://127.0.0.1:4000 cannot be reached" in ended.err
    assert "sekisho serve" in ended.err


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"detail": "Not Found"}', b"\xff"])
def test_what_is_no_gateway_ends_with_3(run: Run, gateway: Gateway, answer: bytes) -> None:
    gateway.answers["GET limits"] = (404, answer)
    ended = run("limits", "show")
    assert ended.code == 3
    assert "HTTP 404" in ended.err


def test_an_argument_that_is_no_text(run: Run, gateway: Gateway) -> None:
    ended = run("teams", "set", "caf\udce9")
    assert ended.code == 2
    assert "UTF-8" in ended.err


def test_japanese_speakers_are_told_in_japanese(run: Run, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    gateway.answers["POST stops"] = (201, STOP)
    assert "停止しました: すべて" in run("stop", "--all").err
    assert "停止しました: ユーザー taro" in run("stop", "--user", "taro").err
    assert gateway.sent[-1].headers["accept-language"] == "ja"
    out = run("budgets", "list").out
    assert "使用済み 円" in out
    assert "ファイル" in out
    assert "ユーザー *、エンドポイント chat" in out
    assert out.rstrip().endswith("チーム research")


def test_both_languages_say_everything_and_name_the_same_blanks() -> None:
    found = [value for value in vars(admin_messages).values() if isinstance(value, Say)]
    found += [*admin_messages.HEADINGS.values(), *admin_messages.WORDS.values()]
    assert len(found) > 50
    for say in found:
        for english, japanese in ((say.en, say.ja), (say.en_hint, say.ja_hint)):
            assert bool(english) == bool(japanese), say
            assert sorted(re.findall(r"(?<!\{)\{(\w+)\}", english)) == sorted(re.findall(r"(?<!\{)\{(\w+)\}", japanese))


@pytest.mark.parametrize(
    ("words", "place", "field", "option"),
    [
        (("stop", "--team", "nobody"), "POST stops", "value", "--team"),
        (("budgets", "set", "--key-name", "nobody", "--usd", "5"), "PUT budgets", "scope.key", "--key-name"),
        (("limits", "set", "--endpoint", "nobody", "--qpm", "5"), "PUT limits", "scope.endpoint", "--endpoint"),
        (("users", "set", "taro", "--team", "nobody"), "PUT users/taro", "team", "--team"),
    ],
)
def test_a_mistake_is_told_of_the_option_and_not_of_the_field_of_the_api(
    gateway: Gateway, run: Run, words: tuple[str, ...], place: str, field: str, option: str
) -> None:
    message = f"The value of `{field}` is not valid: there is no such name."
    gateway.answers[place] = 400, {"error": {"message": message, "code": "invalid_value", "param": field}}
    ended = run(*words)
    assert ended.code == 2
    assert ended.err.startswith(f"invalid_value: The value of `{option}` is not valid")


# -- lists of several pages


def test_a_list_is_whole_however_many_pages_it_has(run: Run, gateway: Gateway) -> None:
    gateway.answers["GET budgets"] = (200, {"data": [TEAM_BUDGET], "counters": "ok", "next_after": "a=/b"})
    gateway.answers["GET budgets?after=a%3D%2Fb"] = (200, {"data": [], "counters": "ok", "next_after": "c"})
    gateway.answers["GET budgets?after=c"] = (200, {"data": [EACH_BUDGET], "counters": "ok"})
    ended = run("budgets", "list", "--format", "json")
    assert json.loads(ended.out) == [TEAM_BUDGET, EACH_BUDGET]
    assert (ended.code, ended.err) == (0, "")


def test_counters_that_went_away_between_two_pages_are_told_of(run: Run, gateway: Gateway) -> None:
    gateway.answers["GET budgets"] = (200, {"data": [TEAM_BUDGET], "counters": "unavailable", "next_after": "b"})
    gateway.answers["GET budgets?after=b"] = (200, {"data": [EACH_BUDGET], "counters": "ok"})
    assert run("budgets", "list").err != ""
