"""`sekisho reconcile`: do answers, rows, metrics, budgets and bills agree? Must only read, and name what does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec
import typer

from sekisho.app.commands import NO, UNREACHABLE, WRONG_USAGE
from sekisho.app.commands.reconcile_gateway import DEFAULT_URL, Stopped, counters_at, gateway_at
from sekisho.app.commands.tables_desk import Config, DataDir, target
from sekisho.app.declare import FORMAT, Both, Help, command

if TYPE_CHECKING:
    from sekisho.app.commands.reconcile_budgets import Desk
    from sekisho.app.commands.reconcile_export import Opened
    from sekisho.app.commands.reconcile_gateway import Ready
    from sekisho.app.settings.model import Language, Settings
    from sekisho.costs.reconcile import Check, Counters
    from sekisho.tables.books import Books, Day
    from sekisho.tables.storage import Storage

_Gateway = Annotated[
    str | None,
    typer.Option(
        "--gateway",
        metavar="URL",
        help=Both(f"Where /metrics is; by default {DEFAULT_URL}.", f"/metrics のアドレス（既定は {DEFAULT_URL}）"),
    ),
]
_Answers = Annotated[
    Path | None,
    typer.Option(
        "--answers",
        help=Both(
            "A file of x-request-id that callers got, one a line.",
            "呼び出し元が受け取った x-request-id のファイル（1 行に 1 つ）",
        ),
    ),
]
_Days = Annotated[
    int, typer.Option("--days", min=1, max=3650, help=Both("So many days (UTC) back.", "さかのぼる日数（UTC）"))
]
_Output = Annotated[Literal["table", "json"], typer.Option("--format", help=FORMAT)]
_Export = Annotated[
    list[Path] | None,
    typer.Option(
        "--export",
        metavar="FILE",
        help=Both(
            "A provider's usage or cost export; again for each further page.",
            "プロバイダーの利用量か費用のエクスポート（続きのページがあれば繰り返し指定）",
        ),
    ),
]
_Provider = Annotated[
    list[str] | None,
    typer.Option(
        "--provider",
        metavar="NAME",
        help=Both("Whose export it is, as the rows name it.", "エクスポートの元のプロバイダー（行にある名前）"),
    ),
]
_FormatOf = Annotated[
    Literal["openai", "anthropic", "csv"] | None,
    typer.Option(
        "--format-of",
        help=Both(
            "The shape of the export; by default what it looks like.", "エクスポートの形式（既定では内容から判断）"
        ),
    ),
]
_Tolerance = Annotated[
    str,
    typer.Option(
        "--tolerance",
        metavar="PERCENT",
        help=Both("Differences of an export up to so much agree.", "一致とみなすエクスポートとの差（％）"),
    ),
]
_Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="SEKISHO_ADMIN_KEY",
        show_envvar=False,
        help=Both(
            "To ask for budgets. By default SEKISHO_ADMIN_KEY, else admin.key of the configuration.",
            "予算を問い合わせるキー（既定は SEKISHO_ADMIN_KEY、なければ設定の admin.key）",
        ),
    ),
]
_Admin = Annotated[
    str | None,
    typer.Option(
        "--admin",
        metavar="URL",
        help=Both(
            "Where /admin is, if not at the address of --gateway.", "/admin のアドレス（--gateway と異なる場合）"
        ),
    ),
]
_HELP = Help(
    Both(
        """Compare answers, rows, metrics, budgets and bills, and name what does not agree.

        The tables are compared with each other, rows still in the spool included; with the counters of the running
        gateway since its start; with what its budgets say is spent; and with a provider's own usage export: OpenAI's or
        Anthropic's, or CSV. Exit code 1 if something does not agree, 3 if the gateway named cannot be reached.
        """,
        """応答、行、メトリクス、予算、請求を突き合わせ、一致しないものを示します。

        テーブル同士（スプールに残る行も含む）、稼働中のゲートウェイの起動後のカウンター、
        そのゲートウェイの予算の使用済み額、プロバイダーの利用量エクスポート（OpenAI、Anthropic、CSV）と比べます。
        一致しないものがある場合、終了コードは 1、指定したゲートウェイに接続できない場合は 3 です。
        """,
    ),
    "sekisho reconcile --gateway http://127.0.0.1:4000 --export usage.json",
)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "reconcile", reconcile, _HELP)


def reconcile(
    context: typer.Context,
    config: Config = None,
    data_dir: DataDir = None,
    gateway: _Gateway = None,
    admin: _Admin = None,
    key: _Key = None,
    answers: _Answers = None,
    export: _Export = None,
    provider: _Provider = None,
    format_of: _FormatOf = None,
    tolerance: _Tolerance = "0",
    days: _Days = 31,
    output: _Output = "table",
) -> None:
    """Exit code 1 if something does not agree, 3 if the gateway named cannot be reached."""
    from sekisho.app import speech
    from sekisho.app.commands.reconcile_export import Wanted, open_export
    from sekisho.app.settings.os_reasons import failure
    from sekisho.tables.reader import SqlFailed

    language = speech.language()
    try:
        opened = open_export(Wanted(export or (), provider or (), format_of, tolerance), language)
        where = _places(data_dir, config, gateway, admin)
        report = _report(where, answers, opened, _desk(context, where, key, language), days)
    except (Stopped, SqlFailed, OSError) as error:
        typer.echo(failure(error, language), err=True)
        raise typer.Exit(error.exit_code if isinstance(error, Stopped) else NO) from None
    _show(report, output, language)
    if not report.agrees:
        raise typer.Exit(NO)


class Report(NamedTuple):
    """Everything that was found; `url` None where no gateway took part."""

    checks: list[Check]
    days: list[Day]
    url: str | None

    @property
    def agrees(self) -> bool:
        return all(check.agrees for check in self.checks)

    def plain(self) -> dict[str, object]:
        """For JSON; field names are English everywhere."""
        return {"agrees": self.agrees, "gateway": self.url, "checks": self.checks, "days": self.days}


class _Places(NamedTuple):
    """Where everything is; `settings` None where no configuration took part."""

    data_dir: Path
    storage: Storage
    retention_days: dict[str, int]
    url: str
    #: the gateway was named, so it must answer
    must: bool
    admin_url: str
    settings: Settings | None

    @property
    def shared(self) -> bool:
        """Whether other gateways may write into the same tables."""
        return self.storage.s3 is not None or self.storage.path != Path(os.path.abspath(self.data_dir / "tables"))


def _show(report: Report, output: str, language: Language) -> None:
    if output == "json":
        typer.echo(msgspec.json.encode(report.plain()).decode())
        return
    from sekisho.app.commands.reconcile_output import print_checks

    print_checks(report.checks, language)


def _desk(context: typer.Context, where: _Places, key: str | None, language: Language) -> Desk:
    """Whom to ask for budgets. A key of the environment may be meant for another gateway, so it need not open."""
    from sekisho.app.commands.reconcile_budgets import Desk

    source = context.get_parameter_source("key")
    must_open = source is not None and source.name == "COMMANDLINE"
    return Desk(where.admin_url, key, must_open, where.settings, language)


def _report(where: _Places, answers: Path | None, export: Opened | None, desk: Desk, days: int) -> Report:
    from sekisho.app.commands.reconcile_export import check_export
    from sekisho.costs.reconcile import check_answers, check_counters, check_tables
    from sekisho.tables.books import Books

    def open_books() -> Books:
        return Books(where.data_dir, days, where.storage, where.retention_days)

    url, language = where.url, desk.language
    ids = None if answers is None else _ids(answers, language)
    gateway = gateway_at(url, where.data_dir, language, must=where.must)
    before = None if gateway is None else counters_at(url, language)
    books = open_books()
    try:
        counted = [] if gateway is None else books.since(gateway.started_us)
        after = None if gateway is None else counters_at(url, language)
        checks = check_tables(books.doubts())
        if before is not None and after is not None:
            checks += check_counters(before, counted, after, shared=where.shared)
            checks += _budgets(desk, after, open_books)
        if ids is not None:
            checks.append(check_answers(len(ids), books.missing(ids)))
        if export is not None:
            checks += check_export(export, books, where.settings, language)
        _refuse_restarted(gateway, where, language)
        return Report(checks, books.days(), None if gateway is None else url)
    finally:
        books.close()


def _budgets(desk: Desk, counted: Counters, open_books: Callable[[], Books]) -> list[Check]:
    from sekisho.app.commands.reconcile_budgets import budget_checks
    from sekisho.costs.reconcile import Check

    if lost := counted.rows.get("failed", 0):
        return [Check(name="budgets_rows_failed", agrees=True, values={"count": lost}, note=True)]
    return budget_checks(desk, open_books)


def _refuse_restarted(gateway: Ready | None, where: _Places, language: Language) -> None:
    from sekisho.app.commands import reconcile_messages as messages

    if gateway is not None and gateway_at(where.url, where.data_dir, language, must=True) != gateway:
        why = messages.RESTARTED.message(language)
        raise Stopped(messages.UNREACHABLE.message(language, url=where.url, error=why), UNREACHABLE)


def _places(data_dir: Path | None, config: Path | None, named: str | None, admin: str | None) -> _Places:
    """The data folder, where the tables are, and where /metrics and /admin are."""
    from sekisho.app.settings import OF_THE_GATEWAY, load

    folder, storage, plan = target(config, data_dir)
    # whether others share the counters has to be known
    unset_in = OF_THE_GATEWAY - {"state"}
    settings = load(config, unset_in=unset_in) if data_dir is None or config is not None else None
    url = named or DEFAULT_URL
    if named is None and settings is not None and settings.server.metrics_port is not None:
        url = f"http://127.0.0.1:{settings.server.metrics_port}"
    admin_url = admin or named or DEFAULT_URL
    kept, asked = plan.policy.retention_days, named is not None
    return _Places(folder, storage, kept, url.rstrip("/"), asked, admin_url.rstrip("/"), settings)


def _ids(file: Path, language: Language) -> list[str]:
    from sekisho.app.settings.os_reasons import os_reason

    try:
        return list(dict.fromkeys(file.read_text("utf-8").split()))
    except (OSError, UnicodeDecodeError) as error:
        raise Stopped(f"--answers {file}: {os_reason(error, language)}", WRONG_USAGE) from None
