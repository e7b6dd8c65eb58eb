"""Which models of an export are which of our rows. Must join rather than guess: what may be one model is summed as one.

A target is often an alias (`gpt-4o-mini`), and the export names what it stood for that day (`gpt-4o-mini-2024-07-18`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: the date of a version: OpenAI's -2024-07-18, Anthropic's -20250514, Google's @20241022; and the alias of the newest
_VERSION = re.compile(r"(?:-\d{4}-\d{2}-\d{2}|-\d{8}|@\d{8}|-latest)$")


def stem(model: str) -> str:
    """The name without its date."""
    return _VERSION.sub("", model)


def groups_of(ours: Iterable[str], theirs: Iterable[str]) -> list[tuple[list[str], list[str]]]:
    """Our models and theirs, in groups that are compared as one; each model is in one group.

    Equal names are one model. A name without a date may be any version, so it joins all of them; two different dates
    are two models.
    """
    mine, other = sorted(set(ours)), sorted(set(theirs))
    group = {("ours", one): {("ours", one)} for one in mine} | {("theirs", one): {("theirs", one)} for one in other}
    for one in mine:
        for two in other:
            if _may_be_one(one, two):
                whole = group["ours", one] | group["theirs", two]
                for member in whole:
                    group[member] = whole
    found = {id(members): members for members in group.values()}
    return [
        (sorted(name for side, name in members if side == "ours"), sorted(n for side, n in members if side == "theirs"))
        for members in found.values()
    ]


def label_of(ours: list[str], theirs: list[str]) -> str:
    """`gpt-4o-mini (gpt-4o-mini-2024-07-18)`: our names, and theirs where they are others."""
    others = [name for name in theirs if name not in ours]
    if not ours:
        return ", ".join(theirs)
    return ", ".join(ours) + (f" ({', '.join(others)})" if others else "")


def _may_be_one(ours: str, theirs: str) -> bool:
    if ours == theirs:
        return True
    undated = [name for name in (ours, theirs) if stem(name) == name or name.endswith("-latest")]
    return bool(undated) and stem(ours) == stem(theirs)
