"""What tests of stores share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.redis_server import RedisServer


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with RedisServer() as one:
        yield one
