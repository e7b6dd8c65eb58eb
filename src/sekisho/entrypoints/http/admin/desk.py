"""Control data of the file and of the database as one, and how it may be changed. Must not know HTTP or roles.

What the file declares is read here and changed there: 409. Everything here may block and runs in a thread.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal

import msgspec

from sekisho.domain.errors import Refusal
from sekisho.domain.keys import digest_of, key_id_of, new_key
from sekisho.domain.spending import EACH, PERIODS, Budget, Facts, Limit, place_of
from sekisho.domain.stops import Stop
from sekisho.entrypoints.http.admin.forms import invalid
from sekisho.stores.control import (
    Actor,
    AuditEntry,
    ControlRecords,
    ControlStore,
    Kind,
    StoredBudget,
    StoredLimit,
    Team,
    User,
    budget_id,
    limit_id,
)
from sekisho.stores.ports import KeyRecord, KeyStore, NameTaken, NotCurrent


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration in force declares. `limits` are those of the list, of endpoints and of the defaults."""

    source: str
    teams: dict[str, str | None]
    keys: tuple[KeyRecord, ...]
    budgets: tuple[Budget, ...]
    limits: tuple[Limit, ...]
    endpoints: frozenset[str]
    #: of all targets, as `provider/model`
    models: frozenset[str]
    providers: frozenset[str]
    #: yen for one US dollar at a moment, microseconds since 1970; None without any rate
    usd_jpy: Callable[[int], Decimal | None]


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment."""

    declared: Declared
    keys: tuple[KeyRecord, ...]
    records: ControlRecords

    @property
    def current_keys(self) -> list[KeyRecord]:
        """Those that open something or may do so again: not revoked and not replaced."""
        return [key for key in self.keys if key.revoked_at_us is None and key.replaced_by is None]

    def keys_by_team(self) -> Counter[str | None]:
        """How many current keys each has."""
        return Counter(key.team for key in self.current_keys)

    def keys_by_user(self) -> Counter[str | None]:
        return Counter(key.user for key in self.current_keys)

    @property
    def teams(self) -> dict[str, Team]:
        """Declared and stored, by name; and labels on keys of the file, which need no declaration there."""
        found = {key.team: Team(name=key.team) for key in self.declared.keys if key.team is not None}
        found |= {team.name: team for team in self.records.teams}
        found |= {name: Team(name=name, department=department) for name, department in self.declared.teams.items()}
        return found

    @property
    def budgets(self) -> list[tuple[Budget, bool]]:
        """Each with whether the file declares it, which then comes before the same of the database: those in the order
        of the file, and then the others by what they hold for."""
        ids = {budget_id(rule) for rule in self.declared.budgets}
        stored = [one.rule for one in self.records.budgets if one.id not in ids]
        stored.sort(key=lambda rule: (place_of(rule.scope), PERIODS.index(rule.period)))
        return [*((rule, True) for rule in self.declared.budgets), *((rule, False) for rule in stored)]

    @property
    def limits(self) -> list[tuple[Limit, bool]]:
        ids = {limit_id(rule) for rule in self.declared.limits}
        stored = [one.rule for one in self.records.limits if one.id not in ids]
        stored.sort(key=lambda rule: place_of(rule.scope))
        return [*((rule, True) for rule in self.declared.limits), *((rule, False) for rule in stored)]

    def facts(self, keys: Iterable[KeyRecord] | None = None) -> list[Facts]:
        """What calls with these keys are, by scope name, as far as the keys tell."""
        teams = self.teams
        found: list[Facts] = []
        for key in self.current_keys if keys is None else keys:
            team = None if key.team is None else teams.get(key.team)
            department = None if team is None else team.department
            facts = {"department": department, "team": key.team, "key": key.name, "user": key.user or key.name}
            found.append(facts)
        return found


class Desk:
    """Raises Refusal with what to do, or StoreUnavailable."""

    def __init__(
        self,
        declared: Callable[[], Declared],
        keys: KeyStore,
        control: ControlStore,
        pepper: bytes,
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        randbelow: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self._declared = declared
        self._keys = keys
        self._control = control
        self._pepper = pepper
        self.now_us = now_us
        self._randbelow = randbelow

    def whole(self) -> Whole:
        declared = self._declared()
        return Whole(declared=declared, keys=(*declared.keys, *self._keys.all()), records=self._control.control())

    # -- keys

    def key(self, key_id: str) -> KeyRecord:
        for record in self.whole().keys:
            if record.id == key_id:
                return record
        raise _missing("key", key_id)

    def add_key(self, wanted: KeyRecord, by: Actor) -> tuple[KeyRecord, str]:
        """The new key and its secret, which is kept nowhere."""
        whole = self.whole()
        if any(record.name == wanted.name for record in whole.declared.keys):
            raise self._in_file("name", wanted.name)
        self.check_team(whole, wanted.team, "team")
        for name in wanted.endpoints:
            _check_endpoint(whole.declared, name)
        return self._add(msgspec.structs.replace(wanted, created_at_us=self.now_us()), None, by)

    def revoke_key(self, record: KeyRecord, by: Actor) -> KeyRecord:
        if record.declared:
            raise self._in_file("id", record.name)
        self._keys.revoke(record.id, self.now_us(), by=by)
        return self.key(record.id)

    def rotate_key(
        self, old: KeyRecord, overlap_us: int, lifetime_us: int | None, by: Actor
    ) -> tuple[KeyRecord, str, KeyRecord]:
        """A successor with the same rights, its secret, and the old key as it is now. It ends when the old one would
        have: replacing a secret must not silently prolong an access."""
        if old.declared:
            raise self._in_file("id", old.name)
        now = self.now_us()
        if old.revoked_at_us is not None or old.replaced_by is not None:
            raise Refusal(409, "key_not_current", param="id", key=old.id)
        if lifetime_us is None and old.state(now) == "expired":
            raise invalid("expires", "the key has expired, and a rotation keeps its end; give a new one")
        end_us = old.expires_at_us if lifetime_us is None else now + lifetime_us
        wanted = msgspec.structs.replace(old, created_at_us=now, expires_at_us=end_us, replaces=old.id)
        new, secret = self._add(wanted, now + overlap_us, by)
        return new, secret, self.key(old.id)

    def _add(self, wanted: KeyRecord, replaced_until_us: int | None, by: Actor) -> tuple[KeyRecord, str]:
        secret = new_key(self._randbelow)
        digest = digest_of(secret, self._pepper)
        record = msgspec.structs.replace(wanted, id=key_id_of(secret) or "", digest=digest, replaced_by=None)
        try:
            self._keys.add(record, replaced_until_us=replaced_until_us, by=by)
        except NameTaken as error:
            raise Refusal(409, "name_taken", param="name", name=error.name, holder=error.holder) from None
        except NotCurrent:
            raise Refusal(409, "key_not_current", param="id", key=wanted.replaces) from None
        return record, secret

    # -- teams and users

    def set_team(self, team: Team, by: Actor) -> bool:
        """Whether it is new."""
        if team.name in self._declared().teams:
            raise self._in_file("name", team.name)
        return self._control.put(team, by) is None

    def remove_team(self, name: str, by: Actor) -> Team:
        whole = self.whole()
        if name in whole.declared.teams:
            raise self._in_file("name", name)
        users = [key.name for key in whole.current_keys if key.team == name]
        users += [user.name for user in whole.records.users if user.team == name]
        if users and any(team.name == name for team in whole.records.teams):
            raise Refusal(409, "in_use", param="name", name=name, users=", ".join(users[:5]))
        removed = self._control.remove("team", name, by)
        if not isinstance(removed, Team):
            raise _missing("team", name)
        return removed

    def set_user(self, user: User, by: Actor) -> bool:
        self.check_team(self.whole(), user.team, "team")
        return self._control.put(user, by) is None

    def remove_user(self, name: str, by: Actor) -> tuple[User, list[str], list[str]]:
        """A leaver: the user's keys end first, so that nothing is left open if this is cut short. What is in the file
        can end only there."""
        whole = self.whole()
        theirs = [key for key in whole.keys if key.user == name and key.revoked_at_us is None]
        user = next((user for user in whole.records.users if user.name == name), None)
        if user is None and not theirs:
            raise _missing("user", name)
        ended = [key.id for key in theirs if not key.declared and self._keys.revoke(key.id, self.now_us(), by=by)]
        self._control.remove("user", name, by)
        return user or User(name=name), ended, [key.id for key in theirs if key.declared]

    # -- rules

    def set_budget(self, rule: Budget, by: Actor) -> bool:
        whole = self.whole()
        self._check_scope(whole, rule)
        if rule.degrade_to is not None and rule.degrade_to not in whole.declared.endpoints:
            raise _unknown("on_exceed.degrade", whole.declared.endpoints)
        if any(budget_id(one) == budget_id(rule) for one in whole.declared.budgets):
            raise self._rule_in_file("scope", "budget")
        return self._control.put(StoredBudget(rule=rule), by) is None

    def set_limit(self, rule: Limit, by: Actor) -> bool:
        whole = self.whole()
        self._check_scope(whole, rule)
        if any(limit_id(one) == limit_id(rule) for one in whole.declared.limits):
            raise self._rule_in_file("scope", "limit")
        return self._control.put(StoredLimit(rule=rule), by) is None

    def rule(self, kind: Kind, object_id: str) -> Budget | Limit:
        """A budget or limit by its id. Raises Refusal 404."""
        whole = self.whole()
        for rule, _ in whole.budgets if kind == "budget" else whole.limits:
            if (budget_id(rule) if isinstance(rule, Budget) else limit_id(rule)) == object_id:
                return rule
        raise _missing(kind, object_id)

    def remove_rule(self, kind: Kind, object_id: str, by: Actor) -> None:
        declared = self._declared()
        ids = {budget_id(rule) for rule in declared.budgets} | {limit_id(rule) for rule in declared.limits}
        if object_id in ids:
            raise self._rule_in_file("id", kind)
        if self._control.remove(kind, object_id, by) is None:
            raise _missing(kind, object_id)

    # -- stops and the audit

    def set_stop(self, stop: Stop, by: Actor) -> bool:
        """Whether it is new. Raises Refusal 400 for a name that would stop nothing: whoever stops is in a hurry."""
        whole = self.whole()
        if stop.kind == "team":
            self.check_team(whole, stop.value, "value")
        elif stop.kind == "model":
            _check_model(whole.declared, stop.value)
        elif stop.kind == "user" and not any(key.on_behalf for key in whole.current_keys):
            names = {user.name for user in whole.records.users}
            names |= {key.user or key.name for key in whole.current_keys}
            if stop.value not in names:
                raise _unknown("value", names)
        return self._control.put(stop, by) is None

    def lift(self, stop_id: str, by: Actor) -> Stop:
        removed = self._control.remove("stop", stop_id, by)
        if not isinstance(removed, Stop):
            raise _missing("stop", stop_id)
        return removed

    def audit(self, most: int, before_id: int | None) -> list[AuditEntry]:
        return self._control.audit(most=most, before_id=before_id)

    # -- checks

    def teams_of_user(self, name: str) -> set[str | None]:
        """To which a user belongs, by the database, else by the keys whose rows have this requester; empty for a new
        one."""
        whole = self.whole()
        for user in whole.records.users:
            if user.name == name and user.team is not None:
                return {user.team}
        return {key.team for key in whole.current_keys if (key.user or key.name) == name}

    def check_team(self, whole: Whole, team: str | None, param: str) -> None:
        """A team that nobody has made would be a typing mistake; where there are none at all, it is a label."""
        teams = whole.teams
        if team is not None and teams and team not in teams:
            raise _unknown(param, teams)

    def _check_scope(self, whole: Whole, rule: Budget | Limit) -> None:
        """Names that would never match anything. Users, models and features are met outside, so they may be any.

        Of a rule that a team sets for itself nothing of other teams is a name that there is, nor told.
        """
        declared, own = whole.declared, rule.of_team
        for name, value in rule.scope:
            if value == EACH:
                continue
            param = f"scope.{name}"
            if name == "team":
                self.check_team(whole, value, param)
            elif name == "endpoint" and value not in declared.endpoints:
                raise _unknown(param, declared.endpoints if own is None else None)
            elif name == "key":
                _check_known(param, value, (key.name for key in whole.current_keys if own in (None, key.team)))
            elif name == "department":
                teams = (team for team in whole.teams.values() if own in (None, team.name))
                _check_known(param, value, (team.department for team in teams if team.department is not None))
            elif name == "model" and "/" in value and value.partition("/")[0] not in declared.providers:
                raise _unknown(param, (f"{one}/…" for one in declared.providers) if own is None else None)

    def _in_file(self, param: str, name: str) -> Refusal:
        return Refusal(409, "declared_in_file", param=param, name=name, source=self._declared().source)

    def _rule_in_file(self, param: str, kind: Kind) -> Refusal:
        source = self._declared().source
        return Refusal(409, "declared_in_file", message="rule_in_file", param=param, kind=kind, source=source)


def _check_endpoint(declared: Declared, name: str) -> None:
    provider, slash, model = name.partition("/")
    if name == EACH:
        return
    if not slash and name not in declared.endpoints:
        raise _unknown("endpoints", declared.endpoints)
    if slash and (provider not in declared.providers or model != EACH):
        raise _unknown("endpoints", (f"{one}/*" for one in declared.providers))


def _check_model(declared: Declared, name: str) -> None:
    """An endpoint, a target's model with or without its provider, or anything of a provider: callers may address it."""
    if name in declared.endpoints or name.partition("/")[0] in declared.providers:
        return
    models = {target.partition("/")[2] for target in declared.models}
    if name not in models:
        raise _unknown("value", declared.endpoints | models)


def _check_known(param: str, value: str, names: Iterable[str]) -> None:
    known = set(names)
    if value not in known:
        raise _unknown(param, known)


def _unknown(param: str, known: Iterable[str] | None) -> Refusal:
    """`known` is None where what there is is not the asker's to know."""
    if known is None:
        return invalid(param, "there is no such name")
    names = ", ".join(sorted(known)[:10])
    if not names:
        return invalid(param, "there is no such name, and none is known yet")
    return invalid(param, "there is no such name; there are {names}", names=names)


def _missing(kind: str, object_id: str) -> Refusal:
    return Refusal(404, "object_not_found", param="id", kind=kind, name=object_id)
