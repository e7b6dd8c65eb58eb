"""In which order lists stand: of thousands of budgets nobody finds one that stands anywhere."""

from __future__ import annotations

from tests.support.admin import House

from sekisho.app.limits import rules_of
from sekisho.domain.spending import scope_of


async def test_budgets_and_limits_stand_by_what_they_hold_for(house: House) -> None:
    wanted = [(scope, period) for scope in _scopes() for period in ("day", "week", "month")]
    for scope, period in sorted(wanted, key=lambda one: str(one)[::-1]):
        body = {"scope": dict(scope_of(scope)), "usd": 1, "period": period}
        assert (await house.ask("PUT", "/budgets", body)).status_code == 201
    for scope in reversed(_scopes()):
        assert (await house.ask("PUT", "/limits", {"scope": scope, "qpm": 9})).status_code == 201
    budgets = (await house.ask("GET", "/budgets")).json()["data"]
    assert [(one["scope"], one["period"]) for one in budgets if not one["declared"]] == wanted
    limits = (await house.ask("GET", "/limits")).json()["data"]
    assert [one["scope"] for one in limits if not one["declared"]] == _scopes()


async def test_states_of_each_stand_by_their_names(house: House) -> None:
    names = ["利用者3", "利用者1", "b", "a", "利用者2"]
    rules = rules_of(house.settings)
    specs = [spec for name in names for _, spec in rules.spending({"team": name})]
    house.counters.bind((), (), specs)
    listed = (await house.ask("GET", "/budgets")).json()["data"]
    (each,) = [one for one in listed if one["scope"] == {"team": "*"}]
    found = [state["scope"]["team"] for state in each["states"]]
    assert found == sorted(found)
    assert set(names) < set(found)


def _scopes() -> list[dict[str, str]]:
    return [{"team": "sales"}, *({"user": f"利用者{n:02}"} for n in range(12)), {"feature": "要約"}]
