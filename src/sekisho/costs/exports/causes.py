"""Why an export and our rows may differ, likeliest first. Must name only what the numbers make possible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sekisho.costs.exports.lines import Line
from sekisho.costs.reconcile import Cause
from sekisho.tables.by_bucket import Used

#: usage of the last hour may still be missing in a report: OpenAI and Anthropic name minutes, costs take longer
_SETTLED_AFTER_US = 3_600_000_000


def causes_of(more: Mapping[str, int], lines: Sequence[Line], rows: Sequence[Used], now_us: int) -> list[Cause]:
    """`more`: by how much the export has more, by figure; at least one of them is not 0."""
    causes: list[Cause] = []
    ends_us = max((one.ends_us for one in rows), default=0) or max(line.bucket.ends_us for line in lines)
    if ends_us + _SETTLED_AFTER_US > now_us:
        causes.append(Cause(name="not_over"))
    if not rows:
        causes.append(Cause(name="only_in_export"))
    elif not lines:
        causes.append(Cause(name="only_in_rows"))
    else:
        causes += _of_requests(more, rows)
    causes += _of_tokens(more, rows)
    if more.get("cost_nanos"):
        causes += _of_cost(more, rows)
    if crossing := _sum(rows, "across"):
        causes.append(Cause(name="across", values={"count": crossing}))
    return causes or [Cause(name="unknown")]


def _of_requests(more: Mapping[str, int], rows: Sequence[Used]) -> Iterable[Cause]:
    requests = more.get("requests", 0)
    if requests > 0:
        yield Cause(name="past_the_gateway", values={"count": requests})
        if unanswered := _sum(rows, "unanswered"):
            yield Cause(name="unanswered", values={"count": unanswered})
    elif requests < 0:
        yield Cause(name="missing_in_export", values={"count": -requests})
    elif "requests" not in more and not _doubtful(rows) and any(more[name] > 0 for name in _tokens_of(more)):
        yield Cause(name="perhaps_past_the_gateway")


def _of_tokens(more: Mapping[str, int], rows: Sequence[Used]) -> Iterable[Cause]:
    if estimated := _sum(rows, "estimated"):
        yield Cause(name="estimated", values={"count": estimated, "tokens": _sum(rows, "estimated_tokens")})
    if (cut_off := _sum(rows, "cut_off")) and any(more[name] > 0 for name in _tokens_of(more)):
        yield Cause(name="cut_off", values={"count": cut_off})
    read, fresh = more.get("cache_read_input_tokens", 0), more.get("uncached_input_tokens", 0)
    if read and fresh and read + fresh + more.get("cache_creation_input_tokens", 0) == 0:
        yield Cause(name="cached_apart", values={"tokens": abs(read)})


def _of_cost(more: Mapping[str, int], rows: Sequence[Used]) -> Iterable[Cause]:
    if unpriced := _sum(rows, "unpriced"):
        yield Cause(name="unpriced", values={"count": unpriced})
    told = [name for name in more if name != "cost_nanos"]
    if rows and not unpriced and not any(more[name] for name in told):
        yield Cause(name="price" if told else "cost_alone")


def _tokens_of(more: Mapping[str, int]) -> list[str]:
    return [name for name in more if name.endswith("_tokens")]


def _doubtful(rows: Sequence[Used]) -> bool:
    return bool(_sum(rows, "estimated") or _sum(rows, "cut_off"))


def _sum(rows: Iterable[Used], field: str) -> int:
    return sum(getattr(one, field) for one in rows)
