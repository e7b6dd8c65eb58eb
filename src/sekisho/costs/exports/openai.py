"""OpenAI's usage and costs pages. Must read what the documentation names, and say so where it finds something else.

`GET /v1/organization/usage/completions`, `…/usage/embeddings` and `/v1/organization/costs`, as documented in the API
reference (platform.openai.com/docs/api-reference/usage) and typed in the official SDK 3.52.0
(`types/admin/organization/usage_completions_response.py`); read 2026-11-27:

    page    {object: "page", data: [bucket], has_more, next_page}
    bucket  {object: "bucket", start_time, end_time, results: [result]}      seconds since 1970, UTC
    result  {object: "organization.usage.completions.result", input_tokens, input_cached_tokens,
             input_cache_write_tokens, output_tokens, num_model_requests, model, project_id, …}
            {object: "organization.usage.embeddings.result", input_tokens, num_model_requests, model, …}
            {object: "organization.costs.result", amount: {value, currency}, line_item, …}

`input_tokens` includes cached and cache-write tokens. What was not grouped by is null, `model` too. The older schema
called the list `result`. A `line_item` begins with the model, as "gpt-4o-mini-2024-07-18, cached input" or
"priority | gpt-4o, output"; other items ("web search tool calls") are no tokens.
"""

from __future__ import annotations

import re
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

_COMPLETIONS = "organization.usage.completions.result"
_EMBEDDINGS = "organization.usage.embeddings.result"
_COSTS = "organization.costs.result"
_US = 1_000_000
#: the model is what stands before the kind of tokens, without the tier in front and the modality behind
_LINE_ITEM = re.compile(r"(?:[^|,]+\| )?(?P<model>[^\s,|]+)(?: [a-z]+)?, [a-z ,]+")


class _Amount(msgspec.Struct, frozen=True):
    #: a number, in some answers a text
    value: Any
    currency: str = "usd"


class _Result(msgspec.Struct, frozen=True):
    object: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_cached_tokens: int | None = None
    input_cache_write_tokens: int | None = None
    num_model_requests: int | None = None
    model: str | None = None
    amount: _Amount | None = None
    line_item: str | None = None


class _Bucket(msgspec.Struct, frozen=True):
    start_time: int
    end_time: int
    results: list[_Result] | None = None
    #: as older schemas call it
    result: list[_Result] | None = None


class _Page(msgspec.Struct, frozen=True):
    data: list[_Bucket]
    has_more: bool = False


def read_page(content: dict[str, Any]) -> Page:
    """Raises BadExport, msgspec.ValidationError with the path of what is not as documented."""
    page = msgspec.convert(content, _Page)
    found = Page(buckets=[], lines=[], has_more=page.has_more)
    for at, one in enumerate(page.data):
        where = f"data[{at}]"
        bucket = bucket_of(one.start_time * _US, one.end_time * _US, where)
        found.buckets.append(bucket)
        name = "results" if one.results is not None else "result"
        for number, result in enumerate(one.results or one.result or ()):
            raw: dict[str, Any] = content["data"][at][name][number]
            found.keys.append((bucket, raw.get("batch"), *identity_of(raw)))
            _add(found, bucket, result, f"{where}.{name}[{number}]")
    return found


def _add(found: Page, bucket: Bucket, result: _Result, where: str) -> None:
    if result.object == _COSTS:
        _add_cost(found, bucket, result, where)
    elif result.object in (_COMPLETIONS, _EMBEDDINGS):
        found.lines.append(_usage(bucket, result, where))
    else:
        found.skipped.append(shown(result.object))


def _usage(bucket: Bucket, result: _Result, where: str) -> Line:
    embeds = result.object == _EMBEDDINGS
    return Line(
        bucket=bucket,
        model=model_of(result.model),
        of="embeddings" if embeds else "completions",
        requests=count_of(result.num_model_requests, f"{where}.num_model_requests"),
        input_tokens=count_of(result.input_tokens, f"{where}.input_tokens"),
        # embeddings are not cached, and their results have no such field
        cache_read_input_tokens=0 if embeds else count_of(result.input_cached_tokens, f"{where}.input_cached_tokens"),
        cache_creation_input_tokens=0
        if embeds
        else count_of(result.input_cache_write_tokens, f"{where}.input_cache_write_tokens"),
        output_tokens=0 if embeds else count_of(result.output_tokens, f"{where}.output_tokens"),
    )


def _add_cost(found: Page, bucket: Bucket, result: _Result, where: str) -> None:
    if result.amount is None:
        raise BadExport("missing_member", f"{where}.amount")
    if result.amount.currency.lower() != "usd":
        raise BadExport("bad_currency", f"{where}.amount.currency", value=shown(result.amount.currency))
    cost = dollars_of(result.amount.value, f"{where}.amount.value")
    item = result.line_item
    if item is None:
        found.lines.append(Line(bucket=bucket, model=None, cost_usd=cost))
    elif matched := _LINE_ITEM.fullmatch(item):
        found.lines.append(Line(bucket=bucket, model=model_of(matched["model"]), cost_usd=cost))
    else:
        found.charges.append(Charge(bucket=bucket, name=shown(item), cost_usd=cost))
