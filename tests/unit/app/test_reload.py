"""What a changed file says that a running gateway cannot change: told when it has changed, and only then."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sekisho.app.reload import Reloader
from sekisho.app.settings import Settings, load
from sekisho.costs.prices import PriceBook
from sekisho.stores.memory import MemoryKeyStore
from sekisho.stores.ports import StoreUnavailable
from sekisho.tables.spent import SpentUnknown

_FILE = """
providers: {local: {type: vllm, base_url: "https://llm.example/v1"}}
data_dir: data
state: {url: "redis://:${env:REDIS_PASSWORD}@redis.example"}
database: {url: "postgresql://sekisho:${env:PG_PASSWORD}@db.example/sekisho"}
tables:
  url: s3://rows
  s3: {region: ap-northeast-1, access_key_id: "${env:S3_KEY}", secret_access_key: "${env:S3_SECRET}"}
"""
_ENVIRON = {
    "REDIS_PASSWORD": "redis-password-1",
    "PG_PASSWORD": "pg-password-2",
    "S3_KEY": "s3-key-secret-3",
    "S3_SECRET": "s3-secret-secret-4",
}


class _Limits:
    """Rules that may not change."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault

    async def change(self, settings: Settings, key_names: Mapping[str, str]) -> None:
        if self.fault is not None:
            raise self.fault

    def planner(self) -> None:
        return None


async def _told(folder: Path, change: Callable[[str, dict[str, str]], str], caplog: pytest.LogCaptureFixture) -> str:
    """What the log says of a restart when a running gateway sees the changed file."""
    path, environ = folder / "sekisho.yaml", dict(_ENVIRON)
    path.write_text(_FILE)

    def read() -> Settings:
        return load(path, environ=environ)

    running: Any = SimpleNamespace(settings=read(), pipeline=SimpleNamespace(snapshot=None), limits=_Limits())
    keys = MemoryKeyStore()
    prices = PriceBook(folder / "prices.json")
    reloader = Reloader(running, keys, keys.version(), prices, b"p" * 32, read, path)
    path.write_text(change(_FILE, environ))
    os.utime(path, (1, 1))
    with caplog.at_level(logging.WARNING, "sekisho.app"):
        await reloader.look()
    assert running.pipeline.snapshot is not None
    return " ".join(record.getMessage() for record in caplog.records if "restart" in record.getMessage())


async def test_secrets_that_are_the_same_take_no_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert await _told(tmp_path, lambda text, _: text + "log_level: debug\n", caplog) == ""


@pytest.mark.parametrize(
    ("variable", "section"),
    [("REDIS_PASSWORD", "state_url"), ("PG_PASSWORD", "database_url"), ("S3_SECRET", "tables")],
)
async def test_a_new_password_takes_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, variable: str, section: str
) -> None:
    def change(text: str, environ: dict[str, str]) -> str:
        environ[variable] = "another-secret-5"
        return text

    told = await _told(tmp_path, change, caplog)
    assert f"`{section}` has changed" in told
    assert told.count("restart") == 1
    assert "another-secret-5" not in caplog.text


@pytest.mark.parametrize("fault", [SpentUnknown("no rows"), StoreUnavailable("no server")])
async def test_budgets_that_cannot_be_kept_leave_the_old_configuration(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    path = tmp_path / "sekisho.yaml"
    path.write_text(_FILE)
    old = load(path, environ=_ENVIRON)
    running: Any = SimpleNamespace(settings=old, pipeline=SimpleNamespace(snapshot="old"), limits=_Limits(fault))
    keys = MemoryKeyStore()
    prices = PriceBook(tmp_path / "prices.json")
    reloader = Reloader(running, keys, keys.version(), prices, b"p" * 32, lambda: load(path, environ=_ENVIRON), path)
    path.write_text(_FILE + "log_level: debug\n")
    os.utime(path, (1, 1))
    with caplog.at_level(logging.ERROR, "sekisho.app"):
        await reloader.look()
    assert (running.settings, running.pipeline.snapshot) == (old, "old")
    assert str(fault) in caplog.text
