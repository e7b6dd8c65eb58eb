"""What the `tables` commands share: where the tables are, the lock, the bar, and how results are shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NoReturn

import typer

from sekisho.app.commands import NO, WRONG_USAGE
from sekisho.app.commands import tables_messages as messages
from sekisho.app.declare import CONFIG, Both
from sekisho.app.settings.os_reasons import failure
from sekisho.app.speech import language

if TYPE_CHECKING:
    from sekisho.app.settings.messages import Say
    from sekisho.tables.maintenance.policy import Plan
    from sekisho.tables.storage import Storage

Config = Annotated[Path | None, typer.Option("--config", help=CONFIG)]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help=Both(
            "Where the rows are; by default what the configuration says.",
            "データフォルダー（既定は設定の値）",
        ),
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help=Both("Only say what would be done.", "何をするかだけを表示し、変更しない"))
]
Name = Literal["usage", "inference_log"]


class Target(NamedTuple):
    """What a command is about: the data folder with the spool, where the tables are, and how they are maintained."""

    data_dir: Path
    storage: Storage
    plan: Plan


@contextmanager
def work(job: str, config: Path | None, data_dir: Path | None, dry_run: bool) -> Generator[Target]:
    """The tables, under the lock of maintenance unless nothing will be changed; afterwards it is written down. Ends the
    command with a message where something fails, and for tables in a bucket."""
    from sekisho.tables.maintenance.jobs import note
    from sekisho.tables.maintenance.state import Busy, Run, alone, now_us

    where = target(config, data_dir)
    folder = where.storage.path
    if folder is None:
        refuse(messages.FOLDERS_ONLY, url=where.storage.url)
    if not tables_in(where.storage):
        refuse(messages.NO_TABLES, NO, data_dir=where.data_dir)
    began_us = now_us()
    try:
        if dry_run:
            yield where
            typer.echo(said(messages.DRY_RUN))
            return
        with alone(where.data_dir, folder):
            yield where
            note(where.data_dir, folder, job, Run(began_us=began_us, ended_us=now_us()))
    except Busy as busy:
        refuse(messages.BUSY, NO, pid=busy)
    except typer.Exit:
        raise
    except (OSError, RuntimeError) as error:
        refuse(messages.FAILED, NO, error=failure(error, language()))


def each(
    columns: list[str], storage: Storage, on: Callable[[Path, int], tuple[Any, ...]], only: str | None = None
) -> None:
    """Do it for every table, or one, and show what came of it."""
    from sekisho.tables.maintenance.state import now_us

    chosen = [table for table in tables_in(storage) if only in (None, table.name)]
    show(columns, [(table.name, *on(table, now_us())) for table in chosen])


def target(config: Path | None, data_dir: Path | None) -> Target:
    """What the configuration says. A data folder given without one has its tables within, and the usual plan. Raises
    ConfigError."""
    from sekisho.app.settings import OF_THE_GATEWAY, load
    from sekisho.tables.maintenance.policy import Plan
    from sekisho.tables.storage import Storage

    if data_dir is not None and config is None:
        return Target(data_dir, Storage.folder(Path(os.path.abspath(data_dir / "tables"))), Plan())
    settings = load(config, unset_in=OF_THE_GATEWAY)
    if data_dir is None:
        return Target(settings.data_dir, settings.storage, settings.maintenance)
    storage = settings.tables.storage or Storage.folder(Path(os.path.abspath(data_dir / "tables")))
    return Target(data_dir, storage, settings.maintenance)


def tables_in(storage: Storage) -> list[Path]:
    """Folders of the tables that there are; none of a bucket."""
    from sekisho.tables.files import LOG
    from sekisho.tables.schema import TABLES

    if storage.path is None:
        return []
    found = (storage.path / name for name in TABLES)
    return [table for table in found if (table / LOG).is_dir()]


@contextmanager
def bar(say: Say, total: int) -> Generator[Callable[[int], None]]:
    from sekisho.app.commands.progress import progress

    with progress(said(say), total) as advance:
        yield advance


def said(say: Say, **values: object) -> str:
    return say.message(language(), **values)


def refuse(say: Say, code: int = WRONG_USAGE, **values: object) -> NoReturn:
    """Say why on stderr, with what to do, and end the command."""
    typer.echo(f"{said(say, **values)}\n{say.hint(language(), **values)}".rstrip(), err=True)
    raise typer.Exit(code)


def show(columns: list[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Rows under their headings on stdout."""
    from sekisho.app.commands.sql_output import as_table

    for line in as_table(_Rows(columns, rows), colour=False):
        typer.echo(line)


class _Rows:
    """As `sql_output` wants them."""

    def __init__(self, columns: list[str], rows: Sequence[tuple[Any, ...]]) -> None:
        self.columns = columns
        self.numeric = [all(isinstance(row[at], int | float | None) for row in rows) for at in range(len(columns))]
        self._rows = rows

    def rows(self) -> Sequence[tuple[Any, ...]]:
        return self._rows


def iso(at_us: int | None) -> str | None:
    return None if at_us is None else datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
