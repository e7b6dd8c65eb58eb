"""Which store keeps answers, by the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.app.idempotency import open_idempotency
from sekisho.app.settings import parse
from sekisho.ledger.tally import Tally
from sekisho.stores.redis_idempotency import RedisIdempotency
from sekisho.stores.sql_idempotency import SqlIdempotency

CONFIG = """
data_dir: ./data
providers: {mock: {type: openai, base_url: "http://127.0.0.1:9/v1", allow_private: true}}
endpoints: {chat: {targets: [{provider: mock, model: m}]}}
"""


@pytest.mark.parametrize(
    ("lines", "store", "place"),
    [
        ("", SqlIdempotency, "_File"),
        ('database: {url: "postgresql://sekisho@127.0.0.1:9/x"}', SqlIdempotency, "_Server"),
        ('state: {url: "unix:///nowhere/redis.sock"}', RedisIdempotency, None),
        (
            'database: {url: "postgresql://sekisho@127.0.0.1:9/x"}\nstate: {url: "unix:///nowhere/redis.sock"}',
            RedisIdempotency,
            None,
        ),
    ],
    ids=["file", "postgresql", "redis", "redis-beside-postgresql"],
)
async def test_the_store_that_is_shared_by_all_who_serve(
    tmp_path: Path, lines: str, store: type, place: str | None
) -> None:
    tally = Tally()
    one = await open_idempotency(parse(CONFIG + lines, base_dir=tmp_path), b"p" * 32, tally)
    assert type(one._store) is store
    if isinstance(one._store, SqlIdempotency):
        assert type(one._store._database).__name__ == place
    assert set(tally.idempotency.values()) == {0}, "metrics are there before the first key"
    await one.close()
    assert not (tmp_path / "data").exists(), "nothing is made before the first key"
