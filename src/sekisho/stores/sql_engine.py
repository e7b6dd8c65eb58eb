"""Opens the control database for writing. Must set everything that makes a commit durable."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from sekisho.stores.postgres_address import connect
from sekisho.stores.private_files import private_directory, private_file

#: seconds that a writer waits for another one
BUSY_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 5
Begin = Literal["DEFERRED", "IMMEDIATE"]


def sqlite_engine(path: Path, *, begin: Begin = "DEFERRED") -> Engine:
    """An engine for a SQLite file, which is made with mode 0600 in a directory of mode 0700 where there is none.

    `begin` IMMEDIATE takes the write lock with the transaction: needed where reads come before writes.
    """
    private_directory(path.parent)
    private_file(path)
    # NullPool: commands live for one call, and an open connection would hold the -wal file back
    engine = create_engine(URL.create("sqlite", database=str(path.absolute())), poolclass=NullPool)
    event.listen(engine, "connect", _set_up)

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {begin}")

    event.listen(engine, "begin", start)
    return engine


def postgres_engine(url: str) -> Engine:
    """An engine for `postgresql://…`, by psycopg. Connecting and each statement are bounded: a database that is away is
    an error soon, and not a hang."""
    return create_engine(
        "postgresql+psycopg://",
        # libpq reads the address, as it does elsewhere: SQLAlchemy knows no lists of hosts
        creator=lambda: connect(url, STATEMENT_TIMEOUT_S * 1000),
        poolclass=NullPool,
        hide_parameters=True,
    )


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    # the `begin` event begins transactions: sqlite3 by itself would do so for changes of rows only, not of the schema
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL syncs the WAL at each commit. NORMAL could lose the last commits in a power cut, and a revocation that was
    # reported as done must not come undone; control data changes too rarely for the fsync to matter.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
