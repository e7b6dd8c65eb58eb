"""Lists of `/admin` a page at a time: with thousands of keys nobody reads them all at once."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from tests.support.admin import House

LISTS = ("/keys", "/teams", "/users", "/budgets", "/limits", "/stops")


async def _fill(house: House, many: int = 4) -> None:
    for number in range(many):
        house.now_us += 1
        await house.ask("PUT", f"/teams/t{number}", {})
        await house.ask("POST", "/keys", {"name": f"k{number}", "team": f"t{number}", "user": f"u{number}"})
        for period in ("day", "month"):
            body = {"scope": {"team": f"t{number}", "user": "*"}, "usd": 1, "period": period}
            await house.ask("PUT", "/budgets", body)
        await house.ask("PUT", "/limits", {"scope": {"team": f"t{number}"}, "qpm": 9})
        await house.ask("POST", "/stops", {"kind": "user", "value": f"u{number}"})


async def _pages(house: House, path: str, limit: int, **more: Any) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []
    after = ""
    while True:
        answer = (await house.ask("GET", f"{path}?limit={limit}{after}", **more)).json()
        found.append(answer["data"])
        if "next_after" not in answer:
            return found
        after = f"&after={answer['next_after']}"


@pytest.mark.parametrize("path", LISTS)
async def test_pages_have_together_what_the_list_has(house: House, path: str) -> None:
    await _fill(house)
    whole = (await house.ask("GET", path)).json()
    assert "next_after" not in whole
    for limit in (1, 3, len(whole["data"])):
        pages = await _pages(house, path, limit)
        assert [one for page in pages for one in page] == whole["data"]
        assert {len(page) for page in pages[:-1]} <= {limit}
        assert pages[-1], "a page with nothing in it was promised"


@pytest.mark.parametrize("path", LISTS)
async def test_who_asks_for_no_page_gets_the_whole_list(
    house: House, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _fill(house)
    whole = (await house.ask("GET", path)).json()
    monkeypatch.setattr("sekisho.entrypoints.http.admin.pages.MOST", 2)
    assert (await house.ask("GET", path)).json() == whole
    first = (await house.ask("GET", f"{path}?limit=1")).json()["next_after"]
    page = (await house.ask("GET", f"{path}?after={first}")).json()
    assert page["data"] == whole["data"][1:3], "a page has an end, also where nobody says which"
    assert page["next_after"]


async def test_what_comes_and_goes_moves_nothing_else(house: House) -> None:
    await _fill(house, 6)
    first = (await house.ask("GET", "/teams?limit=5")).json()
    shown = [one["name"] for one in first["data"]]
    assert shown == ["research", "sales", "t0", "t1", "t2"]
    await house.ask("PUT", "/teams/a", {})
    await house.ask("PUT", "/teams/t33", {})
    for key in (await house.ask("GET", "/keys")).json()["data"]:
        if key["name"] in ("k0", "k2"):
            await house.ask("POST", f"/keys/{key['id']}/revoke")
    for name in ("t0", "t2"):  # the one that the page ended with, too
        assert (await house.ask("DELETE", f"/teams/{name}")).status_code == 200
    second = (await house.ask("GET", f"/teams?after={first['next_after']}")).json()
    assert [one["name"] for one in second["data"]] == ["t3", "t33", "t4", "t5"]


async def test_pages_go_on_through_the_file_when_it_is_changed(house: House) -> None:
    first = (await house.ask("GET", "/keys?limit=2")).json()
    assert [one["name"] for one in first["data"]] == ["boss", "books"]
    boss, books, lead, app = house.settings.keys
    # as it was; the key gone that the page ended with; one more before it
    for now, rest in (((boss, books, lead, app), ["lead", "app"]), ((boss, lead, app), ["lead", "app"]),
                      ((lead, boss, books, app), ["app"])):  # fmt: skip
        house.settings = msgspec.structs.replace(house.settings, keys=now)
        answer = await house.ask("GET", f"/keys?after={first['next_after']}")
        assert [one["name"] for one in answer.json()["data"]] == rest


async def test_a_teams_owner_pages_through_what_it_sees(house: House) -> None:
    await _fill(house, 2)
    for number in range(3):
        house.now_us += 1
        await house.ask("POST", "/keys", {"name": f"own{number}", "team": "research"})
    names = [one["name"] for page in await _pages(house, "/keys", 2, role="team_owner") for one in page]
    assert names == ["lead", "app", "own0", "own1", "own2"]


@pytest.mark.parametrize("path", LISTS)
async def test_a_page_that_nobody_promised_is_refused(house: House, path: str) -> None:
    await _fill(house, 2)
    other = "/teams" if path != "/teams" else "/keys"
    foreign = (await house.ask("GET", f"{other}?limit=1")).json()["next_after"]
    for wrong in ("", "x", "%00", "あ", foreign, _packed("null"), _packed("[]"), _packed("[" * 2_000), "e30" * 3_000):
        answer = await house.ask("GET", f"{path}?after={wrong}")
        assert answer.status_code == 400, wrong
        assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == ("invalid_value", "after")
    answer = await house.ask("GET", f"{path}?after=x", headers={"accept-language": "ja"})
    assert "`next_after`" in answer.json()["error"]["message"]
    assert "一覧" in answer.json()["error"]["message"]
    for query in ("limit=0", "limit=1001", "limit=x", "limit=", "limit=1&limit=2"):
        answer = await house.ask("GET", f"{path}?{query}")
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "limit"), query


async def test_the_description_says_what_a_page_is_asked_by(house: House) -> None:
    paths = (await house.ask("GET", "/openapi.json")).json()["paths"]
    for path in LISTS:
        told = {one["name"]: one["schema"]["type"] for one in paths[f"/admin{path}"]["get"]["parameters"]}
        assert told == {"limit": "integer", "after": "string"}
    told = {one["name"]: one["schema"] for one in paths["/admin/audit"]["get"]["parameters"]}
    assert set(told) == {"limit", "before"}


def _packed(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
