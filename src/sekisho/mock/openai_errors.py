"""OpenAI's error envelope. Pure."""

from __future__ import annotations

import msgspec

#: stands in every scripted error, so that a test can look for it in what callers, logs and pages get to see
CANARY = "provider says: key sk-upstream-canary at https://provider.internal/v1"

_BY_STATUS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("permission_error", None),
    404: ("invalid_request_error", "model_not_found"),
    422: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
}

_BY_CODE: dict[str, str] = {
    "context_length_exceeded": "This model's maximum context length is 8192 tokens.",
    "content_filter": "The response was filtered.",
    "insufficient_quota": "You exceeded your current quota.",
}


class BadRequest(ValueError):
    """The mock itself refuses a request: 400. `param` names the field."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


def envelope(status: int, message: str, param: str | None = None, code: str | None = None) -> bytes:
    """The body of an error."""
    kind, usual_code = _BY_STATUS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    code = code or usual_code
    kind = "insufficient_quota" if code == "insufficient_quota" else kind
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def scripted(status: int, code: str | None = None, param: str | None = None) -> bytes:
    """The body of an error that a script asked for; the canary is in its message."""
    reason = _BY_CODE.get(code or "", f"Scripted error {status}.")
    return envelope(status, f"{reason} {CANARY}", param, code)
