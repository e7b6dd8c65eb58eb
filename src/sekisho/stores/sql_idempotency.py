"""Kept answers in a SQL table, for SQLite and PostgreSQL alike. Must give an id to one owner at a time.

The table is made by whoever first needs it and is no part of the control database's schema: it holds what may be lost,
and nothing in it lives longer than a day.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from sekisho.stores.idempotency import TIMEOUT_S, Found, Lease
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.workers import Workers

TABLE = "idempotency_answers"
#: how often a claim looks again, when what was there is gone a moment later
_LOOKS = 3
_CLAIM = (
    f"INSERT INTO {TABLE} (id, asked, owner, sealed, until_us) VALUES (:id, :asked, :owner, NULL, :until_us) "
    "ON CONFLICT (id) DO UPDATE SET asked = excluded.asked, owner = excluded.owner, sealed = NULL, "
    f"until_us = excluded.until_us WHERE {TABLE}.until_us <= :now_us"
)
_LOOK = f"SELECT asked, sealed FROM {TABLE} WHERE id = :id"
_MINE = "id = :id AND owner = :owner AND sealed IS NULL"
_KEEP = f"UPDATE {TABLE} SET sealed = :sealed, until_us = :until_us WHERE {_MINE}"
_RELEASE = f"DELETE FROM {TABLE} WHERE {_MINE}"
_PROLONG = f"UPDATE {TABLE} SET until_us = :until_us WHERE {_MINE}"
#: deleted at once, and of the time for which a call may take. After a day without a gateway there may be a gigabyte to
#: delete, and claims wait behind each portion only.
_PORTION, _SWEEPING = 20, 0.5
#: `until_us` again: what was claimed anew in this moment stays
_SWEEP = (
    f"DELETE FROM {TABLE} WHERE id IN (SELECT id FROM {TABLE} WHERE until_us <= :now_us LIMIT {_PORTION}) "
    "AND until_us <= :now_us"
)


class Cursor(Protocol):
    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...


class SqlDatabase(Protocol):
    """What differs between the two. Called in threads only, and may block there."""

    def execute(self, statement: str, values: dict[str, Any]) -> Cursor:
        """Run one statement, in a transaction of its own. Raises StoreUnavailable."""
        ...

    def has_room(self, size: int) -> bool: ...

    def exists(self) -> bool:
        """False where there is no table yet, so that there is nothing to sweep."""
        ...

    def close(self) -> None:
        """In each thread, at its end."""
        ...


class SqlIdempotency:
    """An IdempotencyStore over a database whose calls block."""

    def __init__(self, database: SqlDatabase, threads: int, timeout_s: float = TIMEOUT_S) -> None:
        self._database = database
        self._timeout_s = timeout_s
        self._workers = Workers("idempotency", threads, timeout_s, database.close)

    async def claim(self, lease: Lease, asked: bytes, now_us: int, until_us: int) -> Found:
        values = {"id": lease.id, "asked": asked, "owner": lease.owner, "now_us": now_us, "until_us": until_us}

        def unheard(found: Found) -> None:
            if found.state == "claimed":
                self._workers.soon(lambda: self._release(lease))

        return await self._workers.run(lambda: self._claim(values), unheard)

    async def keep(self, lease: Lease, sealed: bytes, until_us: int) -> bool:
        return await self._workers.run(lambda: self._keep(lease, sealed, until_us))

    async def release(self, lease: Lease) -> None:
        await self._workers.run(lambda: self._release(lease))

    async def tend(self, leases: Sequence[Lease], now_us: int, until_us: int) -> None:
        ends_s = time.monotonic() + _SWEEPING * self._timeout_s
        await self._workers.run(lambda: self._prolong(leases, until_us))
        while await self._workers.run(lambda: self._sweep(now_us)) and time.monotonic() < ends_s:
            pass

    async def close(self) -> None:
        await self._workers.close()

    # -- in a thread

    def _claim(self, values: dict[str, Any]) -> Found:
        for _ in range(_LOOKS):
            if self._database.execute(_CLAIM, values).rowcount:
                return Found("claimed")
            row = self._database.execute(_LOOK, {"id": values["id"]}).fetchone()
            if row is None:
                continue  # released in this moment
            asked, sealed = row
            if bytes(asked) != values["asked"]:
                return Found("other_body")
            return Found("running") if sealed is None else Found("kept", bytes(sealed))
        return Found("running")

    def _keep(self, lease: Lease, sealed: bytes, until_us: int) -> bool:
        if not self._database.has_room(len(sealed)):
            return False
        values = {"id": lease.id, "owner": lease.owner, "sealed": sealed, "until_us": until_us}
        return self._database.execute(_KEEP, values).rowcount == 1

    def _release(self, lease: Lease) -> None:
        self._database.execute(_RELEASE, {"id": lease.id, "owner": lease.owner})

    def _prolong(self, leases: Sequence[Lease], until_us: int) -> None:
        for lease in leases:
            self._database.execute(_PROLONG, {"id": lease.id, "owner": lease.owner, "until_us": until_us})

    def _sweep(self, now_us: int) -> bool:
        """Delete a portion of what is past its time; whether there may be more."""
        if not self._database.exists():
            return False
        return self._database.execute(_SWEEP, {"now_us": now_us}).rowcount == _PORTION


def unavailable(error: Exception) -> StoreUnavailable:
    """With the first line of why, as that a disk is full: there a driver tells no password, and no value of a row."""
    reason = str(error).partition("\n")[0] or type(error).__name__
    return StoreUnavailable(f"the store of kept answers does not answer: {reason}")
