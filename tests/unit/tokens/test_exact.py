"""Exact counts by the extra `sekisho[tokens]`."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.unit.tokens.counted import counted

from sekisho.tokens import exact


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("openai/gpt-5.4", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("text-embedding-3-large", "cl100k_base"),
        ("claude-sonnet-4-5", None),
        ("gemini-2.5-pro", None),
        ("mistral-large-latest", None),
    ],
)
def test_a_model_has_the_vocabulary_of_its_family(model: str, encoding: str | None) -> None:
    assert exact.encoding_of(model) == encoding


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="rs-bpe has no wheel for this Python")
@pytest.mark.parametrize(("model", "vocabulary"), [("gpt-4o", "o200k"), ("gpt-4", "cl100k")])
def test_the_extra_counts_exactly_and_without_the_network(model: str, vocabulary: str) -> None:
    count = exact.counter_for(model)
    assert count is not None, "the extra belongs to the packages that tests need"
    assert all(count(piece.text) == piece.tokens[vocabulary] for piece in counted())


def test_a_model_that_is_not_public_has_no_exact_count() -> None:
    assert exact.counter_for("claude-haiku-4-5") is None


def test_without_the_extra_there_is_no_exact_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rs_bpe.bpe", None)
    assert exact.counter_for("gpt-4o") is None


def test_estimates_do_not_load_the_vocabularies() -> None:
    code = (
        "import sys; import sekisho.tokens.answer, sekisho.tokens.calibration, sekisho.tokens.exact; "
        "import sekisho.tokens.request; sys.exit('rs_bpe' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
