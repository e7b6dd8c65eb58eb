"""The `mock` command. Must not import the server before it runs: other commands would pay for it."""

from __future__ import annotations

from typing import Annotated

import typer

from sekisho.app.commands import WRONG_USAGE

_MOST_MS = 3_600_000

_HELP = """Start the mock provider: a model server without a model, for tests, demos and measurements.

It speaks OpenAI's wire format; point any client at the URL it prints, with any key.

The model name carries a script: "mock-small" answers, "mock?status=429&retry_after=2" refuses,
"mock?chunks=50&chunk_ms=20&cut_after=10" breaks off. An unknown script key is answered with the list of all keys.
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("mock", help=_HELP, epilog="Example: sekisho mock --port 9101 --delay-ms 200")(mock)


def mock(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 9101,
    delay_ms: Annotated[
        int, typer.Option(min=0, max=_MOST_MS, help="Before each answer, where the script says nothing; milliseconds.")
    ] = 0,
    chunk_ms: Annotated[
        int, typer.Option(min=0, max=_MOST_MS, help="Between chunks of a stream, likewise; milliseconds.")
    ] = 0,
) -> None:
    """Serves until Ctrl-C. Exit code 2 if the port is taken."""
    from sekisho.mock.server import PortUnavailable, greeting, run

    try:
        run(port, delay_ms, chunk_ms, lambda url: typer.echo(greeting(url)))
    except PortUnavailable as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(WRONG_USAGE) from None
