"""The names that a file defines, so that a reference can be checked wherever it stands. Must not judge the names."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from sekisho.app.settings import messages, money_messages
from sekisho.app.settings.document import Fields, Place, Text
from sekisho.app.settings.messages import Say
from sekisho.app.settings.reading import Reading
from sekisho.domain.keys import normal_name


class Defined(msgspec.Struct, frozen=True, kw_only=True):
    """The names under one section; they count as defined even when their own values are wrong."""

    kind: Say
    section: str
    names: tuple[str, ...]


class Names(msgspec.Struct, frozen=True, kw_only=True):
    providers: Defined
    endpoints: Defined
    teams: Defined
    #: of the teams, in their normal form
    departments: tuple[str, ...] = ()


def names_of(root: Fields) -> Names:
    """What the sections of a file define; names of teams in their normal form."""
    teams = _defined(root, "teams", messages.TEAM)
    return Names(
        providers=_defined(root, "providers", messages.PROVIDER),
        endpoints=_defined(root, "endpoints", messages.ENDPOINT),
        teams=msgspec.structs.replace(teams, names=tuple(normal_name(name) for name in teams.names)),
        departments=tuple(sorted(set(_departments(root)))),
    )


def check_reference(reading: Reading, place: Place, name: str, defined: Defined) -> bool:
    """Whether a name is defined; a problem with the nearest name when it is not."""
    if name in defined.names:
        return True
    hint = reading.suggestion(name, defined.names)
    if not defined.names:
        hint = reading.say(messages.NOTHING_DEFINED, section=defined.section)
    reading.error(place, messages.UNDEFINED, hint=hint, kind=reading.say(defined.kind), name=name)
    return False


def check_team(reading: Reading, place: Place, name: str, names: Names) -> None:
    """Like `check_reference`. In a file without the section `teams`, a team is a label that needs no declaration."""
    if names.teams.names:
        check_reference(reading, place, name, names.teams)


def check_department(reading: Reading, place: Place, name: str, names: Names) -> None:
    """A warning for a department that no team of the file belongs to: teams of the database may. A file without the
    section `teams` has nothing to say of departments."""
    unread = any("${" in department for department in names.departments)
    if names.teams.names and not unread and name not in names.departments:
        known = ", ".join(names.departments) or "-"
        reading.warning(place, money_messages.NO_DEPARTMENT, name=name, known=known)


def _departments(root: Fields) -> Iterator[str]:
    section = root.fields.get("teams")
    if section is None or not isinstance(section.value, Fields):
        return
    for team in section.value.fields.values():
        field = team.value.fields.get("department") if isinstance(team.value, Fields) else None
        if field is not None and isinstance(field.value, Text) and not field.value.is_null:
            yield normal_name(field.value.text)


def _defined(root: Fields, section: str, kind: Say) -> Defined:
    field = root.fields.get(section)
    names = tuple(field.value.fields) if field is not None and isinstance(field.value, Fields) else ()
    return Defined(kind=kind, section=section, names=names)
