"""Budgets and limits as written: checked by shape, kept as data, and said to be without force in this version."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from sekisho.app.settings import messages
from sekisho.app.settings.document import Items, Text
from sekisho.app.settings.form import Form, form_of
from sekisho.app.settings.names import Names, check_reference, check_team
from sekisho.domain.keys import normal_name

_LARGEST_AMOUNT = 1_000_000_000
_LARGEST_LIMIT = 1_000_000_000_000

Period = Literal["day", "week", "month"]
_PERIODS: tuple[Period, ...] = ("day", "week", "month")
_ON_EXCEED: tuple[Literal["block", "warn"], ...] = ("block", "warn")
_EACH = "*"
_SCOPES = ("key", "user", "team", "group", "department", "endpoint", "model", "organisation")


def read_rates_of_use(parent: Form) -> dict[str, int]:
    """`limits: {qpm, tpm}` of an endpoint or of the defaults: calls and tokens a minute."""
    form = parent.form("limits")
    if form is None:
        return {}
    with form:
        parent.reading.warning(form.place, messages.NOT_ENFORCED, name="limits")
        return _rates_of_use(form)


def read_limits(root: Form, names: Names) -> tuple[dict[str, Any], ...]:
    """The list `limits`, each with a scope."""
    limits: list[dict[str, Any]] = []
    for form in _listed(root, "limits"):
        with form:
            limits.append({"scope": _scope(form, names), **_rates_of_use(form)})
    return tuple(limits)


def read_budgets(root: Form, names: Names) -> tuple[dict[str, Any], ...]:
    """The list `budgets`: a scope, one amount (Decimal, in `usd` or `jpy`), a period, and what happens then."""
    budgets: list[dict[str, Any]] = []
    for form in _listed(root, "budgets"):
        with form:
            budgets.append(
                {
                    "scope": _scope(form, names),
                    **_amount(form),
                    "period": form.choice("period", _PERIODS, "month"),
                    "on_exceed": _on_exceed(form, names),
                }
            )
    return tuple(budgets)


def _listed(root: Form, section: str) -> list[Form]:
    node = root.node(section)
    if isinstance(node, Items) and node.items:
        root.reading.warning(node, messages.NOT_ENFORCED, name=section)
    forms = (form_of(root.reading, item) for item in root.items(section))
    return [form for form in forms if form is not None]


def _rates_of_use(form: Form) -> dict[str, int]:
    if form.field("qpm") is None and form.field("tpm") is None:
        form.reading.error(form.place, messages.EMPTY_LIMITS)
    return {name: form.whole(name, 1, most=_LARGEST_LIMIT) for name in ("qpm", "tpm") if form.field(name) is not None}


def _amount(form: Form) -> dict[str, Decimal]:
    if (form.field("usd") is None) == (form.field("jpy") is None):
        form.reading.error(form.place, messages.ONE_AMOUNT)
    amounts = {name: form.positive(name, most=_LARGEST_AMOUNT) for name in ("usd", "jpy")}
    return {name: amount for name, amount in amounts.items() if amount is not None}


def _scope(parent: Form, names: Names) -> dict[str, str]:
    form = parent.form("scope")
    if form is None:
        if parent.node("scope") is None:
            parent.missing("scope", "scope: {team: research}")
        return {}
    with form:
        given = {name: normal_name(form.required_text(name, name)) for name in _SCOPES if form.field(name) is not None}
        if not given:
            form.reading.error(form.place, messages.EMPTY_SCOPE)
        # keys, users and models may be made or met outside the file
        for name, value in given.items():
            place = form.node(name) or form.place
            if name in ("team", "group") and value not in ("", _EACH):
                check_team(form.reading, place, value, names)
            elif name == "endpoint" and value not in ("", _EACH):
                check_reference(form.reading, place, value, names.endpoints)
        return given


def _on_exceed(form: Form, names: Names) -> str | dict[str, str]:
    node = form.node("on_exceed")
    if node is None or isinstance(node, Text):
        return form.choice("on_exceed", _ON_EXCEED, "block")
    inner = form_of(form.reading, node)
    if inner is None:
        return "block"
    with inner:
        endpoint = inner.required_text("degrade", "degrade: small")
        if endpoint:
            check_reference(inner.reading, inner.node("degrade") or inner.place, endpoint, names.endpoints)
        return {"degrade": endpoint}
