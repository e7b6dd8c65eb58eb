"""Which tool call a piece of a stream belongs to. Must be one rule for callers and for the books."""

from __future__ import annotations

from typing import Any


class CallPlaces:
    """The tool calls of one choice, in the order in which they began."""

    __slots__ = ("_calls", "_count")

    def __init__(self) -> None:
        #: the provider's index of a tool call -> (our index, its id)
        self._calls: dict[Any, tuple[int, str]] = {}
        self._count = 0

    def place(self, wire_index: Any, call_id: str) -> tuple[int, bool]:
        """Our index of a piece and whether it begins a call.

        Without an index a new id begins a call and no id continues the last one; an index with another id than
        before is a new call. Ollama sent none, https://github.com/ollama/ollama/issues/7881, and later 0 for each of
        several calls, https://github.com/ollama/ollama/issues/15457.
        """
        if not isinstance(wire_index, int | float | str):
            wire_index = call_id or (next(reversed(self._calls)) if self._calls else 0)
        known = self._calls.get(wire_index)
        if known is not None and (not call_id or call_id == known[1]):
            return known[0], False
        index = self._count
        self._count += 1
        self._calls[wire_index] = (index, call_id)
        return index, True
