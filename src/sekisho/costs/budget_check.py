"""What budgets say is spent against the rows of their periods. Must be pure, and count by the rules that calls met.

Budgets are read before the rows and once more after them, as counters are: what the rows say has to lie between. What
is reserved is not spent. Two things charge a budget otherwise than the row says, and are named with the difference: an
attempt whose tier has no known price is charged what was reserved; and, where counters are shared, a call that died
with its gateway is charged when its lease runs out, with what its last attempt had reserved (the row names the first).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from sekisho.costs.reconcile import Cause, Check
from sekisho.domain.money import usd_to_nanos
from sekisho.domain.periods import window
from sekisho.domain.row import ERASED
from sekisho.domain.spending import Budget, OnExceed, Period, Scope, instance_of, scope_of, scope_text
from sekisho.ledger.scopes import Rules
from sekisho.tables.by_period import PeriodSum


class StateTold(msgspec.Struct, frozen=True):
    """One instance of a budget, as `/admin/budgets` tells it."""

    scope: dict[str, str]
    spent_usd: str
    resets_at: str


class BudgetTold(msgspec.Struct, frozen=True):
    """A budget, as `/admin/budgets` tells it."""

    scope: dict[str, str]
    usd: str
    period: Period
    on_exceed: Literal["block", "warn"] | dict[Literal["degrade"], str]
    of_team: str | None = None
    states: list[StateTold] | None = None


class Name(NamedTuple):
    """Which instance of which budget."""

    scope: Scope
    period: Period
    on_exceed: OnExceed
    degrade_to: str | None

    @property
    def text(self) -> str:
        """`team research, month, block`."""
        return f"{scope_text(self.scope)}, {self.period}, {self.on_exceed}"


class Spent(NamedTuple):
    nanos: int
    #: seconds since 1970
    resets_at_s: float


def rules_told(budgets: Iterable[BudgetTold]) -> Rules:
    """The rules in force. Raises ValueError for amounts that are none."""
    return Rules((), [_rule(one) for one in budgets])


def spent_told(budgets: Iterable[BudgetTold]) -> dict[Name, Spent]:
    """What every instance has spent. Raises ValueError for amounts or times that are none."""
    found: dict[Name, Spent] = {}
    for budget in budgets:
        on_exceed, degrade_to = _way(budget)
        for state in budget.states or ():
            name = Name(scope_of(state.scope), budget.period, on_exceed, degrade_to)
            found[name] = Spent(usd_to_nanos(state.spent_usd), _seconds(state.resets_at))
    return found


def windows_of(spent: Mapping[Name, Spent], zone: ZoneInfo) -> dict[Period, tuple[float, float]] | None:
    """Beginning and end of the periods, in seconds since 1970; None where the zone is not that of the gateway."""
    found: dict[Period, tuple[float, float]] = {}
    for name, one in spent.items():
        begins_s, ends_s = window(name.period, zone, one.resets_at_s - 1)
        if ends_s != one.resets_at_s or found.get(name.period, (begins_s, ends_s)) != (begins_s, ends_s):
            return None
        found[name.period] = begins_s, ends_s
    return found


def check_budgets(
    before: Mapping[Name, Spent],
    rules: Rules,
    rows: Mapping[Period, Sequence[PeriodSum]],
    after: Mapping[Name, Spent],
    *,
    shared: bool,
) -> list[Check]:
    """One check for each budget that differs or has something to say, and one for all others. `shared`: the counters
    are in a store that outlives a gateway. Budgets that have begun anew between the looks are left out."""
    sums = _by_budget(rules, rows)
    checks: list[Check] = []
    quiet = quiet_nanos = 0
    for name, now in sorted(after.items(), key=lambda pair: pair[0].text):
        then = before.get(name, Spent(0, now.resets_at_s))
        if then.resets_at_s != now.resets_at_s:
            continue
        found = sums.get(name, _NOTHING)
        check = _check(name, then.nanos, found, now.nanos, shared)
        if not check.agrees:
            check = _unless_erased(check, name, then.nanos, found, _erased(name, rows[name.period]))
        if check.agrees and not check.causes and not check.note:
            quiet += 1
            quiet_nanos += now.nanos
        else:
            checks.append(check)
    if quiet or not checks:
        checks.insert(0, Check(name="budgets", agrees=True, values={"count": quiet, "counted": quiet_nanos}))
    return checks


_NOTHING = PeriodSum(facts={}, cost_nanos=0)
#: names of scopes of which erased rows say nothing any more
_PERSONAL = ("user", "key")


def _check(name: Name, least: int, rows: PeriodSum, most: int, shared: bool) -> Check:
    """What is spent only grows within a period, so anything between the two looks may be what it was at that of the
    rows."""
    low, high = rows.cost_nanos, rows.cost_nanos + rows.edge_nanos
    causes: list[Cause] = []
    if rows.unpriced and least > high:
        causes.append(Cause(name="charged_as_reserved", values={"count": rows.unpriced, "more": least - high}))
    if shared and rows.interrupted:
        low -= min(low, rows.interrupted_nanos)
        if least > high or most < rows.cost_nanos:
            causes.append(Cause(name="interrupted", values={"count": rows.interrupted, "more": abs(most - high)}))
    agrees = low <= most and (least <= high or bool(causes))
    values: dict[str, int | str] = {"budget": name.text, "rows": high, "counted": most}
    return Check(name="budget", agrees=agrees, values=values, causes=causes)


def _unless_erased(check: Check, name: Name, least: int, rows: PeriodSum, erased_nanos: int) -> Check:
    """A budget of persons or keys may have rows among those that were erased: nobody can say which, so where they could
    make up for what is missing, it is told and not compared."""
    if not 0 < least - rows.cost_nanos - rows.edge_nanos <= erased_nanos:
        return check
    return Check(name="budget_erased", agrees=True, note=True, values={**check.values, "erased": erased_nanos})


def _erased(name: Name, rows: Iterable[PeriodSum]) -> int:
    """What calls have cost whose person was erased, and that the budget would hold else."""
    if not any(what in _PERSONAL for what, _ in name.scope):
        return 0
    rest = tuple((what, value) for what, value in name.scope if what not in _PERSONAL)
    gone = (one for one in rows if one.facts["user"] == ERASED and one.facts["key"] is None)
    return sum(one.cost_nanos + one.edge_nanos for one in gone if instance_of(rest, one.facts) is not None)


def _by_budget(rules: Rules, rows: Mapping[Period, Sequence[PeriodSum]]) -> dict[Name, PeriodSum]:
    sums: dict[Name, PeriodSum] = {}
    for period, found in rows.items():
        for one in found:
            for _, spec in rules.spending(one.facts, period):
                name = Name(spec.scope, spec.period, spec.on_exceed, spec.degrade_to)
                sums[name] = _added(sums.get(name, _NOTHING), one)
    return sums


def _added(left: PeriodSum, right: PeriodSum) -> PeriodSum:
    return PeriodSum(
        facts={},
        cost_nanos=left.cost_nanos + right.cost_nanos,
        edge_nanos=left.edge_nanos + right.edge_nanos,
        unpriced=left.unpriced + right.unpriced,
        interrupted=left.interrupted + right.interrupted,
        interrupted_nanos=left.interrupted_nanos + right.interrupted_nanos,
    )


def _rule(told: BudgetTold) -> Budget:
    on_exceed, degrade_to = _way(told)
    return Budget(
        scope=scope_of(told.scope),
        amount_nanos=usd_to_nanos(told.usd),
        period=told.period,
        on_exceed=on_exceed,
        degrade_to=degrade_to,
        of_team=told.of_team,
    )


def _way(told: BudgetTold) -> tuple[OnExceed, str | None]:
    if isinstance(told.on_exceed, dict):
        return "degrade", told.on_exceed.get("degrade")
    return told.on_exceed, None


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
