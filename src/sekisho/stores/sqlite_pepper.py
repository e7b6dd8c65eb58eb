"""By which pepper the keys of a SQLite control database are hashed. Must not mark it with one that nothing speaks for.

A folder that is restored in parts may have the database of one installation and the pepper of another: then every key
would be answered 401, and nobody would be told. Keys of before there were marks say nothing of their pepper, until one
of them is opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Set as AbstractSet
from contextlib import closing, suppress
from pathlib import Path

from sekisho.stores.pepper import PepperUnusable, mark_of
from sekisho.stores.ports import StoreUnavailable

#: a mark can wait for the next start, and who starts should not
_WRITE_TIMEOUT_S = 1.0
_READ_TIMEOUT_S = 5.0


def agree(database: Path, pepper: bytes, path: Path) -> bool:
    """Compare a database of the present schema with this pepper, and mark it where it holds no keys; whether it has the
    mark of this pepper now. `path` is where the pepper lies. Raises PepperUnusable and StoreUnavailable."""
    mark = mark_of(pepper)
    try:
        with closing(_open(database, "ro", _READ_TIMEOUT_S)) as connection:
            connection.execute("BEGIN")
            found = connection.execute("SELECT mark FROM key_pepper").fetchone()
            keys = connection.execute("SELECT 1 FROM keys LIMIT 1").fetchone()
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the control database {database} cannot be read: {error}") from error
    if found is not None and bytes(found[0]) == mark:
        return True
    if keys is None:
        return _write(database, _WITHOUT_KEYS, mark)
    if found is not None:
        raise PepperUnusable("not_its_own", path=path, database=database)
    return False


class Unmarked:
    """A database with keys that has no mark yet."""

    def __init__(self, database: Path, pepper: bytes) -> None:
        self._database = database
        self._mark = mark_of(pepper)

    def opened(self, key_ids: AbstractSet[str]) -> bool:
        """Callers have come with the keys of these ids, some of which may be no keys of the database. Whether it has a
        mark now. Blocks."""
        try:
            with closing(_open(self._database, "ro", _READ_TIMEOUT_S)) as connection:
                known = any(key_id in key_ids for (key_id,) in connection.execute("SELECT id FROM keys"))
        except sqlite3.Error:
            return False
        return known and _write(self._database, _WITH_KEYS, self._mark)


_WITH_KEYS = "INSERT INTO key_pepper (id, mark) VALUES (1, ?) ON CONFLICT (id) DO NOTHING"
#: and none is there by now
_WITHOUT_KEYS = """
INSERT INTO key_pepper (id, mark) SELECT 1, ? WHERE NOT EXISTS (SELECT 1 FROM keys)
ON CONFLICT (id) DO UPDATE SET mark = excluded.mark
"""


def _write(database: Path, statement: str, mark: bytes) -> bool:
    """Whether it came about; a database that cannot be written now serves all the same."""
    with suppress(sqlite3.Error), closing(_open(database, "rw", _WRITE_TIMEOUT_S)) as connection:
        connection.execute(statement, (mark,))
        return True
    return False


def _open(database: Path, mode: str, timeout_s: float) -> sqlite3.Connection:
    uri = f"{database.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None)
