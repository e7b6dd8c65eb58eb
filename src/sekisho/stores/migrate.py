"""Brings the control database to the schema of this version. Must stay light until `migrate` is called.

`python -m sekisho.stores.migrate PATH` does it in a process of its own, because Alembic costs more time and memory
than serving does.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from sekisho.stores.ports import StoreUnavailable
from sekisho.stores.private_files import file_lock, private_directory

#: the newest migration; a test holds it equal to Alembic's head
HEAD_REVISION = "0001"


def schema_is_current(path: Path) -> bool:
    """Whether `migrate` has nothing to do. False for a missing or empty file; StoreUnavailable for a damaged one."""
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
    return rows == [(HEAD_REVISION,)]


def migrate(path: Path) -> None:
    """Make the database, or upgrade it; does nothing when it is current. Processes that migrate at once take turns.

    All or nothing: an upgrade that fails leaves the database as it was. Raises StoreUnavailable.
    """
    if schema_is_current(path):
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    from sekisho.stores.sql_engine import sqlite_engine

    try:
        private_directory(path.parent)
        with file_lock(path.with_name(path.name + ".lock")):
            # again: another process may have done it while this one waited
            if schema_is_current(path):
                return
            engine = sqlite_engine(path, begin="IMMEDIATE")
            with engine.begin() as connection:
                config = Config()
                config.set_main_option("script_location", "sekisho.stores:migrations")
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except CommandError as error:
        # the usual cause is a revision that this version does not know
        message = f"the control database {path} was written by another version of Sekisho; upgrade to it: {error}"
        raise StoreUnavailable(message) from error
    except (DBAPIError, OSError) as error:
        raise StoreUnavailable(f"the control database {path} cannot be upgraded: {error}") from error


def main(arguments: list[str]) -> int:
    """Exit codes: 0 current now, 2 wrong usage or a database that cannot be upgraded (the reason on stderr)."""
    if len(arguments) != 1:
        print("usage: python -m sekisho.stores.migrate PATH", file=sys.stderr)
        return 2
    try:
        migrate(Path(arguments[0]))
    except StoreUnavailable as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
