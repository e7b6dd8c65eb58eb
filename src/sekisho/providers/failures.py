"""What an error answer of an OpenAI-compatible provider means. Must not let a text of the provider into `code`.

Order of judgement: what the body says about the context window, the content filter, the model or the credentials,
then the status. Servers disagree about the status of all four. Sources stand at the patterns.
"""

from __future__ import annotations

import math
import re
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, cast

import msgspec

from sekisho.domain.errors import UpstreamError
from sekisho.domain.http import Headers
from sekisho.formats.json import UNREADABLE
from sekisho.formats.openai import ErrorBody, WireError, decode_error

DETAIL_CHARS = 500
_READ_BYTES = 64 * 1024
_PARAM = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}", re.ASCII)
_BYTES_OF_CHARS = 4

#: OpenAI and Groq: code context_length_exceeded. The others say it in words: vLLM, DeepSeek and OpenRouter "maximum
#: context length is", vLLM also "longer than the maximum model length" and "context length is only"; Mistral "too
#: large for model with … maximum context length"; Ollama and llama.cpp "exceeds the available context size", "input
#: length exceeds the context length", "exceeded max context length"; xAI "maximum prompt length is"; Together AI and
#: SGLang "longer than the model's context length", Together AI before "`inputs` tokens + `max_new_tokens` must be <=";
#: LM Studio "greater than the context length"; Gemini "exceeds the maximum number of tokens"; Kimi "exceeded model
#: token limit".
_CONTEXT = re.compile(
    r"context[_ ]length[_ ]exceeded|maximum context length|maximum model length|maximum prompt length"
    r"|exceeds? (?:the )?(?:available |maximum |model'?s? )?context (?:length|size|window)"
    r"|exceeds? the model'?s? (?:maximum )?(?:context|input)|context window (?:of|is)|prompt is too long"
    r"|(?:longer|greater) than the (?:model'?s )?context length|exceeded max context length|context length is only"
    r"|exceeds the maximum number of tokens|exceeded model token limit"
    r"|input is too long|exceed_context_size|tokens? \+ `?max_new_tokens`? must be|reduce the length of",
    re.IGNORECASE,
)
#: Codes: OpenAI content_policy_violation, content_filter (Azure, in its innererror ResponsibleAIPolicyViolation).
#: Words: OpenRouter 403 "your input was flagged", DeepSeek "Content Exists Risk".
_CONTENT = re.compile(
    r"content_policy_violation|content_filter\b|ResponsibleAIPolicyViolation|content management policy"
    r"|input was flagged|Content Exists Risk|data_inspection_failed|safety system",
    re.IGNORECASE,
)
#: Codes: OpenAI and Groq model_not_found, Groq model_decommissioned, Mistral invalid_model.
#: Words: DeepSeek 400 "Model Not Exist", OpenRouter 400 "… is not a valid model ID".
_MODEL = re.compile(
    r"model_not_found|model_decommissioned|model_not_available|invalid_model\b|model not exist"
    r"|is not a valid model id|no endpoints found|unable to access non-serverless model",
    re.IGNORECASE,
)
#: xAI answers 400 to a bad key, Google's OpenAI door too.
_CREDENTIALS = re.compile(
    r"invalid_api_key|incorrect api key|invalid api key|api key not valid|authentication_error"
    r"|billing_hard_limit_reached|billing_not_active",
    re.IGNORECASE,
)
#: types of a 429 that may stand in our answer
_LIMIT_TYPES = frozenset(("requests", "tokens", "insufficient_quota"))


class _Said(NamedTuple):
    """What a body says, as text."""

    message: str = ""
    type: str = ""
    code: str = ""
    param: str | None = None
    #: a status inside the body, as OpenRouter writes into a 200
    status: int | None = None


def classify(status: int, headers: Headers, body: bytes) -> UpstreamError:
    """The failure of one attempt, by its answer. `status` 200 is for an error inside a body."""
    said = _read(body)
    effective = said.status if status == 200 and said.status is not None else status
    code, fallback = _judge(effective, said)
    limited = code == "rate_limit_exceeded"
    return UpstreamError(
        code,
        status=status,
        fallback=fallback,
        param=said.param if code == "upstream_rejected" else None,
        type=next((name for name in (said.type, said.code) if name in _LIMIT_TYPES), None) if limited else None,
        retry_after_s=_retry_after(headers),
        detail=detail_of(status, body),
    )


def error_in(body: bytes) -> UpstreamError | None:
    """The error that stands in an answer of status 200; None where the body has none, or is no JSON."""
    try:
        found = decode_error(body)
    except UNREADABLE:
        return None
    return classify(200, {}, body) if found.error else None


def detail_of(status: int, body: bytes) -> str:
    """For the row: the status and the beginning of what the provider wrote, on one line."""
    text = body[: DETAIL_CHARS * _BYTES_OF_CHARS].decode("utf-8", "replace")
    return f"{status} {' '.join(text.split())}"[:DETAIL_CHARS]


def _judge(status: int, said: _Said) -> tuple[str, bool]:
    """Our code, and whether another target may help."""
    text = f"{said.code} {said.type} {said.message}"
    if status not in (401, 429) and _CONTEXT.search(text):
        # another target may have a longer window
        return "context_length_exceeded", True
    if status in (200, 400, 403, 422) and _CONTENT.search(text):
        return "content_policy_violation", False
    if status in (200, 400, 403, 404, 410, 422) and _MODEL.search(text):
        return "upstream_model_not_found", True
    if status in (200, 400) and _CREDENTIALS.search(text):
        return "upstream_credentials", True
    if status == 413 and said.code == "rate_limit_exceeded":
        # Groq: one request over the tokens of a minute
        return "rate_limit_exceeded", True
    return _BY_STATUS.get(status, ("upstream_error", True))


_BY_STATUS = {
    400: ("upstream_rejected", False),
    401: ("upstream_credentials", True),
    # no money on the account at the provider: DeepSeek, OpenRouter, Together
    402: ("upstream_credentials", True),
    403: ("upstream_credentials", True),
    404: ("upstream_model_not_found", True),
    408: ("upstream_timeout", True),
    413: ("request_too_large", True),
    422: ("upstream_rejected", False),
    429: ("rate_limit_exceeded", True),
}


def _read(body: bytes) -> _Said:
    try:
        found = decode_error(body)
    except UNREADABLE:
        return _Said(message=body[:_READ_BYTES].decode("utf-8", "replace"))
    inner = found.error if isinstance(found.error, WireError) else _outer(found)
    message, place = _details(inner.message if inner.message is not None else found.detail)
    inside = inner.code if isinstance(inner.code, int) and 400 <= inner.code <= 599 else None
    return _Said(
        message=message,
        type=inner.type if isinstance(inner.type, str) else "",
        code=inner.code if isinstance(inner.code, str) else "",
        param=_param(inner.param) or _param(place),
        status=inside,
    )


def _outer(found: ErrorBody) -> WireError:
    message = found.error if isinstance(found.error, str) else found.message
    return WireError(message=message, type=found.type, param=found.param, code=found.code)


def _details(value: Any) -> tuple[str, str | None]:
    """(text, path of the field) of a message: a text, or FastAPI's list of mistakes, also under `detail` (Mistral)."""
    if isinstance(value, str):
        return value, None
    if isinstance(value, dict) and "detail" in value:
        return _details(cast("dict[str, Any]", value)["detail"])
    text = "" if value is None else msgspec.json.encode(value).decode()
    if isinstance(value, list):
        for mistake in cast("list[Any]", value):
            if isinstance(mistake, dict) and (path := _path(cast("dict[str, Any]", mistake).get("loc"))):
                return text, path
    return text, None


def _path(location: Any) -> str | None:
    """`["body", "messages", 0, "role"]` as `messages[0].role`."""
    if not isinstance(location, list):
        return None
    path = ""
    for step in cast("list[Any]", location):
        if isinstance(step, int):
            path += f"[{step}]"
        elif step != "body" or path:
            path += f".{step}" if path else str(step)
    return path or None


def _param(value: Any) -> str | None:
    """A plain path of a field; anything else could carry text of the provider."""
    return value if isinstance(value, str) and _PARAM.fullmatch(value) else None


def _retry_after(headers: Headers) -> float | None:
    """Seconds."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            value = float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
        if math.isfinite(value) and value > 0:
            return value
    return _until_date(headers)


def _until_date(headers: Headers) -> float | None:
    """Of a date in `retry-after`, by the provider's own clock: that of its header `date`."""
    try:
        wait = parsedate_to_datetime(headers["retry-after"]) - parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    return max(0.0, wait.total_seconds()) or None
