"""`sekisho sql`: a query over everything recorded, rows not yet committed too. Must only read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sekisho.app.commands import NO, WRONG_USAGE
from sekisho.app.commands.tables_desk import target

if TYPE_CHECKING:
    from sekisho.app.commands.sql_output import Rows

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
    catalog: Annotated[
        str,
        typer.Option("--catalog", metavar="CATALOG.SCHEMA", help="What may stand before a table's name, as elsewhere."),
    ] = "main.sekisho",
) -> None:
    """Query the tables `usage` and `inference_log` and their views with DuckDB.

    Views: recent_errors, latency_by_endpoint, tokens_by_day, cost_by_day, last_user_message, growing_inputs,
    verbose_outputs, failing_inputs, inference_table, inference_table_databricks. A catalog and a schema may stand
    before a name: main.sekisho.usage. Exit code 1 if the query fails.
    """
    from sekisho.app.commands import sql_messages as messages
    from sekisho.app.settings import language_of
    from sekisho.tables.qualified import NotAPlace, plain_names
    from sekisho.tables.reader import NotAQuery, SqlFailed, ask, has_data, names

    language, (folder, storage, _) = language_of(), target(config, data_dir)
    try:
        if not has_data(folder, storage):
            typer.echo(messages.NOTHING_YET.message(language, data_dir=folder), err=True)
        for line in _lines(ask(folder, plain_names(statement, catalog), storage), output):
            typer.echo(line)
    except NotAPlace:
        typer.echo(messages.NOT_A_PLACE.message(language, given=catalog), err=True)
        raise typer.Exit(WRONG_USAGE) from None
    except NotAQuery as error:
        typer.echo(f"{error}\n{messages.ONE_SELECT.message(language)}", err=True)
        raise typer.Exit(WRONG_USAGE) from None
    except (SqlFailed, OSError) as error:
        typer.echo(f"{error}\n{messages.NAMES.message(language, names=', '.join(names()))}", err=True)
        raise typer.Exit(NO) from None


def _lines(result: Rows, output: Format) -> Iterator[str]:
    from sekisho.app.commands.sql_output import as_csv, as_json, as_table

    if output == "table":
        return as_table(result, colour=sys.stdout.isatty())
    return as_json(result) if output == "json" else as_csv(result)
