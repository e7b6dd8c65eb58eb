"""`sekisho monitoring`: writes what Prometheus and Grafana need to watch a gateway. Must not overwrite what differs
unless told to."""

from __future__ import annotations

import errno
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from sekisho.app import speech
from sekisho.app.commands import NO, WRONG_USAGE
from sekisho.app.declare import Both, Help, command
from sekisho.app.settings import Language
from sekisho.app.settings.messages import Say
from sekisho.app.settings.os_reasons import os_reason

_HELP = Help(
    Both(
        """Write alert rules for Prometheus and dashboards for Grafana.

        Into the folder: prometheus-rules.yml, grafana-operations.json, grafana-costs.json, and prometheus.yml, a
        configuration to start from. Files that are there with other content are kept, unless --force is given.
        """,
        """Prometheus のアラートルールと Grafana のダッシュボードを書き出します。

        フォルダーに prometheus-rules.yml、grafana-operations.json、grafana-costs.json と、
        設定のひな形 prometheus.yml を書きます。
        内容の違うファイルがすでにあれば、--force がない限り残します。
        """,
    ),
    "sekisho monitoring ./monitoring --language ja",
)


Folder = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER",
        help=Both("Where to write; it is made if it is not there.", "書き出すフォルダー（なければ作成）"),
    ),
]
InLanguage = Annotated[
    Language | None,
    typer.Option(
        "--language",
        help=Both(
            "Language of titles, descriptions and alerts; by default that of the terminal.",
            "見出し、説明、アラートの言語（既定は端末の言語）",
        ),
    ),
]
Scraped = Annotated[
    str,
    typer.Option(
        "--gateway",
        metavar="URL",
        help=Both(
            "The gateway to scrape; with server.metrics_port, that port.",
            "収集するゲートウェイ。server.metrics_port を設定している場合はそのポート",
        ),
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help=Both("Overwrite files that differ.", "内容の違うファイルを上書きする"))
]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "monitoring", monitoring, _HELP)


def monitoring(
    folder: Folder = Path("monitoring"),
    language: InLanguage = None,
    gateway: Scraped = "http://127.0.0.1:4000",
    force: Force = False,
) -> None:
    """Exit code 1 if files are there that differ, 2 if the folder cannot be written or the address is none."""
    from sekisho.app.commands import monitoring_messages as messages
    from sekisho.app.commands.admin_door import is_address
    from sekisho.app.commands.admin_messages import BAD_URL
    from sekisho.monitoring.files import monitoring_files

    asked: Language = speech.language()
    if not is_address(gateway):
        raise _refused(BAD_URL, asked, WRONG_USAGE, url=gateway)
    texts = monitoring_files(language or asked, gateway)
    missing = {name: text for name, text in texts.items() if _content(folder / name, asked) != text.encode()}
    others = [name for name in missing if (folder / name).exists()]
    if others and not force:
        raise _refused(messages.OTHERS, asked, NO, files=", ".join(str(folder / name) for name in others))
    _write(folder, missing, asked)
    wrote = messages.WROTE if missing else messages.UNCHANGED
    typer.echo(wrote.message(asked, files=", ".join(missing), folder=folder))
    typer.echo(_next_steps(folder, asked))


def _content(path: Path, language: Language) -> bytes | None:
    """None where there is no file."""
    from sekisho.app.commands import monitoring_messages as messages

    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _refused(
            messages.UNREADABLE, language, WRONG_USAGE, path=path, error=os_reason(error, language)
        ) from None


def _write(folder: Path, texts: dict[str, str], language: Language) -> None:
    from sekisho.app.commands import monitoring_messages as messages

    place = folder
    try:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            place = folder / name
            _put(place, text.encode())
    except OSError as error:
        raise _refused(
            messages.UNWRITABLE, language, WRONG_USAGE, path=place, error=os_reason(error, language)
        ) from None


def _put(path: Path, content: bytes) -> None:
    """The whole file or none; others may read it, as Prometheus runs as a user of its own. A link stays a link."""
    path = path.resolve()
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def _next_steps(folder: Path, language: Language) -> str:
    from sekisho.app.commands import monitoring_messages as messages
    from sekisho.monitoring.files import GRAFANA, PROMETHEUS, RULES

    return messages.STEPS.message(
        language,
        prometheus=shlex.quote(str(folder / PROMETHEUS)),
        rules=folder / RULES,
        dashboards=", ".join(str(folder / name) for name in GRAFANA),
    )


def _refused(say: Say, language: Language, code: int, **values: object) -> typer.Exit:
    typer.echo(say.message(language, **values), err=True)
    if hint := say.hint(language):
        typer.echo(f"    -> {hint}", err=True)
    return typer.Exit(code)
