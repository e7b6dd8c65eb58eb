"""The routes of teams, users, stops, the audit, and what an asker may know of itself. Must not decide who is let in."""

from __future__ import annotations

from sekisho.domain.keys import normal_name
from sekisho.domain.spending import EACH, Facts, Scope
from sekisho.domain.stops import Stop
from sekisho.entrypoints.http.admin import forms
from sekisho.entrypoints.http.admin.access import INSTALLATION, Asker
from sekisho.entrypoints.http.admin.asked import Asked
from sekisho.entrypoints.http.admin.desk import Whole
from sekisho.entrypoints.http.admin.forms import StopForm, TeamForm, UserForm
from sekisho.entrypoints.http.admin.pages import page, place, whole_number
from sekisho.entrypoints.http.admin.shapes import (
    AuditPage,
    FormerUser,
    Many,
    Me,
    StopShown,
    audit_shown,
    budget_shown,
    key_shown,
    limit_shown,
    stop_shown,
)
from sekisho.entrypoints.http.admin.shapes import Team as TeamShown
from sekisho.entrypoints.http.admin.shapes import User as UserShown
from sekisho.stores.control import Team, User

_MOST_ENTRIES = 1_000
_USUAL_ENTRIES = 100
#: which names of a scope make a rule an asker's own
_OWN = {"user": {"key", "user"}, "team_owner": {"key", "user", "team"}}


def me(asked: Asked) -> tuple[int, Me]:
    by, whole = asked.by, asked.desk.whole()
    now_us = asked.desk.now_us()
    record = next((key for key in whole.keys if key.id == by.caller.key_id), None)
    facts: Facts = whole.facts([record])[0] if record is not None else {}
    states = asked.states.seen_by(facts)
    budgets, limits = whole.budgets, whole.limits
    return 200, Me(
        name=by.caller.key_name,
        role=by.role,
        key=None if record is None else key_shown(record, now_us),
        budgets=[
            budget_shown(rule, declared=declared, states=own)
            for (rule, declared), own in zip(budgets, states.of_budgets([rule for rule, _ in budgets]), strict=True)
            if _is_own(by, rule.scope, facts)
        ],
        limits=[
            limit_shown(rule, declared=declared, states=own)
            for (rule, declared), own in zip(limits, states.of_limits([rule for rule, _ in limits]), strict=True)
            if _is_own(by, rule.scope, facts)
        ],
        stops=[stop_shown(stop) for stop in whole.records.stops if _stops(stop, facts)],
        counters=states.answer,
    )


def _is_own(by: Asker, scope: Scope, facts: Facts) -> bool:
    """A rule that holds for the asker's calls; users and owners see those that are about themselves."""
    if by.caller is INSTALLATION:
        return False
    own = _OWN.get(by.role)
    return all(name not in facts or value in (EACH, facts[name]) for name, value in scope) and (
        own is None or any(name in own for name, _ in scope)
    )


def _stops(stop: Stop, facts: Facts) -> bool:
    return stop.kind == "all" or (stop.kind in ("user", "team") and facts.get(stop.kind) == stop.value)


# -- teams


def list_teams(asked: Asked) -> tuple[int, Many[TeamShown]]:
    whole = asked.desk.whole()
    seen = (team for team in whole.teams.values() if asked.by.sees(team.name))
    teams, after = page(asked, "teams", seen, lambda team: place(team.name))
    keys = whole.keys_by_team()
    return 200, Many(data=[_team(whole, team, keys[team.name]) for team in teams], next_after=after)


def set_team(asked: Asked) -> tuple[int, TeamShown]:
    form: TeamForm = asked.form
    department = None if form.department is None else forms.name(form.department, "department")
    team = Team(name=forms.name(asked.path["name"], "name"), department=department)
    new = asked.desk.set_team(team, asked.by.actor)
    whole = asked.desk.whole()
    return 201 if new else 200, _team(whole, team, whole.keys_by_team()[team.name])


def remove_team(asked: Asked) -> tuple[int, TeamShown]:
    team = asked.desk.remove_team(normal_name(asked.path["name"]), asked.by.actor)
    return 200, _team(asked.desk.whole(), team, 0)


def _team(whole: Whole, team: Team, keys: int) -> TeamShown:
    return TeamShown(
        name=team.name,
        department=team.department,
        declared=team.name in whole.declared.teams,
        keys=keys,
        stopped=_stopped(whole, "team", team.name),
    )


# -- users


def list_users(asked: Asked) -> tuple[int, Many[UserShown]]:
    whole = asked.desk.whole()
    users = {user.name: user for user in whole.records.users}
    for key in whole.current_keys:
        if key.user is not None:
            # known from keys alone: of the team of the first one
            users.setdefault(key.user, User(name=key.user, team=key.team))
    keys, stored = whole.keys_by_user(), {user.name for user in whole.records.users}
    seen, after = page(
        asked, "users", (user for user in users.values() if asked.by.sees(user.team)), lambda user: place(user.name)
    )
    data = [_user(whole, user, keys[user.name], user.name in stored) for user in seen]
    return 200, Many(data=data, next_after=after)


def set_user(asked: Asked) -> tuple[int, UserShown]:
    form: UserForm = asked.form
    team = None if form.team is None else forms.name(form.team, "team")
    user = User(name=forms.name(asked.path["name"], "name"), team=team)
    new = asked.desk.set_user(user, asked.by.actor)
    whole = asked.desk.whole()
    return 201 if new else 200, _user(whole, user, whole.keys_by_user()[user.name], True)


def remove_user(asked: Asked) -> tuple[int, FormerUser]:
    user, ended, remaining = asked.desk.remove_user(normal_name(asked.path["name"]), asked.by.actor)
    whole = asked.desk.whole()
    return 200, FormerUser(
        name=user.name,
        team=user.team,
        declared=bool(remaining),
        stored=False,
        keys=len(remaining),
        stopped=_stopped(whole, "user", user.name),
        revoked=tuple(ended),
        remaining=tuple(remaining),
    )


def _user(whole: Whole, user: User, keys: int, stored: bool) -> UserShown:
    return UserShown(
        name=user.name,
        team=user.team,
        declared=any(key.user == user.name for key in whole.declared.keys),
        stored=stored,
        keys=keys,
        stopped=_stopped(whole, "user", user.name),
    )


def _stopped(whole: Whole, kind: str, value: str) -> bool:
    return any(stop.kind == "all" or (stop.kind, stop.value) == (kind, value) for stop in whole.records.stops)


# -- stops


def list_stops(asked: Asked) -> tuple[int, Many[StopShown]]:
    stops, after = page(asked, "stops", asked.desk.whole().records.stops, lambda stop: place(stop.id))
    return 200, Many(data=[stop_shown(stop) for stop in stops], next_after=after)


def set_stop(asked: Asked) -> tuple[int, StopShown]:
    form: StopForm = asked.form
    value = ""
    if form.kind == "all":
        if form.value:
            raise forms.invalid("value", "everything is stopped: leave it out")
    else:
        value = forms.name(form.value, "value")
    stop = Stop(
        kind=form.kind,
        value=value,
        reason=forms.reason(form.reason),
        by=asked.by.caller.key_name,
        at_us=asked.desk.now_us(),
    )
    new = asked.desk.set_stop(stop, asked.by.actor)
    return 201 if new else 200, stop_shown(stop)


def lift(asked: Asked) -> tuple[int, StopShown]:
    return 200, stop_shown(asked.desk.lift(asked.path["id"], asked.by.actor))


# -- the audit


def audit(asked: Asked) -> tuple[int, AuditPage]:
    most = whole_number(asked.query, "limit", _USUAL_ENTRIES, _MOST_ENTRIES)
    before = whole_number(asked.query, "before", 0, 2**63 - 1)
    found = asked.desk.audit(most + 1, before or None)
    more = len(found) > most
    return 200, AuditPage(
        data=[audit_shown(entry) for entry in found[:most]], next_before=found[most - 1].id if more else None
    )
