"""What the operating system says is told in the language of the reader."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from sekisho.app.settings.os_reasons import failure, os_reason
from sekisho.tables.storage import TableUnreadable

CASES = [
    (FileNotFoundError(errno.ENOENT, "No such file", "/x"), "No such file", "ファイルまたはフォルダーがありません"),
    (OSError(errno.ENOSPC, "No space left"), "No space left", "ディスクに空きがありません"),
    (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "Connection refused", "接続を拒否されました"),
    (TimeoutError("timed out"), "timed out", "時間内に応答がありません"),
    (socket.gaierror(-2, "Name not known"), "Name not known", "ホスト名を解決できません"),
    # its numbers are those of TLS: 1 is not "not permitted"
    (ssl.SSLError(1, "[SSL] wrong version"), "[SSL] wrong version", "[SSL] wrong version"),
    (TableUnreadable("s3://b/usage", "503"), "s3://b/usage cannot be read: 503", "s3://b/usage を読み取れません: 503"),
    (OSError("HTTP 404"), "HTTP 404", "HTTP 404"),
    ("HTTP 404", "HTTP 404", "HTTP 404"),
]


@pytest.mark.parametrize(("error", "english", "japanese"), CASES)
def test_a_reason_is_told_in_both_languages(error: object, english: str, japanese: str) -> None:
    assert (os_reason(error, "en"), os_reason(error, "ja")) == (english, japanese)


FAILURES = [
    (OSError(errno.ENOSPC, "No space left"), "No space left", "ディスクに空きがありません"),
    (PermissionError(errno.EACCES, "No access", "/x/y"), "/x/y: No access", "/x/y: アクセス権がありません"),
    (TableUnreadable("s3://b/usage", "503"), "s3://b/usage cannot be read: 503", "s3://b/usage を読み取れません: 503"),
    (RuntimeError("the table is torn"), "the table is torn", "the table is torn"),
]


@pytest.mark.parametrize(("error", "english", "japanese"), FAILURES)
def test_what_failed_is_told_without_numbers_in_both_languages(error: Exception, english: str, japanese: str) -> None:
    assert (failure(error, "en"), failure(error, "ja")) == (english, japanese)
