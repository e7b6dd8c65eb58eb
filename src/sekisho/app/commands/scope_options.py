"""The options that say whom a budget or limit holds for. Must have a word for every name a scope can have."""

from __future__ import annotations

from typing import Annotated

import typer

from sekisho.app.commands.admin_door import Door, refused
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
