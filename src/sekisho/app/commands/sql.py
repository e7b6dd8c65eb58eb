"""`sekisho sql`: a query over everything recorded, rows not yet committed too. Must only read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sekisho.app.commands import NO, WRONG_USAGE

if TYPE_CHECKING:
    from sekisho.app.settings import Language
    from sekisho.tables.storage import Storage

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
    folder, storage = configured(config, data_dir)
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


def configured(config: Path | None, data_dir: Path | None) -> tuple[Path, Storage]:
    """The data folder, and where the tables are. Without a configuration file named, a data folder given has its
    tables within. Raises ConfigError."""
    from sekisho.app.settings import load
    from sekisho.tables.storage import Storage

    if data_dir is not None and config is None:
        return data_dir, Storage.folder(Path(os.path.abspath(data_dir / "tables")))
    settings = load(config)
    if data_dir is None:
        return settings.data_dir, settings.storage
    return data_dir, settings.tables.storage or Storage.folder(Path(os.path.abspath(data_dir / "tables")))
