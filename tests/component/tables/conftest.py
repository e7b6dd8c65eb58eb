"""An S3 endpoint for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.s3 import Door, S3Server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def door(s3_server: S3Server) -> Iterator[Door]:
    door = Door(s3_server)
    yield door
    door.close()


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.bucket()
