"""`sekisho teams`: the teams, their departments, and what they may still spend, by the gateway that is running."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sekisho.app.commands.admin_door import Config, GatewayUrl, Key, Output, door


def register(app: typer.Typer) -> None:
    """Adds the command and what is below it."""
    teams = typer.Typer(
        help="Teams, their departments, and what they may still spend.",
        epilog="Example: sekisho teams",
        invoke_without_command=True,
        rich_markup_mode=None,
    )
    teams.callback()(list_teams)
    teams.command("set", epilog="Example: sekisho teams set research --department rd")(set_team)
    teams.command("remove", epilog="Example: sekisho teams remove research")(remove)
    app.add_typer(teams, name="teams")


def list_teams(
    context: typer.Context,
    output: Output = "table",
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Show all teams: department, keys, budget, what is spent, reserved and remaining, and when it resets.

    A team with several budgets has a line for each; one without has `-`.
    """
    if context.invoked_subcommand is not None:
        return
    from sekisho.app.commands.admin_people import show_people

    with door(config, gateway, key) as one:
        show_people(one, "teams", "team", ("name", "department"), output)


def set_team(
    name: Annotated[str, typer.Argument(metavar="NAME", help="1-64 visible characters, Japanese too.")],
    department: Annotated[
        str | None, typer.Option("--department", metavar="NAME", help="Where it belongs; none if left out.")
    ] = None,
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Make a team, or move it to another department. Exit code 1 if it is declared in the configuration."""
    from sekisho.app.commands import admin_messages as messages

    with door(config, gateway, key) as one:
        made: dict[str, Any] = one.ask("PUT", "teams", name, body={"department": department})
        one.tell(messages.TEAM_SET, name=made["name"])


def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The team.")],
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Remove a team. Exit code 1 if there is none, or keys or users still belong to it."""
    from sekisho.app.commands import admin_messages as messages

    with door(config, gateway, key) as one:
        one.ask("DELETE", "teams", name)
        one.tell(messages.REMOVED, id=name)
