"""Makes, finds, ends and replaces virtual keys for the commands. Must not print, and must not keep a secret."""

from __future__ import annotations

import difflib
import secrets
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from sekisho.app.commands import NO, WRONG_USAGE
from sekisho.app.commands import key_messages as messages
from sekisho.app.control import declared_keys, key_store, pepper_of, stored_control, stored_keys
from sekisho.app.settings import Language, Settings
from sekisho.app.settings.messages import ALLOWED, DID_YOU_MEAN, Say
from sekisho.domain.keys import (
    MOST_NAME_CHARS,
    digest_of,
    duration_s,
    key_id_of,
    name_problem,
    new_key,
    normal_name,
)
from sekisho.stores.ports import KeyRecord, KeyStore, NameTaken, NotCurrent

_US = 1_000_000
_NAME_PROBLEMS = {
    "empty": messages.NAME_EMPTY,
    "long": messages.NAME_LONG,
    "characters": messages.NAME_CHARACTERS,
    "reserved": messages.NAME_RESERVED,
}


class Refused(Exception):
    """The command ends with `exit_code`, saying `say`; `advice` stands in for its hint."""

    def __init__(
        self, exit_code: int, say: Say, *, advice: tuple[Say, dict[str, object]] | None = None, **values: object
    ) -> None:
        super().__init__(say.code)
        self.exit_code = exit_code
        self._say = say
        self._advice = advice
        self._values = values

    def text(self, language: Language) -> str:
        """The message, and what to do on a line of its own."""
        values = {
            name: value.message(language) if isinstance(value, Say) else value for name, value in self._values.items()
        }
        hint = self._say.hint(language, **values)
        if self._advice is not None:
            say, advised = self._advice
            hint = say.message(language, **advised)
        message = self._say.message(language, **values)
        return f"{message}\n    -> {hint}" if hint else message


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A key as asked for on the command line, unchecked."""

    name: str
    team: str | None = None
    user: str | None = None
    endpoints: Sequence[str] = ()
    expires: str | None = None
    role: str = "user"


class KeyDesk:
    """The keys of one configuration: those declared in it, and those in its database.

    Raises Refused, StoreUnavailable or PepperUnusable.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        randbelow: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self._settings = settings
        self._now_us = now_us
        self._randbelow = randbelow

    def create(self, wish: Wish) -> tuple[KeyRecord, str]:
        """The new key and its secret, which is kept nowhere."""
        name = _checked_name(wish.name, "--name")
        now = self._now_us()
        wanted = KeyRecord(
            id="",
            digest=b"",
            name=name,
            team=self._team(wish.team),
            user=None if wish.user is None else _checked_name(wish.user, "--user"),
            role=wish.role,
            endpoints=tuple(dict.fromkeys(map(self._endpoint, wish.endpoints))) or ("*",),
            created_at_us=now,
            expires_at_us=_end_us(wish.expires, now),
        )
        if any(declared.name == name for declared in self._settings.keys):
            raise Refused(NO, messages.NAME_DECLARED, name=name, source=self._settings.source)
        return self._add(wanted, None)

    def all(self) -> list[KeyRecord]:
        """Declared keys in the order of the file, then the others, oldest first."""
        return [*self._declared(), *self._stored()]

    def revoke(self, text: str) -> tuple[KeyRecord, bool]:
        """End a key by id, name or its own text; False beside it when it was revoked before."""
        record = self._find(text)
        if record.declared:
            raise Refused(NO, messages.DECLARED_IN_FILE, name=record.name, source=self._settings.source)
        if record.revoked_at_us is not None:
            return record, False
        self._store().revoke(record.id, self._now_us())
        return record, True

    def rotate(self, text: str, overlap: str, expires: str | None) -> tuple[KeyRecord, str, KeyRecord]:
        """A successor with the same properties, its secret, and the old key as it is now.

        The successor has the name at once, so limits and budgets on the name go on; until it ends the old key keeps
        it too. It ends when the old one would have, unless `expires` says otherwise: replacing a secret must not
        silently prolong an access.
        """
        overlap_us = _duration_us(overlap, "--overlap")
        old = self._find(text, current=True)
        now = self._now_us()
        self._check_rotatable(old, now, expires)
        end_us = old.expires_at_us if expires is None else _end_us(expires, now)
        wanted = msgspec.structs.replace(old, created_at_us=now, expires_at_us=end_us, replaces=old.id)
        try:
            new, secret = self._add(wanted, now + overlap_us)
        except NotCurrent:
            raise Refused(NO, messages.ROTATED_MEANWHILE, id=old.id) from None
        return new, secret, next(record for record in self._stored() if record.id == old.id)

    def _add(self, wanted: KeyRecord, replaced_until_us: int | None) -> tuple[KeyRecord, str]:
        store = self._store()
        # after that: a database that is made now has the mark of its pepper before it has a key
        pepper = self._pepper()
        secret = new_key(self._randbelow)
        record = msgspec.structs.replace(wanted, id=key_id_of(secret) or "", digest=digest_of(secret, pepper))
        try:
            store.add(record, replaced_until_us=replaced_until_us)
        except NameTaken as error:
            raise Refused(NO, messages.NAME_TAKEN, name=error.name, holder=error.holder) from None
        return record, secret

    def _find(self, text: str, *, current: bool = False) -> KeyRecord:
        """By id, by the key itself, or by a name that only one key of the liveliest state has."""
        text = text.strip()
        key_id, name = key_id_of(text) or text, normal_name(text)
        records = self.all()
        for record in records:
            if record.id == key_id:
                return record
        named = [record for record in records if record.name == name and not (current and record.replaced_by)]
        for state in ("active", "expired", "revoked"):
            found = [record for record in named if record.state(self._now_us()) == state]
            if len(found) == 1:
                return found[0]
            if found and state != "revoked":
                ids = ", ".join(record.id for record in found)
                raise Refused(WRONG_USAGE, messages.AMBIGUOUS, name=name, ids=ids)
            if found:
                return found[-1]
        raise Refused(NO, messages.NO_KEY, name=_shown(name))

    def _check_rotatable(self, old: KeyRecord, now_us: int, expires: str | None) -> None:
        if old.declared:
            raise Refused(NO, messages.DECLARED_IN_FILE, name=old.name, source=self._settings.source)
        if old.revoked_at_us is not None:
            raise Refused(NO, messages.REVOKED_ALREADY, id=old.id)
        if old.replaced_by is not None:
            raise Refused(NO, messages.REPLACED_ALREADY, id=old.id, successor=old.replaced_by)
        if expires is None and old.state(now_us) == "expired":
            raise Refused(NO, messages.EXPIRED_ALREADY, id=old.id)

    def _team(self, text: str | None) -> str | None:
        if text is None:
            return None
        name = _checked_name(text, "--team")
        teams = [*self._settings.teams, *(team.name for team in stored_control(self._settings).teams)]
        _check_defined(name, teams, messages.TEAM, "teams")
        return name

    def _endpoint(self, text: str) -> str:
        name = normal_name(text)
        if name == "*":
            return name
        provider, slash, model = name.partition("/")
        if not slash:
            _check_defined(name, self._settings.endpoints, messages.ENDPOINT, "endpoints")
            return name
        _check_defined(provider, self._settings.providers, messages.PROVIDER, "providers")
        if model != "*":
            raise Refused(WRONG_USAGE, messages.ONE_MODEL, name=_shown(name), provider=provider)
        return name

    def _declared(self) -> list[KeyRecord]:
        return declared_keys(self._settings, self._pepper()) if self._settings.keys else []

    def _stored(self) -> list[KeyRecord]:
        return stored_keys(self._settings)

    def _store(self) -> KeyStore:
        return key_store(self._settings)

    def _pepper(self) -> bytes:
        return pepper_of(self._settings)


def _checked_name(text: str, what: str) -> str:
    name = normal_name(text)
    if (problem := name_problem(name)) is not None:
        raise Refused(WRONG_USAGE, _NAME_PROBLEMS[problem], what=what, name=_shown(name), most=MOST_NAME_CHARS)
    return name


def _shown(text: str) -> str:
    """A text from the command line as a message may repeat it: nothing invisible, not long, and never a key."""
    if text.startswith("sk-"):
        return "sk-…"
    characters = (char if name_problem(char) != "characters" else f"\\u{ord(char):04x}" for char in text[:80])
    return "".join(characters)


def _check_defined(name: str, names: Iterable[str], kind: Say, section: str) -> None:
    names = list(names)
    if name in names:
        return
    advice: tuple[Say, dict[str, object]] = (messages.NOTHING_DEFINED, {"section": section})
    if near := difflib.get_close_matches(name, names, n=1):
        advice = (DID_YOU_MEAN, {"name": near[0]})
    elif names:
        advice = (ALLOWED, {"names": ", ".join(names[:20])})
    raise Refused(WRONG_USAGE, messages.UNKNOWN, advice=advice, kind=kind, name=_shown(name))


def _duration_us(text: str, option: str) -> int:
    try:
        return duration_s(text) * _US
    except ValueError:
        raise Refused(WRONG_USAGE, messages.BAD_DURATION, option=option, text=_shown(text)) from None


def _end_us(expires: str | None, now_us: int) -> int | None:
    if expires is None:
        return None
    lifetime_us = _duration_us(expires, "--expires")
    if lifetime_us == 0:
        raise Refused(WRONG_USAGE, messages.NO_LIFETIME, text=expires)
    return now_us + lifetime_us
