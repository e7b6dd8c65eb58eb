"""`sekisho stop`: no more calls of a user, a team, a model, or at all, within 5 seconds. Must not ask twice: whoever
types this is in a hurry, and it can be lifted.
"""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from sekisho.app.commands import NO
from sekisho.app.commands.admin_door import Config, Door, GatewayUrl, Key, Output, door, refused
from sekisho.app.declare import Both, Help, command
from sekisho.domain.keys import normal_name

_COLUMNS = ("id", "kind", "value", "reason", "by", "at")
_User = Annotated[
    str | None,
    typer.Option("--user", metavar="NAME", help=Both("All calls of a user.", "ユーザーのすべての呼び出し")),
]
_Team = Annotated[
    str | None,
    typer.Option("--team", metavar="NAME", help=Both("All calls of a team.", "チームのすべての呼び出し")),
]
_Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help=Both(
            "An endpoint, provider/model, a model, or provider/*.",
            "エンドポイント、provider/model、モデル、provider/* のどれか",
        ),
    ),
]
_Everything = Annotated[bool, typer.Option("--all", help=Both("All calls.", "すべての呼び出し"))]
_Reason = Annotated[
    str | None,
    typer.Option("--reason", metavar="TEXT", help=Both("For those who ask why.", "理由（あとで確認できるように残す）")),
]
_Lift = Annotated[bool, typer.Option("--lift", help=Both("Let them go on again.", "停止を解除する"))]
_Listed = Annotated[bool, typer.Option("--list", help=Both("Show what is stopped.", "停止中のものを表示する"))]
_HELP = Help(
    Both(
        """Stop the calls of a user, a team, a model, or all, within 5 seconds; running streams end with an error.

        Calls that come later are refused until it is lifted. Every stop and lift is in the audit. Exit code 1 with
        --lift if it was not stopped.

        """,
        """ユーザー、チーム、モデル、またはすべての呼び出しを、5 秒以内に停止します。
        実行中のストリームはエラーで終わります。

        その後の呼び出しは、停止が解除されるまで拒否されます。停止と解除はすべて変更の記録に残ります。
        --lift で、停止されていないものを指定した場合、終了コードは 1 です。
        """,
    ),
    'sekisho stop --user taro --reason "key in a public repository"',
)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "stop", stop, _HELP)


def stop(
    user: _User = None,
    team: _Team = None,
    model: _Model = None,
    everything: _Everything = False,
    reason: _Reason = None,
    lift: _Lift = False,
    listed: _Listed = False,
    output: Output = "table",
    gateway: GatewayUrl = None,
    key: Key = None,
    config: Config = None,
) -> None:
    """Stop one thing, lift a stop, or list them. Exit code 1 if what is to be lifted was not stopped."""
    from sekisho.app.commands import admin_messages as messages

    with door(config, gateway, key) as one:
        named = {"user": user, "team": team, "model": model, "all": "" if everything else None}
        targets = [(kind, value) for kind, value in named.items() if value is not None]
        if listed:
            if targets or lift or reason is not None:
                raise refused(messages.LIST_OR_LIFT, one.language)
            _list(one, output)
            return
        if len(targets) != 1:
            raise refused(messages.ONE_TARGET, one.language)
        if lift and reason is not None:
            raise refused(messages.LIST_OR_LIFT, one.language)
        (lift_one if lift else stop_one)(one, *targets[0], reason, output)


def stop_one(door: Door, kind: str, value: str, reason: str | None, output: Output) -> None:
    """Stop it and say how to let it go on."""
    from sekisho.app.commands import admin_messages as messages

    wanted: dict[str, Any] = {"kind": kind}
    if kind != "all":
        wanted["value"] = value
    if reason is not None:
        wanted["reason"] = reason
    made = door.ask("POST", "stops", body=wanted, options={"value": f"--{kind}"})
    # not as it was typed: what is printed is found again
    stored = "" if kind == "all" else str(made["value"])
    words = "--all" if kind == "all" else f"--{kind} {shlex.quote(stored)}"
    door.tell(messages.STOPPED, what=_what(door, kind, stored), words=words)
    if output != "table":
        _show(door, [made], made, output)


def lift_one(door: Door, kind: str, value: str, _reason: str | None, output: Output) -> None:
    """Find the stop by what it stops, and lift it."""
    from sekisho.app.commands import admin_messages as messages

    value = normal_name(value)
    stops, _ = door.every("stops")
    found = next((one for one in stops if one["kind"] == kind and (kind == "all" or one["value"] == value)), None)
    if found is None:
        raise refused(messages.NOT_STOPPED, door.language, NO, what=_what(door, kind, value))
    lifted = door.ask("DELETE", "stops", found["id"])
    door.tell(messages.LIFTED, what=_what(door, kind, value))
    if output != "table":
        _show(door, [lifted], lifted, output)


def _list(door: Door, output: Output) -> None:
    stops, _ = door.every("stops")
    _show(door, stops, stops, output)


def _show(door: Door, stops: list[dict[str, Any]], data: object, output: Output) -> None:
    from sekisho.app.commands.admin_table import Listing, show

    show(door, Listing(_COLUMNS, stops), data, output)


def _what(door: Door, kind: str, value: str) -> str:
    from sekisho.app.commands import admin_messages as messages
    from sekisho.wire.messages import nouns_in_japanese

    if kind == "all":
        return messages.EVERYTHING.message(door.language)
    return nouns_in_japanese(f"{kind} {value}") if door.language == "ja" else f"{kind} {value}"
