"""Budgets and limits as written, read into the rules that are counted. Must not count anything."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Literal

from sekisho.app.settings import money_messages
from sekisho.app.settings.document import Text
from sekisho.app.settings.form import Form, form_of
from sekisho.app.settings.names import Names, check_department, check_reference, check_team
from sekisho.domain.keys import normal_name, visible_name
from sekisho.domain.money import usd_to_nanos
from sekisho.domain.spending import EACH, PERIODS, SCOPE_NAMES, Budget, Limit, OnExceed, Scope, scope_of

_LARGEST_AMOUNT = 1_000_000_000
_LARGEST_LIMIT = 1_000_000_000_000
_LARGEST_CONCURRENCY = 1_000_000
_LONGEST_BURST_S = 60
_LONGEST_WAIT_S = 600
_ON_EXCEED: tuple[Literal["block", "warn"], ...] = ("block", "warn")
_NANO = Decimal("1e-9")
_EXACT = Context(prec=40)
_SCOPES = (*SCOPE_NAMES, "group")
_QUANTITIES = ("qpm", "tpm", "concurrency")


def read_limit(parent: Form, scope: Scope) -> Limit | None:
    """`limits` of an endpoint, or of the defaults for each endpoint."""
    form = parent.form("limits")
    if form is None:
        return None
    with form:
        return _limit(form, scope)


def read_limits(root: Form, names: Names) -> tuple[Limit, ...]:
    """The list `limits`, each with a scope."""
    limits: list[Limit] = []
    line_of: dict[object, int] = {}
    for form in _listed(root, "limits"):
        with form:
            limit = _limit(form, _scope(form, names))
            limits.append(limit)
            if limit.scope:
                _once(form, line_of, *((limit.scope, one) for one in _QUANTITIES if getattr(limit, one) is not None))
    return tuple(limits)


def read_budgets(root: Form, names: Names, usd_jpy: Decimal | None) -> tuple[Budget, ...]:
    """The list `budgets`: a scope, one amount in `usd` or `jpy`, a period, and what happens then. Yen become dollars by
    the rate of today, rounded half-even to nano-dollars."""
    budgets: list[Budget] = []
    line_of: dict[object, int] = {}
    for form in _listed(root, "budgets"):
        with form:
            scope = _scope(form, names)
            on_exceed, degrade_to = _on_exceed(form, names)
            budget = Budget(
                scope=scope,
                amount_nanos=_amount(form, usd_jpy),
                period=form.choice("period", PERIODS, "month"),
                on_exceed=on_exceed,
                degrade_to=degrade_to,
                strict=form.truth("strict"),
            )
            budgets.append(budget)
            if scope:
                _once(form, line_of, (scope, budget.period, on_exceed, degrade_to))
    return tuple(budgets)


def _listed(root: Form, section: str) -> list[Form]:
    forms = (form_of(root.reading, item) for item in root.items(section))
    return [form for form in forms if form is not None]


def _once(form: Form, line_of: dict[object, int], *rules: object) -> None:
    """A warning where one of these rules stands further up already: who reads or raises one of them may not know of the
    other, and both hold."""
    first = next((line_of[rule] for rule in rules if rule in line_of), None)
    if first is not None:
        form.reading.warning(form.place, money_messages.RULE_TWICE, line=first)
    for rule in rules:
        line_of.setdefault(rule, form.place.line)


def _limit(form: Form, scope: Scope) -> Limit:
    if all(form.field(name) is None for name in _QUANTITIES):
        form.reading.error(form.place, money_messages.EMPTY_LIMITS)
    usual = Limit(scope=scope)
    return Limit(
        scope=scope,
        qpm=form.optional_whole("qpm", most=_LARGEST_LIMIT),
        tpm=form.optional_whole("tpm", most=_LARGEST_LIMIT),
        concurrency=form.optional_whole("concurrency", most=_LARGEST_CONCURRENCY),
        burst_s=form.seconds("burst_s", usual.burst_s, most=_LONGEST_BURST_S),
        wait_s=form.seconds("wait_s", usual.wait_s, most=_LONGEST_WAIT_S),
    )


def _amount(form: Form, usd_jpy: Decimal | None) -> int:
    if (form.field("usd") is None) == (form.field("jpy") is None):
        form.reading.error(form.place, money_messages.ONE_AMOUNT)
    usd, jpy = _written(form, "usd"), _written(form, "jpy")
    if usd is None and jpy is not None:
        if usd_jpy is None:
            form.reading.error(form.field("jpy") or form.place, money_messages.NO_RATE)
            return 0
        usd = (jpy / usd_jpy).quantize(_NANO, ROUND_HALF_EVEN)
        if not usd:
            form.reading.error(form.node("jpy") or form.place, money_messages.AMOUNT_TINY, text=jpy)
    return 0 if usd is None else usd_to_nanos(usd)


def _written(form: Form, currency: str) -> Decimal | None:
    """An amount to nine decimals: rounded it would be another budget, or one of nothing."""
    amount = form.positive(currency, most=_LARGEST_AMOUNT)
    if amount is not None and amount != amount.quantize(_NANO, context=_EXACT):
        form.reading.error(form.node(currency) or form.place, money_messages.AMOUNT_DIGITS, text=amount)
        return None
    return amount


def _scope(parent: Form, names: Names) -> Scope:
    form = parent.form("scope")
    if form is None:
        if parent.node("scope") is None:
            parent.missing("scope", "scope: {team: research}")
        return ()
    with form:
        given = {name: _value(form, name) for name in _SCOPES if form.field(name) is not None}
        if not given:
            form.reading.error(form.place, money_messages.EMPTY_SCOPE)
        if "team" in given and "group" in given:
            form.reading.error(form.field("group") or form.place, money_messages.TEAM_TWICE)
        # keys, users and models may be made or met outside the file
        for name, value in given.items():
            place = form.node(name) or form.place
            if name in ("team", "group") and value not in ("", EACH):
                check_team(form.reading, place, value, names)
            elif name == "department" and value not in ("", EACH):
                check_department(form.reading, place, value, names)
            elif name == "endpoint" and value not in ("", EACH):
                check_reference(form.reading, place, value, names.endpoints)
        return scope_of(given)


def _value(form: Form, name: str) -> str:
    """As calls have it: of a feature what cannot be seen is not in its name."""
    text = form.required_text(name, name)
    return visible_name(text) if name == "feature" else normal_name(text)


def _on_exceed(form: Form, names: Names) -> tuple[OnExceed, str | None]:
    node = form.node("on_exceed")
    if node is None or isinstance(node, Text):
        return form.choice("on_exceed", _ON_EXCEED, "block"), None
    inner = form_of(form.reading, node)
    if inner is None:
        return "block", None
    with inner:
        endpoint = inner.required_text("degrade", "degrade: small")
        if endpoint:
            check_reference(inner.reading, inner.node("degrade") or inner.place, endpoint, names.endpoints)
        return "degrade", endpoint
