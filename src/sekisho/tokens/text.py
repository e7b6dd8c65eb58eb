"""Tokens of a text by kind, without a vocabulary: counts of classes of bytes, each with its weight.

Must stay a handful of passes in C over the bytes (no loop over characters) and must not decide by language: every
script has its weight. Linear up to `SAMPLED_CHARS`; above it windows of the text stand for all of it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sekisho.tokens import weights

#: longer texts are estimated from windows
SAMPLED_CHARS: Final = 16_384
_WINDOW_CHARS: Final = 512
_WINDOWS: Final = 16
#: longer bodies are looked at from both ends
_ROUGH_BYTES: Final = 65_536
#: no text has more tokens than bytes, and none that people write has fewer than one for so many
_MOST_BYTES_A_TOKEN: Final = 24


class Parts(NamedTuple):
    """Estimated tokens by kind. A tokenizer may treat the kinds differently, so each is calibrated on its own.

    `words` is ASCII text with its spaces, `signs` its punctuation and line breaks, `cjk` Chinese, Japanese and Korean,
    `other` every other script and symbols; `tools` are declared functions and `images` pictures, which no tokenizer
    reads as text.
    """

    words: float = 0.0
    signs: float = 0.0
    digits: float = 0.0
    cjk: float = 0.0
    other: float = 0.0
    tools: float = 0.0
    images: float = 0.0

    def __add__(self, more: tuple[float, ...]) -> Parts:  # type: ignore[override]  # a sum, not a longer tuple
        return Parts(*(mine + theirs for mine, theirs in zip(self, more, strict=True)))

    def scaled(self, factor: float) -> Parts:
        return Parts(*(part * factor for part in self))

    @property
    def tokens(self) -> int:
        """All of them as a whole number."""
        return round(sum(self))


NOTHING: Final = Parts()


def estimate(text: str) -> int:
    """Tokens of a text, at least 1 if it holds anything."""
    return measure(text).tokens if text else 0


def measure(text: str) -> Parts:
    """HOT. The tokens of a text by kind."""
    if not text:
        return NOTHING
    if len(text) > SAMPLED_CHARS:
        return _sampled(text)
    data = text.encode("utf-8", "replace")
    if text.isascii():
        words, signs, digits = _ascii(data, len(data))
        cjk = other = 0.0
    else:
        leads = data.translate(None, weights.CONTINUATIONS)
        scripts = leads.translate(None, weights.ASCII_BYTES)
        words, signs, digits = _ascii(leads, len(leads) - len(scripts))
        cjk, other = _scripts(data, scripts)
    return _possible(Parts(words, signs, digits, cjk, other), len(data))


def rough(body: bytes) -> int:
    """HOT. Tokens of a JSON body within two microseconds, by its length and its share of ASCII alone.

    Off by 10 to 20 % on average, and by 4 to 12 % once a model's counts have corrected it (`correct_rough`).
    """
    size = len(body)
    if size > _ROUGH_BYTES:
        half = _ROUGH_BYTES // 2
        return rough(body[:half] + body[-half:]) * size // _ROUGH_BYTES
    if body.isascii():
        return size // 4 + 1
    characters = len(body.translate(None, weights.CONTINUATIONS))
    # most of what is not ASCII is written with three bytes, and is some 0.7 tokens
    beyond = (size - characters) // 2
    return (characters - beyond) // 4 + beyond * 7 // 10 + 1


def _ascii(data: bytes, size: int) -> tuple[float, float, float]:
    """Words, signs, digits: tokens of the `size` ASCII characters; what else is in `data` only separates them."""
    count = data.translate(weights.SHAPES).count
    words = weights.ONCE
    for pattern, weight in weights.WORD_WEIGHTS:
        words += weight * count(pattern)
    signs = digits = 0.0
    for pattern, weight in weights.SIGN_WEIGHTS:
        signs += weight * count(pattern)
    if figures := count(b"0"):
        digits = weights.ASCII * figures
        for pattern, weight in weights.DIGIT_WEIGHTS:
            digits += weight * count(pattern)
    count = data.translate(weights.CASES).count
    for pattern, weight in weights.CASE_WEIGHTS:
        words += weight * count(pattern)
    return words + weights.ASCII * (size - figures), signs, digits


def _scripts(data: bytes, scripts: bytes) -> tuple[float, float]:
    """`scripts` holds the first byte of every character that is not ASCII."""
    cjk = other = 0.0
    left = len(scripts)
    for kind, leads, weight, pairs in weights.SCRIPTS:
        scripts = scripts.translate(None, leads)
        here = left - len(scripts)
        if not here:
            continue
        found = weight * here
        for pair, more in pairs:
            found += more * data.count(pair)
        if kind == "cjk":
            cjk += found
        else:
            other += found
        left -= here
        if not left:
            break
    return cjk, other


def _possible(parts: Parts, size: int) -> Parts:
    """Between one token for the text and one for each of its bytes; no kind below nothing."""
    if min(parts) < 0:
        parts = Parts(*(max(0.0, part) for part in parts))
    total = sum(parts)
    least = max(1.0, size / _MOST_BYTES_A_TOKEN)
    if least <= total <= size:
        return parts
    if total <= 0:
        return Parts(least)
    return parts.scaled(max(least, min(total, size)) / total)


def _sampled(text: str) -> Parts:
    """Evenly spaced windows, the first at the beginning and the last at the end, scaled to the whole length."""
    step = (len(text) - _WINDOW_CHARS) / (_WINDOWS - 1)
    windows = [text[int(n * step) : int(n * step) + _WINDOW_CHARS] for n in range(_WINDOWS)]
    scale = len(text) / (_WINDOWS * _WINDOW_CHARS)
    return measure("".join(windows)).scaled(scale)
