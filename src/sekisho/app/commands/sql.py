"""`sekisho sql`: a query over everything recorded, rows not yet committed too. Must only read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sekisho.app.commands import NO, WRONG_USAGE
from sekisho.app.commands.tables_desk import target

if TYPE_CHECKING:
    from sekisho.app.settings import Language

Format = Literal["table", "json", "csv"]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("sql", epilog='Example: sekisho sql "SELECT * FROM cost_by_day LIMIT 10" --format csv')(sql)


def sql(
    statement: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT, in DuckDB's SQL.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="The configuration file; by default sekisho.yaml.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Where the rows are; by default what the configuration says.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="For people, or for machines.")] = "table",
) -> None:
    """Query the tables `usage` and `inference_log` and their views with DuckDB.

    Views: recent_errors, latency_by_endpoint, tokens_by_day, cost_by_day, last_user_message,
    inference_table_databricks. Exit code 1 if the query fails.
    """
    from sekisho.app.commands import sql_messages as messages
    from sekisho.app.commands.sql_output import as_csv, as_json, as_table
    from sekisho.app.settings import language_of
    from sekisho.tables.reader import NotAQuery, SqlFailed, ask, has_data, names

    language: Language = language_of()
    folder, storage, _ = target(config, data_dir)
    try:
        if not has_data(folder, storage):
            typer.echo(messages.NOTHING_YET.message(language, data_dir=folder), err=True)
        result = ask(folder, statement, storage)
        if output == "table":
            lines = as_table(result, colour=sys.stdout.isatty())
        else:
            lines = as_json(result) if output == "json" else as_csv(result)
        for line in lines:
            typer.echo(line)
    except NotAQuery as error:
        typer.echo(f"{error}\n{messages.ONE_SELECT.message(language)}", err=True)
        raise typer.Exit(WRONG_USAGE) from None
    except (SqlFailed, OSError) as error:
        typer.echo(f"{error}\n{messages.NAMES.message(language, names=', '.join(names()))}", err=True)
        raise typer.Exit(NO) from None
