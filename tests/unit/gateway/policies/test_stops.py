"""Whom a stop is for, and which targets it leaves: by user, team, model in all its spellings, and everything."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from sekisho.domain.call import Attempt, Call, Caller, Entry, Route
from sekisho.domain.endpoint import Endpoint, Target
from sekisho.domain.errors import Refusal
from sekisho.domain.stops import Stop
from sekisho.gateway.policies.stops import Stops

ROUTE = Route(path="/v1/chat/completions", protocol="openai_chat", operation="chat", api_type="openai/v1/chat")
BIG, OTHER, SMALL = (
    Target(provider="openai", model="big"),
    Target(provider="openai", model="org/other"),
    Target(provider="local", model="small"),
)


def entry(*targets: Target, fallbacks: tuple[Target, ...] = (), drawn: Target | None = None) -> Entry:
    one = Entry(Call(ROUTE, {}, b"", "req_1", 1, None))
    one.caller = Caller(key_id="key_1", key_name="app", user="taro", team="research")
    one.endpoint = Endpoint(name="chat", targets=targets or (BIG,), fallbacks=fallbacks)
    one.targets = (drawn or one.endpoint.targets[0], *fallbacks)
    return one


def stops(*values: str) -> Stops:
    return Stops(Stop(kind="model", value=value) for value in values)


def holds(stop: Stop, one: Entry) -> bool:
    """Both questions have one answer for a call that is about to begin."""
    asked = Stops([stop])
    ends = asked.ends(one)
    try:
        asked.check(one)
    except Refusal as refusal:
        assert (refusal.status, refusal.code, refusal.retry) == (403, "stopped", False)
        assert ends
        return True
    assert not ends
    return False


@pytest.mark.parametrize(
    ("stop", "wanted"),
    [
        (Stop(kind="all"), True),
        (Stop(kind="user", value="taro"), True),
        (Stop(kind="user", value="app"), False),
        (Stop(kind="user", value="Taro"), False),
        (Stop(kind="team", value="research"), True),
        (Stop(kind="team", value="taro"), False),
        (Stop(kind="model", value="chat"), True),
        (Stop(kind="model", value="big"), True),
        (Stop(kind="model", value="openai/big"), True),
        (Stop(kind="model", value="openai/*"), True),
        (Stop(kind="model", value="local/*"), False),
        (Stop(kind="model", value="openai/bigger"), False),
        (Stop(kind="model", value="openai"), False),
    ],
)
def test_a_stop_is_for_whom_it_names(stop: Stop, wanted: bool) -> None:
    assert holds(stop, entry()) is wanted


def test_a_key_without_a_user_is_a_requester_by_its_name() -> None:
    one = entry()
    one.caller = Caller(key_id="key_1", key_name="app")
    assert holds(Stop(kind="user", value="app"), one)
    assert not holds(Stop(kind="team", value="research"), one)


def test_a_model_with_a_slash_in_its_name_is_found() -> None:
    for value in ("org/other", "openai/org/other", "openai/*"):
        assert holds(Stop(kind="model", value=value), entry(OTHER))


def test_stopped_targets_are_left_out_in_their_order() -> None:
    one = entry(BIG, fallbacks=(SMALL, OTHER))
    stops("local/*").check(one)
    assert one.targets == (BIG, OTHER)
    stops("big").check(one)
    assert one.targets == (OTHER,)
    with pytest.raises(Refusal):
        stops("openai/*", "local/*").check(one)


def test_where_the_drawn_target_is_stopped_another_of_its_rank_takes_over() -> None:
    one = entry(BIG, SMALL, drawn=BIG)
    stops("big").check(one)
    assert one.targets == (SMALL,)


def test_where_the_drawn_target_is_stopped_a_fallback_is_not_asked_before_another_of_its_rank() -> None:
    one = entry(BIG, SMALL, fallbacks=(OTHER,), drawn=BIG)
    stops("big").check(one)
    assert one.targets == (SMALL, OTHER)
    one = entry(BIG, SMALL, fallbacks=(OTHER,), drawn=SMALL)
    stops("big").check(one)
    assert one.targets == (SMALL, OTHER)
    one = entry(BIG, SMALL, fallbacks=(OTHER,), drawn=BIG)
    stops("big", "small").check(one)
    assert one.targets == (OTHER,)


def test_where_the_drawn_target_is_stopped_the_others_share_its_calls_by_weight() -> None:
    many, few = (msgspec.structs.replace(SMALL, weight=99), msgspec.structs.replace(OTHER, weight=1))
    first: Counter[Target] = Counter()
    for _ in range(500):
        one = entry(BIG, few, many, drawn=BIG)
        stops("big").check(one)
        assert len(one.targets) == 1, "one of them, as without a stop"
        first.update(one.targets)
    assert 0 <= first[few] < 50 < first[many]


def test_a_fallback_in_the_place_of_a_stopped_target_is_one_in_the_row_too() -> None:
    one = entry(BIG, fallbacks=(OTHER, SMALL))
    stops("big").check(one)
    assert (one.targets, one.reason) == ((OTHER, SMALL), "fallback")
    one = entry(BIG, fallbacks=(OTHER, SMALL))
    stops("small").check(one)
    assert (one.targets, one.reason) == ((BIG, OTHER), "primary")


def test_a_running_call_ends_by_the_target_it_runs_at() -> None:
    one = entry(BIG, fallbacks=(SMALL,))
    one.attempts = [Attempt(BIG, "primary", 0.0), Attempt(SMALL, "fallback", 0.0)]
    assert not stops("big").ends(one)
    assert stops("small").ends(one)


def test_nothing_stopped_is_nothing_to_ask() -> None:
    assert not Stops().active
    assert not Stops().ends(entry())
    assert stops("x").active


def test_a_call_whose_caller_is_not_known_ends_with_everything_only() -> None:
    one = Entry(Call(ROUTE, {}, b"", "req_1", 1, None))
    assert Stops([Stop(kind="all")]).ends(one)
    assert not Stops([Stop(kind="user", value="taro"), Stop(kind="team", value="research")]).ends(one)
