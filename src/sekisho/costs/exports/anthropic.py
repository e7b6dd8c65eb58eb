"""Anthropic's usage and cost reports. Must read what the documentation names, and say so where it finds something else.

`GET /v1/organizations/usage_report/messages` and `/v1/organizations/cost_report`, as documented at
platform.claude.com/docs/en/api/admin/usage_report/retrieve_messages and …/admin/cost_report/retrieve; read 2026-11-27:

    page    {data: [bucket], has_more, next_page}
    bucket  {starting_at, ending_at, results: [result]}                       RFC 3339, the end exclusive
    usage   {uncached_input_tokens, cache_creation: {ephemeral_1h_input_tokens, ephemeral_5m_input_tokens},
             cache_read_input_tokens, output_tokens, server_tool_use, model, api_key_id, workspace_id, service_tier, …}
    cost    {amount, currency, cost_type, model, token_type, description, workspace_id, …}

The three kinds of input tokens are disjoint; there is no number of requests. `amount` is a decimal string in cents:
"123.45" is 1.2345 US dollars. `model` is null where the report was not grouped by it, and for costs that are no tokens
(`cost_type` web_search, code_execution, session_usage).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from sekisho.costs.exports.lines import (
    BadExport,
    Bucket,
    Charge,
    Line,
    Page,
    bucket_of,
    count_of,
    dollars_of,
    identity_of,
    model_of,
    shown,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CENTS_PER_USD = 100


class _CacheCreation(msgspec.Struct, frozen=True):
    ephemeral_1h_input_tokens: int = 0
    ephemeral_5m_input_tokens: int = 0


class _Result(msgspec.Struct, frozen=True):
    uncached_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None
    model: str | None = None
    amount: Any = None
    currency: str | None = None
    cost_type: str | None = None
    description: str | None = None


class _Bucket(msgspec.Struct, frozen=True):
    starting_at: datetime
    ending_at: datetime
    results: list[_Result]


class _Page(msgspec.Struct, frozen=True):
    data: list[_Bucket]
    has_more: bool = False


def read_page(content: dict[str, Any]) -> Page:
    """Raises BadExport, msgspec.ValidationError with the path of what is not as documented."""
    page = msgspec.convert(content, _Page)
    found = Page(buckets=[], lines=[], has_more=page.has_more)
    for at, one in enumerate(page.data):
        where = f"data[{at}]"
        begins_us = _us(one.starting_at, f"{where}.starting_at")
        bucket = bucket_of(begins_us, _us(one.ending_at, f"{where}.ending_at"), where)
        found.buckets.append(bucket)
        for number, result in enumerate(one.results):
            raw: dict[str, Any] = content["data"][at]["results"][number]
            found.keys.append((bucket, *identity_of(raw)))
            _add(found, bucket, result, f"{where}.results[{number}]")
    return found


def _add(found: Page, bucket: Bucket, result: _Result, where: str) -> None:
    if result.amount is not None:
        _add_cost(found, bucket, result, result.amount, where)
    else:
        found.lines.append(_usage(bucket, result, where))


def _usage(bucket: Bucket, result: _Result, where: str) -> Line:
    uncached = count_of(result.uncached_input_tokens, f"{where}.uncached_input_tokens")
    if uncached is None:
        raise BadExport("missing_member", f"{where}.uncached_input_tokens")
    written = result.cache_creation or _CacheCreation()
    place = f"{where}.cache_creation"
    cached = count_of(result.cache_read_input_tokens, f"{where}.cache_read_input_tokens") or 0
    writes = (
        (count_of(written.ephemeral_5m_input_tokens, f"{place}.ephemeral_5m_input_tokens") or 0)
        + (count_of(written.ephemeral_1h_input_tokens, f"{place}.ephemeral_1h_input_tokens") or 0)
    )  # fmt: skip
    return Line(
        bucket=bucket,
        model=model_of(result.model),
        input_tokens=uncached + cached + writes,
        cache_read_input_tokens=cached,
        cache_creation_input_tokens=writes,
        output_tokens=count_of(result.output_tokens, f"{where}.output_tokens"),
    )


def _add_cost(found: Page, bucket: Bucket, result: _Result, amount: Any, where: str) -> None:
    if (result.currency or "USD").upper() != "USD":
        raise BadExport("bad_currency", f"{where}.currency", value=shown(result.currency or ""))
    cost = dollars_of(amount, f"{where}.amount") / _CENTS_PER_USD
    if result.model is None and result.cost_type not in (None, "tokens"):
        name = result.description or result.cost_type or ""
        found.charges.append(Charge(bucket=bucket, name=shown(name), cost_usd=cost))
    else:
        found.lines.append(Line(bucket=bucket, model=model_of(result.model), cost_usd=cost))


def _us(moment: datetime, where: str) -> int:
    """Exactly, without a float. Raises BadExport for a time that does not say where it is."""
    if moment.tzinfo is None:
        raise BadExport("no_zone", where)
    return (moment - _EPOCH) // timedelta(microseconds=1)
