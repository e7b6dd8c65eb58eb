"""What pages and messages tell people to install can be installed: Sekisho itself is in no package index."""

from __future__ import annotations

import re
import tomllib

from tests.docs.pages import PAGES, ROOT, name_of

#: uv makes `.venv` without pip, so that a bare `pip` is another environment's
EXTRA = re.compile(r"\.uv/bin/uv pip install --python \.venv -e '\.\[([a-z]+)\]'")
FROM_AN_INDEX = re.compile(r"pip install (?:--?\S+ )*['\"]?sekisho\b")
SAID = [*PAGES, *sorted((ROOT / "src").rglob("*.py"))]


def test_nothing_says_to_install_sekisho_from_a_package_index() -> None:
    """Whoever takes that name there could be anybody."""
    assert [name_of(page) for page in SAID if FROM_AN_INDEX.search(page.read_text())] == []


def test_extras_that_are_to_be_installed_are_there() -> None:
    there = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    said = {extra for page in SAID for extra in EXTRA.findall(page.read_text())}
    assert {"redis", "postgresql"} <= said <= set(there)
