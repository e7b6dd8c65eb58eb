"""`sekisho tables`: the state of the tables. Must only read until maintenance comes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from sekisho.app.commands import NO


def register(app: typer.Typer) -> None:
    """Adds the command and what is below it."""
    tables = typer.Typer(
        help="The Delta tables behind `sekisho sql`.",
        epilog="Example: sekisho tables info",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    tables.callback()(_group)
    tables.command("info", epilog="Example: sekisho tables info --format json")(info)
    app.add_typer(tables, name="tables")


def _group() -> None:
    """Makes `info` a command of its own: typer would take the place of a single one."""


def info(
    config: Annotated[
        Path | None, typer.Option("--config", help="The configuration file; by default sekisho.yaml.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Where the rows are; by default what the configuration says.")
    ] = None,
    output: Annotated[
        Literal["table", "json"], typer.Option("--format", help="For people, or for machines.")
    ] = "table",
) -> None:
    """Show rows, files, bytes and the last commit of each table, and what waits in the spool."""
    from sekisho.app.commands.sql import configured
    from sekisho.app.commands.sql_output import as_table
    from sekisho.tables.overview import overview

    folder, storage = configured(config, data_dir)
    try:
        tables, spool = overview(folder, storage)
    except OSError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(NO) from None
    known = [(table.name, table.rows, table.files, table.bytes, _iso(table.last_commit_us)) for table in tables]
    rows = [*known, ("spool", spool.rows, None, spool.bytes, None)]
    if output == "json":
        typer.echo(msgspec.json.encode([dict(zip(_COLUMNS, row, strict=True)) for row in rows]).decode())
        return
    for line in as_table(_Rows(rows), colour=False):
        typer.echo(line)


_COLUMNS = ["name", "rows", "files", "bytes", "last_commit"]


class _Rows:
    """As `sql_output` wants them."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self.columns = _COLUMNS
        self.numeric = [False, True, True, True, False]
        self._rows = rows

    def rows(self) -> list[tuple[Any, ...]]:
        return self._rows


def _iso(at_us: int | None) -> str | None:
    return None if at_us is None else datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
