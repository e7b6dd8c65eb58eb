"""What a denied call is told: status, code, wait, headers. Must say no more of other callers than that they took room.

Wire facts: status, type and code as in the table of cases of the documentation; `x-should-retry: false` keeps official
SDKs from trying an exhausted budget again; `x-ratelimit-*` are OpenAI's names, with resets as `1m30s`.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from sekisho.domain.errors import Refusal
from sekisho.domain.money import format_usd
from sekisho.domain.spending import scope_text
from sekisho.stores.counters import Denial, Headroom

#: cause -> status, code, type, x-should-retry
_TOLD: dict[str, tuple[int, str, str, bool | None]] = {
    "requests": (429, "rate_limit_exceeded", "requests", None),
    "tokens": (429, "rate_limit_exceeded", "tokens", None),
    "concurrency": (429, "rate_limit_exceeded", "requests", None),
    "budget": (429, "budget_exceeded", "insufficient_quota", False),
    "unavailable": (503, "store_unavailable", "server_error", None),
}

_REQUEST_LINES, _TOKEN_LINES = (
    "".join(
        f"x-ratelimit-{what}-{kind}: {form}\r\n"
        for what, form in (("limit", "%d"), ("remaining", "%d"), ("reset", "%s"))
    )
    for kind in ("requests", "tokens")
)

#: why no call is taken, in answers and at /health/ready, and after how many seconds to look again
ROWS_UNAVAILABLE = "rows_unavailable"
ROWS_RETRY_AFTER_S = 5


def rows_unavailable() -> Refusal:
    """The refusal of a call while rows cannot be kept and the policy is to take no call then."""
    return Refusal(503, ROWS_UNAVAILABLE, type="server_error", retry_after_s=ROWS_RETRY_AFTER_S)


def refusal_of(denial: Denial, wall_s: float) -> Refusal:
    """The refusal of a call that was not let in at `wall_s` (seconds since 1970); `values` are a budget's facts."""
    status, code, kind, retry = _TOLD[denial.cause]
    return Refusal(
        status,
        code,
        type=kind,
        retry=retry,
        retry_after_s=denial.retry_after_s,
        headers=headers_of(denial.headroom),
        detail=_detail(denial),
        **facts_of_budget(denial, wall_s),
    )


def facts_of_budget(denial: Denial, wall_s: float) -> dict[str, Any]:
    """What the body of `budget_exceeded` says beside the message: money as decimal US dollars, the time in RFC 3339."""
    budget = denial.budget
    if budget is None:
        return {}
    # periods begin at whole seconds, and two clocks were read
    resets = datetime.fromtimestamp(round(wall_s + denial.retry_after_s), UTC)
    return {
        "scope": scope_text(budget.scope),
        "limit_usd": format_usd(budget.amount_nanos),
        "spent_usd": format_usd(denial.spent_nanos),
        "reserved_usd": format_usd(denial.reserved_nanos),
        "wanted_usd": format_usd(denial.wanted_nanos),
        "resets_at": resets.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def degrades_to(denial: Denial) -> str | None:
    """The endpoint that takes over instead of a refusal."""
    return None if denial.budget is None else denial.budget.degrade_to


def headers_of(headroom: Headroom | None) -> dict[str, str]:
    """`x-ratelimit-*` of the tightest limits, on success and on refusal; empty where nothing is limited."""
    if headroom is None:
        return {}
    found: dict[str, str] = {}
    if headroom.limit_requests is not None:
        found["x-ratelimit-limit-requests"] = str(headroom.limit_requests)
        found["x-ratelimit-remaining-requests"] = str(headroom.remaining_requests)
        found["x-ratelimit-reset-requests"] = duration(headroom.reset_requests_s)
    if headroom.limit_tokens is not None:
        found["x-ratelimit-limit-tokens"] = str(headroom.limit_tokens)
        found["x-ratelimit-remaining-tokens"] = str(headroom.remaining_tokens)
        found["x-ratelimit-reset-tokens"] = duration(headroom.reset_tokens_s)
    return found


def header_lines(headroom: Headroom | None) -> str:
    """The same as lines of a head, each with its line break; for every answer that is limited."""
    if headroom is None:
        return ""
    lines = ""
    if headroom.limit_requests is not None:
        lines = _REQUEST_LINES % (
            headroom.limit_requests,
            headroom.remaining_requests,
            duration(headroom.reset_requests_s),
        )
    if headroom.limit_tokens is not None:
        lines += _TOKEN_LINES % (
            headroom.limit_tokens,
            headroom.remaining_tokens,
            duration(headroom.reset_tokens_s),
        )
    return lines


def duration(seconds: float) -> str:
    """`12ms`, `1.5s`, `6m0s`, `1h0m0s`: as OpenAI writes resets; rounded up to a millisecond."""
    milliseconds = math.ceil(seconds * 1000 - 1e-6)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds > 0 else "0ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:g}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"
    return text


def _detail(denial: Denial) -> str:
    """For the row: which limit or budget, and how far it was from letting the call in."""
    where = scope_text(denial.scope)
    if denial.budget is None:
        return f"{denial.cause} of {where}, limit {denial.limit}" if where else denial.cause
    budget = denial.budget
    return (
        f"{budget.period} budget of {where}: {format_usd(budget.amount_nanos)} USD, "
        f"spent {format_usd(denial.spent_nanos)}, reserved {format_usd(denial.reserved_nanos)}, "
        f"wanted {format_usd(denial.wanted_nanos)}"
    )
