"""What each kind of byte weighs, in tokens of OpenAI's o200k vocabulary. Data only; `text` says how it is read.

Fitted by least relative error over some 8,900 pieces of 60 to 4,000 characters: manuals, programs, JSON, interface
texts in thirty languages, generated numbers and codes. How, and how well: docs/decisions/0017.
"""

from __future__ import annotations

import string
from typing import Final, NamedTuple

#: any text at all
ONCE: Final = 0.363
#: each ASCII character, beside what follows
ASCII: Final = 0.141

#: patterns in the map `SHAPES`: a letter, 0 digit, _ space, n line break or tab, p punctuation
WORD_WEIGHTS: Final = ((b"_", -0.03), (b"_a", 0.52))
SIGN_WEIGHTS: Final = (
    (b"n", 1.173),
    (b"p", 0.733),
    (b"pn", -0.873),
    (b"nn", -1.387),
    (b"ppp", -1.385),
    (b"____", -0.276),
)
#: the same, for digits: three in a row are one token
DIGIT_WEIGHTS: Final = ((b"0", 1.014), (b"00", -1.08), (b"000", -0.889), (b"_0", 0.746), (b"0a", 0.836))
#: patterns in the map `CASES`: e vowel, c consonant, A capital; what looks like no word has more tokens than a word
CASE_WEIGHTS: Final = ((b"e", -0.144), (b"A", 0.024), (b"cA", 1.402), (b"cccc", 0.614))


class Script(NamedTuple):
    """Characters that begin with one of some bytes in UTF-8, and what each weighs.

    `pairs` are two bytes that a character begins with, and what it weighs beside that.
    """

    kind: str
    leads: bytes
    weight: float
    pairs: tuple[tuple[bytes, float], ...] = ()


def _pairs(lead: int, weights: dict[float, tuple[int, ...]]) -> tuple[tuple[bytes, float], ...]:
    return tuple((bytes((lead, second)), weight) for weight, seconds in weights.items() for second in seconds)


SCRIPTS: Final = (
    Script("other", bytes(range(0xC0, 0xCE)), 1.462),  # Latin with accents
    Script("other", bytes(range(0xCE, 0xD0)), 0.409),  # Greek
    Script("other", bytes(range(0xD0, 0xD5)), 0.283),  # Cyrillic
    Script("other", bytes(range(0xD5, 0xD8)), 0.452),  # Armenian, Hebrew
    Script("other", bytes(range(0xD8, 0xDC)), 0.375),  # Arabic
    Script("other", bytes((*range(0xDC, 0xE0), 0xEE)), 0.394),  # Syriac, Thaana, N'Ko, private use
    # the scripts of India, Thai, Lao; in this order: Devanagari, Bengali, Gurmukhi, Gujarati, Tamil, Telugu, Kannada,
    # Sinhala, Malayalam, Thai
    Script(
        "other",
        b"\xe0",
        0.432,
        _pairs(
            0xE0,
            {
                -0.051: (0xA4, 0xA5),
                -0.028: (0xA6, 0xA7),
                0.238: (0xA8, 0xA9),
                0.032: (0xAA, 0xAB),
                -0.039: (0xAE, 0xAF),
                0.063: (0xB0, 0xB1),
                0.018: (0xB2, 0xB3),
                0.205: (0xB6, 0xB7),
                -0.016: (0xB4, 0xB5),
                -0.02: (0xB8, 0xB9),
            },
        ),
    ),
    # Georgian and more; Ethiopic, Vietnamese, Khmer stand out
    Script(
        "other",
        b"\xe1",
        0.394,
        _pairs(0xE1, {1.808: (0x88, 0x89, 0x8A, 0x8B, 0x8C, 0x8D), -0.602: (0xBA, 0xBB), 0.144: (0x9E, 0x9F)}),
    ),
    # signs; dashes, quotation marks and dots stand out
    Script("other", b"\xe2", 0.383, _pairs(0xE2, {0.282: (0x80,)})),
    Script("cjk", b"\xe3", 0.708),  # kana, Japanese punctuation
    Script("cjk", bytes(range(0xE4, 0xEA)), 0.753),  # Chinese characters
    Script("cjk", bytes(range(0xEA, 0xEE)), 0.667),  # Hangul
    # half-width kana; full-width letters, digits and punctuation stand out
    Script("cjk", b"\xef", 1.711, _pairs(0xEF, {-0.493: (0xBC,)})),
    Script("other", bytes(range(0xF0, 0x100)), 2.298),  # emoji, rare characters
)

#: the bytes that continue a character; they carry nothing that its first byte does not
CONTINUATIONS: Final = bytes(range(0x80, 0xC0))
ASCII_BYTES: Final = bytes(range(0x80))


def _map(kinds: dict[str, str]) -> bytes:
    """A table for bytes.translate: control characters count as line breaks, what is not ASCII as itself."""
    table = bytearray(b"n" * 0x80 + bytes(range(0x80, 0x100)))
    for kind, characters in kinds.items():
        for character in characters:
            table[ord(character)] = ord(kind)
    return bytes(table)


SHAPES: Final = _map({"a": string.ascii_letters, "0": string.digits, "_": " ", "p": string.punctuation})
CASES: Final = _map(
    {
        "e": "aeiou",
        "c": "bcdfghjklmnpqrstvwxyz",
        "A": string.ascii_uppercase,
        "0": string.digits,
        "_": " ",
        "p": string.punctuation,
    }
)
