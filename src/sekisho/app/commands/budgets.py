"""`sekisho budgets`: what may be spent, what is left of it, and setting it, by the gateway that is running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sekisho.app.commands.admin_door import Config, GatewayUrl, Key, Output, door, refused
from sekisho.app.commands.scope_options import (
    OPTIONS,
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
from sekisho.app.declare import Both, Help, command, group

if TYPE_CHECKING:
    from sekisho.app.commands.admin_door import Door
    from sekisho.app.commands.admin_table import Listing

_Usd = Annotated[
    str | None,
    typer.Option("--usd", metavar="AMOUNT", help=Both("US dollars for the period.", "期間あたりの金額（米ドル）")),
]
_Jpy = Annotated[
    str | None,
    typer.Option(
        "--jpy",
        metavar="AMOUNT",
        help=Both("Yen, by the configured rate.", "期間あたりの金額（円、設定のレートで換算）"),
    ),
]
_Period = Annotated[
    Literal["day", "week", "month"],
    typer.Option("--period", help=Both("When it begins anew.", "予算の期間（終わるとリセットされる）")),
]
_OnExceed = Annotated[
    str,
    typer.Option(
        "--on-exceed",
        metavar="block|warn|degrade:ENDPOINT",
        help=Both("What then happens to calls.", "使い切ったときの呼び出しの扱い"),
    ),
]
_Strict = Annotated[
    bool | None,
    typer.Option(
        "--strict/--no-strict",
        help=Both(
            "Reserve the most a call can cost: never overspent, sooner full.",
            "呼び出しの最大費用を予約する（超過しないが、早く埋まる）",
        ),
    ),
]
_HELP = Help(
    Both(
        "Budgets: what may be spent in a period, and what is left of it.",
        "予算（期間内に使える金額と残り）を表示・変更します。",
    ),
    "sekisho budgets list",
)
_LIST = Help(
    Both(
        """Show all budgets as they stand now: limit, spent, reserved by running calls, remaining, and when they reset.

        A budget of '*' has a line for each of those who have spent from it. Amounts are in US dollars, and in the
        company's currency too where the configuration has one.

        """,
        """すべての予算の現在の状態を表示します。上限、使用済み、実行中の呼び出しによる予約、残り、リセット日時がわかります。

        '*' の予算は、使った相手ごとに 1 行になります。金額は米ドルで、設定に通貨があれば会社の通貨でも表示します。
        """,
    ),
    "sekisho budgets list --format csv",
)
_SET = Help(
    Both(
        """Set a budget, or another amount for one that is there. It holds within 5 seconds.

        A budget is the same one if its scope, --period and --on-exceed are. What else is not named stays as it is.

        Several of --team, --user and so on must all match; '*' means each: --user '*' gives every user a budget of
        their own. Exit code 1 if the budget is declared in the configuration, which is then the place to change it.

        """,
        """予算を設定するか、すでにある予算の金額を変えます。5 秒以内に有効になります。

        範囲、--period、--on-exceed が同じなら、同じ予算とみなします。指定しなかった値はそのまま残ります。

        --team や --user などを複数指定すると、すべてに当てはまる呼び出しが対象になります。'*' は「それぞれ」を表し、
        --user '*' とすると各ユーザーに予算が 1 つずつ付きます。
        設定ファイルで宣言された予算はファイルの方で変更してください。その場合、終了コードは 1 です。
        """,
    ),
    "sekisho budgets set --team research --usd 100 --period month",
)
_REMOVE = Help(
    Both(
        "Take a budget away. Exit code 1 if there is none with that id, or it is declared in the configuration.",
        "予算を削除します。その ID の予算がない場合や、設定ファイルで宣言されている場合、終了コードは 1 です。",
    ),
    "sekisho budgets remove bud_0a1B2c3D4e5F",
)


def register(app: typer.Typer) -> None:
    """Adds the command and what is below it."""
    budgets = group(app, "budgets", _HELP)
    command(budgets, "list", list_budgets, _LIST)
    command(budgets, "set", set_budget, _SET)
    command(budgets, "remove", remove, _REMOVE)


def list_budgets(output: Output = "table", gateway: GatewayUrl = None, key: Key = None, config: Config = None) -> None:
    """All of them, as the gateway knows them at this moment."""
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
    """Exit code 1 if it is declared in the configuration."""
    from sekisho.app.commands import admin_messages as messages
    from sekisho.app.commands.admin_table import show

    with door(config, gateway, key) as one:
        given: dict[str, object] = {"usd": usd, "jpy": jpy, "strict": strict}
        named = {name: value for name, value in given.items() if value is not None}
        if not named or ("usd" in named and "jpy" in named):
            raise refused(messages.ONE_AMOUNT, one.language)
        scope = scope_from(one, organisation, department, team, key_name, user, endpoint, model, feature)
        same = {"period": period, "on_exceed": _on_exceed(one, on_exceed)}
        body = {"scope": scope, **same, **_whole(one, scope, same, named)}
        made = one.ask("PUT", "budgets", body=body, options=OPTIONS)
        one.tell(messages.BUDGET_SET, id=made["id"])
        show(one, _listing(one, [made]), made, output)


def remove(
    budget: Annotated[
        str,
        typer.Argument(
            metavar="ID", help=Both("As `sekisho budgets list` shows it.", "`sekisho budgets list` に表示される ID")
        ),
    ],
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Exit code 1 if there is none, or it is declared in the configuration."""
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
