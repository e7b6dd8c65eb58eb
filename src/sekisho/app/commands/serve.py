"""The `serve` command. Must import little before it runs: the gateway has to answer within a second."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import Annotated

import typer

from sekisho.app.commands import WRONG_USAGE
from sekisho.app.commands.listening import Host, Port
from sekisho.app.declare import Both, Help, command

_HELP = Help(
    Both(
        """Start the gateway.

        The configuration is --config, else sekisho.yaml in the current folder, else the environment: OPENAI_API_KEY,
        or the built-in mock provider when there is no key. Without a configuration a key is generated and shown.

        A changed file is taken over while it runs, also on SIGHUP; a file with mistakes leaves the old configuration
        in force.

        With --workers N so many processes share the port. They need counters that they share:
        `state: {url: redis://HOST:6379/0}`.
        """,
        """ゲートウェイを起動します。

        設定は --config のファイル、なければ現在のフォルダーの sekisho.yaml、それもなければ環境変数です。
        OPENAI_API_KEY があれば OpenAI を、なければ内蔵のモックプロバイダーを使います。
        設定ファイルがないときは、キーを 1 つ作って表示します。

        ファイルを変更すると、稼働中に自動で反映されます。SIGHUP でも反映されます。
        間違いのあるファイルは反映されず、元の設定のまま動きます。

        --workers N を付けると、N 個のプロセスが 1 つのポートを分け合います。
        共有のカウンター `state: {url: redis://HOST:6379/0}` が必要です。
        """,
    ),
    "sekisho serve --config sekisho.yaml --port 4000",
)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "serve", serve, _HELP)


def serve(
    config: Annotated[Path | None, typer.Option(help=Both("The configuration file.", "設定ファイル"))] = None,
    host: Host = "127.0.0.1",
    port: Port = 4000,
    workers: Annotated[int, typer.Option(min=1, max=64, help=Both("Serving processes.", "ワーカーの数"))] = 1,
) -> None:
    """Serves until Ctrl-C or SIGTERM. Exit code 2 for mistakes in the configuration or a port that is taken."""
    _ignore_reloads()
    from sekisho.app import banner, logs, running, speech
    from sekisho.app.limits import cannot_count
    from sekisho.app.serving import serve as serving
    from sekisho.app.settings import load
    from sekisho.app.settings.loading import DEFAULT_FILE
    from sekisho.app.settings.model import Settings

    path = config if config is not None else Path(DEFAULT_FILE) if Path(DEFAULT_FILE).exists() else None
    settings = load(path)
    language = speech.language(settings.language)
    if (refused := cannot_count(settings, workers, language)) is not None:
        typer.echo(refused, err=True)
        raise typer.Exit(WRONG_USAGE)
    logs.set_up(settings.log_level)
    settings, key = running.with_first_key(settings) if path is None else (settings, None)
    socks = running.listening(host, port, workers)
    url = running.url_of(settings, host, socks[0])
    option = f"--config {shlex.quote(str(path))} " if path is not None else ""

    def opened() -> None:
        running.announce(banner.banner(settings, url, key=key, data_option=option, language=language))

    if workers > 1:
        from sekisho.app.workers.supervisor import run

        raise typer.Exit(run(settings, socks, path=path, opened=opened))

    async def main(ready: Settings) -> None:
        reload_from = running.reloader(path, ready)
        await serving(ready, socks[0], opened=lambda _: opened(), reload_from=reload_from, config_path=path)

    running.run(running.with_mock(settings, main))


def _ignore_reloads() -> None:
    """Until there is somebody to heed SIGHUP, it would end the process; a file that changes meanwhile is read again."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
