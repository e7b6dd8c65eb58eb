"""`sekisho tables erase` and `export`: rows of one person, rows of some days. Must say what stays where."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    refuse,
    said,
    tables_in,
    target,
    work,
)
from sekisho.app.declare import Both, Help
from sekisho.app.settings.os_reasons import os_reason
from sekisho.app.speech import language

if TYPE_CHECKING:
    from sekisho.tables.export import Export

Format = Literal["parquet", "csv", "jsonl"]
_Table = Annotated[Name, typer.Option("--table", help=Both("Which table.", "書き出すテーブル"))]
_First = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="DAY",
        help=Both("First day, UTC, as 2026-11-01.", "最初の日（UTC、2026-11-01 のように指定）"),
    ),
]
_Last = Annotated[
    str, typer.Option("--to", metavar="DAY", help=Both("Last day, included.", "最後の日（この日も含む）"))
]
_Out = Annotated[
    Path,
    typer.Option(
        "--out",
        help=Both("The file to write; it must not be there yet.", "書き出すファイル（すでにあるものは不可）"),
    ),
]
_Format = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help=Both("By default what the name of the file ends with.", "形式（既定ではファイル名の末尾から判断）"),
    ),
]
_User = Annotated[
    str,
    typer.Option(
        "--user",
        help=Both(
            "As in the columns requester or end_user; full-width and half-width forms of a name are one.",
            "列 requester か end_user にある名前（全角と半角は区別しない）",
        ),
    ),
]
_Purge = Annotated[
    bool,
    typer.Option(
        "--purge",
        help=Both(
            "Delete the old files at once; queries that read them now will fail.",
            "古いファイルをすぐに削除する（読んでいる途中のクエリは失敗する）",
        ),
    ),
]
ERASE = Help(
    Both(
        """Take one person out of the tables: the rows of inference_log are dropped, those of usage lose everything that
        leads to the person and keep their costs.

        Without --purge the old files are deleted by `vacuum` after tables.vacuum_days. Exit code 1 when rows of the
        person are left, for example in the spool: then run it again.
        """,
        """1 人のデータをテーブルから取り除きます。
        inference_log の行は削除し、usage の行からは本人につながるものを消して、費用を残します。

        --purge を付けなければ、古いファイルは、tables.vacuum_days の日数が過ぎたあと `vacuum` が削除します。
        スプールなどに本人の行が残った場合、終了コードは 1 です。もう一度実行してください。
        """,
    ),
    "sekisho tables erase --user taro --dry-run",
)
EXPORT = Help(
    Both(
        """Write some days of a table into a Parquet, CSV or JSON lines file, rows not yet committed too.

        The file can be read by its owner alone. Exit code 1 when it could not be written.
        """,
        """テーブルの指定した日の行を、Parquet、CSV、JSON Lines のファイルに書き出します。コミット前の行も含みます。

        ファイルを読めるのは所有者だけです。書き出せなかった場合、終了コードは 1 です。
        """,
    ),
    "sekisho tables export --table usage --from 2026-11-01 --to 2026-11-30 --out usage.parquet",
)


def erase(
    user: _User,
    purge: _Purge = False,
    config: Config = None,
    data_dir: DataDir = None,
    dry_run: DryRun = False,
) -> None:
    """Exit code 1 when rows of the person are left."""
    from sekisho.tables.maintenance.erase import erase as take_out
    from sekisho.tables.maintenance.erase import files_of, waiting
    from sekisho.tables.maintenance.log import checkpoint_own

    left = 0

    def on(table: Path, _: int) -> tuple[Any, ...]:
        nonlocal left
        done = take_out(table, user, purge=purge, dry_run=dry_run, progress=advance)
        left += 0 if dry_run else done.left
        if not dry_run:
            checkpoint_own(table)
        return done.rows, done.files, done.deleted

    with work("erase", config, data_dir, dry_run) as (folder, storage, plan):
        with bar(messages.ERASING, sum(map(files_of, tables_in(storage)))) as advance:
            each(["name", "rows", "files_rewritten", "files_deleted"], storage, on)
        assert storage.path is not None
        in_spool = waiting(folder, storage.path, user)
    if not purge and not dry_run:
        typer.echo(said(messages.STILL_ON_DISK, days=plan.policy.vacuum_days))
    if left or in_spool:
        typer.echo(said(messages.STILL_THERE, rows=in_spool, files=left), err=True)
        raise typer.Exit(NO)


def export(
    table: _Table,
    first: _First,
    last: _Last,
    out: _Out,
    output: _Format = None,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Exit code 1 when it could not be written."""
    from sekisho.tables.export import Export
    from sekisho.tables.reader import SqlFailed, has_data

    kind = output or _by_name(out)
    days = _day("--from", first), _day("--to", last)
    if days[0] > days[1]:
        refuse(messages.NO_DAYS, first=first, last=last)
    folder, storage, _ = target(config, data_dir)
    if not has_data(folder, storage):
        refuse(messages.NO_TABLES, NO, data_dir=folder)
    if out.exists():
        refuse(messages.FILE_EXISTS, name=out)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"):
            pass
        count = _write(Export(folder, table, *days, storage), temporary, kind)
        temporary.rename(out)
    except (SqlFailed, OSError) as error:
        refuse(messages.NOT_WRITTEN, NO, name=out, error=os_reason(error, language()))
    finally:
        temporary.unlink(missing_ok=True)
    typer.echo(said(messages.EXPORTED, rows=count, name=out))


def _write(rows: Export, file: Path, kind: Format) -> int:
    from sekisho.app.commands.sql_output import as_csv, as_json_lines

    if kind == "parquet":
        return rows.write_parquet(file)
    lines: Iterable[str] = as_csv(rows.result()) if kind == "csv" else as_json_lines(rows.result())
    count = -1 if kind == "csv" else 0
    with file.open("w", encoding="utf-8", newline="\n") as opened:
        for line in lines:
            opened.write(line + "\n")
            count += 1
    return count


def _by_name(out: Path) -> Format:
    kinds: dict[str, Format] = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl"}
    kind = kinds.get(out.suffix.lower())
    return kind if kind is not None else refuse(messages.WHICH_FORMAT, name=out)


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        refuse(messages.BAD_DAY, option=option, text=text)
