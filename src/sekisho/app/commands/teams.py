"""`sekisho teams`: the teams, their departments, and what they may still spend, by the gateway that is running."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sekisho.app.commands.admin_door import Config, GatewayUrl, Key, Output, door
from sekisho.app.declare import NAME, Both, Help, command, group

_HELP = Help(
    Both(
        "Teams, their departments, and what they may still spend.",
        "チームとその部署、まだ使える金額を表示・変更します。",
    ),
    "sekisho teams",
)
_SET = Help(
    Both(
        "Make a team, or move it to another department. Exit code 1 if it is declared in the configuration.",
        "チームを作るか、別の部署に移します。設定ファイルで宣言されている場合、終了コードは 1 です。",
    ),
    "sekisho teams set research --department rd",
)
_REMOVE = Help(
    Both(
        "Remove a team. Exit code 1 if there is none, or keys or users still belong to it.",
        """チームを削除します。
        チームがない場合や、キーかユーザーが所属している場合、終了コードは 1 です。
        """,
    ),
    "sekisho teams remove research",
)


def register(app: typer.Typer) -> None:
    """Adds the command and what is below it."""
    teams = group(app, "teams", _HELP, list_teams)
    command(teams, "set", set_team, _SET)
    command(teams, "remove", remove, _REMOVE)


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
    name: Annotated[str, typer.Argument(metavar="NAME", help=NAME)],
    department: Annotated[
        str | None,
        typer.Option(
            "--department",
            metavar="NAME",
            help=Both("Where it belongs; none if left out.", "所属する部署（省略すると、なし）"),
        ),
    ] = None,
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Exit code 1 if it is declared in the configuration."""
    from sekisho.app.commands import admin_messages as messages

    with door(config, gateway, key) as one:
        made: dict[str, Any] = one.ask("PUT", "teams", name, body={"department": department})
        one.tell(messages.TEAM_SET, name=made["name"])


def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help=Both("The team.", "チーム"))],
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Exit code 1 if there is none, or something belongs to it."""
    from sekisho.app.commands import admin_messages as messages

    with door(config, gateway, key) as one:
        one.ask("DELETE", "teams", name)
        one.tell(messages.REMOVED, id=name)
