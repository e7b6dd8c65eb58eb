"""`sekisho keys`: virtual keys made, listed, revoked and rotated. Must print a secret once and only on stdout.

What it changes takes effect in a running gateway within 5 seconds, which looks at the database that often.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from zoneinfo import ZoneInfo

import typer

from sekisho.app.commands import WRONG_USAGE
from sekisho.app.declare import CONFIG, Both, Help, command, group

if TYPE_CHECKING:
    from sekisho.app.commands.key_desk import KeyDesk
    from sekisho.app.settings import Language, Settings
    from sekisho.app.settings.messages import Say
    from sekisho.stores.ports import KeyRecord

Format = Literal["table", "json"]
Role = Literal["user", "team_owner", "auditor", "admin"]

_Config = Annotated[Path | None, typer.Option("--config", help=CONFIG)]
_Format = Annotated[
    Format,
    typer.Option(
        "--format", help=Both("For people, or JSON for machines.", "出力形式（table は表、json はプログラム向け）")
    ),
]
_KeyId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help=Both(
            "Id of the key, its name if only one has it, or the key itself.",
            "キーの ID、1 つのキーだけが持つ名前、またはキーの値",
        ),
    ),
]
_Name = Annotated[
    str,
    typer.Option(
        "--name",
        help=Both("1-64 visible characters, Japanese too; unique.", "見える文字で 1-64 文字（日本語も可、重複は不可）"),
    ),
]
_Team = Annotated[str | None, typer.Option("--team", help=Both("A team of the configuration.", "設定にあるチーム"))]
_User = Annotated[
    str | None, typer.Option("--user", help=Both("Whom the calls are counted for.", "呼び出しを計上するユーザー"))
]
_Endpoints = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint",
        metavar="NAME",
        help=Both(
            "May be repeated; 'provider/*' for all models of one. Default: all endpoints.",
            "使えるエンドポイント（複数指定可。'provider/*' でプロバイダーの全モデル。既定はすべて）",
        ),
    ),
]
_Expires = Annotated[
    str | None,
    typer.Option(
        "--expires",
        help=Both("30d, 24h, 15m or 45s from now.", "有効期間（30d、24h、15m、45s のように指定）"),
    ),
]
_Role = Annotated[
    Role,
    typer.Option(
        "--role",
        help=Both("What the key may see beside its own calls.", "自身の呼び出しのほかに見られる範囲"),
    ),
]
_HELP = Help(
    Both(
        "Virtual keys: what callers use instead of a provider's key.",
        "プロバイダーのキーの代わりに呼び出し元が使うキー（仮想キー）を管理します。",
    ),
    "sekisho keys create --name my-app",
)
_CREATE = Help(
    Both(
        """Make a key. The secret is shown once and kept nowhere: on stdout, so `KEY=$(sekisho keys create …)` works.

        Exit code 1 if the name is taken.
        """,
        """キーを作ります。キーの値は一度だけ標準出力に表示し、どこにも保存しません。
        そのため `KEY=$(sekisho keys create …)` のように受け取れます。

        名前がすでに使われている場合、終了コードは 1 です。
        """,
    ),
    "sekisho keys create --name my-app --team research --expires 30d",
)
_LIST = Help(
    Both(
        "Show all keys, those declared in the configuration too.",
        "すべてのキーを表示します。設定ファイルで宣言されたキーも含みます。",
    ),
    "sekisho keys list --format json",
)
_REVOKE = Help(
    Both(
        "End a key for good. Exit code 1 if there is no such key or it is declared in the configuration.",
        """キーを失効させます。元には戻せません。
        そのキーがない場合や、設定ファイルで宣言されている場合、終了コードは 1 です。
        """,
    ),
    "sekisho keys revoke key_0a1B2c3D4e5F",
)
_ROTATE = Help(
    Both(
        """Replace a key by one with the same name and rights; the old one ends after the overlap.

        The new secret is shown once, as by `create`. Exit code 1 if there is no such key, or it is declared in the
        configuration, revoked or replaced.
        """,
        """キーを、同じ名前と権限の新しいキーに取り替えます。古いキーは、猶予期間が終わると使えなくなります。

        新しいキーの値は、`create` と同じく一度だけ表示します。
        そのキーがない場合や、設定ファイルで宣言されている、失効済み、取り替え済みの場合、終了コードは 1 です。
        """,
    ),
    "sekisho keys rotate my-app --overlap 24h",
)


def register(app: typer.Typer) -> None:
    """Adds the command and what is below it."""
    keys = group(app, "keys", _HELP)
    command(keys, "create", create, _CREATE)
    command(keys, "list", list_keys, _LIST)
    command(keys, "revoke", revoke, _REVOKE)
    command(keys, "rotate", rotate, _ROTATE)


def create(
    name: _Name,
    team: _Team = None,
    user: _User = None,
    endpoint: _Endpoints = None,
    expires: _Expires = None,
    role: _Role = "user",
    output: _Format = "table",
    config: _Config = None,
) -> None:
    """Exit code 1 if the name is taken."""
    from sekisho.app.commands import key_messages as messages
    from sekisho.app.commands.key_desk import Wish

    wish = Wish(name=name, team=team, user=user, endpoints=endpoint or (), expires=expires, role=role)
    with _desk(config) as (desk, _, say):
        record, secret = desk.create(wish)
        if output == "json":
            _print_json(record, key=secret)
            return
        say(messages.CREATED, id=record.id, name=record.name)
        typer.echo(secret)


def list_keys(output: _Format = "table", config: _Config = None) -> None:
    """Keys of the configuration and of the database."""
    from sekisho.app.commands import key_messages as messages
    from sekisho.app.commands.key_table import key_json, to_json, to_table

    now_us = time.time_ns() // 1000
    with _desk(config) as (desk, settings, say):
        records = desk.all()
        if output == "json":
            typer.echo(to_json([key_json(record, now_us) for record in records]))
        elif records:
            typer.echo(to_table(records, now_us, ZoneInfo(settings.timezone), say.language))
        else:
            say(messages.NO_KEYS)


def revoke(key: _KeyId, config: _Config = None) -> None:
    """Exit code 1 if there is no such key or it is declared in the configuration."""
    from sekisho.app.commands import key_messages as messages

    with _desk(config) as (desk, _, say):
        record, changed = desk.revoke(key)
        say(messages.REVOKED if changed else messages.REVOKED_BEFORE, id=record.id, name=record.name)


def rotate(
    key: _KeyId,
    overlap: Annotated[
        str,
        typer.Option(
            "--overlap", help=Both("How long the old key still works.", "古いキーがまだ使える期間（猶予期間）")
        ),
    ] = "24h",
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            help=Both(
                "A new end, from now; by default that of the old key.", "新しい有効期間（既定では古いキーの期限のまま）"
            ),
        ),
    ] = None,
    output: _Format = "table",
    config: _Config = None,
) -> None:
    """Exit code 1 if there is no such key, or it is declared in the configuration, revoked or replaced."""
    from sekisho.app.commands import key_messages as messages
    from sekisho.app.commands.key_table import local_time

    with _desk(config) as (desk, settings, say):
        new, secret, old = desk.rotate(key, overlap, expires)
        if output == "json":
            _print_json(new, key=secret)
            return
        end = local_time(old.expires_at_us, ZoneInfo(settings.timezone))
        say(messages.ROTATED, id=new.id, name=new.name, old=old.id, end=f"{end} ({settings.timezone})")
        typer.echo(secret)


class _Speaker:
    """Says things to people on stderr: stdout is for the answer."""

    def __init__(self, language: Language) -> None:
        self.language: Language = language

    def __call__(self, say: Say, **values: object) -> None:
        typer.echo(say.message(self.language, **values), err=True)


@contextmanager
def _desk(config: Path | None) -> Generator[tuple[KeyDesk, Settings, _Speaker]]:
    """The keys of a configuration; what goes wrong becomes a message and an exit code."""
    from sekisho.app import speech
    from sekisho.app.commands.key_desk import KeyDesk, Refused
    from sekisho.app.settings import OF_THE_GATEWAY, load
    from sekisho.stores.pepper import PepperUnusable
    from sekisho.stores.ports import StoreUnavailable

    # the ids of declared keys are made of their secrets
    settings = load(config, unset_in=OF_THE_GATEWAY - {"keys", "database"})
    language = speech.language(settings.language)
    try:
        yield KeyDesk(settings), settings, _Speaker(language)
    except Refused as refused:
        typer.echo(refused.text(language), err=True)
        raise typer.Exit(refused.exit_code) from None
    except (StoreUnavailable, PepperUnusable) as error:
        from sekisho.app.obstacles import words

        typer.echo(words(error, language), err=True)
        raise typer.Exit(WRONG_USAGE) from None


def _print_json(record: KeyRecord, *, key: str) -> None:
    from sekisho.app.commands.key_table import key_json, to_json

    typer.echo(to_json(key_json(record, time.time_ns() // 1000, key=key)))
