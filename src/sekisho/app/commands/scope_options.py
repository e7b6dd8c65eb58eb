"""Whom a budget or limit holds for: the options, and what is set for it already. Must have a word for every name a
scope can have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from sekisho.app.commands.admin_door import Door, refused
from sekisho.app.declare import Both
from sekisho.domain.keys import normal_name
from sekisho.domain.spending import SCOPE_NAMES

Organisation = Annotated[
    bool,
    typer.Option(
        "--organisation", help=Both("Everything that passes this gateway.", "このゲートウェイを通るすべての呼び出し")
    ),
]
Department = Annotated[
    str | None, typer.Option("--department", metavar="NAME", help=Both("A department, or '*'.", "部署（'*' で各部署）"))
]
Team = Annotated[
    str | None, typer.Option("--team", metavar="NAME", help=Both("A team, or '*'.", "チーム（'*' で各チーム）"))
]
KeyName = Annotated[
    str | None,
    typer.Option(
        "--key-name", metavar="NAME", help=Both("A virtual key by its name, or '*'.", "キーの名前（'*' で各キー）")
    ),
]
User = Annotated[
    str | None, typer.Option("--user", metavar="NAME", help=Both("A user, or '*'.", "ユーザー（'*' で各ユーザー）"))
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint", metavar="NAME", help=Both("An endpoint, or '*'.", "エンドポイント（'*' で各エンドポイント）")
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help=Both("A target model: provider/model, or '*'.", "ターゲットのモデル: provider/model（'*' で各モデル）"),
    ),
]
Feature = Annotated[
    str | None,
    typer.Option(
        "--feature", metavar="NAME", help=Both("A feature by its tag, or '*'.", "タグで示す機能（'*' で各機能）")
    ),
]

#: by the field of the body, what each name of a scope is given by
OPTIONS: Mapping[str, str] = {f"scope.{name}": "--key-name" if name == "key" else f"--{name}" for name in SCOPE_NAMES}


def scope_from(door: Door, organisation: bool, *values: str | None) -> dict[str, str]:
    """As the API takes it; the values in the order of SCOPE_NAMES. Raises Stopped where nothing was named."""
    from sekisho.app.commands import admin_messages as messages

    given = zip(SCOPE_NAMES, ("*" if organisation else None, *values), strict=True)
    scope = {name: value for name, value in given if value is not None}
    if not scope:
        raise refused(messages.NO_SCOPE, door.language)
    return scope


def rule_there(door: Door, kind: str, scope: dict[str, str], **same: object) -> dict[str, Any] | None:
    """Of `budgets` or `limits` the one that setting another would replace; None where it would be new.

    Scopes are compared as the gateway keeps them. A rule that a team has set for itself stands beside that of the
    administrators for the same scope, so who asks decides whose it is.
    """
    kept = {name: normal_name(value) for name, value in scope.items()}
    rules, _ = door.every(kind)
    found = [one for one in rules if one["scope"] == kept and all(one[name] == value for name, value in same.items())]
    if not found:
        return None
    of_team = kept.get("team") if door.ask("GET", "me")["role"] == "team_owner" else None
    return next((one for one in found if one["of_team"] == of_team), None)
