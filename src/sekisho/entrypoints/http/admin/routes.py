"""Every route of `/admin` on one screen: method, path, who may use it, what goes in and out. The rest is generated.

A route without roles cannot be written: `Route` wants them, and `table` refuses an empty set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from sekisho.entrypoints.http.admin import forms, shapes
from sekisho.entrypoints.http.admin import key_routes as keys
from sekisho.entrypoints.http.admin import other_routes as others
from sekisho.entrypoints.http.admin import rule_routes as rules
from sekisho.entrypoints.http.admin.access import ADMINS, EVERYBODY, OWNERS, READERS, ROLES, TEAM_READERS, Role
from sekisho.entrypoints.http.admin.asked import Asked

Method = Literal["GET", "PUT", "POST", "DELETE"]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One route. `run` may block, and gives the status and the body; with `live` it is told states of counters."""

    method: Method
    path: str
    roles: frozenset[Role]
    run: Callable[[Asked], tuple[int, Any]]
    says: str
    answer: Any
    form: type[forms.Form] | None = None
    query: tuple[str, ...] = ()
    #: whose states are looked at: of all keys, or of the asking one
    live: Literal["all", "own"] | None = None
    #: the status of an answer, and of one that made something new
    statuses: tuple[int, ...] = (200,)


def _route(method: Method, path: str, roles: frozenset[Role], run: Any, says: str, answer: Any, **more: Any) -> Route:
    return Route(method=method, path=path, roles=roles, run=run, says=says, answer=answer, **more)


def _list(path: str, roles: frozenset[Role], run: Any, says: str, answer: Any, **more: Any) -> Route:
    """One that is read a page at a time."""
    return _route("GET", path, roles, run, says, answer, query=("limit", "after"), **more)


def table() -> tuple[Route, ...]:
    """All routes but the description itself. Raises ValueError for one that does not say who may use it."""
    return checked((
        _route("GET", "/me", EVERYBODY, others.me, "What holds for the asking key.", shapes.Me, live="own"),
        _list("/keys", TEAM_READERS, keys.list_keys, "All keys.", shapes.Many[shapes.Key]),
        _route("POST", "/keys", OWNERS, keys.create, "Make a key. The secret is shown this once.",
               shapes.NewKey, form=forms.KeyForm, statuses=(201,)),
        _route("GET", "/keys/{id}", TEAM_READERS, keys.show, "One key.", shapes.Key),
        _route("POST", "/keys/{id}/revoke", OWNERS, keys.revoke, "End a key for good.", shapes.Key),
        _route("POST", "/keys/{id}/rotate", OWNERS, keys.rotate, "Replace a key by one with the same rights.",
               shapes.NewKey, form=forms.RotationForm, statuses=(201,)),
        _list("/teams", TEAM_READERS, others.list_teams, "All teams.", shapes.Many[shapes.Team]),
        _route("PUT", "/teams/{name:path}", ADMINS, others.set_team, "Make or change a team.",
               shapes.Team, form=forms.TeamForm, statuses=(200, 201)),
        _route("DELETE", "/teams/{name:path}", ADMINS, others.remove_team, "Forget a team that nobody belongs to.",
               shapes.Team),
        _list("/users", TEAM_READERS, others.list_users, "All users, those known from keys alone too.",
               shapes.Many[shapes.User]),
        _route("PUT", "/users/{name:path}", ADMINS, others.set_user, "Make or change a user.",
               shapes.User, form=forms.UserForm, statuses=(200, 201)),
        _route("DELETE", "/users/{name:path}", ADMINS, others.remove_user, "End a user's keys and forget the user.",
               shapes.FormerUser),
        _list("/budgets", TEAM_READERS, rules.list_budgets, "All budgets and what is left of them.",
               shapes.Budgets, live="all"),
        _route("PUT", "/budgets", OWNERS, rules.set_budget, "Make a budget, or change the amount of one.",
               shapes.BudgetShown, form=forms.BudgetForm, statuses=(200, 201)),
        _route("DELETE", "/budgets/{id}", OWNERS, rules.remove_budget, "Take a budget away.", shapes.BudgetShown),
        _list("/limits", TEAM_READERS, rules.list_limits, "All limits and what is left of them.",
               shapes.Limits, live="all"),
        _route("PUT", "/limits", OWNERS, rules.set_limit, "Make a limit, or change one.",
               shapes.LimitShown, form=forms.LimitForm, statuses=(200, 201)),
        _route("DELETE", "/limits/{id}", OWNERS, rules.remove_limit, "Take a limit away.", shapes.LimitShown),
        _list("/stops", READERS, others.list_stops, "What is stopped.", shapes.Many[shapes.StopShown]),
        _route("POST", "/stops", ADMINS, others.set_stop, "Stop a user, a team, a model, or everything.",
               shapes.StopShown, form=forms.StopForm, statuses=(200, 201)),
        _route("DELETE", "/stops/{id}", ADMINS, others.lift, "Lift a stop.", shapes.StopShown),
        _route("GET", "/audit", READERS, others.audit, "Who changed what, newest first.", shapes.AuditPage,
               query=("limit", "before")),
    ))  # fmt: skip


def checked(routes: Iterable[Route]) -> tuple[Route, ...]:
    """The same routes. ValueError for a path or a method twice, and for one that does not say who may use it."""
    found = tuple(routes)
    if len({(route.method, route.path) for route in found}) != len(found):
        raise ValueError("two routes are the same")
    for route in found:
        if not route.roles or not route.roles <= frozenset(ROLES):
            raise ValueError(f"{route.method} {route.path} does not say which roles may use it")
    return found
