"""What a refused call is told."""

from __future__ import annotations

import pytest

from sekisho.domain.spending import scope_of
from sekisho.ledger.refusals import duration, header_lines, headers_of, refusal_of
from sekisho.stores.counters import BudgetSpec, Denial, Headroom

SCOPE = scope_of({"team": "research"})
BUDGET = BudgetSpec(
    key="team=research|month|block", scope=SCOPE, amount_nanos=100_000_000_000, period="month", on_exceed="block"
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (-3, "0ms"),
        (0.0121, "13ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (3661.25, "1h1m1.25s"),
    ],
)
def test_resets_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_headers_name_only_what_is_limited() -> None:
    assert headers_of(None) == {}
    assert headers_of(Headroom(limit_tokens=40_000, remaining_tokens=12, reset_tokens_s=59.5)) == {
        "x-ratelimit-limit-tokens": "40000",
        "x-ratelimit-remaining-tokens": "12",
        "x-ratelimit-reset-tokens": "59.5s",
    }
    assert len(headers_of(Headroom(limit_requests=1, limit_tokens=1))) == 6


@pytest.mark.parametrize(
    "headroom",
    [
        None,
        Headroom(limit_requests=60, remaining_requests=59, reset_requests_s=1),
        Headroom(limit_tokens=40_000, remaining_tokens=12, reset_tokens_s=59.5),
        Headroom(limit_requests=60, limit_tokens=5, remaining_tokens=5),
    ],
)
def test_lines_of_a_head_say_the_same(headroom: Headroom | None) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers_of(headroom).items())
    assert header_lines(headroom) == lines


@pytest.mark.parametrize(
    ("cause", "kind"), [("requests", "requests"), ("tokens", "tokens"), ("concurrency", "requests")]
)
def test_a_limit_is_told_with_its_wait_and_lets_sdks_try_again(cause: str, kind: str) -> None:
    denial = Denial(
        cause=cause,  # type: ignore[arg-type]
        scope=SCOPE,
        limit=60,
        retry_after_s=2.25,
        headroom=Headroom(limit_requests=60, remaining_requests=0, reset_requests_s=60),
    )
    refusal = refusal_of(denial, 0.0)
    assert (refusal.status, refusal.code, refusal.type) == (429, "rate_limit_exceeded", kind)
    assert (refusal.retry, refusal.retry_after_s) == (None, 2.25)
    assert refusal.headers["x-ratelimit-remaining-requests"] == "0"
    assert refusal.detail == f"{cause} of team research, limit 60"


def test_an_exhausted_budget_says_what_is_spent_and_when_it_begins_anew() -> None:
    denial = Denial(
        cause="budget",
        scope=SCOPE,
        retry_after_s=3_599.9996,
        budget=BUDGET,
        spent_nanos=99_500_000_000,
        reserved_nanos=400_000_000,
        wanted_nanos=200_000_000,
    )
    refusal = refusal_of(denial, 1_795_000_000.0)
    assert (refusal.status, refusal.code, refusal.type, refusal.retry) == (
        429,
        "budget_exceeded",
        "insufficient_quota",
        False,
    )
    assert refusal.values == {
        "scope": "team research",
        "limit_usd": "100",
        "spent_usd": "99.5",
        "reserved_usd": "0.4",
        "wanted_usd": "0.2",
        "resets_at": "2026-11-18T12:06:40Z",
    }
    assert "wanted 0.2" in str(refusal.detail)


def test_a_store_that_is_away_is_a_503_to_be_tried_again() -> None:
    refusal = refusal_of(Denial(cause="unavailable", retry_after_s=1.0), 0.0)
    assert (refusal.status, refusal.code, refusal.type) == (503, "store_unavailable", "server_error")
    assert refusal.retry_after_s == 1.0
