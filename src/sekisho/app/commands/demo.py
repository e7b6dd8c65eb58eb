"""The `demo` command: a whole installation with made-up teams, keys and traffic, and no account anywhere."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from sekisho.app.commands.listening import Host, Port
from sekisho.app.declare import Both, Help, command

_HELP = Help(
    Both(
        """Start the gateway with the built-in mock provider, sample teams and keys, and sample traffic.

        Nothing leaves this machine. The rows stay in ./sekisho-data/demo; delete the folder to begin anew.
        """,
        """内蔵のモックプロバイダーとサンプルのチーム・キー・呼び出しで、ゲートウェイを起動します。

        このマシンの外には何も送りません。記録は ./sekisho-data/demo に残ります。
        最初からやり直すには、そのフォルダーを削除してください。
        """,
    ),
    "sekisho demo --port 4000",
)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "demo", demo, _HELP)


def demo(
    host: Host = "127.0.0.1",
    port: Port = 4000,
    traffic: Annotated[
        bool, typer.Option(help=Both("Make some calls at the start.", "起動時にサンプルの呼び出しを行うかどうか"))
    ] = True,
) -> None:
    """Serves until Ctrl-C."""
    from sekisho.app import banner, demo_data, logs, running, speech
    from sekisho.app.installation import Installation
    from sekisho.app.serving import serve as serving
    from sekisho.app.settings import parse
    from sekisho.app.settings.model import Settings

    language = speech.language()
    text = demo_data.CONFIG.replace("LANGUAGE", language)
    settings = parse(text, "demo", base_dir=Path.cwd(), demo=True, language=language)
    logs.set_up("warning")
    [sock] = running.listening(host, port)
    bound = sock.getsockname()[1]
    url = running.url_of(settings, host, sock)
    pending: list[asyncio.Task[None]] = []

    def opened(installation: Installation) -> None:
        data = f"--data-dir {demo_data.DATA_DIR} "
        running.announce(banner.banner(settings, url, key=demo_data.FIRST_KEY, data_option=data, language=language))
        if traffic:
            pending.append(asyncio.ensure_future(demo_data.sample_traffic(host, bound)))

    async def main(_: Settings) -> None:
        from sekisho.mock.server import MockProvider

        async with MockProvider(chunk_ms=5) as mock:
            await serving(settings.with_mock_at(mock.base_url), sock, opened=opened)

    running.run(main(settings))
