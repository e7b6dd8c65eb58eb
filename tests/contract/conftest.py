"""Databases that the contract suites share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.postgres_server import PostgresServer

from sekisho.stores.migrate import migrate, migrate_postgres


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("control") / "control.db"
    migrate(path)
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a migrated database."""
    with PostgresServer() as server:
        url = server.new_url()
        migrate_postgres(url)
        yield url
