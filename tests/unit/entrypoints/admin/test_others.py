"""Teams, users, stops and the audit on `/admin`."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.admin import CONFIG, House, admin_house

from sekisho.domain.stops import Stop
from sekisho.stores.control import Team, User
from sekisho.stores.ports import StoreUnavailable


async def refused(
    house: House, method: str, path: str, body: object = None, **more: Any
) -> tuple[int, str, str | None]:
    answer = await house.ask(method, path, body, **more)
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


def named(answer: Any, name: str) -> dict[str, Any]:
    (found,) = [one for one in answer.json()["data"] if one["name"] == name]
    return found


async def test_a_team_is_made_changed_and_forgotten(house: House) -> None:
    answer = await house.ask("PUT", "/teams/営業%2F東京", {"department": "営業部"})
    assert answer.status_code == 201
    assert answer.json() == {
        "name": "営業/東京",
        "department": "営業部",
        "declared": False,
        "keys": 0,
        "stopped": False,
    }
    assert (await house.ask("PUT", "/teams/営業%2F東京", {"department": None})).status_code == 200
    assert house.control.control().teams == (Team(name="営業/東京"),)
    names = [team["name"] for team in (await house.ask("GET", "/teams")).json()["data"]]
    assert names == ["research", "sales", "営業/東京"]
    assert (await house.ask("DELETE", "/teams/営業%2F東京")).status_code == 200
    assert await refused(house, "DELETE", "/teams/営業%2F東京") == (404, "object_not_found", "id")


async def test_what_is_not_there_is_told_in_the_callers_language(house: House) -> None:
    answer = await house.ask("DELETE", "/teams/営業", None, headers={"accept-language": "ja"})
    assert answer.json()["error"]["message"].startswith("チーム 営業 はありません。")


async def test_a_made_team_has_its_department_in_force_with_its_keys(house: House) -> None:
    await house.ask("PUT", "/teams/web", {"department": "marketing"})
    made = (await house.ask("POST", "/keys", {"name": "site", "team": "web"})).json()
    callers = {caller.key_name: caller for caller in house.keyring()._callers.values()}
    assert callers["site"].department == "marketing"
    assert await refused(house, "DELETE", "/teams/web") == (409, "in_use", "name")
    await house.ask("POST", f"/keys/{made['id']}/revoke")
    await house.ask("PUT", "/users/jiro", {"team": "web"})
    answer = await house.ask("DELETE", "/teams/web")
    assert "jiro" in answer.json()["error"]["message"]
    await house.ask("DELETE", "/users/jiro")
    assert (await house.ask("DELETE", "/teams/web")).status_code == 200


async def test_teams_of_the_file_are_changed_there(house: House) -> None:
    for method, body in (("PUT", {"department": "x"}), ("DELETE", None)):
        assert await refused(house, method, "/teams/sales", body) == (409, "declared_in_file", "name")


async def test_without_any_team_a_team_is_a_label(empty: Any, tmp_path: Any) -> None:
    lines = [line for line in CONFIG.splitlines() if "department" not in line and line != "teams:"]
    text = "\n".join(lines).replace(" team: research,", "")
    async with admin_house(empty, tmp_path, text.replace("{scope: {team: research}", '{scope: {user: "*"}')) as house:
        assert (await house.ask("POST", "/keys", {"name": "a", "team": "anything"})).status_code == 201


async def test_users_are_those_of_keys_and_those_that_were_made(house: House) -> None:
    await house.ask("PUT", "/users/花子", {"team": "sales"})
    await house.ask("POST", "/keys", {"name": "hers", "user": "花子"})
    listed = await house.ask("GET", "/users")
    assert named(listed, "taro") == {
        "name": "taro",
        "team": "research",
        "declared": True,
        "stored": False,
        "keys": 1,
        "stopped": False,
    }
    assert named(listed, "花子") == {
        "name": "花子",
        "team": "sales",
        "declared": False,
        "stored": True,
        "keys": 1,
        "stopped": False,
    }
    owned = (await house.ask("GET", "/users", role="team_owner")).json()["data"]
    assert [user["name"] for user in owned] == ["hanako", "taro"]
    assert await refused(house, "PUT", "/users/x", {"team": "nowhere"}) == (400, "invalid_value", "team")


async def test_a_leavers_keys_end_at_once(house: House) -> None:
    await house.ask("PUT", "/users/taro", {"team": "research"})
    first = (await house.ask("POST", "/keys", {"name": "one", "user": "taro"})).json()
    second = (await house.ask("POST", "/keys", {"name": "two", "user": "taro"})).json()
    other = (await house.ask("POST", "/keys", {"name": "three", "user": "jiro"})).json()
    gone = (await house.ask("DELETE", "/users/taro")).json()
    assert sorted(gone["revoked"]) == sorted([first["id"], second["id"]])
    assert len(gone["remaining"]) == 1
    for key, status in ((first, 401), (second, 401), (other, 200)):
        assert (await house.ask("GET", "/me", key=key["key"])).status_code == status
    assert house.control.control().users == ()
    assert await refused(house, "DELETE", "/users/nobody") == (404, "object_not_found", "id")
    actions = [entry["action"] for entry in (await house.ask("GET", "/audit")).json()["data"]]
    assert actions[:3] == ["user.delete", "key.revoke", "key.revoke"]


@pytest.mark.parametrize("name", ["%20", "a%E2%80%8Bb", "%2A", "key_abc", "x" * 65, "%0A"])
async def test_a_wrong_name_is_told(house: House, name: str) -> None:
    for path in ("/teams", "/users"):
        assert await refused(house, "PUT", f"{path}/{name}", {}) == (400, "invalid_value", "name")


# -- stops


async def test_a_name_in_full_width_is_the_same_when_it_goes(house: House) -> None:
    for path in ("/teams/ｗｅｂ", "/users/ｙｕｉ"):
        assert (await house.ask("PUT", path, {})).status_code == 201
        gone = await house.ask("DELETE", path)
        assert (gone.status_code, gone.json()["name"]) == (200, "web" if "teams" in path else "yui")


async def test_a_stop_is_set_listed_and_lifted(house: House) -> None:
    body = {"kind": "user", "value": "ｔａｒｏ", "reason": "費用の\n異常"}
    answer = await house.ask("POST", "/stops", body)
    assert answer.status_code == 201
    made = answer.json()
    assert made == {
        "id": made["id"],
        "kind": "user",
        "value": "taro",
        "reason": "費用の 異常",
        "by": "boss",
        "at": "2026-11-20T12:00:00Z",
    }
    assert (await house.ask("GET", "/stops", role="auditor")).json() == {"data": [made]}
    assert named(await house.ask("GET", "/users"), "taro")["stopped"]
    own = (await house.ask("GET", "/me", role="user")).json()
    assert own["stops"] == [made]
    again = await house.ask("POST", "/stops", {**body, "reason": "another"})
    assert (again.status_code, again.json()["id"]) == (200, made["id"])
    assert (await house.ask("DELETE", f"/stops/{made['id']}")).json()["reason"] == "another"
    assert (await house.ask("GET", "/stops")).json() == {"data": []}
    assert await refused(house, "DELETE", f"/stops/{made['id']}") == (404, "object_not_found", "id")
    actions = [entry["action"] for entry in (await house.ask("GET", "/audit")).json()["data"]]
    assert actions == ["stop.delete", "stop.set", "stop.set"]


async def test_a_key_is_told_of_the_stops_that_are_its_own(house: House) -> None:
    for kind, value in (("user", "taro"), ("user", "hanako"), ("team", "research"), ("team", "sales")):
        asked = await house.ask("POST", "/stops", {"kind": kind, "value": value, "reason": "leak"})
        assert asked.status_code == 201, asked.text
    stops = (await house.ask("GET", "/me", role="user")).json()["stops"]
    assert sorted((one["kind"], one["value"]) for one in stops) == [("team", "research"), ("user", "taro")]


async def test_everything_can_be_stopped(house: House) -> None:
    assert (await house.ask("POST", "/stops", {"kind": "all"})).json()["id"] == "stop_all"
    (stop,) = house.control.control().stops
    assert stop == Stop(kind="all", by="boss", at_us=house.now_us)
    assert all(team["stopped"] for team in (await house.ask("GET", "/teams")).json()["data"])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "kind"),
        ({"kind": "key", "value": "a"}, "kind"),
        ({"kind": "user"}, "value"),
        ({"kind": "team", "value": ""}, "value"),
        ({"kind": "model", "value": "a\u200b"}, "value"),
        ({"kind": "all", "value": "a"}, "value"),
        ({"kind": "user", "value": "tarou"}, "value"),
        ({"kind": "user", "value": "app"}, "value"),
        ({"kind": "team", "value": "reserch"}, "value"),
        ({"kind": "model", "value": "chta"}, "value"),
        ({"kind": "model", "value": "lokal/*"}, "value"),
        ({"kind": "all", "reason": "a" * 501}, "reason"),
        ({"kind": "all", "reason": "a\u001b[2J"}, "reason"),
        ({"kind": "all", "until": "tomorrow"}, "until"),
    ],
)
async def test_a_wrong_stop_is_told_and_stops_nothing(house: House, body: dict[str, Any], param: str) -> None:
    assert await refused(house, "POST", "/stops", body) == (400, "invalid_value", param)
    assert house.control.control().stops == ()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("model", "chat"),
        ("model", "m"),
        ("model", "local/m"),
        ("model", "local/*"),
        ("model", "local/addressed-directly"),
        ("user", "boss"),
        ("user", "hanako"),
        ("team", "sales"),
    ],
)
async def test_what_stops_something_is_taken(house: House, kind: str, value: str) -> None:
    assert (await house.ask("POST", "/stops", {"kind": kind, "value": value})).status_code == 201


async def test_where_a_key_acts_for_others_any_user_may_be_one(house: House) -> None:
    await house.ask("POST", "/keys", {"name": "proxy", "on_behalf": True})
    assert (await house.ask("POST", "/stops", {"kind": "user", "value": "anybody"})).status_code == 201


# -- the audit


async def test_the_audit_is_read_page_by_page(house: House) -> None:
    for number in range(5):
        house.now_us += 1_000_000
        await house.ask("PUT", f"/teams/t{number}", {})
    first = (await house.ask("GET", "/audit?limit=2")).json()
    assert [entry["object_id"] for entry in first["data"]] == ["t4", "t3"]
    second = (await house.ask("GET", f"/audit?limit=3&before={first['next_before']}")).json()
    assert [entry["object_id"] for entry in second["data"]] == ["t2", "t1", "t0"]
    assert second["next_before"] is None
    assert first["data"][0]["after"] == {"name": "t4", "department": None}
    for query in ("limit=0", "limit=1001", "limit=-1", "limit=x", "limit=１", "before=1e3", "limit=1&limit=2"):
        assert (await refused(house, "GET", f"/audit?{query}"))[:2] == (400, "invalid_value"), query


async def test_no_way_changes_or_takes_away_an_entry(house: House) -> None:
    await house.ask("PUT", "/teams/t", {})
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        for path in ("/audit", "/audit/1"):
            assert (await house.ask(method, path)).status_code in (404, 405)
    assert len((await house.ask("GET", "/audit")).json()["data"]) == 1


async def test_a_user_of_the_database_has_no_team_to_lose(house: House) -> None:
    await house.ask("PUT", "/users/jiro", {})
    assert house.control.control().users == (User(name="jiro"),)


async def test_a_database_that_is_away_is_said_and_no_mistake_of_ours(house: House, monkeypatch: Any) -> None:
    def away() -> Any:
        raise StoreUnavailable("the database is being restarted at db.internal")

    monkeypatch.setattr(house.control, "control", away)
    answer = await house.ask("GET", "/teams")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert "db.internal" not in answer.text
