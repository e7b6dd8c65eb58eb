"""What the caller is told when the providers failed. Must not let a word of the provider through."""

from __future__ import annotations

from sekisho.domain.call import Entry
from sekisho.domain.errors import Refusal, UpstreamError

#: what a provider's limit may be called towards the caller
_LIMIT_TYPES = frozenset({"requests", "tokens", "insufficient_quota"})


def refusal_of(error: UpstreamError, entry: Entry) -> Refusal:
    """The primary's failure in our words: status and code as in the table of cases of the documentation.

    Once several targets were tried, official SDKs are told not to try again: their attempts would multiply ours.
    """
    retry = False if len(entry.attempts) > 1 else None
    match error.code:
        case "upstream_rejected":
            status = error.status if error.status in (400, 422) else 400
            return Refusal(status, "upstream_rejected", param=_sent(error.param, entry), detail=error.detail)
        case "context_length_exceeded":
            return _too_long(error, entry)
        case "content_policy_violation":
            return Refusal(400, error.code, detail=error.detail)
        case "rate_limit_exceeded":
            return Refusal(
                429,
                error.code,
                type=error.type if error.type in _LIMIT_TYPES else "requests",
                message="upstream_rate_limit",
                headers={"x-sekisho-origin": "upstream"},
                retry=retry,
                retry_after_s=error.retry_after_s or 1.0,
                detail=error.detail,
            )
        case "upstream_timeout":
            return Refusal(504, error.code, type="server_error", retry=retry, detail=error.detail)
        case "request_too_large":
            return Refusal(413, error.code, message="upstream_request_too_large", detail=error.detail)
        case "upstream_credentials" | "upstream_model_not_found":
            return Refusal(502, error.code, type="server_error", retry=False, detail=error.detail)
        case _:
            return Refusal(502, "upstream_error", type="server_error", retry=retry, detail=error.detail)


def _too_long(error: UpstreamError, entry: Entry) -> Refusal:
    """The field is named as the caller's own protocol has it: the provider may have been asked in another."""
    code, detail = error.code, error.detail
    match entry.call.route.protocol:
        case "openai_embeddings":
            return Refusal(400, code, message="input_too_long", param="input", detail=detail)
        case "chat_stream":
            return Refusal(400, code, message="message_too_long", param="message", detail=detail)
        case "openai_chat":
            return Refusal(400, code, param="messages", detail=detail)


def _sent(param: str | None, entry: Entry) -> str | None:
    """Only a name that stands in the caller's own body may go back."""
    if not param:
        return None
    root = param.replace("[", ".").split(".")[0].encode()
    return param if root and b'"%b"' % root in entry.call.body else None
