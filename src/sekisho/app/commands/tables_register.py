"""`sekisho tables register`: the tables as external tables of Unity Catalog, by a script or by its REST API. Must send
nothing unless an address is given, and never a grant that was not asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from sekisho.app.commands import NO
from sekisho.app.commands import register_messages as messages
from sekisho.app.commands.tables_desk import Config, DataDir, Target, refuse, said, tables_in, target
from sekisho.app.commands.tables_messages import FILE_EXISTS, NOT_WRITTEN
from sekisho.app.declare import Both, Help
from sekisho.app.settings.os_reasons import os_reason
from sekisho.app.speech import language

if TYPE_CHECKING:
    from sekisho.app.settings.messages import Say
    from sekisho.tables.unity import Reader, Registration

_AWS = (".amazonaws.com", ".amazonaws.com.cn")

_Catalog = Annotated[
    str, typer.Option("--catalog", help=Both("The catalog; it must exist.", "カタログ（作成済みのもの）"))
]
_Schema = Annotated[
    str, typer.Option("--schema", help=Both("The schema; made where there is none.", "スキーマ（なければ作成）"))
]
_Readers = Annotated[
    list[str] | None,
    typer.Option(
        "--reader",
        metavar="TABLE=GROUP",
        help=Both(
            "Who may read usage or inference_log; may be given several times. By default nobody.",
            "usage か inference_log を読める相手（複数指定可。既定ではだれも読めない）",
        ),
    ),
]
_Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        help=Both(
            "The file to write the script to; it must not be there yet. By default stdout.",
            "スクリプトを書き出すファイル（すでにあるものは不可。既定は標準出力）",
        ),
    ),
]
_Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help=Both(
            f"Register at this Unity Catalog instead, by its REST API; the token is that of {messages.TOKEN_VARIABLE}.",
            f"スクリプトを作らず、この Unity Catalog に REST API で登録（トークンは {messages.TOKEN_VARIABLE}）",
        ),
    ),
]
REGISTER = Help(
    Both(
        """Print a script in Databricks' SQL that registers the tables in Unity Catalog as external tables, with
        comments, tags, views, and grants for those named by --reader. Nothing is sent.

        With --url the tables are registered by the REST API of a Unity Catalog instead, without views and grants.
        Exit code 1 when the catalog refused, or has another table of that name; 3 when it could not be reached.
        """,
        """テーブルを Unity Catalog に外部テーブルとして登録する、Databricks SQL のスクリプトを表示します。
        コメント、タグ、ビューと、--reader で指定した相手への権限を含みます。どこにも送信しません。

        --url を付けると、Unity Catalog の REST API で登録します（ビューと権限は含みません）。
        カタログが拒否した場合や、同じ名前の別のテーブルがある場合、終了コードは 1 です。接続できない場合は 3 です。
        """,
    ),
    "sekisho tables register --catalog main --reader usage=analysts",
)


def register(
    catalog: _Catalog = "main",
    schema: _Schema = "sekisho",
    reader: _Readers = None,
    output: _Output = None,
    url: _Url = None,
    config: Config = None,
    data_dir: DataDir = None,
) -> None:
    """Exit code 1 when the catalog or the file system said no, 3 when there is no catalog."""
    from sekisho.tables.unity import is_name, script

    for option, name in (("--catalog", catalog), ("--schema", schema)):
        if not is_name(name):
            refuse(messages.BAD_NAME, option=option, text=_shown(name))
    readers = [_reader(text) for text in reader or ()]
    if url is not None and (readers or output is not None):
        refuse(messages.NOT_WITH_URL, option="--reader" if readers else "--output")
    where = target(config, data_dir)
    registration = _registration(catalog, schema, readers, where)
    if url is not None:
        from sekisho.app.commands.tables_catalog import at_catalog

        at_catalog(url, os.environ.get(messages.TOKEN_VARIABLE, ""), registration)
        return
    text = script(registration)
    try:
        text.encode()
    except UnicodeEncodeError:
        refuse(messages.NOT_TEXT)
    if output is None:
        typer.echo(text, nl=False)
    else:
        _write(output, text)


def _registration(catalog: str, schema: str, readers: Sequence[Reader], where: Target) -> Registration:
    from sekisho.tables.unity import Registration

    warnings = _warnings(where)
    for say, values in warnings:
        typer.echo(said(say, **values), err=True)
    return Registration(
        catalog=catalog,
        schema=schema,
        storage=where.storage,
        retention_days=where.plan.policy.retention_days,
        readers=readers,
        warnings=[say.message("en", **values) for say, values in warnings],
    )


def _warnings(where: Target) -> list[tuple[Say, dict[str, str]]]:
    """What is known without asking anybody. In a script they stand in English, as all of it does."""
    from sekisho.tables.schema import TABLES

    storage = where.storage
    if storage.s3 is not None:
        host = urlsplit(storage.s3.endpoint).hostname or ""
        return [] if host.endswith(_AWS) else [(messages.OWN_STORE, {"endpoint": storage.s3.endpoint})]
    there = {table.name for table in tables_in(storage)}
    missing = [(messages.NO_TABLE_YET, {"table": name}) for name in TABLES if name not in there]
    return [(messages.LOCAL_FOLDER, {}), *missing]


def _reader(text: str) -> Reader:
    from sekisho.tables.schema import TABLES
    from sekisho.tables.unity import Reader, is_principal

    table, _, principal = text.partition("=")
    if table not in TABLES or not is_principal(principal):
        refuse(messages.BAD_READER, text=_shown(text), tables=", ".join(TABLES))
    return Reader(table, principal)


def _shown(text: str) -> str:
    """A wrong name so that a terminal can show it."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def _write(output: Path, text: str) -> None:
    """All of it or nothing, and never over another file."""
    if output.exists():
        refuse(FILE_EXISTS, name=output)
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, "utf-8", newline="\n")
        temporary.rename(output)
    except OSError as error:
        refuse(NOT_WRITTEN, NO, name=output, error=os_reason(error, language()))
    finally:
        temporary.unlink(missing_ok=True)
    typer.echo(said(messages.WRITTEN, name=output), err=True)
