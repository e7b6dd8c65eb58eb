"""Whoever starts a gateway hears in their language what is in the way, and what to do."""

from __future__ import annotations

import errno
import sqlite3
import ssl
from pathlib import Path
from string import Formatter

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from sekisho.app import obstacles
from sekisho.app.obstacles import METRICS_PORT_TAKEN, PEPPER, CannotListen, no_port, words
from sekisho.app.settings.messages import Say
from sekisho.stores.pepper import PepperUnusable
from sekisho.stores.ports import ClientMissing, LaterVersion, NotWritable, StoreUnavailable
from sekisho.tables.spool_folder import DataDirInUse

PEPPER_PATH = Path("/srv/rows/key_pepper")


def _caused(text: str, cause: Exception) -> StoreUnavailable:
    error = StoreUnavailable(text)
    error.__cause__ = cause
    return error


TAKEN = OSError(errno.EADDRINUSE, "Address already in use")
CASES = [
    (DataDirInUse(Path("/srv/rows"), "7703"), "/srv/rows is in use by process 7703", "プロセス 7703 が使用中です。"),
    (no_port("127.0.0.1", 4000, TAKEN), "127.0.0.1:4000: Address already in use", "--port で別の番号"),
    (no_port("8.8.8.8", 0, OSError(errno.EADDRNOTAVAIL, "no such")), "--host has to be", "--host にはこのマシンの"),
    (
        CannotListen(METRICS_PORT_TAKEN, "::1", 9464, TAKEN),
        "server.metrics_port: cannot listen on [::1]:9464",
        "設定で",
    ),
    (ssl.SSLError(9, "[SSL] PEM lib"), "server.tls_key cannot be used: [SSL] PEM lib", "server.tls_key を使えません"),
    (
        FileExistsError(errno.EEXIST, "File exists", "/srv/rows"),
        "/srv/rows cannot be used: File exists",
        "を使えません",
    ),
    (
        ClientMissing("no client"),
        "its client is not installed\n    -> in the folder of Sekisho: .uv/bin/uv pip install",
        "クライアントが入っていません。\n    -> Sekisho のフォルダーで .uv/bin/uv pip install",
    ),
    (StoreUnavailable("no database"), "no database", "管理データベースを使えません"),
    (
        _caused("the control database cannot be read: damaged", sqlite3.DatabaseError("damaged")),
        "the control database cannot be used: damaged\n    -> see that the file can be read",
        "管理データベースを使えません: damaged\n    -> ファイルを読み書きできるか",
    ),
    (
        _caused("the control database cannot be read: no entry", psycopg.OperationalError("no\nentry")),
        "the control database cannot be used: no entry\n    -> see that the server of `database.url` runs",
        "管理データベースを使えません: no entry\n    -> `database.url` のサーバーが動いていて",
    ),
    (NotWritable("read-only"), "database cannot be written: read-only\n    -> it may be a standby", "書き込めません"),
    (
        LaterVersion("/srv/control.db"),
        "(/srv/control.db) was written by a later version of Sekisho, which this one cannot read\n    -> use that",
        "（/srv/control.db）は新しいバージョンの Sekisho が書いたもの",
    ),
    (OSError("anything"), "anything", "anything"),
    (PepperUnusable("unreadable", path=PEPPER_PATH, reason="no"), "cannot be read or made: no", "読み書きできません"),
    (
        PepperUnusable("damaged", path=PEPPER_PATH, size=4, right_size=32),
        "has 4 bytes instead of 32; it was damaged\n    -> restore it from a backup",
        "32 バイトのはずが 4 バイト",
    ),
    (
        PepperUnusable("missing", path=PEPPER_PATH, database="control.db"),
        "is missing, but control.db holds keys that depend on it\n    -> restore it from a backup",
        "バックアップから戻してください",
    ),
    (
        PepperUnusable("not_its_own", path=PEPPER_PATH, database="control.db"),
        "is another one than that of the keys in control.db\n    -> restore it from a backup",
        "control.db のキーに使われているものと違います。\n    -> 管理データベースと一緒に取ったバックアップから",
    ),
    (PepperUnusable("not_copied", path=PEPPER_PATH), "-> copy it from the data folder", "コピーしてください"),
    (
        PepperUnusable("another", path=PEPPER_PATH),
        "is another one than that of the shared database\n    -> copy it from the data folder",
        "使われているものと違います",
    ),
    (
        PepperUnusable("unknown", path=PEPPER_PATH, database="control.db", reason="no"),
        "control.db cannot be read either: no",
        "control.db も読めません",
    ),
]


@pytest.mark.parametrize(("error", "english", "japanese"), CASES)
def test_what_is_in_the_way_is_said_in_both_languages(error: Exception, english: str, japanese: str) -> None:
    assert english in words(error, "en")
    assert japanese in words(error, "ja")


def test_what_the_driver_said_is_found_behind_sqlalchemy_s_words() -> None:
    error = _caused("did not answer", DBAPIError("SELECT 1", {}, psycopg.OperationalError("gone")))
    assert words(error, "ja").startswith("管理データベースを使えません: gone\n    -> `database.url`")


def test_both_languages_name_the_same_facts() -> None:
    found = [value for value in vars(obstacles).values() if isinstance(value, Say)] + list(PEPPER.values())
    assert len(found) >= len(CASES) - 1
    for say in found:
        names = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in say[1:]]
        assert names[0] == names[1], say
        assert names[2] == names[3], say
        assert bool(say.en_hint) == bool(say.ja_hint), say
