"""What a call of one kind is counted on and priced by, made once. Must be thrown away with its configuration."""

from __future__ import annotations

from typing import Any

from sekisho.domain.call import Caller
from sekisho.domain.endpoint import Target
from sekisho.domain.spending import Facts, Scope
from sekisho.ledger.scopes import Rules
from sekisho.ledger.sizes import MOST_OUTPUT_TOKENS, OutputSizes, Tariff
from sekisho.stores.counters import BudgetSpec, Counters

#: plans and output sizes kept; beyond that all are made anew
_MOST_PLANS = 20_000


class Plan:
    """How calls of one caller to one target are limited. Immutable but for the sizes it learns."""

    __slots__ = (
        "account",
        "budgets",
        "counts",
        "headers",
        "refuses_unpriced",
        "sizes",
        "stops",
        "strict",
        "target",
        "tariff",
        "waits_s",
    )

    def __init__(self, account: Any, target: Target, *, budgets: tuple[BudgetSpec, ...]) -> None:
        self.account = account
        self.target = target
        self.budgets = budgets
        #: anything is counted at all
        self.counts = bool(budgets)
        #: there are limits to tell in `x-ratelimit-*`
        self.headers = False
        #: a budget can refuse or divert the call
        self.stops = False
        #: of the limits that can refuse: how long each lets a call wait
        self.waits_s: dict[Scope, float] = {}
        self.refuses_unpriced = False
        self.strict = False
        self.tariff: Tariff | None = None
        self.sizes: OutputSizes | None = None


class Planner:
    """Plans of one configuration. Cheap to ask for what was asked before."""

    def __init__(
        self,
        rules: Rules,
        counters: Counters,
        sizes: SizeBook,
        *,
        most_output_tokens: int = MOST_OUTPUT_TOKENS,
    ) -> None:
        self._rules = rules
        self._counters = counters
        self._sizes = sizes
        self._most_output_tokens = most_output_tokens
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._by_user = "user" in rules.names
        self._by_feature = "feature" in rules.names

    def plan_for(
        self,
        caller: Caller,
        requester: str,
        endpoint: str,
        target: Target,
        feature: str | None = None,
        *,
        later: bool = False,
        degraded: bool = False,
    ) -> Plan:
        """The plan of an attempt. `requester` is whom the row names; `later`: an attempt after the call's first one,
        which was let in already; `degraded`: the call was sent to this endpoint by an exceeded budget. Neither is sent
        on, and a budget that sends calls elsewhere refuses none: such a budget only counts them."""
        key = (
            caller.key_id,
            requester if self._by_user else None,
            endpoint,
            target.provider,
            target.model,
            feature if self._by_feature else None,
            later,
            degraded,
        )
        plan = self._plans.get(key)
        # a target with new prices is another object
        if plan is None or plan.target is not target:
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            plan = self._plans[key] = self._make(caller, requester, endpoint, target, feature, later, degraded)
        return plan

    def forget(self) -> None:
        """Every account has to be bound anew."""
        self._plans.clear()

    def _make(
        self,
        caller: Caller,
        requester: str,
        endpoint: str,
        target: Target,
        feature: str | None,
        later: bool,
        degraded: bool,
    ) -> Plan:
        facts = facts_of(caller, requester, endpoint, target, feature)
        meters = self._rules.meters(facts)
        asked = [spec for spec in meters if not later or any(name == "model" for name, _ in spec.scope)]
        carried = [spec for spec in meters if spec not in asked]
        found = self._rules.spending(facts)
        budgets = tuple(spec for _, spec in found)
        counted = tuple(spec for spec in budgets if spec.degrade_to is not None) if later or degraded else ()
        stopping = tuple(spec for spec in budgets if spec not in counted)
        plan = Plan(self._counters.bind(asked, carried, stopping, counted), target, budgets=budgets)
        plan.stops = any(spec.on_exceed != "warn" for spec in stopping)
        plan.headers = any(spec.qpm is not None or spec.tpm is not None for spec in meters)
        plan.waits_s = {spec.scope: spec.wait_s for spec in asked}
        plan.counts = bool(meters or budgets)
        if budgets or any(spec.tpm is not None for spec in meters):
            plan.sizes = self._sizes.of(caller.key_id, target)
        plan.strict = any(budget.strict for budget, _ in found)
        if target.rates is not None:
            plan.tariff = Tariff(target.rates, self._most_output_tokens)
        # only a block: a warning and a diversion make no promise that an unknown price could break
        plan.refuses_unpriced = target.rates is None and any(spec.on_exceed == "block" for spec in budgets)
        return plan


class SizeBook:
    """Output sizes by key and model, kept while configurations come and go. Bounded; forgets all at once."""

    def __init__(self) -> None:
        self._sizes: dict[tuple[str, str, str], OutputSizes] = {}

    def of(self, key_id: str, target: Target) -> OutputSizes:
        key = (key_id, target.provider, target.model)
        sizes = self._sizes.get(key)
        if sizes is None:
            if len(self._sizes) >= _MOST_PLANS:
                self._sizes.clear()
            sizes = self._sizes[key] = OutputSizes()
        return sizes


def facts_of(caller: Caller, requester: str, endpoint: str, target: Target, feature: str | None) -> Facts:
    """What rules may ask about a call, by scope name."""
    return {
        "department": caller.department,
        "team": caller.team,
        "key": caller.key_name,
        "user": requester,
        "endpoint": endpoint,
        "model": f"{target.provider}/{target.model}",
        "feature": feature,
    }
