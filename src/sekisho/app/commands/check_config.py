"""`sekisho check-config`: every mistake with its line and what to do. Must not change or start anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sekisho.app import speech
from sekisho.app.commands import WRONG_USAGE
from sekisho.app.declare import Both, Help, command
from sekisho.app.settings import DEFAULT_FILE, ConfigError, Language, Settings, load, render

_HELP = Help(
    Both(
        """Print every mistake of a configuration with its line and what to do.

        The environment variables and files that it names have to be there. Exit code 0: it can be used; 2: it cannot.
        """,
        """設定ファイルのすべての間違いを、行番号と対処方法とともに表示します。

        設定で参照している環境変数とファイルは、実際に必要です。終了コードは、使える設定なら 0、使えなければ 2 です。
        """,
    ),
    "sekisho check-config sekisho.yaml",
)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "check-config", check_config, _HELP)


def check_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=Both("The configuration file.", "設定ファイル"))] = Path(
        DEFAULT_FILE
    ),
    language: Annotated[
        Language | None,
        typer.Option(
            help=Both(
                "Language of the messages; by default that of the terminal, else of the file.",
                "メッセージの言語（既定は端末の言語、なければファイルの language）",
            )
        ),
    ] = None,
) -> None:
    """Exit code 2 if there is a mistake."""
    try:
        settings = load(file, language=language)
    except ConfigError as error:
        typer.echo(str(error))
        raise typer.Exit(WRONG_USAGE) from None
    if settings.warnings:
        typer.echo(render(settings.source, settings.warnings))
    typer.echo(_summary(settings, language or speech.language(settings.language)))


def _summary(settings: Settings, language: Language) -> str:
    providers, endpoints, keys = len(settings.providers), len(settings.endpoints), len(settings.keys)
    if language == "ja":
        return f"OK: プロバイダー {providers}、エンドポイント {endpoints}、キー {keys}"
    return f"OK: {providers} providers, {endpoints} endpoints, {keys} keys"
