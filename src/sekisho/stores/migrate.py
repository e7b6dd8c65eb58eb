"""Brings the control database to the schema of this version. Must stay light until `migrate` is called.

`python -m sekisho.stores.migrate PATH` does it in a process of its own, because Alembic costs more time and memory
than serving does.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sekisho.stores.ports import LaterVersion, StoreUnavailable
from sekisho.stores.private_files import file_lock, private_directory

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: all migrations, the newest one last; a test holds them equal to Alembic's
REVISIONS = ("0001", "0002", "0003", "0004")
HEAD_REVISION = REVISIONS[-1]
#: a number that only Sekisho's migrations lock
_POSTGRES_LOCK = 0x5E_C1_50


def schema_is_current(path: Path) -> bool:
    """Whether `migrate` has nothing to do. False for a missing or empty file; StoreUnavailable for a damaged one, and
    for that of a later version."""
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
            if not connection.execute(table).fetchone():
                return False
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the control database {path} cannot be read: {error}") from error
    return is_head(rows, path)


def is_head(rows: Sequence[Sequence[object]], database: object) -> bool:
    """Whether a table of Alembic's says that there is nothing to do. Raises LaterVersion."""
    if any(revision not in REVISIONS for (revision,) in rows):
        raise LaterVersion(database)
    return [tuple(row) for row in rows] == [(HEAD_REVISION,)]


def migrate(path: Path) -> None:
    """Make the database, or upgrade it; does nothing when it is current. Processes that migrate at once take turns.

    All or nothing: an upgrade that fails leaves the database as it was. Raises StoreUnavailable.
    """
    if schema_is_current(path):
        return
    from sekisho.stores.sql_engine import sqlite_engine

    with _reported(str(path)):
        private_directory(path.parent)
        with file_lock(path.with_name(path.name + ".lock")):
            # again: another process may have done it while this one waited
            if schema_is_current(path):
                return
            with sqlite_engine(path, begin="IMMEDIATE").begin() as connection:
                _upgrade(connection)


def migrate_postgres(url: str) -> None:
    """The same for `postgresql://…`: the database has to be there, its tables are made."""
    from sqlalchemy import text

    from sekisho.stores.sql_engine import postgres_engine

    with _reported("in PostgreSQL"), postgres_engine(url).begin() as connection:
        # held until the end of the transaction
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _POSTGRES_LOCK})
        _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "sekisho.stores:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextmanager
def _reported(name: str) -> Generator[None]:
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except CommandError as error:
        # the usual cause is a revision that this version does not know
        message = f"the control database {name} was written by another version of Sekisho; upgrade to it: {error}"
        raise StoreUnavailable(message) from error
    except DBAPIError as error:
        # without the address, in which there may be a password
        raise StoreUnavailable(f"the control database {name} cannot be upgraded: {error.orig}") from error
    except OSError as error:
        raise StoreUnavailable(f"the control database {name} cannot be upgraded: {error}") from error


def main(arguments: list[str]) -> int:
    """Exit codes: 0 current now, 2 wrong usage or a database that cannot be upgraded (the reason on stderr).

    `-` takes a `postgresql://` address from standard input: an argument could be seen by everybody on the machine.
    """
    if len(arguments) != 1:
        print("usage: python -m sekisho.stores.migrate PATH", file=sys.stderr)
        return 2
    try:
        if arguments[0] == "-":
            migrate_postgres(sys.stdin.readline().strip())
        else:
            migrate(Path(arguments[0]))
    except StoreUnavailable as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
