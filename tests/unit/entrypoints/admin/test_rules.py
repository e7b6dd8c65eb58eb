"""Budgets and limits on `/admin`: set, shown with what is left of them, and tightened by teams for themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.admin import CONFIG, House, admin_house

from sekisho.app.limits import rules_of
from sekisho.domain.spending import Budget, scope_of
from sekisho.stores.ports import StoreUnavailable

TEAM = {"department": "rd", "team": "research", "key": "app", "user": "taro"}


async def refused(
    house: House, method: str, path: str, body: object = None, **more: Any
) -> tuple[int, str, str | None]:
    answer = await house.ask(method, path, body, **more)
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


async def put(house: House, body: dict[str, Any], role: str = "admin", path: str = "/budgets") -> dict[str, Any]:
    answer = await house.ask("PUT", path, body, role=role)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def spend(house: House, nanos: int, facts: dict[str, str | None] | None = None, reserved: int = 0) -> None:
    """Count a call as the gateway does it."""
    rules = rules_of(house.settings, house.control.control())
    facts = facts or dict(TEAM)
    specs = [spec for _, spec in rules.spending(facts)]
    account = house.counters.bind(rules.meters(facts), (), specs)
    reservation = house.counters.admit(account, 0.0, 10, nanos, nanos)
    house.counters.end(reservation, "settled", 0.0, 10, nanos)
    if reserved:
        house.counters.admit(account, 0.0, 10, reserved, reserved + 5)


def shown(answer: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    (found,) = [one for one in answer["data"] if all(one[name] == value for name, value in wanted.items())]
    return found


async def test_a_budget_is_set_once_and_then_changed(house: House) -> None:
    body = {"scope": {"user": "ｔａｒｏ"}, "usd": "12.345678901", "period": "week", "on_exceed": {"degrade": "small"}}
    first = await house.ask("PUT", "/budgets", {**body, "strict": True})
    assert first.status_code == 201
    made = first.json()
    assert made == {
        "id": made["id"],
        "scope": {"user": "taro"},
        "usd": "12.345678901",
        "period": "week",
        "on_exceed": {"degrade": "small"},
        "strict": True,
        "declared": False,
        "of_team": None,
        "states": None,
    }
    again = await house.ask("PUT", "/budgets", {**body, "usd": 5})
    assert (again.status_code, again.json()["id"], again.json()["usd"]) == (200, made["id"], "5")
    assert house.control.control().budgets[0].rule == Budget(
        scope=scope_of({"user": "taro"}), amount_nanos=5 * 10**9, period="week", on_exceed="degrade", degrade_to="small"
    )
    assert (await house.ask("DELETE", f"/budgets/{made['id']}")).json()["usd"] == "5"
    assert await refused(house, "DELETE", f"/budgets/{made['id']}") == (404, "object_not_found", "id")
    actions = [entry["action"] for entry in (await house.ask("GET", "/audit")).json()["data"]]
    assert actions == ["budget.delete", "budget.set", "budget.set"]


@pytest.mark.parametrize(
    ("amount", "nanos"),
    [
        ({"usd": 0.1}, 100_000_000),
        ({"usd": "0.1"}, 100_000_000),
        ({"usd": 1e-9}, 1),
        ({"usd": "0.000000001"}, 1),
        ({"usd": 100}, 100 * 10**9),
        ({"usd": "1000000000"}, 10**18),
        ({"usd": 123456.789}, 123_456_789_000_000),
        ({"jpy": 15000}, 100 * 10**9),
        ({"jpy": "1"}, 6_666_667),
    ],
)
async def test_money_is_kept_exactly_as_it_was_written(house: House, amount: dict[str, Any], nanos: int) -> None:
    await put(house, {"scope": {"team": "sales"}, **amount})
    assert house.control.control().budgets[0].rule.amount_nanos == nanos


async def test_yen_need_a_rate(empty: Any, tmp_path: Any) -> None:
    async with admin_house(empty, tmp_path, CONFIG.replace("fx: {usd_jpy: 150}", "")) as house:
        body = {"scope": {"team": "sales"}, "jpy": 100}
        assert await refused(house, "PUT", "/budgets", body) == (400, "invalid_value", "jpy")


async def test_yen_become_dollars_by_the_rate_of_the_day_on_which_they_are_set(empty: Any, tmp_path: Path) -> None:
    rates = "fx: {usd_jpy: {2026-01-01: 150, 2026-11-22: 300}}"
    async with admin_house(empty, tmp_path, CONFIG.replace("fx: {usd_jpy: 150}", rates)) as house:
        body = {"scope": {"team": "sales"}, "jpy": 30000}
        # 23:59:59 in Tokyo
        house.now_us = int(datetime(2026, 11, 21, 14, 59, 59, tzinfo=UTC).timestamp()) * 1_000_000
        assert (await put(house, body))["usd"] == "200"
        house.now_us += 1_000_000
        assert (await put(house, body))["usd"] == "100"


async def test_what_is_left_is_shown_for_each_team(house: House) -> None:
    spend(house, 25 * 10**9, reserved=10**9)
    listed = (await house.ask("GET", "/budgets")).json()
    assert listed["counters"] == "ok"
    each = shown(listed, scope={"team": "*"})
    assert each["declared"]
    states = {state["scope"]["team"]: state for state in each["states"]}
    assert states["research"] == {
        "scope": {"team": "research"},
        "limit_usd": "100",
        "spent_usd": "25",
        "reserved_usd": "1",
        "remaining_usd": "74",
        "percent": 25.0,
        "bound_usd": "0.000000005",
        "resets_at": "2026-11-30T15:00:00Z",
    }
    (whole,) = shown(listed, scope={"organisation": "*"})["states"]
    assert (whole["spent_usd"], whole["remaining_usd"]) == ("25", "974")


async def test_a_budget_that_no_call_has_met_yet_has_its_state_too(house: House) -> None:
    house.counters.adopt({"team=sales|month|block": 7 * 10**9}, house.now_us / 1e6)
    made = await put(house, {"scope": {"team": "sales"}, "usd": 70})
    listed = (await house.ask("GET", "/budgets")).json()
    (state,) = shown(listed, id=made["id"])["states"]
    assert (state["spent_usd"], state["remaining_usd"], state["percent"]) == ("7", "63", 10.0)
    # the named one stands in the place of each team's
    assert [one["scope"] for one in shown(listed, scope={"team": "*"})["states"]] == [{"team": "research"}]


async def test_an_amount_that_was_just_changed_is_shown_with_what_was_spent_before(house: House) -> None:
    await put(house, {"scope": {"team": "sales"}, "usd": 70})
    spend(house, 50 * 10**9, {"team": "sales"})
    made = await put(house, {"scope": {"team": "sales"}, "usd": 40})
    (state,) = shown((await house.ask("GET", "/budgets")).json(), id=made["id"])["states"]
    assert (state["limit_usd"], state["spent_usd"], state["remaining_usd"], state["percent"]) == (
        "40",
        "50",
        "0",
        125.0,
    )


async def test_counters_that_do_not_answer_are_said_and_not_guessed(house: House, monkeypatch: Any) -> None:
    async def away(_now_s: float) -> Any:
        raise StoreUnavailable("redis is away")

    monkeypatch.setattr(house.counters, "look", away)
    for path in ("/budgets", "/limits", "/me"):
        answer = (await house.ask("GET", path, role="admin")).json()
        assert answer["counters"] == "unavailable"
    assert {one["states"] for one in (await house.ask("GET", "/budgets")).json()["data"]} == {None}


async def test_looking_makes_no_limit_that_calls_would_meet(house: House) -> None:
    """A part of a model's name is nobody's model: an instance made of it would narrow what calls are counted on."""
    await put(house, {"scope": {"model": "m"}, "qpm": 5}, path="/limits")
    await put(house, {"scope": {"model": "*"}, "tpm": 7}, path="/limits")
    rules = rules_of(house.settings, house.control.control())
    (spec,) = [one for one in rules.meters({"model": "local/m"}) if one.scope == (("model", "m"),)]
    account = house.counters.bind([spec], (), ())
    await house.ask("GET", "/limits")
    assert [meter.spec for meter in account.meters] == [spec], "calls are bound already when somebody looks"
    assert spec.tpm is None


async def test_a_limit_is_set_shown_and_taken_away(house: House) -> None:
    answer = await house.ask("PUT", "/limits", {"scope": {"group": "sales", "user": "*"}, "qpm": 5, "tpm": 1000})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["scope"], made["qpm"], made["tpm"], made["concurrency"], made["burst_s"]) == (
        {"team": "sales", "user": "*"}, 5, 1000, None, 60.0,
    )  # fmt: skip
    spend(house, 0, {"team": "sales", "user": "山田"})
    listed = (await house.ask("GET", "/limits", role="auditor")).json()
    assert shown(listed, id=made["id"])["states"] == [
        {"scope": {"team": "sales", "user": "山田"}, "remaining_requests": 4, "remaining_tokens": 990, "running": None}
    ]
    declared = shown(listed, declared=True)
    assert declared["states"] == [
        {"scope": {"team": "research"}, "remaining_requests": 60, "remaining_tokens": None, "running": None}
    ]
    assert (await house.ask("DELETE", f"/limits/{made['id']}")).status_code == 200
    assert len((await house.ask("GET", "/limits")).json()["data"]) == 1


async def test_what_the_file_declares_is_changed_there(house: House) -> None:
    budget = {"scope": {"organisation": "whatever"}, "usd": 5}
    assert await refused(house, "PUT", "/budgets", budget) == (409, "declared_in_file", "scope")
    assert await refused(house, "PUT", "/limits", {"scope": {"team": "research"}, "qpm": 5}) == (
        409, "declared_in_file", "scope",
    )  # fmt: skip
    for path in ("/budgets", "/limits"):
        one = (await house.ask("GET", path)).json()["data"][0]
        assert await refused(house, "DELETE", f"{path}/{one['id']}") == (409, "declared_in_file", "id")
    answer = await house.ask("PUT", "/budgets", budget, headers={"accept-language": "ja"})
    assert answer.json()["error"]["message"].startswith("この予算は設定ファイル sekisho.yaml で")
    # another period is another budget
    assert (await house.ask("PUT", "/budgets", {**budget, "period": "day"})).status_code == 201


async def test_a_file_that_comes_to_declare_a_budget_has_the_last_word(house: House) -> None:
    await put(house, {"scope": {"team": "sales"}, "usd": 70})
    more = Budget(scope=scope_of({"team": "sales"}), amount_nanos=10**10)
    house.settings = msgspec.structs.replace(house.settings, budgets=(*house.settings.budgets, more))
    listed = (await house.ask("GET", "/budgets")).json()
    assert (shown(listed, scope={"team": "sales"})["usd"], shown(listed, scope={"team": "sales"})["declared"]) == (
        "10",
        True,
    )
    amounts = {
        spec.amount_nanos for _, spec in rules_of(house.settings, house.control.control()).spending({"team": "sales"})
    }
    assert 70 * 10**9 not in amounts


# -- a team's owner


async def test_an_owner_divides_the_teams_money_and_cannot_raise_it(house: House) -> None:
    made = await put(house, {"scope": {"team": "research", "user": "taro"}, "usd": 5000}, role="team_owner")
    assert made["of_team"] == "research"
    # more than the team has is of no use to taro: both hold
    rules = rules_of(house.settings, house.control.control())
    amounts = {spec.key: spec.amount_nanos for _, spec in rules.spending(dict(TEAM))}
    assert amounts["team=research|month|block"] == 100 * 10**9
    await put(house, {"scope": {"team": "research"}, "usd": 100})
    more = {"scope": {"team": "research"}, "usd": 101}
    assert await refused(house, "PUT", "/budgets", more, role="team_owner") == (403, "not_granted", "usd")
    assert "100 USD" in (await house.ask("PUT", "/budgets", more, role="team_owner")).json()["error"]["message"]
    less = await put(house, {"scope": {"team": "research"}, "usd": 30}, role="team_owner")
    listed = (await house.ask("GET", "/budgets", role="team_owner")).json()
    assert shown(listed, id=less["id"])["usd"] == "30"
    assert len([one for one in listed["data"] if one["scope"] == {"team": "research"}]) == 2
    rules = rules_of(house.settings, house.control.control())
    assert {spec.amount_nanos for _, spec in rules.spending(dict(TEAM)) if spec.scope == (("team", "research"),)} == {
        30 * 10**9
    }


async def test_an_administrator_of_a_team_is_bound_by_none(house: House) -> None:
    wish = {"name": "chief", "team": "research", "role": "admin", "endpoints": ["chat"]}
    asked = await house.ask("POST", "/keys", wish)
    chief = {"key": asked.json()["key"]}
    made = await house.ask("POST", "/keys", {"name": "theirs", "user": "saburo"}, **chief)
    assert (made.json()["team"], made.json()["endpoints"]) == (None, ["*"])
    assert (await house.ask("PUT", "/users/saburo", {"team": "sales"}, **chief)).status_code == 201
    assert (await house.ask("POST", "/keys", {"name": "more", "user": "saburo"}, **chief)).status_code == 201
    await put(house, {"scope": {"team": "research"}, "usd": 100})
    raised = await house.ask("PUT", "/budgets", {"scope": {"team": "research"}, "usd": 500}, **chief)
    assert (raised.json()["usd"], raised.json()["of_team"]) == ("500", None)
    on = {"scope": {"team": "sales"}, "usd": 5, "on_exceed": {"degrade": "small"}}
    assert (await house.ask("PUT", "/budgets", on, **chief)).status_code == 201
    assert (await house.ask("DELETE", f"/budgets/{raised.json()['id']}", **chief)).status_code == 200


@pytest.mark.parametrize("way", ["warn", {"degrade": "chat"}])
async def test_an_owner_cannot_swap_a_block_for_something_milder(house: House, way: Any) -> None:
    await put(house, {"scope": {"team": "research"}, "usd": 10**6, "on_exceed": way}, role="team_owner")
    rules = rules_of(house.settings, house.control.control())
    blocks = {spec.key: spec.amount_nanos for _, spec in rules.spending(dict(TEAM)) if spec.on_exceed == "block"}
    assert blocks["team=research|month|block"] == 100 * 10**9


async def test_an_owner_sends_calls_on_to_no_endpoint_that_the_own_key_may_not_use(house: House) -> None:
    """A budget of next to nothing would open any endpoint to the team."""
    body = {"scope": {"team": "research"}, "usd": "0.000000001", "on_exceed": {"degrade": "small"}}
    assert await refused(house, "PUT", "/budgets", body, role="team_owner") == (403, "not_granted", "on_exceed.degrade")
    assert (await put(house, body))["on_exceed"] == {"degrade": "small"}


@pytest.mark.parametrize(
    ("name", "told"), [("key", "app, lead"), ("department", "rd"), ("endpoint", None), ("model", None)]
)
async def test_an_owner_learns_no_names_of_others_from_a_wrong_one(house: House, name: str, told: str | None) -> None:
    scope = {"team": "research", name: "x/none"}
    wrong = {"scope": scope, "qpm": 1}
    message = (await house.ask("PUT", "/limits", wrong, role="team_owner")).json()["error"]["message"]
    assert "there is no such name" + (f"; there are {told}." if told else ".") in message
    of_others = {"key": "boss", "department": "front"}.get(name)
    if of_others is not None:
        scope[name] = of_others
        assert await refused(house, "PUT", "/limits", wrong, role="team_owner") == (
            400, "invalid_value", f"scope.{name}",
        )  # fmt: skip


async def test_an_owner_touches_nothing_of_others_or_of_the_administrators(house: House) -> None:
    ours = await put(house, {"scope": {"team": "research", "key": "app"}, "usd": 10})
    theirs = await put(house, {"scope": {"team": "sales"}, "usd": 10})
    limit = await put(house, {"scope": {"team": "research", "user": "*"}, "qpm": 10}, path="/limits")
    for path, one in (("/budgets", ours), ("/budgets", theirs), ("/limits", limit)):
        assert (await refused(house, "DELETE", f"{path}/{one['id']}", role="team_owner"))[:2] == (403, "not_granted")
    for scope in ({"team": "sales"}, {"team": "*"}, {"organisation": "*"}, {"user": "taro"}, {"key": "app"}):
        for path, amount in (("/budgets", {"usd": 1}), ("/limits", {"qpm": 1})):
            body = {"scope": scope, **amount}
            assert await refused(house, "PUT", path, body, role="team_owner") == (403, "not_granted", None), scope
    more = {"scope": {"team": "research", "user": "*"}, "qpm": 11}
    assert await refused(house, "PUT", "/limits", more, role="team_owner") == (403, "not_granted", "qpm")
    await put(house, {"scope": {"team": "research", "key": "app"}, "tpm": 100, "concurrency": 2}, path="/limits")
    for quantity, most in (("tpm", 100), ("concurrency", 2)):
        # of these very calls, and not of others
        await put(house, {"scope": {"team": "research", "key": "lead"}, quantity: most + 1}, "team_owner", "/limits")
        more = {"scope": {"team": "research", "key": "app"}, quantity: most + 1}
        asked = await refused(house, "PUT", "/limits", more, role="team_owner")
        assert asked == (403, "not_granted", quantity)
    own = await put(house, {"scope": {"team": "research", "user": "*"}, "qpm": 9}, role="team_owner", path="/limits")
    assert own["id"] != limit["id"]
    # what it has set itself it may set anew, up to what was set for it
    again = await put(house, {"scope": {"team": "research", "user": "*"}, "qpm": 10}, "team_owner", "/limits")
    assert (again["id"], again["qpm"]) == (own["id"], 10)
    assert (await house.ask("DELETE", f"/limits/{own['id']}", role="team_owner")).status_code == 200


async def test_an_owner_sees_what_holds_for_the_team_and_no_other_teams_money(house: House) -> None:
    await put(house, {"scope": {"team": "sales"}, "usd": 10, "period": "day"})
    spend(house, 10**9)
    spend(house, 2 * 10**9, {"team": "sales"})
    listed = (await house.ask("GET", "/budgets", role="team_owner")).json()
    assert [one["scope"] for one in listed["data"]] == [{"team": "*"}]
    assert [state["scope"] for state in listed["data"][0]["states"]] == [{"team": "research"}]
    await put(house, {"scope": {"team": "*"}, "tpm": 1_000}, path="/limits")
    for team in ("research", "sales"):
        spend(house, 0, {"team": team})
    for role, teams in (("auditor", ["research", "sales"]), ("team_owner", ["research"])):
        every = shown((await house.ask("GET", "/limits", role=role)).json(), scope={"team": "*"})
        assert [state["scope"]["team"] for state in every["states"]] == teams


async def test_a_user_sees_what_is_about_the_own_key(house: House) -> None:
    await put(house, {"scope": {"user": "*"}, "usd": 10})
    await put(house, {"scope": {"user": "hanako"}, "usd": 20})
    await put(house, {"scope": {"key": "app"}, "qpm": 5}, path="/limits")
    spend(house, 10**9)
    spend(house, 3 * 10**9, {**TEAM, "user": "hanako", "key": "lead"})
    spend(house, 7 * 10**9, {**TEAM, "user": "jiro", "key": "bot"})
    own = (await house.ask("GET", "/me", role="user")).json()
    assert (own["name"], own["role"], own["key"]["name"]) == ("app", "user", "app")
    assert [(one["scope"], [(s["scope"], s["spent_usd"]) for s in one["states"]]) for one in own["budgets"]] == [
        ({"user": "*"}, [({"user": "taro"}, "1")])
    ]
    assert [one["scope"] for one in own["limits"]] == [{"key": "app"}]
    assert "hanako" not in str(own)
    owner = (await house.ask("GET", "/me", role="team_owner")).json()
    scopes = sorted(str(one["scope"]) for one in owner["budgets"])
    assert scopes == ["{'team': '*'}", "{'user': '*'}", "{'user': 'hanako'}"]
    admin = (await house.ask("GET", "/me", key="the-admin-key-0123456789")).json()
    assert (admin["name"], admin["key"], admin["budgets"]) == ("admin", None, [])


# -- wrong input

BUDGET = {"scope": {"team": "research"}, "usd": 1}
LIMIT = {"scope": {"team": "research", "user": "*"}, "qpm": 1}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/budgets", {**BUDGET, "scope": {}}, "scope"),
        ("/budgets", {"usd": 1}, "scope"),
        ("/budgets", {**BUDGET, "scope": {"tema": "research"}}, "scope.tema"),
        ("/budgets", {**BUDGET, "scope": {"team": "reserch"}}, "scope.team"),
        ("/budgets", {**BUDGET, "scope": {"team": "a\u200bb"}}, "scope.team"),
        ("/budgets", {**BUDGET, "scope": {"user": ""}}, "scope.user"),
        ("/budgets", {**BUDGET, "scope": {"team": 5}}, "scope[...]"),
        ("/budgets", {**BUDGET, "scope": {"endpoint": "chta"}}, "scope.endpoint"),
        ("/budgets", {**BUDGET, "scope": {"key": "nobody"}}, "scope.key"),
        ("/budgets", {**BUDGET, "scope": {"department": "nowhere"}}, "scope.department"),
        ("/budgets", {**BUDGET, "scope": {"model": "nobody/m"}}, "scope.model"),
        ("/budgets", {**BUDGET, "scope": {"team": "research", "group": "sales"}}, "scope.group"),
        ("/budgets", {**BUDGET, "scope": "team"}, "scope"),
        ("/budgets", {"scope": {"team": "research"}}, "usd"),
        ("/budgets", {**BUDGET, "jpy": 1}, "usd"),
        ("/budgets", {**BUDGET, "usd": -1}, "usd"),
        ("/budgets", {**BUDGET, "usd": "-1"}, "usd"),
        ("/budgets", {**BUDGET, "usd": 0}, "usd"),
        ("/budgets", {**BUDGET, "usd": "NaN"}, "usd"),
        ("/budgets", {**BUDGET, "usd": "Infinity"}, "usd"),
        ("/budgets", {**BUDGET, "usd": "1e3"}, "usd"),
        ("/budgets", {**BUDGET, "usd": "１００"}, "usd"),
        ("/budgets", {**BUDGET, "usd": "1 000"}, "usd"),
        ("/budgets", {**BUDGET, "usd": "1,000"}, "usd"),
        ("/budgets", {**BUDGET, "usd": ""}, "usd"),
        ("/budgets", {**BUDGET, "usd": "0.0000000001"}, "usd"),
        ("/budgets", {**BUDGET, "usd": 0.30000000000000004}, "usd"),
        ("/budgets", {**BUDGET, "usd": 1e300}, "usd"),
        ("/budgets", {**BUDGET, "usd": 10**30}, "usd"),
        ("/budgets", {**BUDGET, "usd": 1_000_000_001}, "usd"),
        ("/budgets", {**BUDGET, "usd": True}, "usd"),
        ("/budgets", {**BUDGET, "usd": [1]}, "usd"),
        ("/budgets", {**BUDGET, "period": "year"}, "period"),
        ("/budgets", {**BUDGET, "on_exceed": "explode"}, "on_exceed"),
        ("/budgets", {**BUDGET, "on_exceed": {"degrade": "nowhere"}}, "on_exceed.degrade"),
        ("/budgets", {**BUDGET, "on_exceed": {}}, "on_exceed.degrade"),
        ("/budgets", {**BUDGET, "on_exceed": {"degrade": "small", "to": 1}}, "on_exceed.to"),
        ("/budgets", {**BUDGET, "a`b": 1}, "a`b"),
        ("/budgets", {**BUDGET, "strict": 1}, "strict"),
        ("/budgets", {**BUDGET, "amount": 1}, "amount"),
        ("/budgets", {**BUDGET, "of_team": "sales"}, "of_team"),
        ("/budgets", {"scope": {"team": "sales"}, "jpy": "0.00000001"}, "jpy"),
        ("/limits", {"scope": {"user": "*"}}, "qpm"),
        ("/limits", {**LIMIT, "qpm": 0}, "qpm"),
        ("/limits", {**LIMIT, "qpm": -5}, "qpm"),
        ("/limits", {**LIMIT, "qpm": 1.5}, "qpm"),
        ("/limits", {**LIMIT, "qpm": "5"}, "qpm"),
        ("/limits", {**LIMIT, "qpm": 10**13}, "qpm"),
        ("/limits", {**LIMIT, "tpm": True}, "tpm"),
        ("/limits", {**LIMIT, "concurrency": 10**7}, "concurrency"),
        ("/limits", {**LIMIT, "burst_s": 0}, "burst_s"),
        ("/limits", {**LIMIT, "burst_s": 61}, "burst_s"),
        ("/limits", {**LIMIT, "wait_s": -1}, "wait_s"),
        ("/limits", {**LIMIT, "wait_s": 601}, "wait_s"),
        ("/limits", {**LIMIT, "rpm": 5}, "rpm"),
    ],
)
async def test_wrong_input_is_told_with_its_field(house: House, path: str, body: dict[str, Any], param: str) -> None:
    for language in ("en", "ja"):
        answer = await house.ask("PUT", path, body, headers={"accept-language": language})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_value", param), error
        assert ("修正" in error["message"]) == (language == "ja")
    assert house.control.control().budgets == house.control.control().limits == ()


async def test_what_is_asked_for_instead_is_what_may_stand_there(house: House) -> None:
    async def message(body: dict[str, Any]) -> str:
        return (await house.ask("PUT", "/budgets", {**BUDGET, **body})).json()["error"]["message"]

    assert "it must be a number." in await message({"usd": True})
    assert "`on_exceed.to` is not valid: there is no such field; there are degrade." in await message(
        {"on_exceed": {"degrade": "small", "to": 1}}
    )


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"null",
        b"5",
        b'"a"',
        b'{"usd": NaN}',
        b'{"usd": Infinity}',
        b"\xff",
        b"[" * 5000,
        b"usd=1",
    ],
)
async def test_what_is_no_json_object_is_told(house: House, content: bytes) -> None:
    answer = await house.ask("PUT", "/budgets", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


async def test_what_a_form_in_a_web_page_could_send_is_refused(house: House) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = await house.ask("PUT", "/budgets", content=b'{"usd": 1}', headers={"content-type": kind})
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
    answer = await house.ask(
        "PUT", "/limits", content=b"{}", headers={"content-type": "Application/JSON; charset=utf-8"}
    )
    assert answer.status_code == 400


async def test_a_body_has_a_largest_size_and_a_place(house: House) -> None:
    answer = await house.ask("PUT", "/budgets", {"scope": {"user": "a" * 70_000}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert "64 KiB" in answer.json()["error"]["message"]
    answer = await house.ask("DELETE", "/budgets/bud_1", {"a": 1})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")
    # not that it should be one in JSON
    assert "Send the request again without one." in answer.json()["error"]["message"]
    assert await refused(house, "GET", "/keys?team=research") == (400, "invalid_value", "team")


async def test_answers_are_not_kept_by_anybody_on_the_way(house: House) -> None:
    for path, role in (("/keys", "admin"), ("/keys", "user"), ("/keys", None)):
        answer = await house.ask("GET", path, role=role)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-request-id"].startswith("req_")
        assert not any(name.startswith("access-control") for name in answer.headers)
