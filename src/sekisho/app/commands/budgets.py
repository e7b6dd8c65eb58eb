"""`sekisho budgets`: what may be spent, what is left of it, and setting it, by the gateway that is running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sekisho.app.commands.admin_door import Config, GatewayUrl, Key, Output, door, refused
from sekisho.app.commands.scope_options import (
    Department,
    Endpoint,
    Feature,
    KeyName,
    Model,
    Organisation,
    Team,
    User,
    rule_there,
    scope_from,
)

if TYPE_CHECKING:
    from sekisho.app.commands.admin_door import Door
    from sekisho.app.commands.admin_table import Listing

_Usd = Annotated[str | None, typer.Option("--usd", metavar="AMOUNT", help="US dollars for the period.")]
_Jpy = Annotated[str | None, typer.Option("--jpy", metavar="AMOUNT", help="Yen, by the configured rate.")]
_Period = Annotated[Literal["day", "week", "month"], typer.Option("--period", help="When it begins anew.")]
_OnExceed = Annotated[
    str, typer.Option("--on-exceed", metavar="block|warn|degrade:ENDPOINT", help="What then happens to calls.")
]
_Strict = Annotated[
    bool | None,
    typer.Option("--strict/--no-strict", help="Reserve the most a call can cost: never overspent, sooner full."),
]
_EXAMPLE = "Example: sekisho budgets set --team research --usd 100 --period month"


def register(app: typer.Typer) -> None:
    """Adds the command and what is below it."""
    budgets = typer.Typer(
        help="Budgets: what may be spent in a period, and what is left of it.",
        epilog="Example: sekisho budgets list",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    budgets.command("list", epilog="Example: sekisho budgets list --format csv")(list_budgets)
    budgets.command("set", epilog=_EXAMPLE)(set_budget)
    budgets.command("remove", epilog="Example: sekisho budgets remove bud_0a1B2c3D4e5F")(remove)
    app.add_typer(budgets, name="budgets")


def list_budgets(output: Output = "table", gateway: GatewayUrl = None, key: Key = None, config: Config = None) -> None:
    """Show all budgets as they stand now: limit, spent, reserved by running calls, remaining, and when they reset.

    A budget of '*' has a line for each of those who have spent from it. Amounts are in US dollars, and in the company's
    currency too where the configuration has one.
    """
    from sekisho.app.commands import admin_messages as messages
    from sekisho.app.commands.admin_table import show

    with door(config, gateway, key) as one:
        data, counted = one.every("budgets")
        show(one, _listing(one, data), data, output)
        if not counted:
            one.tell(messages.COUNTERS_AWAY)


def set_budget(
    usd: _Usd = None,
    jpy: _Jpy = None,
    organisation: Organisation = False,
    department: Department = None,
    team: Team = None,
    key_name: KeyName = None,
    user: User = None,
    endpoint: Endpoint = None,
    model: Model = None,
    feature: Feature = None,
    period: _Period = "month",
    on_exceed: _OnExceed = "block",
    strict: _Strict = None,
    output: Output = "table",
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Set a budget, or another amount for one that is there. It holds within 5 seconds.

    A budget is the same one if its scope, --period and --on-exceed are. What else is not named stays as it is.

    Several of --team, --user and so on must all match; '*' means each: --user '*' gives every user a budget of their
    own. Exit code 1 if the budget is declared in the configuration, which is then the place to change it.
    """
    from sekisho.app.commands import admin_messages as messages
    from sekisho.app.commands.admin_table import show

    with door(config, gateway, key) as one:
        given: dict[str, object] = {"usd": usd, "jpy": jpy, "strict": strict}
        named = {name: value for name, value in given.items() if value is not None}
        if not named or ("usd" in named and "jpy" in named):
            raise refused(messages.ONE_AMOUNT, one.language)
        scope = scope_from(one, organisation, department, team, key_name, user, endpoint, model, feature)
        same = {"period": period, "on_exceed": _on_exceed(one, on_exceed)}
        made = one.ask("PUT", "budgets", body={"scope": scope, **same, **_whole(one, scope, same, named)})
        one.tell(messages.BUDGET_SET, id=made["id"])
        show(one, _listing(one, [made]), made, output)


def remove(
    budget: Annotated[str, typer.Argument(metavar="ID", help="As `sekisho budgets list` shows it.")],
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Take a budget away. Exit code 1 if there is none with that id, or it is declared in the configuration."""
    from sekisho.app.commands import admin_messages as messages

    with door(config, gateway, key) as one:
        one.ask("DELETE", "budgets", budget)
        one.tell(messages.REMOVED, id=budget)


def _whole(door: Door, scope: dict[str, str], same: dict[str, object], named: dict[str, object]) -> dict[str, object]:
    """Amount and strictness of the budget that is there with what was named in their place: the API takes a budget as
    a whole."""
    from sekisho.app.commands import admin_messages as messages

    there = rule_there(door, "budgets", scope, **same)
    whole = {"strict": False if there is None else there["strict"], **named}
    if "usd" not in named and "jpy" not in named:
        if there is None:
            raise refused(messages.ONE_AMOUNT, door.language)
        whole["usd"] = there["usd"]
    return whole


def _listing(door: Door, data: list[dict[str, Any]]) -> Listing:
    from sekisho.app.commands.admin_table import (
        Listing,
        budget_columns,
        budget_state,
        known_states,
        scope_cell,
        source_cell,
    )

    rows: list[dict[str, Any]] = []
    for budget in data:
        degraded = budget["on_exceed"]
        fixed = {
            "id": budget["id"],
            "period": budget["period"],
            "on_exceed": degraded if isinstance(degraded, str) else f"degrade:{degraded['degrade']}",
            "source": source_cell(budget),
        }
        rows += [
            {**fixed, "scope": scope_cell(state["scope"]), **budget_state(door, state)}
            for state in known_states(budget)
        ]
    return Listing(["id", "scope", "period", "on_exceed", *budget_columns(door), "source"], rows)


def _on_exceed(door: Door, text: str) -> object:
    from sekisho.app.commands import admin_messages as messages

    kind, colon, endpoint = text.partition(":")
    if kind == "degrade" and endpoint:
        return {"degrade": endpoint}
    if kind in ("block", "warn") and not colon:
        return kind
    raise refused(messages.BAD_ON_EXCEED, door.language, text=text)
