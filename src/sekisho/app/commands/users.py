"""`sekisho users`: the people calls are counted for, and what they may still spend, by the gateway that is running."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sekisho.app.commands.admin_door import Config, GatewayUrl, Key, Output, door
from sekisho.app.declare import NAME, Both, Help, command, group

_HELP = Help(
    Both(
        "Users, their teams, and what they may still spend.",
        "ユーザーとそのチーム、まだ使える金額を表示・変更します。",
    ),
    "sekisho users",
)
_SET = Help(
    Both(
        "Make a user, or move one to another team.",
        "ユーザーを作るか、別のチームに移します。",
    ),
    "sekisho users set taro --team research",
)
_REMOVE = Help(
    Both(
        """Remove a user who leaves: keys that were made for them end at once.

        Keys of the configuration that name them stay; they are named, and exit code 1 says so.

        """,
        """退職などで離れるユーザーを削除します。そのユーザーのために作ったキーは、すぐに使えなくなります。

        そのユーザーを指す設定ファイルのキーは残ります。残ったキーを表示し、終了コード 1 で終わります。
        """,
    ),
    "sekisho users remove taro",
)


def register(app: typer.Typer) -> None:
    """Adds the command and what is below it."""
    users = group(app, "users", _HELP, list_users)
    command(users, "set", set_user, _SET)
    command(users, "remove", remove, _REMOVE)


def list_users(
    context: typer.Context,
    output: Output = "table",
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Show all users: team, keys, budget, what is spent, reserved and remaining, and when it resets.

    Users that only keys name are there too. A user with several budgets has a line for each; one without has `-`.
    """
    if context.invoked_subcommand is not None:
        return
    from sekisho.app.commands.admin_people import show_people

    with door(config, gateway, key) as one:
        show_people(one, "users", "user", ("name", "team"), output)


def set_user(
    name: Annotated[str, typer.Argument(metavar="NAME", help=NAME)],
    team: Annotated[
        str | None,
        typer.Option(
            "--team",
            metavar="NAME",
            help=Both("The user's team; none if left out.", "所属するチーム（省略すると、なし）"),
        ),
    ] = None,
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Set the team of a user, who need not be there yet."""
    from sekisho.app.commands import admin_messages as messages

    with door(config, gateway, key) as one:
        made: dict[str, Any] = one.ask("PUT", "users", name, body={"team": team}, options={"team": "--team"})
        one.tell(messages.USER_SET, name=made["name"])


def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help=Both("The user.", "ユーザー"))],
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Exit code 1 if keys of the configuration remain."""
    from sekisho.app.commands import NO
    from sekisho.app.commands import admin_messages as messages

    with door(config, gateway, key) as one:
        gone: dict[str, Any] = one.ask("DELETE", "users", name)
        none = messages.NONE.message(one.language)
        one.tell(messages.USER_REMOVED, name=gone["name"], revoked=", ".join(gone["revoked"]) or none)
        if gone["remaining"]:
            one.tell(messages.KEYS_REMAIN, name=gone["name"], remaining=", ".join(gone["remaining"]))
            raise typer.Exit(NO)
