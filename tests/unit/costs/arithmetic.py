"""Reckons sums written as text, such as `(2006 - 1920)*0.15 + 300*0.60`, as fractions. Must not use eval or floats."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|[()*+-])")


def reckon(text: str) -> Fraction:
    """Raises ValueError for what is no such sum."""
    tokens = list(_tokens(text))
    value, rest = _sum(tokens)
    if rest:
        raise ValueError(f"{text!r} goes on with {rest[0]!r}")
    return value


def _tokens(text: str) -> Iterator[str]:
    place = 0
    while place < len(text.rstrip()):
        found = _TOKEN.match(text, place)
        if found is None:
            raise ValueError(f"{text!r} at {place}")
        yield found[1]
        place = found.end()


def _sum(tokens: list[str]) -> tuple[Fraction, list[str]]:
    value, tokens = _product(tokens)
    while tokens and tokens[0] in "+-":
        sign = 1 if tokens[0] == "+" else -1
        more, tokens = _product(tokens[1:])
        value += sign * more
    return value, tokens


def _product(tokens: list[str]) -> tuple[Fraction, list[str]]:
    value, tokens = _factor(tokens)
    while tokens and tokens[0] == "*":
        more, tokens = _factor(tokens[1:])
        value *= more
    return value, tokens


def _factor(tokens: list[str]) -> tuple[Fraction, list[str]]:
    if not tokens:
        raise ValueError("a sum that ends too soon")
    if tokens[0] != "(":
        return Fraction(tokens[0]), tokens[1:]
    value, tokens = _sum(tokens[1:])
    if not tokens or tokens[0] != ")":
        raise ValueError("a parenthesis that is not closed")
    return value, tokens[1:]
