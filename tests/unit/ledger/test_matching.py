"""Rules are found by a name of the call: none that holds is left out, and thousands of others are not asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sekisho.domain.spending import SCOPE_NAMES, Budget, Limit, Scope, instance_of, scope_of
from sekisho.ledger.matching import RuleIndex

_VALUES = st.sampled_from(["*", "a", "b", "mock/a", "mock/*"])
_NAMES = st.sampled_from([*SCOPE_NAMES])
_SCOPES = st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=4).map(scope_of)
_FACTS = st.dictionaries(_NAMES, st.sampled_from([None, "a", "b", "mock/a", "*"]))


@given(scopes=st.lists(_SCOPES, max_size=12), facts=_FACTS)
def test_every_rule_that_holds_is_found_in_its_order(scopes: list[Scope], facts: dict[str, str | None]) -> None:
    rules = [Limit(scope=scope, qpm=at + 1) for at, scope in enumerate(scopes)]

    def holds(rule: Limit) -> bool:
        return instance_of(rule.scope, facts) is not None

    assert [*filter(holds, RuleIndex(rules).near(facts))] == [*filter(holds, rules)]


def test_a_call_does_not_ask_the_budgets_of_thousands_of_others() -> None:
    everybody = Budget(scope=scope_of({"organisation": "*"}), amount_nanos=1)
    own = [Budget(scope=scope_of({"team": "research", "user": f"user-{n}"}), amount_nanos=1) for n in range(5_000)]
    near = RuleIndex([everybody, *own]).near({"team": "research", "user": "user-7", "feature": None})
    assert near == [everybody, own[7]]
