"""Whom a budget or limit holds for: the options, and what is set for it already. Must have a word for every name a
scope can have.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sekisho.app.commands.admin_door import Door, refused
from sekisho.domain.keys import normal_name
from sekisho.domain.spending import SCOPE_NAMES

Organisation = Annotated[bool, typer.Option("--organisation", help="Everything that passes this gateway.")]
Department = Annotated[str | None, typer.Option("--department", metavar="NAME", help="A department, or '*'.")]
Team = Annotated[str | None, typer.Option("--team", metavar="NAME", help="A team, or '*'.")]
KeyName = Annotated[str | None, typer.Option("--key-name", metavar="NAME", help="A virtual key by its name, or '*'.")]
User = Annotated[str | None, typer.Option("--user", metavar="NAME", help="A user, or '*'.")]
Endpoint = Annotated[str | None, typer.Option("--endpoint", metavar="NAME", help="An endpoint, or '*'.")]
Model = Annotated[str | None, typer.Option("--model", metavar="NAME", help="A target model: provider/model, or '*'.")]
Feature = Annotated[str | None, typer.Option("--feature", metavar="NAME", help="A feature by its tag, or '*'.")]


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
