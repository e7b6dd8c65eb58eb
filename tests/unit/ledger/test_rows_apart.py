"""What is remembered of one call never gets into the row of another, also of one that dies."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.support.gateway import read_record
from tests.unit.ledger.pages import TARO, attempt, entry, target

from sekisho.domain.row import LOG_FULL
from sekisho.ledger.recorder import Recorder

SHARED, TO = entry().endpoint, target()
VARIANTS: list[dict[str, Any]] = [
    {"caller": msgspec.structs.replace(TARO, key_id="key_2")},
    {"caller": msgspec.structs.replace(TARO, user="jiro")},
    {"caller": msgspec.structs.replace(TARO, team="sales")},
    {"caller": msgspec.structs.replace(TARO, department="hr")},
    {"caller": None},
    {"endpoint": msgspec.structs.replace(SHARED, log="metadata")},
    {"endpoint": None},
    {"request_model": "other"},
    {"feature": "f"},
    {"streaming": True},
    {"config_hash": "h"},
    {"keep_request": False},
    {"logging_errors": ["MAX_REQUEST_SIZE_EXCEEDED"]},
    {"status": 502, "terminal_state": "upstream_error"},
    {"error_code": "upstream_error"},
    {"attempts": [attempt(TO, reason="fallback")]},
    {"attempts": [attempt(TO, usage_source="estimated")]},
    {"attempts": [attempt(target("other"))]},
]
#: not known before the call was dispatched
LATER_VARIANTS: list[dict[str, Any]] = [{"service_tier": "flex"}, {"cache_status": "hit"}]


@pytest.mark.parametrize("changes", [*VARIANTS, *LATER_VARIANTS])
def test_whatever_tells_two_calls_apart_each_has_a_row_of_its_own(changes: dict[str, Any]) -> None:
    one, other = entry(), entry()
    for each in (one, other):
        each.endpoint, each.attempts = SHARED, [attempt(TO)]
        each.status, each.terminal_state = 200, "completed"
    for name, value in changes.items():
        setattr(other, name, value)
    recorder = Recorder("0.1")
    for each in (one, other, one, other):
        [tried], alone = each.attempts, Recorder("0.1")
        assert read_record(recorder.record(each, tried, 0.0)) == read_record(alone.record(each, tried, 0.0))
        if changes not in LATER_VARIANTS:
            assert read_record(recorder.begun(each, tried, 1)) == read_record(alone.begun(each, tried, 1))


@pytest.mark.parametrize(("log", "errors"), [("full", ["INTERRUPTED"]), ("metadata", None)])
def test_a_call_that_dies_is_logged_as_its_endpoint_says(log: str, errors: list[str] | None) -> None:
    found = read_record(Recorder("0.1").begun(entry(log=log), attempt(), 100))
    assert (found.log_level == LOG_FULL, found.logging_error_codes) == (log == "full", errors)
    assert (found.input_tokens, found.output_tokens, found.cache_read_input_tokens) == (100, 0, 0)
    assert (found.cache_creation_input_tokens, found.reasoning_output_tokens, found.latency_us) == (0, 0, 0)
    [tried] = found.attempts
    assert (tried.n, tried.input_tokens, tried.output_tokens, tried.cost_nanos) == (1, 100, 0, 100_000)


@pytest.mark.parametrize("count", [1, 2])
def test_attempts_are_numbered_from_one(count: int) -> None:
    one = entry()
    one.attempts = [attempt() for _ in range(count)]
    found = read_record(Recorder("0.1").record(one, one.attempts[-1], 0.0))
    assert [tried.n for tried in found.attempts] == [*range(1, count + 1)]
