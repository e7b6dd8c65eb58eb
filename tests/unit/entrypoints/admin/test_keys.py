"""Keys on `/admin`: made, shown, ended and replaced; what a team's owner may grant; secrets shown once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.admin import House

from sekisho.domain.keys import digest_of, key_id_of
from sekisho.entrypoints.http.admin.shapes import NewKey, key_fields
from sekisho.stores.ports import KeyRecord

US = 1_000_000


async def make(house: House, body: dict[str, Any] | None = None, role: str = "admin", **more: Any) -> dict[str, Any]:
    answer = await house.ask("POST", "/keys", {"name": "new", **(body or {})}, role=role, **more)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def refused(
    house: House, method: str, path: str, body: object = None, **more: Any
) -> tuple[int, str, str | None]:
    answer = await house.ask(method, path, body, **more)
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


async def test_a_key_is_made_with_what_was_asked_for_and_opens_at_once(house: House) -> None:
    wish = {"name": "ｂｏｔ 経理", "team": "sales", "user": "山田", "endpoints": ["chat", "local/*"], "role": "auditor"}
    made = await make(house, {**wish, "expires": "30d", "on_behalf": True})
    secret = made.pop("key")
    assert made == {
        "id": key_id_of(secret),
        "name": "bot 経理",
        "team": "sales",
        "user": "山田",
        "role": "auditor",
        "endpoints": ["chat", "local/*"],
        "on_behalf": True,
        "created_at": "2026-11-20T12:00:00Z",
        "expires_at": "2026-12-20T12:00:00Z",
        "revoked_at": None,
        "replaces": None,
        "replaced_by": None,
        "state": "active",
        "declared": False,
        "replaced": None,
    }
    assert (await house.ask("GET", "/keys", key=secret)).status_code == 200
    shown = await house.ask("GET", f"/keys/{made['id']}")
    assert shown.json() == {name: value for name, value in made.items() if name != "replaced"}


async def test_a_secret_is_shown_once_and_a_digest_never(house: House) -> None:
    made = await make(house)
    digest = digest_of(made["key"], b"p" * 32)
    for path in ("/keys", f"/keys/{made['id']}", "/audit", "/users", "/me", "/openapi.json"):
        text = (await house.ask("GET", path)).text
        assert made["key"] not in text
        assert made["key"][-48:] not in text
        assert digest.hex() not in text
        assert "digest" not in text


async def test_a_secret_does_not_print(house: House) -> None:
    now_us = house.now_us
    fields = key_fields(KeyRecord(id="key_1", name="a", digest=b""), now_us)
    assert "sk-secret" not in repr(NewKey(**fields, key="sk-secret"))


async def test_keys_of_the_file_are_shown_and_cannot_be_changed(house: House) -> None:
    keys = (await house.ask("GET", "/keys")).json()["data"]
    assert [(key["name"], key["declared"], key["created_at"]) for key in keys] == [
        ("boss", True, None),
        ("books", True, None),
        ("lead", True, None),
        ("app", True, None),
    ]
    declared = (409, "declared_in_file", "id")
    assert await refused(house, "POST", f"/keys/{keys[3]['id']}/revoke") == declared
    assert await refused(house, "POST", f"/keys/{keys[3]['id']}/rotate", {}) == declared
    assert await refused(house, "POST", "/keys", {"name": "app"}) == (409, "declared_in_file", "name")


async def test_a_name_belongs_to_one_current_key(house: House) -> None:
    made = await make(house)
    answer = await house.ask("POST", "/keys", {"name": "new"})
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "name_taken"
    assert made["id"] in answer.json()["error"]["message"]


async def test_a_revoked_key_is_ended_once_and_for_good(house: House) -> None:
    made = await make(house)
    ended = (await house.ask("POST", f"/keys/{made['id']}/revoke")).json()
    assert (ended["state"], ended["revoked_at"]) == ("revoked", "2026-11-20T12:00:00Z")
    house.now_us += 60 * US
    assert (await house.ask("POST", f"/keys/{made['id']}/revoke")).json() == ended
    assert (await house.ask("GET", "/me", key=made["key"])).status_code == 401
    assert await refused(house, "POST", f"/keys/{made['id']}/rotate", {}) == (409, "key_not_current", "id")
    assert await refused(house, "POST", "/keys/key_nobody/revoke") == (404, "object_not_found", "id")


async def test_a_rotation_hands_rights_over_and_keeps_the_end(house: House) -> None:
    made = await make(house, {"team": "sales", "expires": "10d"})
    answer = await house.ask("POST", f"/keys/{made['id']}/rotate", {"overlap": "1h"})
    assert answer.status_code == 201
    new = answer.json()
    assert (new["name"], new["team"], new["expires_at"], new["replaces"]) == (
        "new", "sales", made["expires_at"], made["id"],
    )  # fmt: skip
    assert (new["replaced"]["replaced_by"], new["replaced"]["expires_at"]) == (new["id"], "2026-11-20T13:00:00Z")
    assert "key" not in new["replaced"]
    for secret in (made["key"], new["key"]):
        assert (await house.ask("GET", "/me", key=secret)).status_code == 200
    assert await refused(house, "POST", f"/keys/{made['id']}/rotate", {}) == (409, "key_not_current", "id")
    house.now_us += 20 * 86_400 * US
    assert await refused(house, "POST", f"/keys/{new['id']}/rotate", {}) == (400, "invalid_value", "expires")
    again = (await house.ask("POST", f"/keys/{new['id']}/rotate", {"expires": "1d"})).json()
    assert again["expires_at"] == "2026-12-11T12:00:00Z"


async def test_an_owner_makes_keys_of_the_own_team_with_the_own_rights_at_most(house: House) -> None:
    made = await make(house, role="team_owner")
    # not `*`, which the owner's own key does not have
    assert (made["team"], made["role"], made["endpoints"]) == ("research", "user", ["chat"])
    await house.ask("PUT", "/users/jiro", {"team": "sales"})
    await make(house, {"name": "theirs", "team": "sales", "user": "saburo"})
    assert (await make(house, {"name": "his", "user": "taro"}, role="team_owner"))["user"] == "taro"
    assert (await make(house, {"name": "deputy", "role": "team_owner"}, role="team_owner"))["role"] == "team_owner"
    for wish, param in (
        ({"team": "sales"}, None),
        ({"role": "admin"}, "role"),
        ({"role": "auditor"}, "role"),
        ({"endpoints": ["*"]}, "endpoints"),
        ({"endpoints": ["chat", "small"]}, "endpoints"),
        ({"endpoints": ["local/*"]}, "endpoints"),
        ({"on_behalf": True}, "on_behalf"),
        ({"user": "jiro"}, "user"),
        ({"user": "saburo"}, "user"),
    ):
        body = {"name": "other", **wish}
        assert await refused(house, "POST", "/keys", body, role="team_owner") == (403, "not_granted", param), wish


async def test_an_owner_of_every_endpoint_grants_no_way_around_them(house: House) -> None:
    """`*` is every endpoint of the file; a provider itself is a right of its own."""
    owner = await make(house, {"name": "chief", "team": "research", "role": "team_owner", "endpoints": ["*"]})
    assert (await make(house, {"name": "one"}, key=owner["key"]))["endpoints"] == ["*"]
    assert (await make(house, {"name": "two", "endpoints": ["small"]}, key=owner["key"]))["endpoints"] == ["small"]
    body = {"name": "three", "endpoints": ["chat", "local/*"]}
    assert await refused(house, "POST", "/keys", body, key=owner["key"]) == (403, "not_granted", "endpoints")


async def test_an_owner_who_acts_for_others_may_let_others_do_so(house: House) -> None:
    wish = {"name": "chief", "team": "research", "role": "team_owner", "endpoints": ["chat"], "on_behalf": True}
    owner = await make(house, wish)
    assert (await make(house, {"name": "one", "on_behalf": True}, key=owner["key"]))["on_behalf"] is True


async def test_an_owner_sees_and_ends_keys_of_the_own_team_only(house: House) -> None:
    foreign = await make(house, {"name": "foreign", "team": "sales"})
    loose = await make(house, {"name": "loose"})
    ours = await make(house, {"name": "ours", "team": "research"})
    keys = (await house.ask("GET", "/keys", role="team_owner")).json()["data"]
    assert [key["name"] for key in keys] == ["lead", "app", "ours"]
    for key in (foreign, loose):
        for method, path in (("GET", ""), ("POST", "/revoke"), ("POST", "/rotate")):
            asked = await refused(house, method, f"/keys/{key['id']}{path}", role="team_owner")
            assert asked == (403, "not_granted", None)
    assert (await house.ask("POST", f"/keys/{ours['id']}/revoke", role="team_owner")).status_code == 200


async def test_an_owner_does_not_come_by_rights_through_a_rotation(house: House) -> None:
    """The secret of a successor is shown to whoever rotates."""
    mighty = await make(house, {"name": "mighty", "team": "research", "role": "admin"})
    wide = await make(house, {"name": "wide", "team": "research", "endpoints": ["*"]})
    proxy = await make(house, {"name": "proxy", "team": "research", "endpoints": ["chat"], "on_behalf": True})
    for key, param in ((mighty, "role"), (wide, "endpoints"), (proxy, "on_behalf")):
        asked = await refused(house, "POST", f"/keys/{key['id']}/rotate", {}, role="team_owner")
        assert asked == (403, "not_granted", param)
    assert await refused(house, "POST", f"/keys/{mighty['id']}/revoke", role="team_owner") == (
        403,
        "not_granted",
        "role",
    )
    # to end it gives nothing away
    assert (await house.ask("POST", f"/keys/{wide['id']}/revoke", role="team_owner")).status_code == 200


async def test_an_owner_makes_no_key_whose_calls_stand_under_the_name_of_another_team(house: House) -> None:
    """The requester of a key without a user is the key's name."""
    await make(house, {"name": "theirs", "team": "sales", "user": "saburo"})
    await make(house, {"name": "batch", "team": "sales"})
    await make(house, {"name": "loose"})
    await house.ask("PUT", "/users/jiro", {"team": "sales"})
    for wish, param in (
        ({"name": "saburo"}, "name"),
        ({"name": "jiro"}, "name"),
        ({"name": "other", "user": "batch"}, "user"),
        ({"name": "other", "user": "loose"}, "user"),
    ):
        assert await refused(house, "POST", "/keys", wish, role="team_owner") == (403, "not_granted", param), wish
    # a user of the own team, and a name that nobody has
    assert (await make(house, {"name": "taro"}, role="team_owner"))["user"] is None
    given = await make(house, {"name": "fresh", "team": "research", "endpoints": ["chat"]})
    await house.ask("PUT", "/users/fresh", {"team": "sales"})
    asked = await refused(house, "POST", f"/keys/{given['id']}/rotate", {}, role="team_owner")
    assert asked == (403, "not_granted", "name")


async def test_an_owner_without_a_team_owns_nothing(house: House) -> None:
    made = await make(house, {"role": "team_owner"})
    assert (await house.ask("GET", "/keys", key=made["key"])).json() == {"data": []}
    assert await refused(house, "POST", "/keys", {"name": "x"}, key=made["key"]) == (403, "not_granted", None)
    for path in ("/budgets", "/limits", "/teams", "/users"):
        assert (await house.ask("GET", path, key=made["key"])).json()["data"] == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "a\u200bb"}, "name"),
        ({"name": "a\u3164"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "n" * 65}, "name"),
        ({"name": "*"}, "name"),
        ({"name": "key_0123"}, "name"),
        ({"name": 5}, "name"),
        ({}, "name"),
        ({"name": "a", "team": "reserch"}, "team"),
        ({"name": "a", "user": "\u2800"}, "user"),
        ({"name": "a", "endpoints": []}, "endpoints"),
        ({"name": "a", "endpoints": ["chta"]}, "endpoints"),
        ({"name": "a", "endpoints": ["local/m"]}, "endpoints"),
        ({"name": "a", "endpoints": ["nobody/*"]}, "endpoints"),
        ({"name": "a", "endpoints": "chat"}, "endpoints"),
        ({"name": "a", "endpoints": [1]}, "endpoints[0]"),
        ({"name": "a", "role": "emperor"}, "role"),
        ({"name": "a", "role": "Admin"}, "role"),
        ({"name": "a", "expires": "tomorrow"}, "expires"),
        ({"name": "a", "expires": "0d"}, "expires"),
        ({"name": "a", "expires": "-1d"}, "expires"),
        ({"name": "a", "on_behalf": "yes"}, "on_behalf"),
        ({"name": "a", "key": "sk-mine"}, "key"),
        ({"name": "a", "digest": "00"}, "digest"),
        ({"name": "a", "declared": True}, "declared"),
    ],
)
async def test_a_wrong_wish_is_told_with_its_field(house: House, body: dict[str, Any], param: str) -> None:
    for language in ("en", "ja"):
        answer = await house.ask("POST", "/keys", body, headers={"accept-language": language})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_value", param)
        assert param in error["message"]
        assert ("修正" in error["message"]) == (language == "ja")
    assert (await house.ask("GET", "/audit")).json()["data"] == []


async def test_every_change_of_a_key_is_in_the_audit_with_who_made_it(house: House) -> None:
    made = await make(house, role="team_owner")
    await house.ask("POST", f"/keys/{made['id']}/rotate", {}, role="team_owner")
    await house.ask("POST", f"/keys/{made['id']}/revoke", role="admin")
    entries = (await house.ask("GET", "/audit", role="auditor")).json()["data"]
    assert [(entry["action"], entry["actor"]["name"], entry["actor"]["role"]) for entry in entries] == [
        ("key.revoke", "boss", "admin"),
        ("key.rotate", "lead", "team_owner"),
        ("key.create", "lead", "team_owner"),
    ]
    created = entries[2]
    assert (created["object_id"], created["before"], created["after"]["name"]) == (made["id"], None, "new")
    assert created["request_id"].startswith("req_")
    assert created["at"] == "2026-11-20T12:00:00Z"
