"""A gateway whose control database belongs to another pepper says so at its start, and not by 401 to every key."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.crash.house import SEKISHO, Gateway, Mock, wait_for

from sekisho.stores.pepper import FILE_NAME

ANOTHER = bytes(32)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    mock = Mock(tmp_path)
    one = Gateway(tmp_path, mock)
    yield one
    one.kill_everything()
    mock.close()


def new_key(gateway: Gateway) -> str:
    words = [str(SEKISHO), "keys", "create", "--config", str(gateway.config), "--name", "app"]
    ended = subprocess.run(words, env=gateway._environ, capture_output=True, check=True, text=True)
    (key,) = re.findall(r"sk-seki-[0-9A-Za-z]{12}-[0-9A-Za-z]{48}", ended.stdout)
    return key


def marks(gateway: Gateway) -> int:
    with closing(sqlite3.connect(gateway.data_dir / "control.db")) as connection:
        return connection.execute("SELECT count(*) FROM key_pepper").fetchone()[0]


def models(gateway: Gateway, key: str) -> int:
    asked = urllib.request.Request(f"{gateway.url}/v1/models", headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return answer.status


async def refuses(gateway: Gateway) -> str:
    (gateway.data_dir / FILE_NAME).write_bytes(ANOTHER)
    gateway.spawn()
    assert await gateway.ended() == 2
    return gateway.log_tail()


async def test_a_gateway_does_not_start_with_the_pepper_of_another_one(gateway: Gateway) -> None:
    new_key(gateway)
    assert marks(gateway) == 1, "made together with the first key"
    said = await refuses(gateway)
    assert f"is another one than that of the keys in {gateway.data_dir / 'control.db'}\n    -> restore it from" in said
    assert gateway.mistakes() == []


async def test_a_database_of_before_is_marked_when_one_of_its_keys_has_been_used(gateway: Gateway) -> None:
    key = new_key(gateway)
    pepper = (gateway.data_dir / FILE_NAME).read_bytes()
    with closing(sqlite3.connect(gateway.data_dir / "control.db")) as connection, connection:
        connection.execute("DELETE FROM key_pepper")
    # it goes on, as before, and so does one with the wrong pepper, which can be put right
    for found in (ANOTHER, pepper):
        (gateway.data_dir / FILE_NAME).write_bytes(found)
        await gateway.start()
        assert marks(gateway) == 0
        if found == pepper:
            assert models(gateway, key) == 200
            wait_for(lambda: marks(gateway) == 1, "the database has a mark")
        assert await gateway.stop() == 0
    assert "is another one" in await refuses(gateway)
