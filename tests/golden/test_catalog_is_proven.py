"""A provider without golden files or documentation is not supported, whatever its row says."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.providers.catalog import CATALOG, ProviderRow

from .golden_files import golden_paths, load

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "providers.md"
GOLDENS = [load(path) for path in golden_paths()]


@pytest.mark.parametrize("row", CATALOG.values(), ids=lambda row: row.name)
def test_every_provider_has_golden_files_for_a_plain_answer_and_a_stream(row: ProviderRow) -> None:
    own = [golden for golden in GOLDENS if golden.provider == row.name and golden.path.parent.name == row.dialect]
    answered = [golden.upstream_response for golden in own if golden.upstream_response.status == 200]
    assert any(response.events is None for response in answered)
    assert any(response.events is not None for response in answered)


@pytest.mark.parametrize("row", CATALOG.values(), ids=lambda row: row.name)
def test_every_provider_has_its_heading_and_address_in_the_documentation(row: ProviderRow) -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert f"\n## {row.label}\n" in text
    section = text.split(f"\n## {row.label}\n")[1].split("\n## ")[0]
    assert f"`type: {row.name}`" in section
    assert row.base_url in section
    assert row.docs_url in section


def test_every_golden_file_names_a_provider_of_the_catalog() -> None:
    assert {golden.provider for golden in GOLDENS} <= CATALOG.keys()
