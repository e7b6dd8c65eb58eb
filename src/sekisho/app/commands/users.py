"""`sekisho users`: the people calls are counted for, and what they may still spend, by the gateway that is running."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sekisho.app.commands.admin_door import Config, GatewayUrl, Key, Output, door


def register(app: typer.Typer) -> None:
    """Adds the command and what is below it."""
    users = typer.Typer(
        help="Users, their teams, and what they may still spend.",
        epilog="Example: sekisho users",
        invoke_without_command=True,
        rich_markup_mode=None,
    )
    users.callback()(list_users)
    users.command("set", epilog="Example: sekisho users set taro --team research")(set_user)
    users.command("remove", epilog="Example: sekisho users remove taro")(remove)
    app.add_typer(users, name="users")


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
    name: Annotated[str, typer.Argument(metavar="NAME", help="1-64 visible characters, Japanese too.")],
    team: Annotated[
        str | None, typer.Option("--team", metavar="NAME", help="The user's team; none if left out.")
    ] = None,
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Make a user, or move one to another team."""
    from sekisho.app.commands import admin_messages as messages

    with door(config, gateway, key) as one:
        made: dict[str, Any] = one.ask("PUT", "users", name, body={"team": team})
        one.tell(messages.USER_SET, name=made["name"])


def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The user.")],
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Remove a user who leaves: keys that were made for them end at once.

    Keys of the configuration that name them stay; they are named, and exit code 1 says so.
    """
    from sekisho.app.commands import NO
    from sekisho.app.commands import admin_messages as messages

    with door(config, gateway, key) as one:
        gone: dict[str, Any] = one.ask("DELETE", "users", name)
        none = messages.NONE.message(one.language)
        one.tell(messages.USER_REMOVED, name=gone["name"], revoked=", ".join(gone["revoked"]) or none)
        if gone["remaining"]:
            one.tell(messages.KEYS_REMAIN, name=gone["name"], remaining=", ".join(gone["remaining"]))
            raise typer.Exit(NO)
