"""`sekisho reconcile`: do answers, rows and metrics agree? Must only read, and name what does not agree."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec
import typer

from sekisho.app.commands import NO, UNREACHABLE, WRONG_USAGE
from sekisho.app.commands.tables_desk import target

if TYPE_CHECKING:
    from sekisho.app.settings.model import Language
    from sekisho.costs.reconcile import Check, Counters
    from sekisho.tables.books import Books, Day
    from sekisho.tables.storage import Storage

DEFAULT_URL = "http://127.0.0.1:4000"
_PATIENCE_S = 10.0
_LARGEST_ANSWER = 16 * 1024 * 1024


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("reconcile", epilog="Example: sekisho reconcile --gateway http://127.0.0.1:4000")(reconcile)


def reconcile(
    config: Annotated[
        Path | None, typer.Option("--config", help="The configuration file; by default sekisho.yaml.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Where the rows are; by default what the configuration says.")
    ] = None,
    gateway: Annotated[
        str | None, typer.Option("--gateway", metavar="URL", help=f"Where /metrics is; by default {DEFAULT_URL}.")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option("--answers", help="A file of x-request-id that callers got, one a line.")
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="So many days (UTC) back.")] = 31,
    output: Annotated[
        Literal["table", "json"], typer.Option("--format", help="For people, or for machines.")
    ] = "table",
) -> None:
    """Compare answers, rows and metrics, and name what does not agree.

    The tables are compared with each other, rows still in the spool included, and with the counters of the running
    gateway since its start. Exit code 1 if something does not agree, 3 if the gateway named cannot be reached.
    """
    from sekisho.app.settings import language_of
    from sekisho.tables.reader import SqlFailed

    language = language_of()
    try:
        report = _report(data_dir, config, gateway, answers, days, language)
    except (_Stopped, SqlFailed, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code if isinstance(error, _Stopped) else NO) from None
    if output == "json":
        typer.echo(msgspec.json.encode(report.plain()).decode())
    else:
        report.print(language)
    if not report.agrees:
        raise typer.Exit(NO)


class _Stopped(Exception):
    """A gateway that was named does not answer, or what was given cannot be used."""

    def __init__(self, text: str, exit_code: int = UNREACHABLE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


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

    def print(self, language: Language) -> None:
        from sekisho.app.commands import reconcile_messages as messages

        for check in self.checks:
            for line in _lines(check, language):
                typer.echo(line)
        failed = sum(not check.agrees for check in self.checks)
        last = messages.DISAGREE if failed else messages.AGREE
        typer.echo(last.message(language, count=failed, all=len(self.checks)))


def _lines(check: Check, language: Language) -> list[str]:
    from sekisho.app.commands import reconcile_messages as messages

    verdicts = messages.VERDICTS[check.name]
    if check.agrees:
        return [f"ok  {verdicts.holds.message(language, **check.values)}"]
    lines = [f"NO  {verdicts.fails.message(language, **check.values)}"]
    if check.request_ids:
        more = int(check.values["count"]) - len(check.request_ids)
        say = messages.IDS_AND_MORE if more > 0 else messages.IDS
        lines.append("    " + say.message(language, ids=" ".join(check.request_ids), more=more))
    return [*lines, "    " + verdicts.fails.hint(language, **check.values)]


def _report(
    data_dir: Path | None, config: Path | None, named: str | None, answers: Path | None, days: int, language: Language
) -> Report:
    from sekisho.costs.reconcile import check_answers, check_counters, check_tables
    from sekisho.tables.books import Books

    folder, storage, url = _places(data_dir, config, named)
    ids = None if answers is None else _ids(answers)
    gateway = _gateway(url, folder, language, must=named is not None)
    before = None if gateway is None else _counters(url, language)
    books: Books = Books(folder, days, storage)
    try:
        counted = [] if gateway is None else books.since(gateway.started_us)
        after = None if gateway is None else _counters(url, language)
        checks = check_tables(books.doubts())
        if before is not None and after is not None:
            checks += check_counters(before, counted, after)
        if ids is not None:
            checks.append(check_answers(len(ids), books.missing(ids)))
        if gateway is not None and _gateway(url, folder, language, must=True) != gateway:
            from sekisho.app.commands import reconcile_messages as messages

            why = messages.RESTARTED.message(language)
            raise _Stopped(messages.UNREACHABLE.message(language, url=url, error=why))
        return Report(checks, books.days(), None if gateway is None else url)
    finally:
        books.close()


def _places(data_dir: Path | None, config: Path | None, named: str | None) -> tuple[Path, Storage, str]:
    """The data folder, where the tables are, and where /metrics is."""
    from sekisho.app.settings import load

    folder, storage, _ = target(config, data_dir)
    url = named or DEFAULT_URL
    if named is None and (data_dir is None or config is not None):
        port = load(config).server.metrics_port
        url = DEFAULT_URL if port is None else f"http://127.0.0.1:{port}"
    return folder, storage, url.rstrip("/")


def _ids(file: Path) -> list[str]:
    try:
        return list(dict.fromkeys(file.read_text("utf-8").split()))
    except (OSError, UnicodeDecodeError) as error:
        raise _Stopped(f"--answers {file}: {error}", WRONG_USAGE) from None


class _Ready(msgspec.Struct, frozen=True):
    """Of /health/ready what says which gateway this is, and since when it counts."""

    started_us: int
    spool: str


def _gateway(url: str, data_dir: Path, language: Language, *, must: bool) -> _Ready | None:
    """The gateway that writes into this folder. None, with a word about it, where there is none and none was named."""
    from sekisho.app.commands import reconcile_messages as messages
    from sekisho.tables.spools import held_spools, spool_ids

    try:
        ready = msgspec.json.decode(_get(f"{url}/health/ready"), type=_Ready)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        if must:
            raise _Stopped(messages.UNREACHABLE.message(language, url=url, error=error)) from None
        typer.echo(messages.NO_GATEWAY.message(language, url=url), err=True)
        return None
    spools = held_spools(data_dir)
    try:
        ours = spool_ids(spools)
    finally:
        for spool in spools:
            spool.close()
    if ready.spool in ours:
        return ready
    said = messages.OTHER_GATEWAY.message(language, url=url, data_dir=data_dir)
    if must:
        raise _Stopped(said)
    typer.echo(said, err=True)
    return None


def _counters(url: str, language: Language) -> Counters:
    from sekisho.app.commands import reconcile_messages as messages
    from sekisho.costs.reconcile import counters

    try:
        return counters(_get(f"{url}/metrics").decode("utf-8", "replace"))
    except (OSError, ValueError, LookupError) as error:
        raise _Stopped(messages.UNREACHABLE.message(language, url=url, error=error)) from None


def _get(url: str) -> bytes:
    """Raises OSError, ValueError for what is no http address. No proxy: the address is one of our own."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("http:// or https:// is missing")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_PATIENCE_S) as answer:
            return answer.read(_LARGEST_ANSWER)
    except urllib.error.HTTPError as error:
        error.close()
        raise OSError(f"HTTP {error.code}") from None
