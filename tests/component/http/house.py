"""One gateway for all tests of a module, both doors after one another: starting and stopping one costs 0.2 s."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.gateway import CONFIG, DOORS, Door, Gateway, running_gateway

from sekisho.mock.server import MockProvider

#: shorter waits for providers, a limit of bodies that tests can reach
QUICK = CONFIG.replace(
    "first_token_s: 1, idle_s: 1, total_s: 5", "first_token_s: 0.5, idle_s: 0.5, total_s: 1.5"
).replace("language: en", "language: en\nserver: {keepalive_s: 5, max_body_mb: 12}")
QUICK = QUICK.replace(
    "  unpriced:",
    """  second-hangs:
    targets: [{provider: mock, model: "mock?status=500"}]
    fallbacks: [{provider: mock, model: "mock?hang=1"}]
  unpriced:""",
)
assert "keepalive_s" in QUICK
assert "second-hangs" in QUICK
assert "total_s: 1.5" in QUICK


@pytest.fixture(scope="module", params=DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    """Both ways in, each for the whole module."""
    return request.param


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(door: Door) -> AsyncIterator[Gateway]:
    """The gateway of this module."""
    async with MockProvider() as mock, running_gateway(mock, door=door, config=QUICK) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def gateway(house: Gateway) -> AsyncIterator[Gateway]:
    """The same gateway with empty books; they are checked after the test."""
    tally = house.pipeline.tally
    house.rows.clear()
    tally.models.clear()
    tally.rows.update(dict.fromkeys(tally.rows, 0))
    house.mock.reset()
    house.counting.begin_anew()
    yield house
    await house.until(lambda: tally.in_flight == 0)
    house.check_books()
