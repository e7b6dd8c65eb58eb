"""That all machines of a PostgreSQL control database hash keys under one pepper. Must never put it there itself.

Each makes its own in its data folder at the first start. With two of them a key that was made on one machine would be
no key on the other, and nobody would be told.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sekisho.stores.pepper import PepperUnusable, mark_of
from sekisho.stores.ports import NotWritable, StoreUnavailable
from sekisho.stores.postgres_snapshot import open_connection

if TYPE_CHECKING:
    import psycopg


def agree(url: str, pepper: bytes, path: Path) -> None:
    """Mark the database with this pepper, the first time, or compare. `path` is where the pepper lies. Raises
    PepperUnusable and StoreUnavailable."""
    import psycopg

    mark = mark_of(pepper)
    try:
        with open_connection(url) as connection:
            found = connection.execute("SELECT mark FROM key_pepper").fetchone()
            if found is None:
                # two at once: the first one's stays
                _mark(connection, mark)
                found = connection.execute("SELECT mark FROM key_pepper").fetchone()
    except psycopg.Error as error:
        raise StoreUnavailable(f"the control database cannot be read: {error}") from error
    if found is None or bytes(found[0]) != mark:
        raise PepperUnusable("another", path=path)


def _mark(connection: psycopg.Connection, mark: bytes) -> None:
    import psycopg

    try:
        connection.execute("INSERT INTO key_pepper (id, mark) VALUES (1, %s) ON CONFLICT (id) DO NOTHING", (mark,))
    except (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.InsufficientPrivilege) as error:
        raise NotWritable(error) from error
