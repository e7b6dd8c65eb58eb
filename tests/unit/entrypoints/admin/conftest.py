"""One house a test, over a copy of one migrated database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.admin import House, admin_house, empty_database


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty_database(tmp_path_factory.mktemp("control"))


@pytest.fixture
async def house(empty: Path, tmp_path: Path) -> AsyncIterator[House]:
    async with admin_house(empty, tmp_path) as one:
        yield one
