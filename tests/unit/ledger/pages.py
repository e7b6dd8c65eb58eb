"""Entries made by hand, for tests of the books."""

from __future__ import annotations

from typing import Any

from sekisho.domain.call import Attempt, Call, Caller, Entry, Route
from sekisho.domain.endpoint import Endpoint, Target
from sekisho.domain.money import Rates
from sekisho.domain.usage import Usage

ROUTE = Route(path="/v1/chat/completions", protocol="openai_chat", operation="chat", api_type="openai/v1/chat")
RATES = Rates(input_nanos_per_mtok=1_000_000_000, output_nanos_per_mtok=2_000_000_000, version="v1")
TARO = Caller(key_id="key_1", key_name="one", user="taro", team="research", department="rd")


class Clock:
    """Seconds that pass only when told."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def call(
    headers: dict[bytes, bytes] | None = None, *, body: bytes = b"", now_s: Clock | None = None, **more: Any
) -> Call:
    clock = now_s or Clock()
    return Call(
        ROUTE, headers or {}, body, more.get("request_id", "req_1"), 1_700_000_000_000_000, more.get("client_ip"),
        clock, clock.now_s,
    )  # fmt: skip


def entry(
    headers: dict[bytes, bytes] | None = None, *, log: Any = "full", caller: Caller | None = TARO, **more: Any
) -> Entry:
    """An entry on endpoint `chat` with a caller."""
    one = Entry(call(headers, **more))
    one.caller = caller
    one.keep_request = True
    one.request_model = "chat"
    one.endpoint = Endpoint(name="chat", targets=(target(),), log=log)
    return one


def target(model: str = "mock-small", rates: Rates | None = RATES, provider: str = "mock") -> Target:
    return Target(provider=provider, model=model, rates=rates)


def attempt(to: Target | None = None, usage: Usage | None = None, **more: Any) -> Attempt:
    one = Attempt(to or target(), more.pop("reason", "primary"), more.pop("started_s", 100.0))
    one.usage = usage
    one.usage_source = "none" if usage is None else "provider"
    for name, value in more.items():
        setattr(one, name, value)
    return one
