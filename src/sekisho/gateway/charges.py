"""What a failed attempt costs whose provider had begun to answer with 200: what it reported, else an estimate.

An error, or a page that is no model's answer, costs nothing. Runs only where an attempt has failed.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import msgspec

from sekisho.domain.call import Attempt, Entry
from sekisho.formats.json import UNREADABLE
from sekisho.formats.openai_answers import read_usage
from sekisho.gateway.estimates import Estimates
from sekisho.tokens.answer import Written

_decode = msgspec.json.Decoder().decode


class Begun(Protocol):
    """An exchange that did not come to its end."""

    status: int

    def came(self) -> bytes | Written: ...


def charge_part(estimates: Estimates, entry: Entry, attempt: Attempt, begun: Begun) -> None:
    """For an answer that broke off or was left. One that had not begun is charged nothing here."""
    attempt.status = begun.status or None
    if begun.status != 200 or attempt.usage is not None:
        return
    came = begun.came()
    _estimate(estimates, entry, attempt, came if isinstance(came, Written) or _is_object(came) else None)


def charge_body(estimates: Estimates, entry: Entry, attempt: Attempt, body: bytes) -> None:
    """For a whole body of status 200 that was not taken for an answer: an error, nothing we can read, or an answer in
    one piece where a stream was asked for."""
    try:
        found = _decode(body)
    except UNREADABLE:
        if _is_object(body):  # it ended with its connection, too early
            _estimate(estimates, entry, attempt, body)
        return
    if not isinstance(found, dict):
        return
    answer = cast("dict[str, Any]", found)
    usage, _ = read_usage(answer.get("usage"))
    if usage is not None:
        tier = answer.get("service_tier")
        entry.service_tier = tier if isinstance(tier, str) else None
        attempt.usage, attempt.usage_source = usage, "provider"
    elif not answer.get("error") and (answer.get("choices") or answer.get("data")):
        _estimate(estimates, entry, attempt, body)


def _estimate(estimates: Estimates, entry: Entry, attempt: Attempt, came: bytes | Written | None) -> None:
    attempt.usage = estimates.usage_of(entry, attempt.target, came)
    attempt.usage_source = "estimated"


def _is_object(body: bytes) -> bool:
    return body[:64].lstrip().startswith(b"{")
