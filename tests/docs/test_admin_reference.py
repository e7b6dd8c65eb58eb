"""The page of `/admin` names every route with its roles, and every field that goes in or comes out; nothing else."""

from __future__ import annotations

import re

import msgspec

from sekisho.entrypoints.http.admin import forms, shapes
from sekisho.entrypoints.http.admin.access import EVERYBODY, ROLES
from sekisho.entrypoints.http.admin.routes import table
from tests.docs.pages import REFERENCE, names_in_code, rows

PAGE = REFERENCE / "admin.md"


def test_every_route_has_a_row_with_its_roles_and_no_other_has() -> None:
    served = {
        f"{route.method} /admin{route.path.replace(':path', '')}": [role for role in ROLES if role in route.roles]
        for route in table()
    }
    served["GET /admin/openapi.json"] = [role for role in ROLES if role in EVERYBODY]
    written = {names_in_code(row[0])[0]: row[1].split(", ") for row in rows(PAGE, under="Routes")}
    assert written == served


def test_every_field_that_goes_in_has_a_row_and_no_other_has() -> None:
    written = {name for row in rows(PAGE, under="What goes in") for name in names_in_code(row[0])}
    known = {field for form in _below(forms.Form) - {forms.DegradeForm} for field in form.__struct_fields__}
    assert written == known


def test_every_field_that_comes_out_is_named_and_no_other_is() -> None:
    written = {name for row in rows(PAGE, under="What comes out") for name in names_in_code(row[1])}
    states = {"active", "expired", "revoked"}
    envelopes = {"data", "next_after", "next_before"}
    known = {field for shape in _below(shapes.Answer) for field in shape.__struct_fields__} - envelopes
    assert written - states == known - states
    assert states <= written


def test_the_page_says_each_role_once() -> None:
    assert [re.sub("`", "", row[0]) for row in rows(PAGE, under="Roles")] == list(reversed(ROLES))


def _below(kind: type[msgspec.Struct]) -> set[type[msgspec.Struct]]:
    found: set[type[msgspec.Struct]] = set()
    for one in kind.__subclasses__():
        found |= {one, *_below(one)}
    return found
