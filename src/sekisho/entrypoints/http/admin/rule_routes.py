"""The routes of budgets and limits. Must let a team's owner tighten what was set for the team, and never loosen it."""

from __future__ import annotations

from sekisho.domain.errors import Refusal
from sekisho.domain.money import format_usd
from sekisho.domain.spending import PERIODS, Budget, Limit, Scope, place_of
from sekisho.entrypoints.http.admin import forms
from sekisho.entrypoints.http.admin.access import Asker
from sekisho.entrypoints.http.admin.asked import Asked
from sekisho.entrypoints.http.admin.forms import BudgetForm, LimitForm
from sekisho.entrypoints.http.admin.pages import Place, page, place
from sekisho.entrypoints.http.admin.shapes import Budgets, BudgetShown, Limits, LimitShown, budget_shown, limit_shown
from sekisho.stores.control import budget_id, limit_id


def list_budgets(asked: Asked) -> tuple[int, Budgets]:
    rules = asked.desk.whole().budgets
    states = asked.states.seen_by(_seen(asked.by))
    told = zip(rules, states.of_budgets([rule for rule, _ in rules]), strict=True)
    seen = [(at, *one, own) for at, (one, own) in enumerate(told) if _sees(asked.by, one[0].scope)]
    shown, after = page(asked, "budgets", seen, lambda one: _place(*one[:3]))
    data = [budget_shown(rule, declared=declared, states=own) for _, rule, declared, own in shown]
    return 200, Budgets(data=data, next_after=after, counters=states.answer)


def set_budget(asked: Asked) -> tuple[int, BudgetShown]:
    form: BudgetForm = asked.form
    scope = forms.scope(form.scope)
    asked.by.check_scope(scope)
    whole = asked.desk.whole()
    on_exceed, degrade_to = forms.way(form)
    if degrade_to is not None:
        asked.by.check_endpoints("on_exceed.degrade", (degrade_to,))
    rule = Budget(
        scope=scope,
        amount_nanos=forms.amount_nanos(form, whole.declared.usd_jpy(asked.desk.now_us())),
        period=form.period,
        on_exceed=on_exceed,
        degrade_to=degrade_to,
        strict=form.strict,
        of_team=asked.by.team,
    )
    if asked.by.team is not None:
        for other, _ in whole.budgets:
            if _same(other, rule) and (other.period, other.on_exceed) == (rule.period, rule.on_exceed):
                _refuse_more(rule.amount_nanos, other.amount_nanos, "usd", f"{format_usd(other.amount_nanos)} USD")
    new = asked.desk.set_budget(rule, asked.by.actor)
    return 201 if new else 200, budget_shown(rule, declared=False, states=None)


def remove_budget(asked: Asked) -> tuple[int, BudgetShown]:
    rule = asked.desk.rule("budget", asked.path["id"])
    assert isinstance(rule, Budget)
    _check_owner(asked.by, rule)
    asked.desk.remove_rule("budget", asked.path["id"], asked.by.actor)
    return 200, budget_shown(rule, declared=False, states=None)


def list_limits(asked: Asked) -> tuple[int, Limits]:
    rules = asked.desk.whole().limits
    states = asked.states.seen_by(_seen(asked.by))
    told = zip(rules, states.of_limits([rule for rule, _ in rules]), strict=True)
    seen = [(at, *one, own) for at, (one, own) in enumerate(told) if _sees(asked.by, one[0].scope)]
    shown, after = page(asked, "limits", seen, lambda one: _place(*one[:3]))
    data = [limit_shown(rule, declared=declared, states=own) for _, rule, declared, own in shown]
    return 200, Limits(data=data, next_after=after, counters=states.answer)


def set_limit(asked: Asked) -> tuple[int, LimitShown]:
    form: LimitForm = asked.form
    scope = forms.scope(form.scope)
    asked.by.check_scope(scope)
    rule = Limit(scope=scope, of_team=asked.by.team, **forms.quantities(form))
    if asked.by.team is not None:
        for other, _ in asked.desk.whole().limits:
            for quantity in ("qpm", "tpm", "concurrency"):
                wanted, given = getattr(rule, quantity), getattr(other, quantity)
                if _same(other, rule) and wanted is not None and given is not None:
                    _refuse_more(wanted, given, quantity, str(given))
    new = asked.desk.set_limit(rule, asked.by.actor)
    return 201 if new else 200, limit_shown(rule, declared=False, states=None)


def remove_limit(asked: Asked) -> tuple[int, LimitShown]:
    rule = asked.desk.rule("limit", asked.path["id"])
    assert isinstance(rule, Limit)
    _check_owner(asked.by, rule)
    asked.desk.remove_rule("limit", asked.path["id"], asked.by.actor)
    return 200, limit_shown(rule, declared=False, states=None)


def _place(at: int, rule: Budget | Limit, declared: bool) -> Place:
    """Where it stands in its list, which has those of the file in their order."""
    known = budget_id(rule) if isinstance(rule, Budget) else limit_id(rule)
    if declared:
        return place(known, stored=False, at=at)
    return place(
        known, scope=place_of(rule.scope), period=PERIODS.index(rule.period) if isinstance(rule, Budget) else 0
    )


def _sees(by: Asker, scope: Scope) -> bool:
    """A team's owner sees the rules that hold for the team: those that name it, and those of each team."""
    if by.role != "team_owner":
        return True
    wanted = dict(scope).get("team")
    return by.caller.team is not None and wanted in (by.caller.team, "*")


def _seen(by: Asker) -> dict[str, str | None]:
    """What the instances that may be seen are of; nothing: all may."""
    return {"team": by.caller.team} if by.role == "team_owner" else {}


def _check_owner(by: Asker, rule: Budget | Limit) -> None:
    """What was set for a team is not the team's to take away."""
    by.check_scope(rule.scope)
    if by.team is not None and rule.of_team != by.team:
        raise Refusal(403, "not_granted", type="permission_error", param="id", reason="it was set for your team")


def _same(other: Budget | Limit, rule: Budget | Limit) -> bool:
    """The other was set for the team, for the very same calls: more than that would be in vain."""
    return other.of_team is None and other.scope == rule.scope


def _refuse_more(wanted: int, given: int, param: str, shown: str) -> None:
    if wanted > given:
        reason = "{given} was set for your team; you can set less"
        raise Refusal(403, "not_granted", type="permission_error", param=param, reason=reason, given=shown)
