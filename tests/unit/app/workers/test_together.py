"""The states of workers as one: sums where each has a part, the newest where all see the same."""

from __future__ import annotations

from typing import Any

from sekisho.app.workers.line import Gauge, State
from sekisho.app.workers.together import together
from sekisho.ledger.tally import Tally
from sekisho.ledger.tally_sums import by_model, sums_of


def tally(calls: int, in_flight: int = 0) -> Tally:
    made = Tally()
    made.model("small", "openai", "chat").statuses[200] = calls
    made.rows["appended"] = calls
    made.in_flight = in_flight
    return made


def state(calls: int, gauges: dict[str, Gauge], **ready: Any) -> State:
    return State(seq=1, tally=sums_of(tally(calls, 1)), gauges=gauges, ready={"status": "ok"} | ready)


def test_counts_of_the_living_and_the_dead_are_summed() -> None:
    dead = tally(5)
    found = together([state(2, {}, spool_failed=1), state(3, {})], dead, 4, gauges={}, ready={})
    assert by_model(found.tally)["small"].statuses == {200: 10}
    assert found.tally.rows["appended"] == 10
    assert found.tally.in_flight == 2
    assert found.ready["spool_failed"] == 5
    assert dead.rows["appended"] == 5, "the sum of the dead is as it was"


def test_parts_are_summed_and_what_all_see_is_taken_once() -> None:
    one = {"sekisho_live_streams": Gauge("", 2), "sekisho_budget_ratio": Gauge("", 0, "budget", {"a": 0.5, "b": 0.1})}
    other = {"sekisho_live_streams": Gauge("", 3), "sekisho_budget_ratio": Gauge("", 0, "budget", {"a": 0.6})}
    found = together([state(0, one), state(0, other)], Tally(), 0, gauges={}, ready={})
    assert found.gauges["sekisho_live_streams"].value == 5
    assert found.gauges["sekisho_budget_ratio"].values == {"a": 0.6, "b": 0.1}


def test_a_store_that_one_of_them_does_not_reach_is_away() -> None:
    one = {"sekisho_store_up": Gauge("", 0, "store", {"database": 1.0, "state": 1.0})}
    other = {"sekisho_store_up": Gauge("", 0, "store", {"database": 1.0, "state": 0.0})}
    for states in ([state(0, one), state(0, other)], [state(0, other), state(0, one)]):
        found = together(states, Tally(), 0, gauges={}, ready={})
        assert found.gauges["sekisho_store_up"].values == {"database": 1.0, "state": 0.0}


def test_they_are_ready_as_long_as_one_takes_calls() -> None:
    def status_of(*told: str) -> object:
        states = [state(0, {}, status=one) for one in told]
        return together(states, Tally(), 0, gauges={}, ready={}).ready["status"]

    assert status_of("rows_unavailable", "ok", "rows_unavailable") == "ok"
    assert status_of("rows_unavailable", "rows_unavailable") == "rows_unavailable"


def test_what_is_known_once_comes_before_what_workers_say() -> None:
    mine = state(0, {"sekisho_committer_up": Gauge("", 0)}, started_us=1, version=7)
    found = together(
        [mine], Tally(), 0, gauges={"sekisho_committer_up": ("Up.", 1.0)}, ready={"started_us": 9, "workers": []}
    )
    assert found.gauges["sekisho_committer_up"].value == 1
    assert found.ready == {"status": "ok", "started_us": 9, "version": 7, "workers": [], "spool_failed": 0}


def test_when_the_last_of_them_is_gone_the_dead_still_count() -> None:
    found = together([], tally(5), 3, gauges={}, ready={"workers": []})
    assert found.tally.rows["appended"] == 5
    assert found.ready == {"workers": [], "spool_failed": 3}
