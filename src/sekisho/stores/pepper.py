"""The pepper under which keys are hashed. Must never be replaced while keys depend on it: they would all be invalid."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sekisho.domain.keys import PEPPER_BYTES
from sekisho.stores.private_files import file_lock, private_directory, write_private

FILE_NAME = "key_pepper"
_LOCK_NAME = "key_pepper.lock"
_RESTORE = (
    "Restore it from a backup made together with the control database. If it is lost, no key can be recognised any "
    "more: move {database} away, start again and make new keys."
)
_COPY = (
    "Copy it from the data folder of the machine on which the first key was made: all machines that share a database "
    "need the same one."
)


class PepperUnusable(Exception):
    """The pepper is missing although there are keys, cannot be read, or is not a pepper. The text says what to do."""


def load_or_create_pepper(data_dir: Path, database: Path | Callable[[], bool] | None = None) -> bytes:
    """The 32 bytes of `data_dir/key_pepper`, made at random the first time (file 0600, directory 0700).

    Processes that start at once agree on one pepper. `database` is the control database whose keys depend on it,
    `data_dir/control.db` by default, or says whether there are keys in a database that several machines share. Raises
    PepperUnusable, and StoreUnavailable when another process holds the lock.
    """
    path = data_dir / FILE_NAME
    try:
        if (found := _read(path)) is not None:
            return found
        private_directory(data_dir)
        with file_lock(data_dir / _LOCK_NAME):
            return _read(path) or _create(path, database or data_dir / "control.db")
    except OSError as error:
        raise PepperUnusable(f"the key pepper {path} cannot be read or made: {error.strerror or error}") from error


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(content) != PEPPER_BYTES:
        message = f"the key pepper {path} has {len(content)} bytes instead of {PEPPER_BYTES}; it was damaged. "
        raise PepperUnusable(message + _RESTORE.format(database="the control database"))
    return content


def _create(path: Path, database: Path | Callable[[], bool]) -> bytes:
    if not isinstance(database, Path):
        if database():
            raise PepperUnusable(f"the key pepper {path} is missing, but the shared database holds keys. {_COPY}")
    elif _has_keys(database):
        message = f"the key pepper {path} is missing, but {database} holds keys that depend on it. "
        raise PepperUnusable(message + _RESTORE.format(database=database))
    pepper = secrets.token_bytes(PEPPER_BYTES)
    write_private(path, pepper)
    return pepper


def _has_keys(database: Path) -> bool:
    """Only a database that certainly holds no keys lets a new pepper be made; one that cannot be read might."""
    if not database.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'keys'").fetchone():
                return False
            return connection.execute("SELECT 1 FROM keys LIMIT 1").fetchone() is not None
    except sqlite3.Error as error:
        raise PepperUnusable(
            f"the key pepper is missing beside {database}, which cannot be read either: {error}"
        ) from error
