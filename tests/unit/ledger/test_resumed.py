"""Which budgets go on, and which have not held for a while."""

from __future__ import annotations

import time

import msgspec

from sekisho.domain.spending import Budget, scope_of
from sekisho.ledger.resumed import FRESH_S, UNKNOWN_S, all_held, idle_since

NOW_S = 1_795_000_000.0
EVERY = Budget(scope=scope_of({"team": "*"}), amount_nanos=5)
SALES = Budget(scope=scope_of({"team": "sales"}), amount_nanos=7, period="day", on_exceed="warn")


def test_what_was_said_to_hold_goes_on_whatever_its_amount() -> None:
    held = [(msgspec.structs.replace(EVERY, amount_nanos=0), NOW_S - 5)]
    assert all_held([EVERY], held, NOW_S)
    assert not all_held([EVERY, SALES], held, NOW_S)
    assert not all_held([EVERY], held, NOW_S + FRESH_S)
    assert idle_since(["team=sales|month|block", "team=%E7%A0%94%E7%A9%B6|month|block"], held, NOW_S) == {}


def test_of_others_it_is_known_since_when_they_do_not() -> None:
    held = [(EVERY, NOW_S - 500), (SALES, NOW_S - 5)]
    keys = [
        "team=sales|month|block",
        "team=sales|day|warn",
        "user=%E5%A4%AA%E9%83%8E|month|block",
        "others:team|day|warn",
    ]
    assert idle_since(keys, held, NOW_S) == {
        "team=sales|month|block": NOW_S - 500,
        "user=%E5%A4%AA%E9%83%8E|month|block": NOW_S - UNKNOWN_S,
    }
    named = msgspec.structs.replace(EVERY, scope=scope_of({"team": "sales"}))
    assert idle_since(keys[:1], [(EVERY, NOW_S - 500), (named, NOW_S - 300)], NOW_S) == {keys[0]: NOW_S - 300}


def test_a_night_without_a_gateway_takes_no_time_however_many_budgets_there_are() -> None:
    """Each was compared with each, which took minutes."""
    budgets = [Budget(scope=scope_of({"user": f"u{n}"}), amount_nanos=1) for n in range(4_000)]
    held = [(budget, NOW_S - 50_000 - n) for n, budget in enumerate(budgets)]
    began_s = time.process_time()
    found = idle_since([f"user=u{n}|month|block" for n in range(4_000)], held, NOW_S)
    assert found == {f"user=u{n}|month|block": NOW_S - 50_000 - n for n in range(4_000)}
    assert time.process_time() - began_s < 5
