"""64 clients at once on a budget of 0.10 USD; see `budget_race` for more runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.endurance.budget_race import on_memory, on_redis, verdict
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as one:
        yield one


@pytest.mark.parametrize("seed", range(5))
async def test_a_budget_is_used_up_and_not_overspent_by_one_worker(seed: int) -> None:
    assert verdict(*await on_memory(seed)).broken == []


@pytest.mark.parametrize("seed", range(2))
async def test_a_budget_is_used_up_and_not_overspent_by_four_workers(server: RedisServer, seed: int) -> None:
    assert verdict(*await on_redis(server, seed)).broken == []
