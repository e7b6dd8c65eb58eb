"""What keeps a gateway or a command from its data folder, its database or its port, in English and Japanese. Must only
find the words: who meets it decides what ends."""

from __future__ import annotations

import errno
import sqlite3
import ssl

from sekisho.app.settings.messages import Say
from sekisho.app.settings.model import Language
from sekisho.app.settings.os_reasons import os_reason
from sekisho.stores.pepper import PepperUnusable
from sekisho.stores.ports import ClientMissing, LaterVersion, NotWritable, StoreUnavailable
from sekisho.tables.spool_folder import DataDirInUse

PORT_TAKEN = Say(
    "",
    "cannot listen on {place}: {reason}",
    "{place} で待ち受けできません: {reason}",
    "another program may use the port; choose one with --port, or 0 for a free one",
    "ポートが使用中の可能性があります。--port で別の番号を指定してください（0 なら空いている番号）。",
)
NO_ADDRESS = Say(
    "",
    "cannot listen on {place}: {reason}",
    "{place} で待ち受けできません: {reason}",
    "--host has to be an address of this machine: 127.0.0.1, or 0.0.0.0 for all of them",
    "--host にはこのマシンのアドレスを指定してください（127.0.0.1、すべてのアドレスなら 0.0.0.0）。",
)
METRICS_PORT_TAKEN = Say(
    "",
    "server.metrics_port: cannot listen on {place}: {reason}",
    "server.metrics_port: {place} で待ち受けできません: {reason}",
    "another program may use the port; choose another one in the configuration",
    "ポートが使用中の可能性があります。設定で別の番号を指定してください。",
)
TLS_UNUSABLE = Say(
    "",
    "server.tls_certificate and server.tls_key cannot be used: {reason}",
    "server.tls_certificate と server.tls_key を使えません: {reason}",
    "both have to be PEM files, and the key that of the certificate",
    "どちらも PEM ファイルで、証明書に対応する鍵を指定してください。",
)
IN_USE = Say(
    "",
    "{folder} is in use by process {owner}",
    "{folder} はプロセス {owner} が使用中です。",
    "stop it, or choose another data_dir",
    "そのプロセスを止めるか、data_dir を別のフォルダーにしてください。",
)
NO_CLIENT = Say(
    "",
    "`database.url` names PostgreSQL, and its client is not installed",
    "`database.url` に PostgreSQL が指定されていますが、クライアントが入っていません。",
    "in the folder of Sekisho: .uv/bin/uv pip install --python .venv -e '.[postgresql]'",
    "Sekisho のフォルダーで .uv/bin/uv pip install --python .venv -e '.[postgresql]' を実行してください。",
)
DATABASE = Say("", "{error}", "管理データベースを使えません: {error}")
DATABASE_FILE = Say(
    "",
    "the control database cannot be used: {reason}",
    "管理データベースを使えません: {reason}",
    "see that the file can be read and written; where it is damaged, restore it from a backup",
    "ファイルを読み書きできるか確認し、壊れている場合はバックアップから戻してください。",
)
DATABASE_SERVER = Say(
    "",
    "the control database cannot be used: {reason}",
    "管理データベースを使えません: {reason}",
    "see that the server of `database.url` runs, and that it lets this user in from here",
    "`database.url` のサーバーが動いていて、このマシンからこのユーザーで接続できるか確認してください。",
)
LATER_VERSION = Say(
    "",
    "the control database ({database}) was written by a later version of Sekisho, which this one cannot read",
    "管理データベース（{database}）は新しいバージョンの Sekisho が書いたもので、このバージョンでは読めません。",
    "use that version or a later one; to go back, restore a backup that was made before the upgrade",
    "そのバージョン以降の Sekisho を使ってください。元のバージョンに戻すには、アップグレード前のバックアップを"
    "復元してください。",
)
NOT_WRITABLE = Say(
    "",
    "the control database cannot be written: {reason}",
    "管理データベースに書き込めません: {reason}",
    "it may be a standby, or its user lack the right: `database.url` has to name a server and a user that may write",
    "スタンバイサーバーか、権限のないユーザーの可能性があります。書き込めるサーバーとユーザーを `database.url` に"
    "指定してください。",
)
FILE = Say("", "{path} cannot be used: {reason}", "{path} を使えません: {reason}")
_RESTORE = (
    (
        "restore it from a backup made together with the control database; if it is lost, no key can be recognised any "
        "more: move the control database away, start again and make new keys"
    ),
    (
        "管理データベースと一緒に取ったバックアップから戻してください。なければどのキーも照合できません。"
        "管理データベースをよそへ移し、起動し直してキーを作り直してください。"
    ),
)
PEPPER = {
    "unreadable": Say(
        "",
        "the key pepper {path} cannot be read or made: {reason}",
        "キーのペッパー {path} を読み書きできません: {reason}",
    ),
    "damaged": Say(
        "",
        "the key pepper {path} has {size} bytes instead of {right_size}; it was damaged",
        "キーのペッパー {path} が壊れています（{right_size} バイトのはずが {size} バイト）。",
        *_RESTORE,
    ),
    "missing": Say(
        "",
        "the key pepper {path} is missing, but {database} holds keys that depend on it",
        "キーのペッパー {path} がありませんが、{database} にはそれに依存するキーがあります。",
        *_RESTORE,
    ),
    "not_copied": Say(
        "",
        "the key pepper {path} is missing, but the shared database holds keys",
        "キーのペッパー {path} がありませんが、共有データベースにはキーがあります。",
        "copy it from the data folder of the machine on which the first key was made: all machines that share a "
        "database need the same one",
        "最初のキーを作ったマシンのデータフォルダーからコピーしてください。データベースを共有するマシンには"
        "すべて同じものが必要です。",
    ),
    "another": Say(
        "",
        "the key pepper {path} is another one than that of the shared database",
        "キーのペッパー {path} が、共有データベースで使われているものと違います。",
        "copy it from the data folder of the machine that was started first: all machines that share a database need "
        "the same one",
        "最初に起動したマシンのデータフォルダーからコピーしてください。データベースを共有するマシンには"
        "すべて同じものが必要です。",
    ),
    "not_its_own": Say(
        "",
        "the key pepper {path} is another one than that of the keys in {database}",
        "キーのペッパー {path} が、{database} のキーに使われているものと違います。",
        *_RESTORE,
    ),
    "unknown": Say(
        "",
        "the key pepper {path} is missing, and {database} cannot be read either: {reason}",
        "キーのペッパー {path} がなく、{database} も読めません: {reason}",
    ),
}


class CannotListen(OSError):
    """A port that is not to be had, and the words for it."""

    def __init__(self, say: Say, host: str, port: int, error: OSError) -> None:
        super().__init__(error.errno, error.strerror or str(error))
        self.say = say
        self.cause = error
        self.place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def no_port(host: str, port: int, error: OSError) -> CannotListen:
    """Whether it is the port or the address that is wrong."""
    taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
    return CannotListen(PORT_TAKEN if taken else NO_ADDRESS, host, port, error)


def words(error: Exception, language: Language) -> str:
    """What is wrong, and what to do on a line of its own."""
    say, values = _say(error, language)
    hint = say.hint(language, **values)
    return say.message(language, **values) + (f"\n    -> {hint}" if hint else "")


def _database(error: StoreUnavailable) -> tuple[Say, dict[str, object]]:
    """The driver says in its own words what is wrong, and which of the two databases it is."""
    cause = error.__cause__
    driver = getattr(cause, "orig", None) or cause
    if isinstance(driver, sqlite3.Error):
        return DATABASE_FILE, {"reason": driver}
    if type(driver).__module__.startswith("psycopg"):
        return DATABASE_SERVER, {"reason": " ".join(str(driver).split())}
    return DATABASE, {"error": error}


def _say(error: Exception, language: Language) -> tuple[Say, dict[str, object]]:
    match error:
        case DataDirInUse():
            return IN_USE, {"folder": error.folder, "owner": error.owner}
        case PepperUnusable():
            return PEPPER[error.kind], error.facts
        case ClientMissing():
            return NO_CLIENT, {}
        case LaterVersion():
            return LATER_VERSION, {"database": error.database}
        case NotWritable():
            return NOT_WRITABLE, {"reason": error.reason}
        case StoreUnavailable():
            return _database(error)
        case CannotListen():
            return error.say, {"place": error.place, "reason": os_reason(error.cause, language)}
        case ssl.SSLError():
            return TLS_UNUSABLE, {"reason": os_reason(error, language)}
        case OSError() if error.filename is not None:
            return FILE, {"path": error.filename, "reason": os_reason(error, language)}
        case _:
            return Say("", "{error}", "{error}"), {"error": error}
