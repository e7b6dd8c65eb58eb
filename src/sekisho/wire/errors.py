"""Refusals written as clients expect them. The only place where an error body is made; must not show provider text.

Source: OpenAI API reference, error codes; openai-python reads `x-should-retry`, then `retry-after-ms`, then
`retry-after`, the latter two only up to 60 seconds.
"""

from __future__ import annotations

import math
from typing import Any

from sekisho.domain.call import Language
from sekisho.domain.errors import Refusal
from sekisho.formats.json import encode
from sekisho.wire.messages import clean, say

_MAX_RETRY_S = 366 * 24 * 3600
#: what programs want to know of a refusal, beside the envelope, by its code
_FACTS = {"budget_exceeded": ("scope", "limit_usd", "spent_usd", "reserved_usd", "wanted_usd", "resets_at")}


def render(refusal: Refusal, request_id: str, language: Language) -> bytes:
    """The body in OpenAI's envelope, with our request id beside; also the payload of an error frame in a stream."""
    error: dict[str, Any] = {
        "message": say(refusal.message, language, refusal.param, refusal.values),
        "type": refusal.type,
        "param": None if refusal.param is None else clean(refusal.param),
        "code": refusal.code,
        "request_id": request_id,
    }
    error |= {name: clean(str(refusal.values[name])) for name in _FACTS.get(refusal.code, ()) if name in refusal.values}
    return encode({"error": error})


def headers(refusal: Refusal) -> dict[str, str]:
    """What a refusal says in headers, names in lower case: when to come back, and whether to try again by itself."""
    found = {name.lower(): value for name, value in refusal.headers.items()}
    after_s = refusal.retry_after_s
    if after_s is not None and after_s == after_s:
        milliseconds = max(1, math.ceil(min(after_s, _MAX_RETRY_S) * 1000))
        found["retry-after"] = str(max(1, math.ceil(milliseconds / 1000)))
        found["retry-after-ms"] = str(milliseconds)
    if refusal.retry is not None:
        found["x-should-retry"] = "true" if refusal.retry else "false"
    return found
