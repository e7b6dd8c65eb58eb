"""Lists a page at a time. Must not skip or repeat what is there all the time, whatever comes and goes meanwhile.

A page ends with a place, and not with a number: the next one begins behind it, also where what stood there is gone.
"""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec
from msgspec import UNSET

from sekisho.domain.errors import Refusal
from sekisho.entrypoints.http.admin.asked import Asked
from sekisho.entrypoints.http.admin.shapes import NextAfter

#: in one page. Who asks for none gets the whole list: a program that knows of no pages must not take a part for it
MOST = 1_000
_MOST_CHARACTERS = 8_192
T = TypeVar("T")


class Place(msgspec.Struct, frozen=True, order=True, array_like=True, forbid_unknown_fields=True):
    """What a list is sorted by: what the file declares in its order, then the rest; `id` makes it the only one."""

    stored: bool
    #: the number in the file, or a time
    at: int
    scope: tuple[tuple[int, str], ...]
    period: int
    id: str


def place(
    id: str, *, stored: bool = True, at: int = 0, scope: tuple[tuple[int, str], ...] = (), period: int = 0
) -> Place:
    return Place(stored, at, scope, period, id)


class _Promise(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What `next_after` says; nobody but this file reads it."""

    list: str
    after: Place


_promise = msgspec.json.Decoder(_Promise).decode


def page(asked: Asked, name: str, items: Iterable[T], where: Callable[[T], Place]) -> tuple[list[T], NextAfter]:
    """Of the list `name` what was asked for, and `after` of the next page where there is one.

    Raises Refusal 400 for a `limit` that cannot be, and for an `after` that is not of this list.
    """
    most = whole_number(asked.query, "limit", MOST, MOST)
    after = _after(asked, name)
    found = sorted(((where(item), item) for item in items), key=lambda one: one[0])
    places = [one for one, _ in found]
    begin = 0 if after is None else _behind(places, after)
    end = begin + most if after is not None or "limit" in asked.query else len(found)
    shown, more = found[begin:end], end < len(found)
    return [item for _, item in shown], _packed(_Promise(name, shown[-1][0])) if more else UNSET


def whole_number(query: dict[str, str], name: str, default: int, most: int) -> int:
    """Raises Refusal 400."""
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= most):
        raise Refusal(400, "invalid_value", param=name, reason="it must be a whole number from 1 to {most}", most=most)
    return int(text)


def _behind(places: list[Place], after: Place) -> int:
    """Where the next page begins. In the file numbers change with every line that is put in before."""
    if after.stored:
        return bisect_right(places, after)
    same = [at for at, one in enumerate(places) if not one.stored and one.id == after.id]
    if same:
        return min(same, key=lambda at: abs(places[at].at - after.at)) + 1
    # it is gone, and what stood behind it has moved up
    return sum(not one.stored and one.at < after.at for one in places)


def _after(asked: Asked, name: str) -> Place | None:
    text = asked.query.get("after")
    if text is None:
        return None
    try:
        if len(text) > _MOST_CHARACTERS:
            raise ValueError
        raw = text.encode("ascii")
        promise = _promise(base64.b64decode(raw + b"=" * (-len(raw) % 4), b"-_", validate=True))
    except (ValueError, RecursionError):
        promise = None
    if promise is None or promise.list != name:
        raise Refusal(400, "invalid_value", param="after", reason="it must be what `next_after` of this list said")
    return promise.after


def _packed(promise: _Promise) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(promise)).decode().rstrip("=")
