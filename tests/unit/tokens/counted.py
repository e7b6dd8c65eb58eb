"""The pieces with their exact counts. Must refuse a text that is not the one that was counted."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.unit.tokens.texts import pieces


class Counted(NamedTuple):
    kind: str
    text: str
    #: tokens by vocabulary: o200k, cl100k, deepseek, tekken
    tokens: dict[str, int]


@cache
def counted() -> tuple[Counted, ...]:
    rows = json.loads(Path(__file__).with_name("counts.json").read_text("utf-8"))
    found: list[Counted] = []
    for (kind, text), row in zip(pieces(), rows, strict=True):
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        assert (kind, digest) == (row.pop("kind"), row.pop("sha256")), "texts.py changed: run make_counts.py"
        found.append(Counted(kind, text, row))
    return tuple(found)


def of_kind(kind: str) -> list[Counted]:
    return [piece for piece in counted() if piece.kind == kind]


def error(estimate: int, tokens: int) -> float:
    return abs(estimate - tokens) / tokens


def mean(values: list[float]) -> float:
    return sum(values) / len(values)
