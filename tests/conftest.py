"""Fixtures every level may use. The gateway under test is the real one on loopback, with a list instead of a spool."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, settings

from sekisho.mock.server import MockProvider
from tests.support.gateway import DOORS, Door, Gateway, running_gateway

# Whoever runs the tests may have a Japanese terminal: a test that wants Japanese says so itself.
for _name in ("LC_ALL", "LC_MESSAGES", "LANG"):
    if os.environ.get(_name, "").startswith("ja"):
        del os.environ[_name]

# How long an example takes says something about the machine, not about the code.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.fixture
async def mock() -> AsyncIterator[MockProvider]:
    async with MockProvider() as provider:
        yield provider


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    """Both ways in: the hot protocol class and the plain ASGI application."""
    return request.param


@pytest.fixture
async def gateway(mock: MockProvider, door: Door) -> AsyncIterator[Gateway]:
    """A gateway in front of the mock provider, with the configuration of `tests.support.gateway.CONFIG`."""
    async with running_gateway(mock, door=door) as one:
        yield one
        one.check_books()
