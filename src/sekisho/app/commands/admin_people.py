"""Teams and users beside the budgets that hold for them alone. Must not add up budgets of different kinds."""

from __future__ import annotations

from typing import Any

from sekisho.app.commands import admin_messages as messages
from sekisho.app.commands.admin_door import Door, Format
from sekisho.app.commands.admin_table import Listing, budget_columns, budget_state, show, states_by, yes


def show_people(door: Door, path: str, scope_name: str, columns: tuple[str, ...], output: Format) -> None:
    """All of `path` (`teams`, `users`), each with the states of its budgets."""
    people, _ = door.every(path)
    budgets, counted = door.every("budgets")
    own = states_by(budgets, scope_name)
    data: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for one in people:
        states = own.get(one["name"], [])
        data.append({**one, "budgets": states})
        fixed = {name: one[name] for name in (*columns, "keys")} | {"stopped": yes(one["stopped"])}
        rows += [{**fixed, **budget_state(door, state)} for state in states or [{}]]
    show(door, Listing([*columns, "keys", "stopped", *budget_columns(door)], rows), data, output)
    if not counted:
        door.tell(messages.COUNTERS_AWAY)
