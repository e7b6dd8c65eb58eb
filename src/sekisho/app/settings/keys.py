"""The sections `keys`, `admin` and `teams`. Must not keep the text of a key outside its Secret."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sekisho.app.settings import messages
from sekisho.app.settings.document import Field, Items, Node, Place, Text
from sekisho.app.settings.form import Form, form_of, secret_of, text_of
from sekisho.app.settings.model import DeclaredKey, Role, TeamSettings
from sekisho.app.settings.names import Names, check_reference, check_team
from sekisho.app.settings.reading import Reading
from sekisho.domain.http import Secret
from sekisho.domain.keys import LEAST_DECLARED_CHARS, MOST_NAME_CHARS, name_problem, normal_name

_ROLES: tuple[Role, ...] = ("user", "team_owner", "auditor", "admin")
_EVERY_ENDPOINT = ("*",)


class KeyReader:
    """Reads every key that opens the gateway, and sees to it that no two are equal."""

    def __init__(self, reading: Reading, names: Names, timezone: str) -> None:
        self._reading = reading
        self._names = names
        self._timezone = timezone
        self._owner_of: dict[str, str] = {}
        self._line_of: dict[str, int] = {}

    def declared(self, root: Form) -> tuple[DeclaredKey, ...]:
        keys: list[DeclaredKey] = []
        for node in root.items("keys"):
            form = form_of(self._reading, node)
            if form is not None:
                with form:
                    keys.append(self._key(form))
        return tuple(keys)

    def admin(self, root: Form) -> Secret | None:
        form = root.form("admin")
        if form is None:
            return None
        with form:
            return self._secret(form, "admin", 'key: "${env:SEKISHO_ADMIN_KEY}"')

    def _key(self, form: Form) -> DeclaredKey:
        name = self._own_name(form)
        secret = self._secret(form, name, 'key: "${env:SEKISHO_KEY}"')
        team = _name(form, "team")
        if team:
            check_team(self._reading, form.node("team") or form.place, team, self._names)
        role: Role = form.choice("role", _ROLES, "user")
        return DeclaredKey(
            name=name,
            key=secret or Secret(""),
            team=team,
            user=_name(form, "user"),
            endpoints=self._endpoints(form, role),
            role=role,
            expires=self._expires(form),
            on_behalf=form.truth("on_behalf"),
        )

    def _own_name(self, form: Form) -> str:
        if form.node("name") is None:
            form.missing("name", "name: my-app")
        name = _name(form, "name") or ""
        place = form.node("name") or form.place
        if name in self._line_of:
            self._reading.error(place, messages.DUPLICATE_NAME, name=name, first=self._line_of[name])
        elif name:
            self._line_of[name] = place.line
        return name

    def _secret(self, form: Form, owner: str, example: str) -> Secret | None:
        place = form.node("key")
        if place is None:
            form.missing("key", example)
            return None
        secret = secret_of(self._reading, place)
        if secret is None:
            return None
        if len(secret.reveal()) < LEAST_DECLARED_CHARS:
            self._reading.error(place, messages.SHORT_SECRET, least=LEAST_DECLARED_CHARS)
        if (other := self._owner_of.get(secret.reveal())) is not None:
            self._reading.error(place, messages.SAME_SECRET, other=other)
        self._owner_of[secret.reveal()] = owner
        return secret

    def _endpoints(self, form: Form, role: Role) -> tuple[str, ...]:
        node = form.node("endpoints")
        if node is None:
            return _EVERY_ENDPOINT
        names = [self._endpoint(item) for item in form.items("endpoints")]
        if isinstance(node, Items) and not node.items and role == "user":
            self._reading.error(node, messages.NO_ENDPOINT_ALLOWED)
        return tuple(dict.fromkeys(name for name in names if name))

    def _endpoint(self, node: Node) -> str:
        name = text_of(self._reading, node) or ""
        provider, slash, model = name.partition("/")
        if not name or name == "*":
            return name
        if not slash:
            check_reference(self._reading, node, name, self._names.endpoints)
        elif check_reference(self._reading, node, provider, self._names.providers) and model != "*":
            self._reading.error(node, messages.ONE_MODEL, name=name, provider=provider)
        return name

    def _expires(self, form: Form) -> datetime | None:
        text = form.text("expires")
        if text is None:
            return None
        moment = _moment(text, ZoneInfo(self._timezone))
        if moment is None:
            self._reading.error(form.node("expires") or form.place, messages.BAD_EXPIRY, text=text)
        return moment


def read_teams(root: Form) -> dict[str, TeamSettings]:
    """All teams by name; a team may be declared with nothing but its name."""
    teams: dict[str, TeamSettings] = {}
    line_of: dict[str, int] = {}
    for entry in root.entries("teams"):
        name = normal_name(entry.name)
        _check_name(root.reading, entry, name)
        if name in teams:
            root.reading.error(entry, messages.DUPLICATE_KEY, name=name, first=line_of[name], second=entry.line)
        line_of[name] = entry.line
        teams[name] = _team(root.reading, entry, name)
    return teams


def _team(reading: Reading, entry: Field, name: str) -> TeamSettings:
    value = entry.value
    form = None if isinstance(value, Text) and value.is_null else form_of(reading, value)
    if form is None:
        return TeamSettings(name=name)
    with form:
        return TeamSettings(name=name, department=_name(form, "department"))


def _name(form: Form, key: str) -> str | None:
    """A name under a key, in the normal form that the database of keys holds too."""
    text = form.text(key)
    if text is None:
        return None
    name = normal_name(text)
    _check_name(form.reading, form.node(key) or form.place, name)
    return name


def _check_name(reading: Reading, place: Place, name: str) -> None:
    if name_problem(name) is not None:
        reading.error(place, messages.BAD_PERSON_NAME, name=name, most=MOST_NAME_CHARS)


def _moment(text: str, zone: ZoneInfo) -> datetime | None:
    """The end of a day in the zone of the file, or an exact time; None when it is neither."""
    try:
        if len(text) == len("2027-03-31"):
            return datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), zone)
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
    except (ValueError, OverflowError):
        return None
