"""Keeps budget events in the control database, each once, without SQLAlchemy. Must lose none while that is away.

Whoever counts hands events over without waiting (`note`); a thread writes them later (`write`). An event that dies
with its process comes again: counters are rebuilt from the rows, and pass their marks anew under the same ids.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import LiteralString, Protocol

from sekisho.domain.spending import BudgetEvent
from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.postgres_snapshot import open_connection

_COLUMNS: LiteralString = "id, budget, scope, period, percent, spent_nanos, amount_nanos, period_start_us, at_us"
_BUSY_TIMEOUT_S = 5.0
#: what waits for a database that is away; later ones come again after a restart
_MOST_WAITING = 10_000

EventRow = tuple[str, str, str, str, int, int, int, int, int]


class EventTable(Protocol):
    """Where events are kept."""

    def add(self, rows: list[EventRow]) -> None:
        """Keep those whose ids are new. Raises StoreUnavailable."""
        ...

    def newest(self, most: int) -> list[EventRow]:
        """The last ones, newest first. Raises StoreUnavailable."""
        ...


class BudgetEvents:
    """An EventSink over a table."""

    def __init__(self, table: EventTable) -> None:
        self._table = table
        self._waiting: dict[str, BudgetEvent] = {}

    def note(self, event: BudgetEvent) -> None:
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.setdefault(event.id, event)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def write(self) -> None:
        """Write what waits; from a thread. Raises StoreUnavailable, and then all of it still waits."""
        events = list(self._waiting.values())
        if events:
            self._table.add([_row(event) for event in events])
            for event in events:
                del self._waiting[event.id]


class SqliteEvents:
    """In the file of a control database that is there."""

    def __init__(self, path: Path) -> None:
        self._uri = path.absolute().as_uri()

    def add(self, rows: list[EventRow]) -> None:
        try:
            opened = sqlite3.connect(f"{self._uri}?mode=rw", uri=True, timeout=_BUSY_TIMEOUT_S)
            with closing(opened) as connection, connection:
                connection.executemany(
                    f"INSERT OR IGNORE INTO budget_events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
                )
        except sqlite3.Error as error:
            raise StoreUnavailable(f"budget events cannot be written: {error}") from error

    def newest(self, most: int) -> list[EventRow]:
        try:
            with closing(sqlite3.connect(f"{self._uri}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)) as connection:
                query = f"SELECT {_COLUMNS} FROM budget_events ORDER BY at_us DESC, id DESC LIMIT ?"
                return connection.execute(query, (most,)).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"budget events cannot be read: {error}") from error


class PostgresEvents:
    """In PostgreSQL."""

    def __init__(self, url: str) -> None:
        self._url = url

    def add(self, rows: list[EventRow]) -> None:
        import psycopg

        try:
            with open_connection(self._url) as connection, connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO budget_events (" + _COLUMNS + ") VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) "
                    "ON CONFLICT (id) DO NOTHING",
                    rows,
                )
        except psycopg.Error as error:
            raise StoreUnavailable(f"budget events cannot be written: {error}") from error

    def newest(self, most: int) -> list[EventRow]:
        import psycopg

        try:
            with open_connection(self._url) as connection:
                query: LiteralString = (
                    "SELECT " + _COLUMNS + " FROM budget_events ORDER BY at_us DESC, id DESC LIMIT %s"
                )
                return connection.execute(query, (most,)).fetchall()  # type: ignore[return-value]
        except psycopg.Error as error:
            raise StoreUnavailable(f"budget events cannot be read: {error}") from error


def _row(event: BudgetEvent) -> EventRow:
    return (
        event.id,
        event.budget,
        event.scope,
        event.period,
        event.percent,
        event.spent_nanos,
        event.amount_nanos,
        round(event.period_start_s * 1e6),
        round(event.at_s * 1e6),
    )
