"""JSON with halves of characters becomes JSON without, and nothing else in it changes."""

from __future__ import annotations

import json
import re

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sekisho.formats.halves import with_whole_characters

PIECES = st.sampled_from(["\ud83d", "\ude00", "\\", "\\ud83d", '"', "関", "a", "\n", "😀", "u"])


@given(st.lists(PIECES).map("".join))
def test_every_half_becomes_the_sign_for_what_cannot_be_read(text: str) -> None:
    """Python joins halves that stand side by side, as JSON does."""
    whole = re.sub(
        "[\ud800-\udfff]", "\ufffd", text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    )
    assert msgspec.json.decode(with_whole_characters(json.dumps([text]).encode())) == [whole]


def test_what_has_no_halves_stays_as_it_is() -> None:
    body = rb'{"a":"\\ud83d \ud83d\ude00 \u00e9 \" \\\\ud83d"}'
    assert with_whole_characters(body) == body
