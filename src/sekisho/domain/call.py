"""One call and what becomes of it. `Entry` is the only mutable noun of the house; must not do anything by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from sekisho.domain.endpoint import Endpoint, Target
from sekisho.domain.http import Headers
from sekisho.domain.usage import Usage, UsageSource

Operation = Literal["chat", "embeddings"]
Protocol = Literal["openai_chat", "openai_embeddings", "chat_stream"]
TerminalState = Literal[
    "completed",
    "truncated",
    "upstream_error",
    "refused",
    "guardrail_stopped",
    "client_left",
    "timed_out",
    "interrupted",
]
Language = Literal["en", "ja"]

#: nginx's code for "the client closed the connection": nothing was sent, only the row says it
CLIENT_LEFT_STATUS = 499


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A model route of the gateway: which protocol is spoken there, for which operation."""

    path: str
    protocol: Protocol
    operation: Operation
    api_type: str


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who may call, as known from the key. `endpoints` are names, `provider/*`, or `*`."""

    key_id: str
    key_name: str
    user: str | None = None
    team: str | None = None
    department: str | None = None
    role: str = "user"
    endpoints: frozenset[str] = frozenset()
    expires_at_us: int | None = None
    on_behalf: bool = False

    def may_use(self, endpoint: str) -> bool:
        return "*" in self.endpoints or endpoint in self.endpoints

    def may_address(self, provider: str) -> bool:
        """`provider/model` needs the provider named on the key: `*` covers configured endpoints only."""
        return f"{provider}/*" in self.endpoints


class Known(msgspec.Struct, eq=False):
    """What calls with the very same header lines on the same connection have found out; filled in by who found it."""

    #: the keyring that knew the caller: another one, after a change of keys, has to look again
    keyring: object = None
    caller: Caller | None = None
    #: the caller's columns as the spool holds them
    group: msgspec.Raw | None = None
    #: no header names an id of the caller's
    untraced: bool = False


class Call(msgspec.Struct, eq=False):
    """One request as it came in. `headers` hold only those that matter, names in lower case."""

    route: Route
    headers: dict[bytes, bytes]
    body: bytes
    request_id: str
    #: wall clock, microseconds since 1970
    received_us: int
    client_ip: str | None
    #: monotonic seconds
    now_s: Callable[[], float] = time.perf_counter
    started_s: float = msgspec.field(default_factory=time.perf_counter)
    known: Known | None = None
    #: the client has closed its connection
    left: bool = False

    def __repr__(self) -> str:
        return f"Call({self.request_id!r})"  # never the headers, which hold the key, nor the body


# Classes with slots, not structs: a call sets some forty of these attributes, and setting one on a struct costs five
# times as much.


class Attempt:
    """One try at one target. Mutable until it ends."""

    __slots__ = (
        "cost_nanos", "ended_s", "error_code", "held", "reason", "sent_s", "started_s", "status", "target", "usage",
        "usage_source",
    )  # fmt: skip

    def __init__(self, target: Target, reason: str, started_s: float, held: Any = None) -> None:
        self.target = target
        self.reason = reason
        self.started_s = started_s
        #: its reservation in the books, where anything is limited
        self.held = held
        #: when the request had been handed to the socket; None = never dispatched, so nothing can be charged
        self.sent_s: float | None = None
        self.ended_s: float | None = None
        self.status: int | None = None
        self.error_code: str | None = None
        self.usage: Usage | None = None
        self.usage_source: UsageSource = "none"
        self.cost_nanos: int | None = 0


class Entry:
    """The book's page for one call: opened when it arrives, closed exactly once."""

    __slots__ = (
        "attempts", "begun", "cache_status", "call", "caller", "claim", "closed", "config_hash", "conversation_id",
        "cost_nanos", "end_user", "endpoint", "error_code", "error_message", "events", "feature", "finish_reasons",
        "first_byte_s", "held", "keep_request", "language", "limited", "logging_errors", "provider_headers", "reason",
        "request_model", "response", "service_tier", "status", "streaming", "tags", "targets", "terminal_state",
        "waited_s",
    )  # fmt: skip
    #: `replay`: the answer of an earlier call with the same Idempotency-Key
    cache_status: str
    #: the right to answer for an Idempotency-Key; the policy that gave it takes it back
    claim: object
    #: of the provider's last answer, where they were read: of a plain one only where there are limits among them
    provider_headers: Headers | None

    def __init__(self, call: Call) -> None:
        self.call = call
        self.caller: Caller | None = None
        self.endpoint: Endpoint | None = None
        #: where the call may go, in this order, and why the first of them was chosen
        self.targets: tuple[Target, ...] = ()
        self.reason = "primary"
        #: the reservation of the next attempt, until that one has it
        self.held: Any = None
        #: there are limits to tell in `x-ratelimit-*`
        self.limited = False
        self.request_model: str | None = None
        self.streaming = False
        self.attempts: list[Attempt] = []
        self.status = 0
        self.error_code: str | None = None
        self.error_message: str | None = None
        self.terminal_state: TerminalState | None = None
        self.finish_reasons: list[str] | None = None
        self.service_tier: str | None = None
        self.cost_nanos: int | None = 0
        self.tags: dict[str, str] | None = None
        self.feature: str | None = None
        self.end_user: str | None = None
        self.conversation_id: str | None = None
        self.first_byte_s: float | None = None
        #: seconds spent waiting for providers
        self.waited_s = 0.0
        self.language: Language = "en"
        #: refused before the key was known: no body is kept
        self.keep_request = False
        self.response: bytes | None = None
        #: payloads of a stream, kept for `log: full`
        self.events: list[bytes] | None = None
        self.logging_errors: list[str] | None = None
        #: digest of the configuration the call began with
        self.config_hash = ""
        #: the sink knows that it is being dispatched
        self.begun = self.closed = False
        self.cache_status, self.claim, self.provider_headers = "bypass", None, None
