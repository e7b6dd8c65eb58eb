"""The `mock` command. Must not import the server before it runs: other commands would pay for it."""

from __future__ import annotations

from typing import Annotated

import typer

from sekisho.app import speech
from sekisho.app.commands import WRONG_USAGE
from sekisho.app.declare import Both, Help, command

_MOST_MS = 3_600_000

_HELP = Help(
    Both(
        """Start the mock provider: a model server without a model, for tests, demos and measurements.

        It speaks OpenAI's wire format; point any client at the URL it prints, with any key.

        The model name carries a script: "mock-small" answers, "mock?status=429&retry_after=2" refuses,
        "mock?chunks=50&chunk_ms=20&cut_after=10" breaks off. An unknown script key is answered with the list of all
        keys.
        """,
        """モックプロバイダーを起動します。テスト、デモ、測定に使う、モデルのないモデルサーバーです。

        OpenAI の形式で応答します。表示される URL を、クライアントに任意のキーとともに指定してください。

        モデル名がスクリプトになります。"mock-small" は応答し、"mock?status=429&retry_after=2" は拒否し、
        "mock?chunks=50&chunk_ms=20&cut_after=10" は途中で切れます。
        スクリプトに未知の項目があれば、使える項目の一覧を返します。
        """,
    ),
    "sekisho mock --port 9101 --delay-ms 200",
)
_Port = Annotated[
    int,
    typer.Option(
        min=0,
        max=65535,
        help=Both("Port on 127.0.0.1; 0 takes a free one.", "127.0.0.1 のポート（0 なら空いている番号）"),
    ),
]
_DelayMs = Annotated[
    int,
    typer.Option(
        min=0,
        max=_MOST_MS,
        help=Both(
            "Before each answer, where the script says nothing; milliseconds.",
            "応答までの時間（ミリ秒）。スクリプトに指定がない場合",
        ),
    ),
]
_ChunkMs = Annotated[
    int,
    typer.Option(
        min=0,
        max=_MOST_MS,
        help=Both(
            "Between chunks of a stream, likewise; milliseconds.",
            "ストリームのチャンクの間隔（ミリ秒）。スクリプトに指定がない場合",
        ),
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "mock", mock, _HELP)


def mock(port: _Port = 9101, delay_ms: _DelayMs = 0, chunk_ms: _ChunkMs = 0) -> None:
    """Serves until Ctrl-C. Exit code 2 if the port is taken."""
    from sekisho.mock.server import PortUnavailable, greeting, run

    japanese = speech.language() == "ja"
    try:
        run(port, delay_ms, chunk_ms, lambda url: typer.echo(greeting(url, "試すには" if japanese else "try")))
    except PortUnavailable as error:
        typer.echo(_in_japanese(port, error) if japanese else str(error), err=True)
        raise typer.Exit(WRONG_USAGE) from None


def _in_japanese(port: int, error: Exception) -> str:
    """The words of `serve` for the same."""
    from sekisho.app.obstacles import no_port, words

    cause = error.__cause__
    return words(no_port("127.0.0.1", port, cause), "ja") if isinstance(cause, OSError) else str(error)
