"""Why a file, a table or a connection could not be opened, in the language of the reader. Must stay text."""

from __future__ import annotations

import errno

from sekisho.app.settings.model import Language
from sekisho.tables.storage import TableUnreadable

_JAPANESE = {
    errno.EACCES: "アクセス権がありません",
    errno.EADDRINUSE: "アドレスとポートが使用中です",
    errno.EADDRNOTAVAIL: "このマシンのアドレスではありません",
    errno.ECONNREFUSED: "接続を拒否されました",
    errno.ECONNRESET: "接続が切断されました",
    errno.EEXIST: "すでにあります",
    errno.EHOSTUNREACH: "ホストに到達できません",
    errno.EISDIR: "ファイルではなくフォルダーです",
    errno.EMFILE: "開いているファイルが多すぎます",
    errno.ENAMETOOLONG: "名前が長すぎます",
    errno.ENETUNREACH: "ネットワークに到達できません",
    errno.ENOENT: "ファイルまたはフォルダーがありません",
    errno.ENOSPC: "ディスクに空きがありません",
    errno.ENOTDIR: "フォルダーではありません",
    errno.EPERM: "許可されていない操作です",
    errno.EROFS: "読み取り専用です",
    errno.ETIMEDOUT: "時間内に応答がありません",
}


def os_reason(error: object, language: Language) -> str:
    """A few words without a full stop; what is not known in Japanese stays as it is."""
    if not isinstance(error, OSError):
        return str(error)
    if language == "ja":
        if isinstance(error, TableUnreadable):
            return failure(error, language)
        # others, as those of TLS and of looking up names, have numbers of their own
        if type(error).__module__ == "builtins" and error.errno in _JAPANESE:
            return _JAPANESE[error.errno]
        if type(error).__name__ == "gaierror":
            return "ホスト名を解決できません"
        if isinstance(error, TimeoutError):
            return _JAPANESE[errno.ETIMEDOUT]
    return error.strerror or str(error)


def failure(error: Exception, language: Language) -> str:
    """A whole sentence, with the name of the file or table where there is one."""
    if isinstance(error, TableUnreadable) and language == "ja":
        return f"{error.place} を読み取れません: {error.reason}"
    if isinstance(error, OSError) and error.errno is not None:
        reason = os_reason(error, language)
        return reason if error.filename is None else f"{error.filename}: {reason}"
    return str(error)
