"""`sekisho sql`: a query over everything recorded, rows not yet committed too. Must only read."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sekisho.app.commands import NO, WRONG_USAGE
from sekisho.app.commands.tables_desk import Config, DataDir, target
from sekisho.app.declare import Both, Help, command

if TYPE_CHECKING:
    from sekisho.app.commands.sql_output import Rows
    from sekisho.app.settings import Language

Format = Literal["table", "json", "csv", "spreadsheet"]
_FORMAT = Both(
    "How to print the answer; spreadsheet is CSV in which no text is a formula.",
    "出力の形式。spreadsheet は、文字列が数式として扱われない CSV",
)
_HELP = Help(
    Both(
        """Query the tables `usage` and `inference_log` and their views with DuckDB.

        Views: recent_errors, latency_by_endpoint, tokens_by_day, cost_by_day, last_user_message, growing_inputs,
        verbose_outputs, failing_inputs, inference_table, inference_table_databricks. A catalog and a schema may stand
        before a name: main.sekisho.usage. Exit code 1 if the query fails.
        """,
        """テーブル `usage`、`inference_log` とそのビューに、DuckDB で問い合わせます。

        ビュー: recent_errors、latency_by_endpoint、tokens_by_day、cost_by_day、last_user_message、growing_inputs、
        verbose_outputs、failing_inputs、inference_table、inference_table_databricks。
        名前の前にカタログとスキーマを付けられます（main.sekisho.usage）。クエリが失敗した場合、終了コードは 1 です。
        """,
    ),
    'sekisho sql "SELECT * FROM cost_by_day LIMIT 10" --format csv',
)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "sql", sql, _HELP)


def sql(
    statement: Annotated[
        str,
        typer.Argument(metavar="SQL", help=Both("One SELECT, in DuckDB's SQL.", "DuckDB の SQL で書いた SELECT 1 つ")),
    ],
    config: Config = None,
    data_dir: DataDir = None,
    output: Annotated[Format, typer.Option("--format", help=_FORMAT)] = "table",
    catalog: Annotated[
        str,
        typer.Option(
            "--catalog",
            metavar="CATALOG.SCHEMA",
            help=Both(
                "What may stand before a table's name, as elsewhere.",
                "テーブル名の前に付けられる名前（ほかの環境での名前に合わせる）",
            ),
        ),
    ] = "main.sekisho",
) -> None:
    """Exit code 1 if the query fails, 2 if it is none."""
    from sekisho.app import speech
    from sekisho.app.commands import sql_messages as messages
    from sekisho.tables.qualified import plain_names
    from sekisho.tables.reader import ask, has_data

    language, (folder, storage, _) = speech.language(), target(config, data_dir)
    with _failures(language, catalog):
        if not has_data(folder, storage):
            typer.echo(messages.NOTHING_YET.message(language, data_dir=folder), err=True)
        with ended_by_ctrl_c():
            for line in _lines(ask(folder, plain_names(statement, catalog), storage), output):
                # As it is: otherwise what looks like a colour would be cut out of the texts on their way into a pipe.
                typer.echo(line, color=True)


@contextmanager
def _failures(language: Language, catalog: str) -> Generator[None]:
    """Ends the command with a message and an exit code."""
    from sekisho.app.commands import sql_messages as messages
    from sekisho.app.settings.os_reasons import failure
    from sekisho.tables.qualified import NotAPlace
    from sekisho.tables.reader import NotAQuery, SqlFailed, names

    try:
        yield
    except NotAPlace:
        typer.echo(messages.NOT_A_PLACE.message(language, given=catalog), err=True)
        raise typer.Exit(WRONG_USAGE) from None
    except NotAQuery as error:
        said = messages.NOT_A_QUERY.get(error.kind, messages.NOT_A_SELECT).message(language, kind=error.kind)
        typer.echo(f"{said}\n{messages.ONE_SELECT.message(language)}", err=True)
        raise typer.Exit(WRONG_USAGE) from None
    except SqlFailed as error:
        # it may quote what callers wrote, control characters too
        from sekisho.app.commands.sql_output import visible

        said = "\n".join(map(visible, str(error).expandtabs(4).split("\n")))
        typer.echo(f"{said}\n{messages.NAMES.message(language, names=', '.join(names()))}", err=True)
        raise typer.Exit(NO) from None
    except BrokenPipeError:
        # `| head` has seen enough: nothing went wrong, and there is nobody to tell
        raise
    except OSError as error:
        typer.echo(failure(error, language), err=True)
        raise typer.Exit(NO) from None


@contextmanager
def ended_by_ctrl_c() -> Generator[None]:
    """Let SIGINT end the process itself: Python would hear of it only when DuckDB has its answer. Nothing is to be
    tidied up, for nothing is written. A process that ignores SIGINT goes on ignoring it."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _lines(result: Rows, output: Format) -> Iterator[str]:
    from sekisho.app.commands.sql_output import as_csv, as_json, as_spreadsheet, as_table, for_terminal

    terminal = sys.stdout.isatty()
    if output == "table":
        return as_table(result, colour=terminal)
    if output == "json":
        return as_json(result)
    lines = as_spreadsheet(result) if output == "spreadsheet" else as_csv(result)
    return for_terminal(lines) if terminal else lines
