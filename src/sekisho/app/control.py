"""Which adapter holds the control data, SQLite or PostgreSQL, for commands and for serving. Must not read it itself."""

from __future__ import annotations

import asyncio
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sekisho.app.settings.model import Settings
from sekisho.domain.keys import declared_key_id, digest_of
from sekisho.stores import sqlite_pepper
from sekisho.stores.control import NOTHING, ControlRecords, ControlStore
from sekisho.stores.migrate import migrate, migrate_postgres, schema_is_current
from sekisho.stores.pepper import FILE_NAME, load_or_create_pepper
from sekisho.stores.polled_snapshot import PolledSnapshot
from sekisho.stores.ports import ClientMissing, KeyRecord, KeyStore, StoreUnavailable
from sekisho.stores.postgres_pepper import agree
from sekisho.stores.postgres_snapshot import PostgresSnapshot
from sekisho.stores.sqlite_pepper import Unmarked
from sekisho.stores.sqlite_snapshot import SqliteSnapshot

if TYPE_CHECKING:
    from sqlalchemy import Engine

#: with the second after which the gateway looks it makes "about a second"; a look at the file takes a fifth of a
#: millisecond, and a server is asked less often
_LOCAL_EVERY_S = 0.5


def stored_keys(settings: Settings) -> list[KeyRecord]:
    """Keys of the database, as they are now. A SQLite file that is not there is not made. Raises StoreUnavailable."""
    if settings.database_url is not None:
        return _postgres(settings.database_url.reveal()).all()
    path = settings.database_path
    if not path.exists():
        return []
    if not schema_is_current(path):
        migrate(path)
    return SqliteSnapshot(path).all()


def stored_control(settings: Settings) -> ControlRecords:
    """Everything else of the database, as it is now. Raises StoreUnavailable."""
    if settings.database_url is not None:
        return _postgres(settings.database_url.reveal()).control()
    path = settings.database_path
    if not path.exists():
        return NOTHING
    if not schema_is_current(path):
        migrate(path)
    return SqliteSnapshot(path).control()


def declared_keys(settings: Settings, pepper: bytes) -> list[KeyRecord]:
    """The keys of the file as if they were stored."""
    records: list[KeyRecord] = []
    for key in settings.keys:
        digest = digest_of(key.key.reveal(), pepper)
        records.append(
            KeyRecord(
                id=declared_key_id(digest),
                name=key.name,
                digest=digest,
                team=key.team,
                user=key.user,
                role=key.role,
                endpoints=key.endpoints,
                expires_at_us=None if key.expires is None else int(key.expires.timestamp() * 1_000_000),
                declared=True,
                on_behalf=key.on_behalf,
            )
        )
    return records


def key_store(settings: Settings) -> KeyStore:
    """To change keys; imports what is heavy. Raises StoreUnavailable."""
    from sekisho.stores.sql_keys import SqlKeyStore

    return SqlKeyStore(_engine(settings))


def control_store(settings: Settings) -> ControlStore:
    """To change everything else; imports what is heavy. Raises StoreUnavailable."""
    from sekisho.stores.sql_control import SqlControlStore

    return SqlControlStore(_engine(settings))


def _engine(settings: Settings) -> Engine:
    """The control database to write to, brought up to date."""
    from sekisho.stores.sql_engine import postgres_engine, sqlite_engine

    if settings.database_url is not None:
        url = settings.database_url.reveal()
        _postgres(url)
        return postgres_engine(url)
    path = settings.database_path
    if not schema_is_current(path):
        migrate(path)
    return sqlite_engine(path)


def pepper_of(settings: Settings) -> bytes:
    """The pepper of the data folder. Raises PepperUnusable, StoreUnavailable."""
    if settings.database_url is None:
        return _own_pepper(settings)[0]
    url = settings.database_url.reveal()
    # a command may be the first that comes to an empty database
    pepper = load_or_create_pepper(settings.data_dir, _postgres(url).has_keys)
    agree(url, pepper, settings.data_dir / FILE_NAME)
    return pepper


def unmarked(settings: Settings, pepper: bytes) -> Unmarked | None:
    """The control database, where it does not know yet whether its keys are hashed under this pepper. Raises as
    `pepper_of`."""
    if settings.database_url is not None or _own_pepper(settings)[1]:
        return None
    return Unmarked(settings.database_path, pepper)


def _own_pepper(settings: Settings) -> tuple[bytes, bool]:
    """The pepper beside a SQLite file, and whether that is known to be its own."""
    path = settings.database_path
    pepper = load_or_create_pepper(settings.data_dir, path)
    # a command that only reads may come before there is a database, or before it is brought up to date
    if not schema_is_current(path):
        return pepper, False
    return pepper, sqlite_pepper.agree(path, pepper, settings.data_dir / FILE_NAME)


async def migrated(settings: Settings) -> None:
    """Bring the control database up to date in a process of its own, where that is needed. Raises StoreUnavailable."""
    url = settings.database_url
    if url is None:
        current = schema_is_current(settings.database_path)
    else:
        current = await asyncio.to_thread(_reader(url.reveal()).schema_is_current)
    if current:
        return
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sekisho.stores.migrate", "-" if url is not None else str(settings.database_path)),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate(None if url is None else f"{url.reveal()}\n".encode())
    if process.returncode != 0:
        raise StoreUnavailable(errors.decode("utf-8", "replace").strip() or "the control database was not made")


def control_snapshot(settings: Settings) -> PolledSnapshot:
    """What the serving process looks at about once a second; it never waits for it, nor for thousands of rows. To be
    closed. Raises StoreUnavailable."""
    if settings.database_url is None:
        return PolledSnapshot(SqliteSnapshot(settings.database_path), _LOCAL_EVERY_S)
    return PolledSnapshot(_reader(settings.database_url.reveal()))


def _postgres(url: str) -> PostgresSnapshot:
    snapshot = _reader(url)
    if not snapshot.schema_is_current():
        migrate_postgres(url)
    return snapshot


def _reader(url: str) -> PostgresSnapshot:
    if find_spec("psycopg") is None:
        raise ClientMissing("the client of PostgreSQL is not installed")
    return PostgresSnapshot(url)
