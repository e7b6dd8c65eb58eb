"""The `serve` command. Must import little before it runs: the gateway has to answer within a second."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sekisho.app.commands import WRONG_USAGE

_HELP = """Start the gateway.

The configuration is --config, else sekisho.yaml in the current folder, else the environment: OPENAI_API_KEY, or the built-in mock provider when there is no key. Without a configuration a key is generated and shown.

A changed file is taken over while it runs, also on SIGHUP; a file with mistakes leaves the old configuration in force.
"""  # noqa: E501  a paragraph of help is one line, the terminal wraps it


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("serve", help=_HELP, epilog="Example: sekisho serve --config sekisho.yaml --port 4000")(serve)


def serve(
    config: Annotated[Path | None, typer.Option(help="The configuration file.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 4000,
    workers: Annotated[int, typer.Option(min=1, help="Serving processes.")] = 1,
) -> None:
    """Serves until Ctrl-C or SIGTERM. Exit code 2 for mistakes in the configuration or a port that is taken."""
    from sekisho.app import banner, logs, running
    from sekisho.app.serving import Installation
    from sekisho.app.serving import serve as serving
    from sekisho.app.settings import load
    from sekisho.app.settings.loading import DEFAULT_FILE
    from sekisho.app.settings.model import Settings

    path = config if config is not None else Path(DEFAULT_FILE) if Path(DEFAULT_FILE).exists() else None
    settings = load(path)
    _refuse_more_workers(workers)
    logs.set_up(settings.log_level)
    key: str | None = None
    if path is None:
        settings, key = running.with_first_key(settings)
    sock = running.listening(host, port)
    shown_host = f"[{host}]" if ":" in host else host
    scheme = "https" if settings.server.tls_certificate is not None else "http"
    url = f"{scheme}://{shown_host}:{sock.getsockname()[1]}"
    option = f"--config {path} " if path is not None else ""

    def opened(installation: Installation) -> None:
        endpoint = next(iter(settings.endpoints), "gpt-4o-mini" if settings.default_provider else None)
        typer.echo(banner.banner(settings, url, key=key, endpoint=endpoint, data_option=option))

    async def main(ready: Settings) -> None:
        await serving(ready, sock, opened=opened, reload_from=running.reloader(path, ready), config_path=path)

    running.run(running.with_mock(settings, main))


def _refuse_more_workers(workers: int) -> None:
    """Counters in memory are not shared, so two workers would each allow the whole of a limit."""
    if workers > 1:
        typer.echo(
            "More than one worker needs a shared state for limits and budgets, and `state: memory://` is not shared; "
            "this version serves with one worker. Start one gateway per data folder.\n"
            "複数ワーカーには共有の state が必要です。memory:// は共有されないため、"
            "このバージョンでは --workers 1 で起動してください。",
            err=True,
        )
        raise typer.Exit(WRONG_USAGE)
