"""One call, one row, one end: for every mix of faults, fallbacks, leaving, stopping, full disks and wrong keys.

Each example is a handful of calls at once on a gateway that serves the whole module, so that calls also meet each
other's connections. What a call may end as is judged by what its own client saw, never by which fault it drew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import msgspec
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.house import FAULTY, PRICED, House, Seen, ask, request, running_house
from tests.support.gateway import KEY, Door

from sekisho.domain.endpoint import Target, Timeouts
from sekisho.domain.row import InferenceRow

#: short, so that a provider that hangs costs little; a call of the mock takes about a millisecond
TIMEOUTS = Timeouts(connect_s=0.5, first_token_s=0.1, idle_s=0.1, total_s=0.25)
DEAD = "dead"


class Plan(msgspec.Struct, kw_only=True, frozen=True):
    """One call: what its targets do, and what its client does."""

    targets: list[Target]
    stream: bool
    right_key: bool
    sink_ok: bool
    leave_after_s: float | None
    leave_after_events: int | None


def _mock(script: str) -> st.SearchStrategy[tuple[str, str]]:
    return st.just(("mock", f"mock?{script}"))


def _counted(key: str, *more: str) -> st.SearchStrategy[tuple[str, str]]:
    script = "&".join(("chunks=4", *more))
    return st.integers(0, 4).map(lambda n: ("mock", f"mock?{script}&{key}={n}"))


FAULTS = st.one_of(
    _mock("chunks=4"),
    _mock("chunks=4&chunk_ms=3"),
    st.sampled_from([400, 401, 404, 413, 422, 429, 500, 503]).map(lambda n: ("mock", f"mock?status={n}")),
    _mock("status=429&retry_after=1"),
    _counted("reset_after"),
    _counted("cut_after"),
    _counted("cut_after", "chunk_ms=2"),
    _counted("error_after"),
    _counted("hang_after"),
    _mock("hang=1"),
    _mock("bad_json=1"),
    _mock("ok_error=1"),
    _mock("no_done=1"),
    _mock("no_usage=1"),
    _mock("chunks=2&answer=ab&split=1"),
    _mock("tools=1"),
    _mock("finish=length"),
    _mock("usage=100,20,60"),
    st.just((DEAD, "nobody")),
)
TARGETS = st.builds(
    lambda where, priced: Target(provider=where[0], model=where[1], rates=PRICED if priced else None),
    FAULTS,
    st.booleans(),
)
PLANS = st.builds(
    Plan,
    targets=st.lists(TARGETS, min_size=1, max_size=3),
    stream=st.booleans(),
    right_key=st.integers(0, 9).map(bool),
    sink_ok=st.integers(0, 5).map(bool),
    leave_after_s=st.none() | st.none() | st.sampled_from([0.0, 0.0, 0.002, 0.01, 0.12]),
    leave_after_events=st.none() | st.none() | st.integers(0, 5),
)


@pytest.fixture(
    scope="module",
    params=[("hot", uvloop.new_event_loop), ("hot", asyncio.new_event_loop), ("asgi", uvloop.new_event_loop)],
    ids=["hot-uvloop", "hot-asyncio", "asgi-uvloop"],
)
def house(request: pytest.FixtureRequest) -> Iterator[tuple[House, asyncio.AbstractEventLoop]]:
    """A gateway and its loop, which runs only while an example does."""
    door: Door
    door, make_loop = request.param
    loop = make_loop()
    stack = contextlib.AsyncExitStack()
    try:
        yield loop.run_until_complete(stack.enter_async_context(running_house(door))), loop
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()


@given(plans=st.lists(PLANS, min_size=1, max_size=12), stop_after_s=st.none() | st.sampled_from([0.0, 0.004, 0.05]))
@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_one_row_a_call(
    house: tuple[House, asyncio.AbstractEventLoop], plans: list[Plan], stop_after_s: float | None
) -> None:
    one, loop = house
    loop.run_until_complete(_example(one, plans, stop_after_s))


async def _example(house: House, plans: list[Plan], stop_after_s: float | None) -> None:
    tasks, recorded = asyncio.all_tasks(), house.recorded
    first_row, refused = len(house.sink.rows), house.sink.refused
    ids = [f"{FAULTY if not plan.sink_ok else 'call'}-{n}" for n, plan in enumerate(plans)]
    calls = [asyncio.ensure_future(_call(house, plan, name)) for plan, name in zip(plans, ids, strict=True)]
    if stop_after_s is not None:
        await asyncio.sleep(stop_after_s)
        house.stop_calls()
    seen = await asyncio.gather(*calls)
    await house.calm(recorded + len(plans), tasks)
    house.check_metrics()
    assert house.sink.refused - refused == sum(not plan.sink_ok for plan in plans), "one counted failure each"
    rows = house.sink.rows[first_row:]
    assert sorted(row.client_request_id or "" for row in rows) == sorted(n for n in ids if not n.startswith(FAULTY))
    by_id = {row.client_request_id: row for row in rows}
    for plan, name, what in zip(plans, ids, seen, strict=True):
        stopped = stop_after_s is not None
        _check_answer(plan, what, stopped)
        if name in by_id:
            _check_row(by_id[name], plan, what)
            _check_money(by_id[name])


async def _call(house: House, plan: Plan, name: str) -> Seen:
    model = house.endpoint(plan.targets, TIMEOUTS)
    key = KEY if plan.right_key else "sk-wrong"
    data = request(model, stream=plan.stream, request_id=name, key=key)
    return await ask(house.port, data, leave_after_s=plan.leave_after_s, leave_after_events=plan.leave_after_events)


def _check_answer(plan: Plan, seen: Seen, stopped: bool) -> None:
    """What a client who stays may see."""
    if seen.left:
        return
    assert seen.whole, "an answer without its end"
    assert seen.headers["x-request-id"].startswith("req_")
    if not plan.right_key:
        assert (seen.status, seen.error_code) == (401, "invalid_api_key")
    elif seen.status == 200 and plan.stream:
        ends = seen.frames[-1] == b"[DONE]"
        assert ends == (seen.error_code is None), "either [DONE] or an error frame is last"
        assert sum(b"[DONE]" in frame or b'"error":{' in frame for frame in seen.frames) == 1
    elif seen.status == 200:
        assert msgspec.json.decode(seen.body)["choices"]
    else:
        assert seen.error_code is not None
        assert seen.status in (400, 413, 422, 429, 502, 503, 504)
        assert seen.error_code != "shutting_down" or stopped


def _check_row(row: InferenceRow, plan: Plan, seen: Seen) -> None:
    """The one end that the row tells is the one the client saw."""
    code, state = row.error_code, row.terminal_state
    assert (row.status_code == 499) == (state == "client_left")
    assert (state == "completed") == (code is None)
    if not seen.left:
        assert row.request_id == seen.headers["x-request-id"]
        assert row.status_code == seen.status
        assert code == seen.error_code
    if plan.right_key:
        assert (state == "interrupted") == (code in ("shutting_down", "stream_interrupted"))
        assert (state == "truncated") == (code == "stream_truncated")
        assert (state == "timed_out") == (code == "upstream_timeout")
        assert state != "refused", "the call itself was in order"
    else:
        # one who leaves at once may be gone before the answer is written, but the key was looked at before that
        assert (row.status_code, state) == (401, "refused")
    assert row.streaming == (plan.stream and plan.right_key)
    wanted = [(target.provider, target.model) for target in plan.targets][: len(row.attempts)]
    assert [(attempt.provider, attempt.model) for attempt in row.attempts] == wanted
    assert [attempt.n for attempt in row.attempts] == list(range(1, len(row.attempts) + 1))
    for attempt in row.attempts[:-1]:
        assert attempt.error_code is not None, "another target is tried only after a failure"
    assert row.gateway_overhead_us <= row.latency_us


def _check_money(row: InferenceRow) -> None:
    costs = [attempt.cost_nanos for attempt in row.attempts]
    assert row.cost_nanos == (None if None in costs else sum(cost for cost in costs if cost is not None))
    for attempt in row.attempts:
        assert (attempt.usage_source == "none") == (attempt.input_tokens is None)
        if attempt.input_tokens is None:
            assert attempt.cost_nanos == 0
    if row.attempts:
        assert (row.input_tokens, row.output_tokens) == (row.attempts[-1].input_tokens, row.attempts[-1].output_tokens)
        assert row.usage_source == row.attempts[-1].usage_source
    if row.terminal_state == "completed":
        assert row.usage_source != "none"
