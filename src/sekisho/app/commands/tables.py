"""`sekisho tables`: the state of the tables, and maintenance by hand. Must do nothing that the schedule cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from sekisho.app.commands import NO
from sekisho.app.commands import tables_messages as messages
from sekisho.app.commands.tables_desk import (
    Config,
    DataDir,
    DryRun,
    Name,
    bar,
    each,
    iso,
    refuse,
    said,
    show,
    tables_in,
    target,
    work,
)
from sekisho.app.commands.tables_register import REGISTER
from sekisho.app.commands.tables_register import register as at_unity_catalog
from sekisho.app.commands.tables_rows import ERASE, EXPORT, erase, export
from sekisho.app.declare import FORMAT, Both, Help, command, group
from sekisho.app.speech import language

_HELP = Help(
    Both(
        "The Delta tables behind `sekisho sql`.",
        "`sekisho sql` が読む Delta テーブルの状態表示とメンテナンスを行います。",
    ),
    "sekisho tables info",
)
_INFO = Help(
    Both(
        """Show rows, files, bytes, days and the last commit of each table, what waits in the spool and since when, and
        when maintenance last ran.
        """,
        """テーブルごとの行、ファイル、バイト数、日数、最後のコミットと、スプールで待っている行とその時間、
        最後のメンテナンスの時刻を表示します。
        """,
    ),
    "sekisho tables info --format json",
)
_COMPACT = Help(
    Both(
        """Merge small files into few: all of days that are over, and of today's so many that few are left.

        May run beside a serving gateway. Exit code 1 when it could not.
        """,
        """小さなファイルを少数にまとめます。終わった日の分はすべて、今日の分は残りが少なくなるまで統合します。

        ゲートウェイの稼働中にも実行できます。できなかった場合、終了コードは 1 です。
        """,
    ),
    "sekisho tables compact --dry-run",
)
_EXPIRE = Help(
    Both(
        """Drop the days that are older than the table's retention.

        No row is read for it. The files are deleted by `vacuum` later. Exit code 1 when it could not.
        """,
        """テーブルの保存期間を過ぎた日を取り除きます。

        行は読みません。ファイルはあとで `vacuum` が削除します。できなかった場合、終了コードは 1 です。
        """,
    ),
    "sekisho tables expire --table inference_log --days 30 --dry-run",
)
_VACUUM = Help(
    Both(
        """Delete files that left the tables, `tables.vacuum_days` later at most and 6 hours at least, and log entries
        that are summed up.

        Exit code 1 when it could not.
        """,
        """テーブルから外れたファイルを、6 時間後から `tables.vacuum_days` の日数後までの間に削除します。
        チェックポイントにまとめ済みのログも削除します。

        できなかった場合、終了コードは 1 です。
        """,
    ),
    "sekisho tables vacuum --dry-run",
)


def register(app: typer.Typer) -> None:
    """Adds the command and what is below it."""
    tables = group(app, "tables", _HELP)
    command(tables, "info", info, _INFO)
    command(tables, "compact", compact, _COMPACT)
    command(tables, "expire", expire, _EXPIRE)
    command(tables, "vacuum", vacuum, _VACUUM)
    command(tables, "erase", erase, ERASE)
    command(tables, "export", export, EXPORT)
    command(tables, "register", at_unity_catalog, REGISTER)


def info(
    config: Config = None,
    data_dir: DataDir = None,
    output: Annotated[Literal["table", "json"], typer.Option("--format", help=FORMAT)] = "table",
) -> None:
    """Exit code 1 if they cannot be read."""
    from sekisho.app.settings.os_reasons import failure
    from sekisho.tables.maintenance.state import read_state
    from sekisho.tables.overview import overview

    folder, storage, _ = target(config, data_dir)
    try:
        tables, spool = overview(folder, storage)
    except OSError as error:
        typer.echo(failure(error, language()), err=True)
        raise typer.Exit(NO) from None
    if not spool.segments and not any(one.last_commit_us for one in tables):
        typer.echo(said(messages.NOTHING_YET, place=storage.path or storage.url), err=True)
    jobs = read_state(folder).jobs if storage.path is not None else {}
    seen = iso(max((run.well_us for run in jobs.values()), default=0) or None)
    rows: list[tuple[Any, ...]] = [
        (one.name, one.rows, one.files, one.bytes, one.days, one.log_entries, iso(one.last_commit_us), None, seen)
        for one in tables
    ]
    rows.append(("spool", spool.rows, spool.segments, spool.bytes, None, None, None, spool.age_s, None))
    if output == "json":
        typer.echo(msgspec.json.encode([dict(zip(_COLUMNS, row, strict=True)) for row in rows]).decode())
        return
    show(_COLUMNS, rows)
    for job, run in sorted(jobs.items()):
        say = messages.LAST_FAILED if run.error else messages.LAST_RUN if run.ended_us else messages.LAST_CUT
        typer.echo(said(say, job=job, at=iso(run.ended_us or run.began_us), error=run.error))
    if storage.path is None:
        typer.echo(said(messages.BUCKET_NOT_MAINTAINED))


_COLUMNS = ["name", "rows", "files", "bytes", "days", "log_entries", "last_commit", "age_s", "last_maintenance"]


def compact(config: Config = None, data_dir: DataDir = None, dry_run: DryRun = False) -> None:
    """Exit code 1 when it could not."""
    from sekisho.tables.maintenance.compact import compact as merge
    from sekisho.tables.maintenance.compact import rows_to_merge
    from sekisho.tables.maintenance.log import checkpoint_own
    from sekisho.tables.maintenance.state import now_us

    conflicts = 0

    def on(table: Path, at_us: int) -> tuple[Any, ...]:
        nonlocal conflicts
        done = merge(table, at_us, closed=True, dry_run=dry_run, progress=advance)
        conflicts += done.conflicts
        if not dry_run:
            checkpoint_own(table)
        return done.days, done.files_before, done.files_after, done.rows

    with work("compact", config, data_dir, dry_run) as (_, storage, _):
        total = sum(rows_to_merge(table, now_us()) for table in tables_in(storage))
        with bar(messages.COMPACTING, total) as advance:
            each(["name", "days", "files_before", "files_after", "rows"], storage, on)
    if conflicts:
        typer.echo(said(messages.CONFLICTS, count=conflicts), err=True)
        raise typer.Exit(NO)


def expire(
    config: Config = None,
    data_dir: DataDir = None,
    table: Annotated[
        Name | None, typer.Option("--table", help=Both("Only this table.", "対象のテーブル（既定はすべて）"))
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            "--days",
            min=1,
            help=Both("Days to keep; by default tables.retention_days.", "残す日数（既定は tables.retention_days）"),
        ),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Exit code 1 when it could not."""
    from sekisho.tables.maintenance.expire import expire as drop
    from sekisho.tables.maintenance.expire import first_kept

    if days is not None and table is None:
        refuse(messages.DAYS_NEED_TABLE)

    def on(folder: Path, at_us: int) -> tuple[Any, ...]:
        keep = days or plan.policy.retention_days[folder.name]
        done = drop(folder, at_us, keep, dry_run=dry_run)
        return str(first_kept(at_us, keep)), len(done.days), done.files, done.rows, done.bytes

    with work("expire", config, data_dir, dry_run) as (_, storage, plan):
        each(["name", "first_day_kept", "days", "files", "rows", "bytes"], storage, on, only=table)


def vacuum(config: Config = None, data_dir: DataDir = None, dry_run: DryRun = False) -> None:
    """Exit code 1 when it could not."""
    from sekisho.tables.maintenance.log import checkpoint_own, shorten
    from sekisho.tables.maintenance.vacuum import vacuum as delete

    def on(table: Path, _: int) -> tuple[Any, ...]:
        # First, for on a full disk this makes the room that a checkpoint needs.
        done = delete(table, plan.policy.vacuum_days * 24, dry_run=dry_run)
        if not dry_run:
            checkpoint_own(table)
        entries = shorten(table, dry_run=dry_run)
        return done.files, done.bytes, entries

    with work("vacuum", config, data_dir, dry_run) as (_, storage, plan):
        each(["name", "files", "bytes", "log_entries"], storage, on)
