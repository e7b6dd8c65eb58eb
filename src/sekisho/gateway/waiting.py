"""Calls that wait in a task of their own: for room at a limit, for a connection. Must cost nothing where none waits.

Calls at a provider are found by its connections; these have none yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sekisho.domain.call import Entry
from sekisho.gateway.drive import own_task

T = TypeVar("T")


class Waiting:
    """One per process."""

    def __init__(self) -> None:
        self._entries: dict[asyncio.Future[Any], Entry] = {}

    async def own_task(self, entry: Entry, work: Awaitable[T], unwanted: Callable[[T], None] | None = None) -> T:
        """As `drive.own_task`, and `end` finds it."""
        task = asyncio.ensure_future(work)
        self._entries[task] = entry
        try:
            return await own_task(task, unwanted)
        finally:
            del self._entries[task]

    def end(self, holds: Callable[[Entry], bool]) -> None:
        """Cancel the calls of which that holds; they take the way of a cancelled call a moment later."""
        for task, entry in list(self._entries.items()):
            if holds(entry):
                task.cancel()

    def __len__(self) -> int:
        return len(self._entries)
