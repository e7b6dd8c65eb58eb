"""`/admin` without a server: the real application over a real SQLite database, with an installation in memory."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount

from sekisho.app.admin import declared_of
from sekisho.app.build import build_keyring
from sekisho.app.limits import rules_of
from sekisho.app.settings import Settings, parse
from sekisho.entrypoints.http.admin.access import Door
from sekisho.entrypoints.http.admin.application import AdminApplication
from sekisho.entrypoints.http.admin.desk import Desk
from sekisho.entrypoints.http.admin.live import Counted
from sekisho.entrypoints.http.admin.wiring import Office
from sekisho.entrypoints.http.intake import Clock
from sekisho.gateway.policies.authentication import Keyring
from sekisho.stores.memory_counters import MemoryCounters
from sekisho.stores.migrate import migrate
from sekisho.stores.sql_control import SqlControlStore
from sekisho.stores.sql_engine import sqlite_engine
from sekisho.stores.sql_keys import SqlKeyStore

PEPPER = b"p" * 32
ADMIN_KEY = "the-admin-key-0123456789"
#: a key by the role it has
KEYS = {
    "admin": "boss-key-0123456789abcdef",
    "auditor": "audit-key-0123456789abcdef",
    "team_owner": "owner-key-0123456789abcdef",
    "user": "taro-key-0123456789abcdef",
}
CONFIG = f"""
timezone: Asia/Tokyo
fx: {{usd_jpy: 150}}
providers:
  local: {{type: openai, base_url: "https://llm.example.com/v1"}}
endpoints:
  chat: {{targets: [{{provider: local, model: m}}]}}
  small: {{targets: [{{provider: local, model: s}}]}}
teams:
  research: {{department: rd}}
  sales: {{department: front}}
keys:
  - {{name: boss, key: {KEYS["admin"]}, role: admin}}
  - {{name: books, key: {KEYS["auditor"]}, role: auditor}}
  - {{name: lead, key: {KEYS["team_owner"]}, role: team_owner, team: research, user: hanako, endpoints: [chat]}}
  - {{name: app, key: {KEYS["user"]}, team: research, user: taro}}
budgets:
  - {{scope: {{team: "*"}}, usd: 100}}
  - {{scope: {{organisation: "*"}}, usd: 1000}}
limits:
  - {{scope: {{team: research}}, qpm: 60}}
"""
WITH_ADMIN = CONFIG + f"admin: {{key: {ADMIN_KEY}}}\n"


class House:
    """What a test holds of it. Times stand still unless they are moved."""

    def __init__(self, settings: Settings, database: Path) -> None:
        self.settings = settings
        engine = sqlite_engine(database)
        self.keys, self.control = SqlKeyStore(engine, self._now_us), SqlControlStore(engine, self._now_us)
        self.now_us = 1_795_176_000_000_000
        #: of the counters
        self.now_s: Callable[[], float] = lambda: 0.0
        self.counters: Any = MemoryCounters(ZoneInfo(settings.timezone), lambda _: None, 0.0, self.now_us / 1e6)
        self.desk = Desk(
            lambda: declared_of(self.settings, PEPPER), self.keys, self.control, PEPPER, now_us=self._now_us
        )
        self.office = office = Office(
            door=Door(PEPPER, self.keyring, lambda: self.settings.admin_key),
            desk=self.desk,
            counted=lambda: Counted(
                rules=rules_of(self.settings, self.control.control()),
                counters=self.counters,
                now_s=self.now_s,
            ),
            language=lambda: "en",
        )
        self.application = AdminApplication(office, _StillClock(self._now_us))
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(Starlette(routes=[Mount("/admin", self.application)])),
            base_url="http://gateway/admin",
        )
        self._ring: tuple[int, Keyring] | None = None

    def keyring(self) -> Keyring:
        """Of the file and the database, as a running gateway has it a moment after a change."""
        version = self.keys.version()
        if self._ring is None or self._ring[0] != version:
            self._ring = version, build_keyring(self.settings, PEPPER, self.keys.all(), self.control.control())
        return self._ring[1]

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        role: str | None = "admin",
        key: str | None = None,
        **more: Any,
    ) -> httpx.Response:
        """Asked with the key of a role, or with `key`."""
        secret = key if key is not None else KEYS.get(role or "")
        headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
        if body is not None:
            more["json"] = body
        return await self.client.request(method, path, headers={**headers, **more.pop("headers", {})}, **more)

    def _now_us(self) -> int:
        return self.now_us


class _StillClock(Clock):
    def __init__(self, now_us: Callable[[], int]) -> None:
        super().__init__()
        self._now_us = now_us

    def wall_us(self) -> int:
        return self._now_us()


def empty_database(folder: Path) -> Path:
    """A migrated database, to be copied: a migration takes a third of a second."""
    path = folder / "empty.db"
    migrate(path)
    return path


@asynccontextmanager
async def admin_house(empty: Path, folder: Path, config: str = WITH_ADMIN) -> AsyncIterator[House]:
    database = folder / "control.db"
    shutil.copyfile(empty, database)
    house = House(parse(config, base_dir=folder, environ={}, demo=True), database)
    async with house.client:
        yield house
