"""Every route of the table x every role x every carrier of a key: who may, may; whoever else asks, may not.

Generated from the router: a route that is added is in it at once.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.support.admin import ADMIN_KEY, CONFIG, KEYS, House, admin_house

from sekisho.entrypoints.http.admin.access import ROLES
from sekisho.entrypoints.http.admin.routes import Route, checked, table

ROUTES = table()
CARRIERS: dict[str, Any] = {
    "Bearer": lambda key: {"headers": {"authorization": f"Bearer {key}"}},
    "bearer": lambda key: {"headers": {"Authorization": f"bearer {key}"}},
    "x-api-key": lambda key: {"headers": {"x-api-key": key}},
    "x-goog-api-key": lambda key: {"headers": {"X-Goog-Api-Key": key}},
    "api-key": lambda key: {"headers": {"api-key": key}},
}
NOT_CARRIERS: dict[str, Any] = {
    "nothing": lambda _: {},
    "cookie": lambda key: {"headers": {"cookie": f"key={key}; authorization=Bearer {key}; x-api-key={key}"}},
    "query key": lambda key: {"params": {"key": key}},
    "query api_key": lambda key: {"params": {"api_key": key, "x-api-key": key, "access_token": key}},
    "basic": lambda key: {"headers": {"authorization": f"Basic {key}"}},
    "bare": lambda key: {"headers": {"authorization": key}},
    "proxy": lambda key: {"headers": {"proxy-authorization": f"Bearer {key}"}},
    "body": lambda key: {"content": msgspec.json.encode({"key": key}), "headers": {"content-type": "application/json"}},
    "wrong": lambda key: {"headers": {"authorization": f"Bearer {key}x"}},
    "twice, unlike": lambda key: {"headers": [("x-api-key", key), ("x-api-key", f"{key}x")]},
    "empty": lambda _: {"headers": {"authorization": "Bearer "}},
}
#: what a route needs to come to the question of roles at all
NAMES = {"id": "none_such", "name": "nobody"}


def path_of(route: Route) -> str:
    return re.sub(r"\{(\w+)(?::path)?\}", lambda name: NAMES[name[1]], route.path)


async def send(house: House, route: Route, carried: dict[str, Any]) -> httpx.Response:
    return await house.client.request(route.method, path_of(route), **carried)


async def test_every_route_lets_in_its_roles_by_every_carrier_and_nobody_else(house: House) -> None:
    asked = 0
    for route, role, carrier in product(ROUTES, ROLES, CARRIERS):
        answer = await send(house, route, CARRIERS[carrier](KEYS[role]))
        where = f"{role} {carrier} {route.method} {route.path}: {answer.text}"
        if role in route.roles:
            # let in: what it then says of an empty body or an unknown id is not the matter here
            code = answer.json()["error"]["code"] if answer.is_error else None
            assert code in (None, "invalid_value", "object_not_found", "not_granted"), where
            assert answer.status_code not in (401, 405, 500), where
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "role_not_allowed"), where
        asked += 1
    assert asked == len(ROUTES) * len(ROLES) * len(CARRIERS) > 400


async def test_the_key_of_the_installation_opens_every_route(house: House) -> None:
    for route, carrier in product(ROUTES, CARRIERS):
        answer = await send(house, route, CARRIERS[carrier](ADMIN_KEY))
        assert answer.status_code not in (401, 403, 405, 500), f"{carrier} {route.path}"


async def test_nothing_else_carries_a_key(house: House) -> None:
    for route, carrier in product(ROUTES, NOT_CARRIERS):
        for key in (ADMIN_KEY, KEYS["admin"]):
            answer = await send(house, route, NOT_CARRIERS[carrier](key))
            where = f"{carrier} {route.method} {route.path}: {answer.text}"
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key"), where
    assert (await house.ask("GET", "/audit")).json()["data"] == []


async def test_two_different_keys_are_a_mistake(house: House) -> None:
    answer = await house.ask("GET", "/me", headers={"x-api-key": KEYS["user"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "conflicting_credentials")


@pytest.mark.parametrize("path", ["", "/", "/nothing", "/keys/a/b/c", "//keys", "/keys/", "/%2e%2e/keys"])
async def test_whoever_has_no_key_is_not_told_which_routes_there_are(house: House, path: str) -> None:
    assert (await house.ask("GET", path, role=None)).status_code == 401
    answer = await house.ask("GET", path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_other_methods_are_told_which_there_are(house: House) -> None:
    for path in {route.path for route in ROUTES}:
        allowed = sorted(route.method for route in ROUTES if route.path == path)
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "POST", "PATCH", "DELETE", "TRACE"):
            if method in allowed:
                continue
            route = next(route for route in ROUTES if route.path == path)
            answer = await house.ask(method, path_of(route))
            assert answer.status_code == 405, f"{method} {path}"
            assert sorted(answer.headers["allow"].split(", ")) == allowed
            assert (await house.ask(method, path_of(route), role=None)).status_code == 401


async def test_it_is_closed_while_nobody_may_administer(empty: Path, tmp_path: Path) -> None:
    nobody = CONFIG.replace("role: admin", "role: user")
    async with admin_house(empty, tmp_path, nobody) as house:
        for route, role in product(ROUTES, (*ROLES, None)):
            answer = await house.ask(route.method, path_of(route), role=role)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "admin_closed")


async def test_the_key_of_a_lapsed_administrator_opens_nothing(empty: Path, tmp_path: Path) -> None:
    lapsed = CONFIG.replace("role: admin}", 'role: admin, expires: "2020-01-01"}')
    assert lapsed != CONFIG
    async with admin_house(empty, tmp_path, lapsed) as house:
        assert (await house.ask("GET", "/me", role="auditor")).json()["error"]["code"] == "admin_closed"


async def test_an_administrators_key_is_enough_to_open(empty: Path, tmp_path: Path) -> None:
    async with admin_house(empty, tmp_path, CONFIG) as house:
        assert (await house.ask("GET", "/keys")).status_code == 200
        assert (await house.ask("GET", "/keys", key=ADMIN_KEY)).status_code == 401


async def test_a_role_that_nobody_knows_may_do_nothing(house: House) -> None:
    made = (await house.ask("POST", "/keys", {"name": "odd"})).json()
    with house.keys._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE keys SET role = 'emperor'")
        connection.exec_driver_sql("UPDATE control_version SET version = version + 1")
    for route in ROUTES:
        answer = await house.ask(route.method, path_of(route), key=made["key"])
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "role_not_allowed")


@pytest.mark.parametrize("roles", [frozenset(), frozenset({"emperor"})])
def test_a_route_that_does_not_say_who_may_use_it_does_not_start(roles: Any) -> None:
    with pytest.raises(ValueError, match="does not say which roles"):
        checked((*ROUTES, msgspec.structs.replace(ROUTES[0], path="/more", roles=roles)))
    with pytest.raises(ValueError, match="the same"):
        checked((*ROUTES, ROUTES[0]))


async def test_what_is_described_is_what_is_served(house: House) -> None:
    for role in ROLES:
        answer = await house.ask("GET", "/openapi.json", role=role)
        assert answer.status_code == 200
        paths = answer.json()["paths"]
        served = {
            (route.method.lower(), re.sub(r":path", "", f"/admin{route.path}")) for route in house.application.routes
        }
        assert {(method, path) for path, methods in paths.items() for method in methods} == served
        assert paths["/admin/stops"]["post"]["x-roles"] == ["admin"]


async def test_the_description_holds_together(house: House) -> None:
    text = (await house.ask("GET", "/openapi.json")).text
    described = msgspec.json.decode(text)
    names = [one["operationId"] for methods in described["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names))
    wanted = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert wanted == described["components"]["schemas"].keys()
    # a body with a field that is not described is refused, and the description says so
    assert described["components"]["schemas"]["BudgetForm"]["additionalProperties"] is False
