"""From a Reply to the head of an HTTP answer. Must put nothing of a provider's or caller's text into a header raw."""

from __future__ import annotations

import http
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from sekisho.domain.call import Language
from sekisho.domain.errors import Refusal
from sekisho.domain.http import Headers
from sekisho.domain.money import format_usd
from sekisho.entrypoints.http.intake import Clock, unread_call
from sekisho.gateway.pipeline import Pipeline, Reply
from sekisho.ledger.refusals import header_lines
from sekisho.wire import errors
from sekisho.wire.messages import language_of

#: of a scope: how its caller was answered, and by which id, because the rest of the body cannot be read
REFUSED = "sekisho.refused"


class _StatusLines(dict[int, str]):
    def __missing__(self, status: int) -> str:
        return f"HTTP/1.1 {status} \r\n"


STATUS_LINES = _StatusLines((one.value, f"HTTP/1.1 {one.value} {one.phrase}\r\n") for one in http.HTTPStatus)
#: name -> what its line of ours would have in it
_LIMITS = tuple(
    (f"x-ratelimit-{what}-{kind}", f"-{kind}: ")
    for kind in ("requests", "tokens")
    for what in ("limit", "remaining", "reset")
)
_PRINTABLE = re.compile(r"[ -~]*").fullmatch
#: as uvicorn gave them last, and as lines
_server_lines: tuple[list[tuple[bytes, bytes]], str] = [], ""
_JSON = "content-type: application/json\r\n"
_SSE = (
    "content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    "x-accel-buffering: no\r\n"
)  # fmt: skip


def whole(reply: Reply, more: str) -> bytes:
    """A whole answer: head, `more` among its lines, and body."""
    content = body(reply) if reply.body is None else reply.body
    head = f"{STATUS_LINES[reply.status]}{fields(reply)}{more}content-length: {len(content)}\r\n\r\n"
    return head.encode("latin-1") + content


def stream_head(reply: Reply, more: str, *, chunked: bool) -> bytes:
    """The head of a stream."""
    kind = "transfer-encoding: chunked\r\n" if chunked else ""
    return f"{STATUS_LINES[reply.status]}{fields(reply)}{more}{kind}\r\n".encode("latin-1")


def fields(reply: Reply) -> str:
    """The header lines of an answer, without status line, length, connection and date."""
    entry = reply.entry
    call = entry.call
    attempts = entry.attempts
    served = ""
    if attempts:
        target = attempts[-1].target
        served = _served(target.provider, target.model)
    elif (kept := reply.kept) is not None:
        served = f"{_served(kept.provider, kept.model)}x-sekisho-replay-of: {kept.request_id}\r\n"
    overhead_us = int((call.now_s() - call.started_s - entry.waited_s) * 1e6)
    kind = _SSE if entry.streaming and reply.refusal is None else _JSON
    cost = entry.cost_nanos
    more = "" if reply.stream is not None or cost is None else f"x-sekisho-cost-usd: {format_usd(cost)}\r\n"
    ours = _limits(attempts[-1].held, call.now_s()) if entry.limited and attempts else ""
    if entry.provider_headers and len(attempts) == 1:
        ours += _provider_limits(entry.provider_headers, ours)
    more += ours
    if reply.refusal is not None:
        more += "".join(f"{name}: {value}\r\n" for name, value in errors.headers(reply.refusal).items())
    return (
        f"{kind}x-request-id: {call.request_id}\r\n{served}x-sekisho-attempts: {len(attempts)}\r\n"
        f"x-sekisho-cache: {entry.cache_status}\r\n"
        f"x-sekisho-overhead-ms: {overhead_us // 1000}.{overhead_us % 1000:03d}\r\n{more}"
    )


def no_attempt(elapsed_s: float) -> str:
    """Of the lines that every answer has, those of one for which no provider was asked."""
    return (
        f"x-sekisho-attempts: 0\r\nx-sekisho-cache: bypass\r\nx-sekisho-overhead-ms: {elapsed_s * 1e3:.3f}\r\n"
        "x-sekisho-cost-usd: 0\r\n"
    )


def body(reply: Reply) -> bytes:
    """The body of a plain answer or of a refusal."""
    if reply.refusal is not None:
        return errors.render(reply.refusal, reply.entry.call.request_id, reply.entry.language)
    return reply.body or b""


def _limits(held: Any, now_s: float) -> str:
    """What the tightest limits have left."""
    return "" if held is None else header_lines(held.account.headroom(held, now_s))


def _provider_limits(headers: Headers, ours: str) -> str:
    """What the provider says of its limits, where ours say nothing: names we know, and harmless values."""
    return "".join(
        f"{name}: {value}\r\n"
        for name, kind in _LIMITS
        if kind not in ours and (value := headers.get(name)) and len(value) <= 64 and _PRINTABLE(value)
    )


@lru_cache(maxsize=4096)
def _served(provider: str, model: str) -> str:
    return f"x-sekisho-model: {_safe(model)}\r\nx-sekisho-provider: {_safe(provider)}\r\n"


def _safe(text: str) -> str:
    """Printable ASCII stays, the rest is percent-encoded: a model's name may come from the caller."""
    return quote(text[:256], safe="!#$&'()*+,/:;=?@[]~|{}^`<>")


def farewell(refusal: Refusal, request_id: str, fields: Iterable[tuple[bytes, bytes]], default: Language) -> bytes:
    """A whole answer to something that is no call, after which the connection is closed. `fields` are the headers that
    were read until then, names in lower case."""
    lines, content = _farewell(refusal, request_id, fields, default)
    return f"{STATUS_LINES[refusal.status]}{lines}connection: close\r\n\r\n".encode("latin-1") + content


def farewell_in_turn(
    refusal: Refusal,
    request_id: str,
    fields: Iterable[tuple[bytes, bytes]],
    default: Language,
    gateway: Pipeline,
    clock: Clock,
) -> Any:
    """The same as an ASGI application, for when other answers have to go out before; to a call it is one that has its
    row."""
    lines, content = _farewell(refusal, request_id, fields, default)
    pairs = [line.split(b": ", 1) for line in lines.encode("latin-1").split(b"\r\n") if line]

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        call = unread_call(scope, clock, request_id)
        if call is not None:
            gateway.refuse(call, refusal)
        await send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
        await send({"type": "http.response.body", "body": content})

    return application


def _farewell(
    refusal: Refusal, request_id: str, fields: Iterable[tuple[bytes, bytes]], default: Language
) -> tuple[str, bytes]:
    wanted = b", ".join(value for name, value in fields if name == b"accept-language")
    lines, content = standalone(refusal, request_id, language_of(wanted, default))
    return f"{lines}{no_attempt(0.0)}content-length: {len(content)}\r\n", content


def server_lines(headers: list[tuple[bytes, bytes]], keep_alive: bool) -> str:
    """HOT. Headers that uvicorn renews once a second, as another list, and what becomes of the connection."""
    global _server_lines
    known, lines = _server_lines
    if known is not headers:
        lines = "".join(f"{name.decode('latin-1')}: {value.decode('latin-1')}\r\n" for name, value in headers)
        _server_lines = headers, lines
    return lines if keep_alive else lines + "connection: close\r\n"


def standalone(refusal: Refusal, request_id: str, language: Language) -> tuple[str, bytes]:
    """Header lines and body of a refusal that belongs to no call."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in errors.headers(refusal).items())
    return f"{_JSON}x-request-id: {request_id}\r\n{lines}", errors.render(refusal, request_id, language)
