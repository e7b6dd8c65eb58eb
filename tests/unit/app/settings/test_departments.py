"""Departments in scopes: one that no team belongs to is named, for its budget would hold for nobody."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sekisho.app.settings import Settings

Parse = Callable[..., Settings]

BASE = 'providers: {a: {type: openai, base_url: "https://a.example/v1"}}\n'
TEAMS = "teams: {web: {department: 営業本部}, lab: {department: Ｒ＆Ｄ}, other: }\n"


def scoped(section: str, department: str) -> str:
    amount = "usd: 1" if section == "budgets" else "qpm: 1"
    return f"{section}: [{{scope: {{department: '{department}'}}, {amount}}}]\n"


@pytest.mark.parametrize("section", ["budgets", "limits"])
def test_a_department_that_no_team_belongs_to_is_a_warning(read: Parse, section: str) -> None:
    (warning,) = read(BASE + TEAMS + scoped(section, "営業本布")).warnings
    assert (warning.path, warning.line) == (f"{section}[0].scope.department", 3)
    assert "'営業本布'" in warning.message
    assert warning.hint == "departments of this file: R&D, 営業本部"


@pytest.mark.parametrize("department", ["営業本部", "R&D", "Ｒ＆Ｄ", "*"])
def test_a_department_of_the_file_is_found_in_every_form_of_its_name(read: Parse, department: str) -> None:
    assert read(BASE + TEAMS + scoped("budgets", department)).warnings == ()


@pytest.mark.parametrize("teams", ["", 'teams: {web: {department: "${env:DEPARTMENT}"}}\n'])
def test_nothing_is_said_where_the_file_cannot_tell(read: Parse, environ: dict[str, str], teams: str) -> None:
    environ["DEPARTMENT"] = "営業本部"
    assert read(BASE + teams + scoped("budgets", "営業本部")).warnings == ()
