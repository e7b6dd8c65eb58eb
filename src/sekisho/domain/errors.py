"""The error tree. Raised anywhere, rendered only in `wire.errors`; must not hold a rendered message.

SekishoError
├── Refusal          the caller gets this answer: status, code, type, param and the values of its message
└── UpstreamError    one attempt failed; decides whether another target may be tried
"""

from __future__ import annotations

from typing import Any


class SekishoError(Exception):
    """Everything we raise on purpose on the way of a call."""


class Refusal(SekishoError):
    """A definite answer to the caller. `code` names the message in `wire.messages`; `values` fill its blanks.

    `retry` is what `x-should-retry` says to official SDKs: None says nothing.
    """

    def __init__(
        self,
        status: int,
        code: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        message: str | None = None,
        retry: bool | None = None,
        retry_after_s: float | None = None,
        headers: dict[str, str] | None = None,
        detail: str | None = None,
        **values: Any,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.type = type
        self.param = param
        #: the name of the message where it is not the code
        self.message = message or code
        self.retry = retry
        self.retry_after_s = retry_after_s
        self.headers = headers or {}
        #: for the row only, may hold provider text
        self.detail = detail
        self.values = values


class UpstreamError(SekishoError):
    """One attempt failed.

    `status` is what the provider sent, None when it sent none. `code` is ours. `detail` may hold provider text: it
    stands in the row and never reaches the caller. `fallback` says whether another target may help: a request that
    the provider calls invalid will be invalid at the next one too.
    """

    def __init__(
        self,
        code: str,
        *,
        status: int | None = None,
        fallback: bool = True,
        param: str | None = None,
        type: str | None = None,
        retry_after_s: float | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.fallback = fallback
        self.param = param
        self.type = type
        self.retry_after_s = retry_after_s
        self.detail = detail
