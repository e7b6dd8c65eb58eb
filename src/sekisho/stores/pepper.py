"""The pepper under which keys are hashed. Must never be replaced while keys depend on it: they would all be invalid."""

from __future__ import annotations

import hmac
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Literal

from sekisho.domain.keys import PEPPER_BYTES
from sekisho.stores.private_files import file_lock, private_directory, write_private

FILE_NAME = "key_pepper"
_LOCK_NAME = "key_pepper.lock"

Kind = Literal["unreadable", "damaged", "missing", "not_copied", "another", "not_its_own", "unknown"]


class PepperUnusable(Exception):
    """The pepper is missing although there are keys, cannot be read, or is not a pepper.

    `kind` says which, and `facts` where: `app.obstacles` has the words for both.
    """

    def __init__(self, kind: Kind, **facts: object) -> None:
        super().__init__(f"the key pepper is {kind}: {', '.join(f'{name} {fact}' for name, fact in facts.items())}")
        self.kind: Kind = kind
        self.facts = facts


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
        raise PepperUnusable("unreadable", path=path, reason=error.strerror or error) from error


def mark_of(pepper: bytes) -> bytes:
    """What a control database keeps of the pepper of its keys: 32 bytes, from which nobody learns it."""
    return hmac.digest(pepper, b"sekisho: the pepper of the keys in this database", "sha256")


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(content) != PEPPER_BYTES:
        raise PepperUnusable("damaged", path=path, size=len(content), right_size=PEPPER_BYTES)
    return content


def _create(path: Path, database: Path | Callable[[], bool]) -> bytes:
    if not isinstance(database, Path):
        if database():
            raise PepperUnusable("not_copied", path=path)
    elif _has_keys(path, database):
        raise PepperUnusable("missing", path=path, database=database)
    pepper = secrets.token_bytes(PEPPER_BYTES)
    write_private(path, pepper)
    return pepper


def _has_keys(path: Path, database: Path) -> bool:
    """Only a database that certainly holds no keys lets a new pepper be made; one that cannot be read might."""
    if not database.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'keys'").fetchone():
                return False
            return connection.execute("SELECT 1 FROM keys LIMIT 1").fetchone() is not None
    except sqlite3.Error as error:
        raise PepperUnusable("unknown", path=path, database=database, reason=error) from error
