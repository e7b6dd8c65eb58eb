"""`teams`, `users`, `budgets`, `limits` and `stop` on the real admin API over a real database, without a socket."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.admin import ADMIN_KEY, KEYS, House, admin_house, empty_database

from sekisho.app import cli
from sekisho.app.commands import admin_door
from sekisho.app.commands.admin_door import Sent


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.out)))


Run = Callable[..., Awaitable[Ended]]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with admin_house(empty_database(tmp_path), tmp_path) as one:
        yield one


@pytest.fixture
async def run(house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command in a thread, whose requests the application answers on the loop of the test."""
    loop = asyncio.get_running_loop()
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEKISHO_ADMIN_KEY", ADMIN_KEY)

    async def answered(sent: Sent) -> tuple[int, bytes]:
        path = sent.url.removeprefix("http://gateway")
        answer = await house.client.request(
            sent.method, f"http://gateway{path}", content=sent.body, headers=dict(sent.headers)
        )
        return answer.status_code, answer.content

    monkeypatch.setattr(
        admin_door, "transport", lambda sent: asyncio.run_coroutine_threadsafe(answered(sent), loop).result(20)
    )

    def command(words: tuple[str, ...]) -> int:
        with pytest.raises(SystemExit) as ended:
            cli.main([*words, "--gateway", "http://gateway"])
        assert isinstance(ended.value.code, int)
        return ended.value.code

    async def one(*words: str) -> Ended:
        code = await asyncio.to_thread(command, words)
        return Ended(code, *capsys.readouterr())

    return one


async def test_a_team_is_made_given_a_budget_and_removed(run: Run) -> None:
    assert (await run("teams", "set", "営業 部", "--department", "本社")).code == 0
    made = await run("budgets", "set", "--team", "営業 部", "--usd", "12.5", "--period", "week", "--format", "json")
    assert made.code == 0, made.err
    budget = json.loads(made.out)
    assert (budget["scope"], budget["usd"], budget["period"]) == ({"team": "営業 部"}, "12.5", "week")
    rows = [row for row in (await run("teams", "--format", "csv")).rows if row["name"] == "営業 部"]
    assert {(row["department"], row["limit_usd"], row["stopped"]) for row in rows} == {
        ("本社", "12.5", "no"),
        ("本社", "100", "no"),  # of `{team: "*"}` in the file
    }
    again = await run("budgets", "set", "--team", "営業 部", "--jpy", "15000", "--period", "week", "--format", "json")
    assert (json.loads(again.out)["id"], json.loads(again.out)["usd"]) == (budget["id"], "100")
    assert (await run("budgets", "remove", budget["id"])).code == 0
    assert (await run("budgets", "remove", budget["id"])).code == 1
    assert (await run("teams", "remove", "営業 部")).code == 0
    assert "営業 部" not in (await run("teams")).out


async def test_what_the_file_declares_is_shown_and_not_changed(run: Run) -> None:
    rows = (await run("budgets", "list", "--format", "csv")).rows
    assert {row["source"] for row in rows} == {"file"}
    assert {"organisation", "team research"} == {row["scope"] for row in rows}
    ended = await run("budgets", "set", "--organisation", "--usd", "5")
    assert ended.code == 1
    assert ended.err.startswith("declared_in_file: ")
    assert (await run("teams", "remove", "research")).code == 1


async def test_limits_are_set_shown_and_removed(run: Run) -> None:
    made = json.loads(
        (await run("limits", "set", "--user", "*", "--qpm", "30", "--wait-s", "2", "--format", "json")).out
    )
    assert (made["scope"], made["qpm"], made["wait_s"]) == ({"user": "*"}, 30, 2)
    rows = (await run("limits", "show", "--format", "csv")).rows
    assert {(row["scope"].split()[0], row["qpm"], row["source"]) for row in rows} == {
        ("team", "60", "file"),
        ("user", "30", "database"),
    }
    assert (await run("limits", "remove", made["id"])).code == 0
    unknown = await run("limits", "set", "--team", "nobody-knows-it", "--qpm", "1")
    assert (unknown.code, "`--team`" in unknown.err) == (2, True)


async def test_a_user_is_stopped_listed_and_lifted(run: Run) -> None:
    assert (await run("stop", "--user", "taro", "--reason", "漏えい")).code == 0
    (row,) = (await run("stop", "--list", "--format", "csv")).rows
    assert (row["kind"], row["value"], row["reason"], row["by"]) == ("user", "taro", "漏えい", "admin")
    users = {row["name"]: row["stopped"] for row in (await run("users", "--format", "csv")).rows}
    assert (users["taro"], users["hanako"]) == ("yes", "no")
    assert (await run("stop", "--lift", "--user", "taro")).code == 0
    assert (await run("stop", "--lift", "--user", "taro")).code == 1
    assert (await run("stop", "--all")).code == 0
    assert (await run("stop", "--lift", "--all")).code == 0


async def test_somebody_leaves_and_a_key_of_the_file_is_named(run: Run, house: House) -> None:
    assert (await run("users", "set", "jiro", "--team", "research")).code == 0
    made: Any = (await house.ask("POST", "/keys", {"name": "of-jiro", "user": "jiro"})).json()
    ended = await run("users", "remove", "jiro")
    assert (ended.code, made["id"] in ended.err) == (0, True)
    ended = await run("users", "remove", "taro")
    assert ended.code == 1
    assert "sekisho stop --user taro" in ended.err


@pytest.mark.parametrize(("role", "code"), [("auditor", 0), ("admin", 0), ("user", 1)])
async def test_who_may_see_budgets(run: Run, role: str, code: int) -> None:
    assert (await run("budgets", "list", "--key", KEYS[role])).code == code


async def test_a_wrong_key_is_wrong_usage(run: Run) -> None:
    ended = await run("limits", "show", "--key", "nobody-has-this-key")
    assert (ended.code, ended.err.startswith("invalid_api_key: ")) == (2, True)
