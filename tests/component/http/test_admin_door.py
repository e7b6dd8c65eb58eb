"""`/admin` through both doors of a running gateway: found, loaded when it is asked for, and 503 while its database is
away; the rest of the gateway is not touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.admin import ADMIN_KEY, admin_house, empty_database
from tests.support.gateway import DOORS, Door, running_gateway

from sekisho.mock.server import MockProvider
from sekisho.stores.ports import StoreUnavailable


@pytest.mark.parametrize("door", DOORS)
async def test_it_is_reached_through_both_doors_and_survives_a_sick_database(door: Door, tmp_path: Path) -> None:
    asked = 0
    async with admin_house(empty_database(tmp_path), tmp_path) as house, MockProvider() as mock:

        def office() -> Any:
            nonlocal asked
            asked += 1
            if asked == 1:
                raise StoreUnavailable("the database is being restarted")
            return house.office

        async with running_gateway(mock, door=door, office=office) as gateway, httpx.AsyncClient() as client:
            auth = {"authorization": f"Bearer {ADMIN_KEY}", "accept-language": "ja"}
            assert asked == 0
            away = await client.get(f"{gateway.url}/admin/keys", headers=auth)
            assert (away.status_code, away.json()["error"]["code"]) == (503, "store_unavailable")
            assert away.headers["retry-after"] == "1"
            put = await client.put(f"{gateway.url}/admin/teams/%E5%96%B6%2F%E6%A5%AD", headers=auth, json={})
            assert (put.status_code, put.json()["name"]) == (201, "営/業")
            assert (await client.get(f"{gateway.url}/admin/keys")).status_code == 401
            missing = await client.get(f"{gateway.url}/admin/nothing", headers=auth)
            assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
            assert asked == 2
            # the key of the installation opens nothing else
            models = await client.get(f"{gateway.url}/v1/models", headers=auth)
            assert models.status_code == 401
            assert gateway.rows == []


def test_nothing_of_it_is_loaded_before_it_is_asked_for() -> None:
    """What a start imports, and what plain routes do."""
    program = (
        "import sys, sekisho.app.serving, sekisho.app.reload, sekisho.entrypoints.http.asgi;"
        "heavy = ('sqlalchemy', 'alembic', 'sekisho.entrypoints.http.admin');"
        "loaded = [one for one in sys.modules if one.startswith(heavy)];"
        "sys.exit(repr(loaded) if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
