"""Rows of the catalog, and the credentials they ask for."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from genai_prices.data import providers as priced_providers

from sekisho.domain.http import Secret
from sekisho.providers.catalog import (
    CATALOG,
    CHAT_DIALECTS,
    EMBEDDINGS_DIALECTS,
    ProviderRow,
    chat_dialect,
    embeddings_dialect,
)
from sekisho.providers.signing import sign

ROWS = pytest.mark.parametrize("row", CATALOG.values(), ids=lambda row: row.name)


@ROWS
def test_a_row_names_things_that_exist(row: ProviderRow) -> None:
    assert row.dialect in CHAT_DIALECTS
    assert row.embeddings in EMBEDDINGS_DIALECTS
    assert chat_dialect(row) is not None
    assert embeddings_dialect(row) is not None
    assert sign(row, Secret("sk-1"))
    assert row.price_provider is None or row.price_provider in {provider.id for provider in priced_providers}


@ROWS
def test_only_a_row_on_this_machine_may_do_without_tls_and_key(row: ProviderRow) -> None:
    parts = urlsplit(row.base_url)
    assert not row.base_url.endswith("/")
    if row.local:
        assert parts.hostname == "127.0.0.1"
    else:
        assert parts.scheme == "https"
        assert row.needs_key


@ROWS
def test_a_row_says_where_it_is_documented(row: ProviderRow) -> None:
    assert row.docs_url.startswith("https://")
    assert row.label


def test_a_key_goes_into_one_header() -> None:
    assert sign(CATALOG["openai"], Secret("sk-1")) == {"authorization": "Bearer sk-1"}


@pytest.mark.parametrize("text", ["sk\r\nx: y", "sk\n", " sk", "sk鍵", "sk\x00"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="characters that cannot stand in a header") as caught:
        sign(CATALOG["openai"], Secret(text))
    assert text not in str(caught.value)
