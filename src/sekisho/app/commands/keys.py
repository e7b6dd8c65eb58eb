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

if TYPE_CHECKING:
    from sekisho.app.commands.key_desk import KeyDesk
    from sekisho.app.settings import Language, Settings
    from sekisho.app.settings.messages import Say
    from sekisho.stores.ports import KeyRecord

Format = Literal["table", "json"]
Role = Literal["user", "team_owner", "auditor", "admin"]

_Config = Annotated[Path | None, typer.Option("--config", help="The configuration file; by default sekisho.yaml.")]
_Format = Annotated[Format, typer.Option("--format", help="For people, or JSON for machines.")]
_KeyId = Annotated[
    str, typer.Argument(metavar="ID", help="Id of the key, its name if only one has it, or the key itself.")
]


def register(app: typer.Typer) -> None:
    """Adds the command and what is below it."""
    keys = typer.Typer(
        help="Virtual keys: what callers use instead of a provider's key.",
        epilog="Example: sekisho keys create --name my-app",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    keys.command("create", epilog="Example: sekisho keys create --name my-app --team research --expires 30d")(create)
    keys.command("list", epilog="Example: sekisho keys list --format json")(list_keys)
    keys.command("revoke", epilog="Example: sekisho keys revoke key_0a1B2c3D4e5F")(revoke)
    keys.command("rotate", epilog="Example: sekisho keys rotate my-app --overlap 24h")(rotate)
    app.add_typer(keys, name="keys")


def create(
    name: Annotated[str, typer.Option("--name", help="1-64 visible characters, Japanese too; unique.")],
    team: Annotated[str | None, typer.Option("--team", help="A team of the configuration.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="Whom the calls are counted for.")] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            "--endpoint",
            metavar="NAME",
            help="May be repeated; 'provider/*' for all models of one. Default: all endpoints.",
        ),
    ] = None,
    expires: Annotated[str | None, typer.Option("--expires", help="30d, 24h, 15m or 45s from now.")] = None,
    role: Annotated[Role, typer.Option("--role", help="What the key may see beside its own calls.")] = "user",
    output: _Format = "table",
    config: _Config = None,
) -> None:
    """Make a key. The secret is shown once and kept nowhere: on stdout, so `KEY=$(sekisho keys create …)` works.

    Exit code 1 if the name is taken.
    """
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
    """Show all keys, those declared in the configuration too."""
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
    """End a key for good. Exit code 1 if there is no such key or it is declared in the configuration."""
    from sekisho.app.commands import key_messages as messages

    with _desk(config) as (desk, _, say):
        record, changed = desk.revoke(key)
        say(messages.REVOKED if changed else messages.REVOKED_BEFORE, id=record.id, name=record.name)


def rotate(
    key: _KeyId,
    overlap: Annotated[str, typer.Option("--overlap", help="How long the old key still works.")] = "24h",
    expires: Annotated[
        str | None, typer.Option("--expires", help="A new end, from now; by default that of the old key.")
    ] = None,
    output: _Format = "table",
    config: _Config = None,
) -> None:
    """Replace a key by one with the same name and rights; the old one ends after the overlap.

    The new secret is shown once, as by `create`. Exit code 1 if there is no such key, or it is declared in the
    configuration, revoked or replaced.
    """
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
    from sekisho.app.settings import load
    from sekisho.stores.pepper import PepperUnusable
    from sekisho.stores.ports import StoreUnavailable

    settings = load(config)
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
