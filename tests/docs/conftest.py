"""What the tests of the documentation share: one demo, one process for Python snippets, and the option to rewrite.

`pytest tests/docs --docs-update` writes the help texts of docs/reference/commands.md; read the difference.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docs.workspace import Demo, Worker


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--docs-update", action="store_true", default=False, help="rewrite docs/reference/commands.md")


@pytest.fixture
def docs_update(request: pytest.FixtureRequest) -> bool:
    # the option is known only where this folder was named on the command line
    return bool(request.config.getoption("--docs-update", default=False))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    one = Demo(tmp_path_factory.mktemp("demo"))
    yield one
    one.close()


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    one = Worker()
    yield one
    one.close()
