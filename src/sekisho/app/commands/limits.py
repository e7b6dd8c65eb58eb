"""`sekisho limits`: calls and tokens a minute, calls at once, and what is left, by the gateway that is running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

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
from sekisho.domain.keys import normal_name

if TYPE_CHECKING:
    from sekisho.app.commands.admin_door import Door
    from sekisho.app.commands.admin_table import Listing

_Qpm = Annotated[
    str | None, typer.Option("--qpm", metavar="NUMBER|none", help=Both("Calls a minute.", "毎分の呼び出し数"))
]
_Tpm = Annotated[
    str | None, typer.Option("--tpm", metavar="NUMBER|none", help=Both("Tokens a minute.", "毎分のトークン数"))
]
_Concurrency = Annotated[
    str | None, typer.Option("--concurrency", metavar="NUMBER|none", help=Both("Calls at once.", "同時呼び出し数"))
]
_BurstS = Annotated[
    float | None,
    typer.Option(
        "--burst-s",
        help=Both("So many seconds' worth may come at once; by default 60.", "一度に使える量（何秒分か、既定は 60）"),
    ),
]
_WaitS = Annotated[
    float | None,
    typer.Option(
        "--wait-s",
        help=Both(
            "How long a call may wait for room; by default it is refused.", "空きを待てる秒数（既定では待たずに拒否）"
        ),
    ),
]
_QUANTITIES = ("qpm", "tpm", "concurrency")
_NUMBERS = (*_QUANTITIES, "burst_s", "wait_s")
#: more digits than any limit may have
_MOST_DIGITS = 18
_COLUMNS = (
    "id", "scope", "qpm", "remaining_requests", "tpm", "remaining_tokens", "concurrency", "running", "burst_s",
    "wait_s", "source",
)  # fmt: skip
_HELP = Help(
    Both(
        "Limits: calls and tokens a minute, and calls at once.",
        "制限（毎分の呼び出し数・トークン数、同時呼び出し数）を表示・変更します。",
    ),
    "sekisho limits show",
)
_SHOW = Help(
    Both(
        """Show all limits, and what is left of them at this moment.

        A limit of '*' has a line for each of those who have called.

        """,
        """すべての制限と、現在の残りを表示します。

        '*' の制限は、呼び出した相手ごとに 1 行になります。
        """,
    ),
    "sekisho limits show --format json",
)
_SET = Help(
    Both(
        """Set a limit, or other numbers for one that is there. It holds within 5 seconds.

        What is not named stays as it is; `none` takes a number away: `--tpm none`.

        Several of --team, --user and so on must all match; '*' means each. Exit code 1 if the limit is declared in the
        configuration, which is then the place to change it.

        """,
        """制限を設定するか、すでにある制限の値を変えます。5 秒以内に有効になります。

        指定しなかった値はそのまま残ります。`none` で値を取り除けます（`--tpm none`）。

        --team や --user などを複数指定すると、すべてに当てはまる呼び出しが対象になります。
        '*' は「それぞれ」を表します。
        設定ファイルで宣言された制限はファイルの方で変更してください。その場合、終了コードは 1 です。
        """,
    ),
    "sekisho limits set --user '*' --qpm 60 --tpm 40000",
)
_REMOVE = Help(
    Both(
        "Take a limit away. Exit code 1 if there is none with that id, or it is declared in the configuration.",
        "制限を削除します。その ID の制限がない場合や、設定ファイルで宣言されている場合、終了コードは 1 です。",
    ),
    "sekisho limits remove lim_0a1B2c3D4e5F",
)


def register(app: typer.Typer) -> None:
    """Adds the command and what is below it."""
    limits = group(app, "limits", _HELP)
    command(limits, "show", show_limits, _SHOW)
    command(limits, "set", set_limit, _SET)
    command(limits, "remove", remove, _REMOVE)


def show_limits(output: Output = "table", gateway: GatewayUrl = None, key: Key = None, config: Config = None) -> None:
    """All of them, as the gateway knows them at this moment."""
    from sekisho.app.commands import admin_messages as messages
    from sekisho.app.commands.admin_table import show

    with door(config, gateway, key) as one:
        data, counted = one.every("limits")
        show(one, _listing(data), data, output)
        if not counted:
            one.tell(messages.COUNTERS_AWAY)


def set_limit(
    qpm: _Qpm = None,
    tpm: _Tpm = None,
    concurrency: _Concurrency = None,
    organisation: Organisation = False,
    department: Department = None,
    team: Team = None,
    key_name: KeyName = None,
    user: User = None,
    endpoint: Endpoint = None,
    model: Model = None,
    feature: Feature = None,
    burst_s: _BurstS = None,
    wait_s: _WaitS = None,
    output: Output = "table",
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Exit code 1 if it is declared in the configuration."""
    from sekisho.app.commands import admin_messages as messages
    from sekisho.app.commands.admin_table import show

    with door(config, gateway, key) as one:
        written = {"qpm": qpm, "tpm": tpm, "concurrency": concurrency}
        named = _named(one, written, {"burst_s": burst_s, "wait_s": wait_s})
        if not named:
            raise refused(messages.NO_QUANTITY, one.language)
        scope = scope_from(one, organisation, department, team, key_name, user, endpoint, model, feature)
        body = {"scope": scope, **_numbers(one, scope, named)}
        made = one.ask("PUT", "limits", body=body, options=OPTIONS)
        one.tell(messages.LIMIT_SET, id=made["id"])
        show(one, _listing([made]), made, output)


def remove(
    limit: Annotated[
        str,
        typer.Argument(
            metavar="ID", help=Both("As `sekisho limits show` shows it.", "`sekisho limits show` に表示される ID")
        ),
    ],
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Exit code 1 if there is none, or it is declared in the configuration."""
    from sekisho.app.commands import admin_messages as messages

    with door(config, gateway, key) as one:
        one.ask("DELETE", "limits", limit)
        one.tell(messages.REMOVED, id=limit)


def _named(door: Door, quantities: dict[str, str | None], times: dict[str, float | None]) -> dict[str, float | None]:
    """What was typed; None is a number that is to go."""
    found: dict[str, float | None] = {name: value for name, value in times.items() if value is not None}
    return found | {name: _quantity(door, name, text) for name, text in quantities.items() if text is not None}


def _quantity(door: Door, name: str, text: str) -> int | None:
    """A whole number; None for `none`."""
    from sekisho.app.commands import admin_messages as messages

    written = normal_name(text)
    if written == "none":
        return None
    if not written.isdecimal() or len(written) > _MOST_DIGITS or int(written) < 1:
        raise refused(messages.BAD_QUANTITY, door.language, option=f"--{name}", text=text)
    return int(written)


def _numbers(door: Door, scope: dict[str, str], named: dict[str, float | None]) -> dict[str, float]:
    """Those of the limit that is there with what was named in their place: the API takes a limit as a whole."""
    from sekisho.app.commands import admin_messages as messages

    there = rule_there(door, "limits", scope)
    whole = {name: there[name] for name in _NUMBERS} | named if there is not None else named
    numbers = {name: value for name, value in whole.items() if value is not None}
    if not any(name in numbers for name in _QUANTITIES):
        if there is None:
            raise refused(messages.NO_QUANTITY, door.language)
        raise refused(messages.NOTHING_LIMITED, door.language, id=there["id"])
    return numbers


def _listing(data: list[dict[str, Any]]) -> Listing:
    from sekisho.app.commands.admin_table import Listing, scope_cell, source_cell

    rows: list[dict[str, Any]] = []
    for limit in data:
        fixed = {name: limit[name] for name in ("id", "qpm", "tpm", "concurrency", "burst_s", "wait_s")}
        states = limit["states"] or [{"scope": limit["scope"]}]
        rows += [
            {**fixed, **state, "scope": scope_cell(state["scope"]), "source": source_cell(limit)} for state in states
        ]
    return Listing(_COLUMNS, rows)
