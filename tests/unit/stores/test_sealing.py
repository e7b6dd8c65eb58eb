"""What a store must not read, and what must not open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.stores.sealing import SealBroken, Sealer

SECRET = b"p" * 32
ID = b"i" * 32


@given(st.binary(max_size=2000), st.binary(min_size=1, max_size=64))
def test_what_was_sealed_opens_under_its_id(content: bytes, id: bytes) -> None:
    sealer = Sealer(SECRET, "test")
    assert sealer.open(id, sealer.seal(id, content)) == content


def test_two_seals_of_one_text_have_nothing_in_common() -> None:
    sealer = Sealer(SECRET, "test")
    one, other = sealer.seal(ID, b"\0" * 64), sealer.seal(ID, b"\0" * 64)
    assert one[1:13] != other[1:13]
    assert one[13:29] != other[13:29]
    assert b"\0" * 8 not in one


@pytest.mark.parametrize(
    "opened",
    [
        lambda sealed: Sealer(SECRET, "test").open(b"j" * 32, sealed),
        lambda sealed: Sealer(b"q" * 32, "test").open(ID, sealed),
        lambda sealed: Sealer(SECRET, "another purpose").open(ID, sealed),
        lambda sealed: Sealer(SECRET, "test").open(ID, sealed[:-1]),
        lambda sealed: Sealer(SECRET, "test").open(ID, b"\x02" + sealed[1:]),
        lambda sealed: Sealer(SECRET, "test").open(ID, b""),
        lambda sealed: Sealer(SECRET, "test").open(ID, b"\x01short"),
    ],
    ids=["moved", "other-secret", "other-purpose", "cut", "other-version", "empty", "short"],
)
def test_what_was_moved_or_changed_does_not_open(opened) -> None:
    with pytest.raises(SealBroken):
        opened(Sealer(SECRET, "test").seal(ID, b"an answer"))


@given(st.integers(0, 50), st.integers(0, 7))
def test_any_changed_bit_breaks_the_seal(at: int, bit: int) -> None:
    sealer = Sealer(SECRET, "test")
    sealed = bytearray(sealer.seal(ID, b"an answer of some length here"))
    sealed[at % len(sealed)] ^= 1 << bit
    with pytest.raises(SealBroken):
        sealer.open(ID, bytes(sealed))


def test_digests_keep_their_parts_apart() -> None:
    sealer = Sealer(SECRET, "test")
    digests = {
        sealer.digest("key", b"ab", b"c"),
        sealer.digest("key", b"a", b"bc"),
        sealer.digest("key", b"abc"),
        sealer.digest("body", b"ab", b"c"),
        Sealer(SECRET, "other").digest("key", b"ab", b"c"),
        Sealer(b"q" * 32, "test").digest("key", b"ab", b"c"),
    }
    assert len(digests) == 6
