"""The option that rewrites the golden files: `pytest tests/golden --golden-update`, then read the difference."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-update", action="store_true", default=False, help="rewrite the parts of golden files that we make"
    )


@pytest.fixture
def golden_update(request: pytest.FixtureRequest) -> bool:
    # the option is known only where this folder was named on the command line
    return bool(request.config.getoption("--golden-update", default=False))
