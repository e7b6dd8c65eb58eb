"""The console script `sekisho`. Must stay light: only the command that was asked for is imported."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from sekisho import __version__
from sekisho.app import speech
from sekisho.app.commands import WRONG_USAGE
from sekisho.app.declare import Both, Help, whole
from sekisho.tables.lean import leave_out_numpy_and_pandas
from sekisho.tables.standard_error import open_standard_streams

#: command -> module in sekisho.app.commands, in the order of `sekisho --help`
COMMANDS = {
    "serve": "serve",
    "demo": "demo",
    "mock": "mock",
    "init": "init",
    "check-config": "check_config",
    "keys": "keys",
    "teams": "teams",
    "users": "users",
    "budgets": "budgets",
    "limits": "limits",
    "stop": "stop",
    "sql": "sql",
    "reconcile": "reconcile",
    "monitoring": "monitoring",
    "tables": "tables",
}


_HELP = Help(Both("The LLM gateway whose numbers are true.", "数字が正しい LLM ゲートウェイです。"), "sekisho demo")

_INTERRUPTED = 130


def script() -> None:
    """`main` in a process of its own."""
    open_standard_streams()
    leave_out_numpy_and_pandas()
    main()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and ends the process with its exit code (see sekisho.app.commands)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _never_fail_to_print()
    try:
        code = build(words)(args=words, prog_name="sekisho", standalone_mode=False)
    except KeyboardInterrupt:
        # while a command was still being imported; later typer says so itself
        sys.exit(_INTERRUPTED)
    except Exception as error:
        if not _told(error):
            raise
        sys.exit(WRONG_USAGE)
    sys.exit(code if isinstance(code, int) else 0)


def _told(error: Exception) -> bool:
    """Say what was wrong with the words or with the configuration; False for anything else."""
    # asked for by name only here: commands that read no configuration do not import the settings
    from sekisho.app import usage_errors
    from sekisho.app.settings.problem import ConfigError

    if isinstance(error, ConfigError):
        typer.echo(str(error), err=True)
    elif usage_errors.is_usage_error(error):
        if (text := usage_errors.said(error, speech.language())) is None:
            text = str(error)
        typer.echo(text, err=True)
    else:
        return False
    return True


def build(words: Sequence[str]) -> typer.Typer:
    """The command line for these words: one command when they name it, else all, for help and suggestions."""
    speech.listen(words)
    app = whole(_HELP, _options)
    for module in _modules(words):
        importlib.import_module(f"sekisho.app.commands.{module}").register(app)
    return app


def _modules(words: Sequence[str]) -> tuple[str, ...]:
    first = words[0] if words else ""
    if first == "--version":
        return ()
    return (COMMANDS[first],) if first in COMMANDS else tuple(COMMANDS.values())


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sekisho {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help=Both("Print the version and end.", "バージョンを表示して終了"),
        ),
    ] = False,
) -> None:
    pass


def _never_fail_to_print() -> None:
    """A terminal that cannot show a character gets its escape instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
