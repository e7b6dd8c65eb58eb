"""What the tests of the documentation share: a demo for each language, one process for Python snippets, an option.

`pytest tests/docs --docs-update` writes the help texts of docs/reference/commands.md; read the difference.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docs.workspace import Demo, Demos, Worker


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--docs-update", action="store_true", default=False, help="rewrite docs/reference/commands.md")


@pytest.fixture
def docs_update(request: pytest.FixtureRequest) -> bool:
    # the option is known only where this folder was named on the command line
    return bool(request.config.getoption("--docs-update", default=False))


@pytest.fixture(scope="session")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demos]:
    all_of_them = Demos(tmp_path_factory.mktemp("demos"))
    yield all_of_them
    all_of_them.close()


@pytest.fixture(scope="session")
def demo(demos: Demos) -> Demo:
    """The one that speaks English."""
    return demos.speaking("en")


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    one = Worker()
    yield one
    one.close()
